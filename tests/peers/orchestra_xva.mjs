// Writes raw disks as an XVA with the writer of Xen Orchestra: node orchestra_xva.mjs OUT DISK...
// Its writer talks to a host; the host here is a file.
import { createReadStream, createWriteStream, statSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { importVm } from '@xen-orchestra/xva/importVm.mjs'

const [out, ...disks] = process.argv.slice(2)
const size = disk => statSync(disk).size

const host = {
  task_create: async () => 'OpaqueRef:task',
  putResource: async stream => {
    await pipeline(stream, createWriteStream(out))
    return 'OpaqueRef:00000000-0000-0000-0000-000000000000'
  },
}
const vm = {
  name_label: 'orchestra-vm',
  memory: 1 << 30,
  nCpus: 2,
  firmware: 'bios',
  networks: [],
  vdis: disks.map(disk => ({ name_label: disk, virtual_size: size(disk) })),
  vhds: disks.map(disk => ({
    footer: { currentSize: size(disk) },
    rawContent: async () => createReadStream(disk),
  })),
}
await importVm(vm, host, { $ref: 'OpaqueRef:sr' }, { $ref: 'OpaqueRef:network' })
