// Xen Orchestra's client and XVA writer against the pool: node peer.mjs URL DISK EXPORTED
// Prints what it found as JSON.
import { createReadStream, createWriteStream, statSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { createClient } from 'xen-api'
import { importVm } from '@xen-orchestra/xva/importVm.mjs'

const [url, disk, exported] = process.argv.slice(2)
const xapi = createClient({
  url,
  auth: { user: 'root', password: 'secret' },
  allowUnauthorized: true,
})
await xapi.connect()
await xapi.objectsFetched
const all = Object.values(xapi.objects.all)
const vm = all.find(object => object.$type === 'VM' && object.name_label.endsWith('running'))

const snapshot = await xapi.callAsync('VM.snapshot', vm.$ref, 'by xen-api', [])
const taken = await xapi.barrier(snapshot)
const response = await xapi.getResource('/export/', { query: { ref: snapshot }, task: true })
await pipeline(response.body ?? response, createWriteStream(exported))

let failure
try {
  await xapi.call('VM.get_record', 'OpaqueRef:no')
} catch (error) {
  failure = [error.code, ...error.params]
}

const host = {
  task_create: label => xapi.call('task.create', label, ''),
  putResource: (stream, path, options) => xapi.putResource(stream, path, options),
}
const made = await importVm(
  {
    name_label: 'by orchestra',
    memory: 1 << 30,
    nCpus: 2,
    firmware: 'bios',
    networks: [],
    vdis: [{ name_label: 'disk', virtual_size: statSync(disk).size }],
    vhds: [{ footer: { currentSize: statSync(disk).size }, rawContent: async () => createReadStream(disk) }],
  },
  host,
  { $ref: xapi.pool.default_SR, ...(await xapi.call('SR.get_record', xapi.pool.default_SR)) },
  undefined
)
console.log(JSON.stringify({ snapshot_of: taken.snapshot_of === vm.$ref, failure, made, pool: xapi.pool.name_label }))
await xapi.disconnect()
process.exit(0)
