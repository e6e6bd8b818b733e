"""Exports and imports of VMs: read and written by clients and tools that are not ours. Run: python test_vms.py

XENITH names the binary whose `xva check` reads the exports too; without it that part is left out.
"""

import json
import os
import subprocess
import threading
import time
import unittest
from pathlib import Path

import xxhash

import client
from case import PoolCase
from client import MIB, pack, prefixes, sha256, unpack


class Exports(PoolCase):
    """Contract 2.1 and 3."""

    def exported(self, vm: str, **query: str) -> bytes:
        task = self.task()
        answer = self.get("/export", ref=vm, task_id=task, **query)
        self.assertEqual((answer.status, answer.protocol), (200, "HTTP/1.0"))
        self.assertNotIn("content-length", answer.headers)
        self.assertEqual(self.ended(task)["status"], "success")
        self.check(answer.body)
        return answer.body

    def check(self, archive: bytes) -> None:
        """Xenith, GNU tar and the loop of the contract agree that it is whole."""
        path = self.folder / "exported.xva"
        path.write_bytes(archive)
        if "XENITH" in os.environ:
            done = subprocess.run([os.environ["XENITH"], "xva", "check", path], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
        if archive[:7] == b"ova.xml":
            listed = subprocess.run(["tar", "tf", path], capture_output=True, text=True, check=True).stdout.split()
            self.assertEqual(listed, [name for name, _ in unpack(archive)])

    def test_each_kind_of_vm_comes_out_whole_from_the_member_that_sees_its_storage(self) -> None:
        for kind in ("halted", "suspended", "elsewhere"):
            vm = self.vm(kind)
            with self.subTest(kind):
                self.same_disks(self.exported(vm), self.disks_of(vm))
        self.assertEqual(self.get("/export", follow=False, ref=self.vm("elsewhere")).status, 302)

    def test_a_running_vm_is_exported_through_a_snapshot(self) -> None:
        vm, task = self.vm("running"), self.task()
        self.assertEqual(self.get("/export", ref=vm, task_id=task).status, 500)
        self.assertEqual(self.ended(task)["error_info"], ["VM_BAD_POWER_STATE", vm, "halted, suspended", "running"])
        taken = self.api.VM.snapshot(vm, "now")
        self.api.VM.set_is_a_template(taken, False)
        for how in ("", "gzip", "zstd"):
            self.same_disks(self.exported(taken, use_compression=how), self.disks_of(taken))

    def test_memory_comes_along_when_the_power_state_is_kept(self) -> None:
        vm = self.vm("suspended")
        self.same_disks(self.exported(vm, preserve_power_state="true"), [*self.disks_of(vm), self.api.VM.get_suspend_VDI(vm)])

    def test_every_way_to_omit_zeros_count_and_sum_is_the_same_disk(self) -> None:
        vm = self.vm("halted")
        for setting in ({"omission": "allocated"}, {"omission": "extents"}, {"checksum": "sha1"}, {"keep_alive_every": 1}):
            with self.subTest(setting):
                self.setting(**setting)
                self.same_disks(self.exported(vm), self.disks_of(vm))

    def test_ids_sort_as_text(self) -> None:
        taken = self.api.VM.snapshot(self.vm("running"), "now")
        orders = set()
        for start in range(85, 101):
            self.control("next_reference", value=start)
            found = prefixes(unpack(self.exported(taken)))
            self.assertEqual(found, sorted(found))
            orders.add(found == sorted(found, key=lambda name: int(name[4:])))
        self.assertEqual(orders, {True, False})

    def test_who_may_not_gets_401_and_who_asks_for_nothing_500(self) -> None:
        self.assertEqual(client.get(self.first, "/export", ref=self.vm("halted"), session_id="no").status, 401)
        self.assertEqual(self.get("/export", ref="OpaqueRef:no").status, 500)
        task = self.task()
        self.assertEqual(self.get("/export", uuid="no", task_id=task).status, 500)
        self.assertEqual(self.api.task.get_status(task), "pending")  # the trap of contract 1.6
        cookie = f"session_id={self.session._session}; task_id={task}"
        self.assertEqual(client.get(self.first, "/export/", cookie=cookie, ref=self.vm("halted")).status, 200)
        self.assertEqual(self.ended(task)["status"], "success")

    def test_a_disk_stays_plugged_for_a_while(self) -> None:
        self.setting(detach_seconds=0.8)
        taken = self.api.VM.snapshot(self.vm("halted"), "now")
        vdi, = self.disks_of(taken)
        self.exported(taken)
        self.api.VM.destroy(taken)
        with self.refused("VDI_IN_USE", vdi, "destroy"):
            self.api.VDI.destroy(vdi)
        time.sleep(1.2)
        self.api.VDI.destroy(vdi)

    # ------------------------------------------------------------ faults

    def broken(self, **fault: object) -> tuple[bytes, dict]:
        self.control("fault", path="/export", **fault)
        task = self.task()
        answer = self.get("/export", ref=self.vm("halted"), task_id=task)
        self.assertEqual(self.control("faults"), [])
        return answer.body, self.ended(task)

    def test_an_error_in_the_middle_is_a_second_answer_in_the_body(self) -> None:
        for at in (0, 5000, 2 * MIB):
            body, task = self.broken(kind="stream", at=at, action="error")
            self.assertTrue(body[at:].startswith(b"HTTP/1.1 500 Internal Error\r\n"))
            self.assertIn(b"VDI_IO_ERROR: [ Device I/O error ]", body)
            self.assertEqual((task["status"], task["error_info"]), ("failure", ["VDI_IO_ERROR", "Device I/O error"]))

    def test_a_stream_can_end_at_any_byte(self) -> None:
        for action in ("cut", "reset"):
            body, task = self.broken(kind="stream", at=700_001, action=action)
            self.assertLessEqual(len(body), 700_001)
            self.assertEqual(task["error_info"][0], "CLIENT_ERROR")

    def test_a_stream_can_stall_and_go_on(self) -> None:
        begun = time.monotonic()
        _, task = self.broken(kind="stream", at=100_000, action="stall", seconds=0.7)
        self.assertGreater(time.monotonic() - begun, 0.6)
        self.assertEqual(task["status"], "success")

    def test_a_complete_stream_can_be_a_failure_and_a_task_can_vanish(self) -> None:
        body, task = self.broken(kind="task", action="fails", error=["SR_BACKEND_FAILURE_46", "", "gone", ""])
        self.assertEqual((body[-1024:], task["status"]), (bytes(1024), "failure"))
        self.control("fault", kind="task", path="/export", action="vanishes")
        task = self.task()
        self.get("/export", ref=self.vm("halted"), task_id=task)
        with self.refused("HANDLE_INVALID", "task", task):
            self.api.task.get_record(task)
        self.control("fault", kind="task", path="/export", action="never_ends")
        task = self.task()
        self.get("/export", ref=self.vm("halted"), task_id=task)
        self.assertEqual(self.api.task.get_status(task), "pending")
        self.api.task.destroy(task)

    def test_sums_can_be_wrong_and_the_end_missing(self) -> None:
        good = self.get("/export", ref=self.vm("halted")).body
        self.control("fault", kind="wrong_checksum", chunk=0)
        wrong = self.get("/export", ref=self.vm("halted")).body
        self.assertIn(b"0" * 16 + bytes(496), wrong)
        self.control("fault", kind="no_final_zeros")
        self.assertEqual(len(self.get("/export", ref=self.vm("halted")).body), len(good) - 1024)
        path = self.folder / "wrong.xva"
        path.write_bytes(wrong)
        if "XENITH" in os.environ:
            self.assertNotEqual(subprocess.run([os.environ["XENITH"], "xva", "check", path], capture_output=True).returncode, 0)

    def test_sessions_and_tasks_go_in_the_middle_of_a_stream(self) -> None:
        self.control("fault", kind="stream", path="/export", at=9000, action="lose_task")
        self.control("fault", kind="stream", path="/export", at=9000, action="expire_sessions")
        query = {"ref": self.vm("halted"), "session_id": self.session._session}
        self.assertEqual(client.get(self.first, "/export", **query).body[-1024:], bytes(1024))
        self.assertEqual(client.get(self.first, "/export", **query).status, 401)

    def test_heads_can_be_errors_and_redirects(self) -> None:
        self.control("fault", kind="http_error", path="/export", status=500, text="INTERNAL_ERROR: [ x ]")
        self.assertEqual(self.get("/export", ref=self.vm("halted")).status, 500)
        self.control("fault", kind="redirect", path="/export")
        answer = self.get("/export", follow=False, ref=self.vm("halted"))
        self.assertTrue(answer.headers["location"].startswith(self.second + "/export?"))

    def test_an_export_can_be_cancelled(self) -> None:
        self.control("fault", kind="stream", path="/export", at=50_000, action="stall", seconds=1)
        task = self.task()
        vm, session = self.vm("halted"), self.session._session
        thread = threading.Thread(target=client.get, args=(self.first, "/export"), kwargs={"ref": vm, "session_id": session,
                                                                                          "task_id": task})
        thread.start()
        time.sleep(0.4)
        with self.refused("OTHER_OPERATION_IN_PROGRESS", "VM", vm, "export"):
            self.api.VM.start(vm, False, False)
        self.api.task.cancel(task)
        record = self.ended(task)
        self.assertEqual((record["status"], record["error_info"]), ("cancelled", ["TASK_CANCELLED", task]))
        thread.join()


class Imports(PoolCase):
    """Contract 2.3 and 3.8."""

    def setUp(self) -> None:
        super().setUp()
        self.source = self.vm("halted")
        self.archive = self.get("/export", ref=self.source).body
        self.members = unpack(self.archive)

    def imported(self, body: bytes, headers: dict | None = None, end: bool = True, **query: str) -> dict:
        task = self.task()
        answer = self.put("/import", body, headers=headers, end=end, task_id=task, **query)
        self.assertEqual(answer.status, 200)
        return self.ended(task)

    def good(self, body: bytes, **more: object) -> str:
        task = self.imported(body, **more)
        self.assertEqual((task["status"], task["error_info"]), ("success", []))
        self.assertEqual(task["other_config"]["object_creation"], "complete")
        return task["result"].split("<value>")[2].split("<")[0]

    def bad(self, body: bytes, *error: str, **more: object) -> None:
        before = {name: refs for name, refs in self.control("leftovers").items() if name in ("vms", "vdis", "dom0_vbds")}
        task = self.imported(body, **more)
        self.assertEqual(task["error_info"][:len(error)], list(error))
        after = {name: refs for name, refs in self.control("leftovers").items() if name in before}
        self.assertEqual(after, before, "a failed import leaves something behind")

    def changed(self, change) -> bytes:
        """The archive with other members: `change` gets name and data and gives those to take instead."""
        return pack([pair for name, data in self.members for pair in change(name, data)])

    def test_an_export_comes_back_as_it_was(self) -> None:
        want = self.digest(self.disks_of(self.source)[0])
        for how in ("", "gzip", "zstd"):
            body = self.get("/export", ref=self.source, use_compression=how).body
            for headers, end in (({"Content-Length": str(len(body))}, False), ({}, not how)):
                with self.subTest(how, headers=headers):
                    vm = self.good(body, headers=headers, end=end or bool(how and not headers))
                    self.assertEqual(self.digest(self.disks_of(vm)[0]), want)
        vm = self.good(self.archive, headers={"Content-Length": str(len(self.archive) * 9)}, end=False)
        row, of = self.api.VM.get_record(vm), self.api.VM.get_record(self.source)
        for name in ("name_label", "name_description", "tags", "platform", "HVM_boot_params", "memory_static_max"):
            self.assertEqual(row[name], of[name])
        self.assertNotEqual(row["other_config"]["mac_seed"], of["other_config"]["mac_seed"])
        self.assertIn("import_task", row["other_config"])

    def test_the_client_and_the_writer_of_xen_orchestra_get_along_with_it(self) -> None:
        here = Path(__file__).resolve().parent
        if not (here / "node_modules").exists():
            self.skipTest("npm ci was not run in tests/pool")
        raw, out = self.folder / "raw.img", self.folder / "by_xen_api.xva"
        raw.write_bytes(os.urandom(MIB) + bytes(3 * MIB) + os.urandom(MIB))
        done = subprocess.run(["node", here / "peer.mjs", self.first, raw, out], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual((found["snapshot_of"], found["pool"], found["failure"]), (True, "simulated", ["HANDLE_INVALID", "VM",
                                                                                                    "OpaqueRef:no"]))
        self.assertEqual(self.digest(self.disks_of(found["made"])[0]), sha256(raw.read_bytes()))
        self.same_disks(out.read_bytes(), self.disks_of(self.vm("running")))

    def test_a_restore_keeps_names_and_replaces_an_older_vm(self) -> None:
        vm = self.vm("elsewhere")
        uuid, mac = self.api.VM.get_uuid(vm), self.api.VIF.get_MAC(self.api.VM.get_VIFs(vm)[0])
        body = self.get("/export", ref=vm).body
        new = self.good(body, restore="true")
        self.assertEqual((self.api.VM.get_uuid(new), self.api.VIF.get_MAC(self.api.VM.get_VIFs(new)[0])), (uuid, mac))
        self.assertEqual(self.api.VM.get_version(new), "1")
        self.assertEqual(self.api.VTPM.get_contents(self.api.VM.get_VTPMs(new)[0]), "c2VjcmV0IFRQTSBzdGF0ZQ==")
        self.bad(body, "VM_TO_IMPORT_IS_NOT_NEWER_VERSION", new, "1", "0", restore="true")
        self.api.VM.start(new, False, False)
        self.bad(body, "VM_BAD_POWER_STATE", new, "Halted", "Running", restore="true")

    def test_memory_comes_back(self) -> None:
        body = self.get("/export", ref=self.vm("suspended"), preserve_power_state="true").body
        vm = self.good(body)
        self.assertEqual(self.api.VM.get_power_state(vm), "Suspended")
        self.assertEqual(self.digest(self.api.VM.get_suspend_VDI(vm)), self.digest(self.api.VM.get_suspend_VDI(self.vm("suspended"))))

    def test_sums_are_compared_as_text(self) -> None:
        lower = self.changed(lambda name, data: [(name, data.lower() if name.endswith(".xxhash") else data)])
        self.bad(lower, "IMPORT_ERROR_SOME_CHECKSUMS_FAILED")
        self.good(lower, force="true")
        missing = self.changed(lambda name, data: [] if name.endswith("0.xxhash") else [(name, data)])
        self.bad(missing, "IMPORT_ERROR")

    def test_chunks_come_in_order_whole_and_padded(self) -> None:
        chunks = self.members[1:]
        self.bad(pack([self.members[0], *chunks[2:4], *chunks[:2], *chunks[4:]]), "IMPORT_ERROR")
        self.bad(pack(self.members[:-2]), "IMPORT_ERROR")
        self.bad(self.archive[:len(self.archive) // 2], "IMPORT_ERROR_PREMATURE_EOF")
        self.bad(pack([(name.replace("00000011", "00000099"), data) for name, data in self.members]), "VDI_IO_ERROR", "Device I/O error")

    def test_a_chunk_that_is_no_multiple_of_512_breaks_the_archive(self) -> None:
        """Also where everything else is right (contract 3.8, item 8)."""
        (name, data), (sum_name, _) = self.members[-2:]
        for cut, error in ((512, []), (5, ["IMPORT_ERROR"])):
            short = data[:-cut]
            xml = self.members[0][1].replace(b"<value>12582912</value>", b"<value>%d</value>" % (12 * MIB - cut))
            digest = xxhash.xxh64_hexdigest(short).upper().encode()
            body = pack([("ova.xml", xml), *self.members[1:-2], (name, short), (sum_name, digest)])
            self.assertEqual(self.imported(body)["error_info"][:1], error)

    def test_what_comes_behind_the_last_disk_is_not_read(self) -> None:
        self.good(self.archive[:-1024])
        self.good(self.archive + b"anything" * 9999)

    def test_the_description_is_looked_at(self) -> None:
        self.bad(pack(self.members[1:]), "IMPORT_ERROR")  # taken for gzip
        self.bad(os.urandom(4096), "IMPORT_ERROR")

        def xml(old: bytes, new: bytes) -> bytes:
            self.assertIn(old, self.members[0][1])
            return pack([("ova.xml", self.members[0][1].replace(old, new)), *self.members[1:]])
        self.bad(xml(b"<name>xapi_major</name><value>26<", b"<name>xapi_major</name><value>27<"), "IMPORT_INCOMPATIBLE_VERSION")
        self.bad(xml(b"<name>userdevice</name>", b"<name>used</name>"), "IMPORT_ERROR", "INTERNAL_ERROR: [ Field userdevice not present in"
                 " rpc ]")
        self.bad(xml(b"<name>class</name><value>SR<", b"<name>class</name><value>XX<"), "IMPORT_ERROR_FAILED_TO_FIND_OBJECT")
        self.bad(xml(b"<name>class</name><value>VDI<", b"<name>class</name><value>XX<"), "IMPORT_ERROR_FAILED_TO_FIND_OBJECT")
        self.bad(xml(b"</name><value>26<", b"</name>\r\n<value>26<"), "IMPORT_ERROR")
        self.bad(xml(b"gold", b"go & ld"), "IMPORT_ERROR")
        self.good(xml(b"</member><member>", b"</member>\n\t <member>"))

    def test_heads_refuse_before_the_body(self) -> None:
        task = self.task()
        answer = self.put("/import", b"", headers={"Transfer-Encoding": "chunked"}, task_id=task)
        self.assertEqual((answer.status, self.ended(task)["error_info"]), (403, ["IMPORT_ERROR_CANNOT_HANDLE_CHUNKED"]))
        iso = self.api.SR.get_by_name_label("ISO library")[0]
        self.assertEqual(self.put("/import", b"", sr_id=iso).status, 400)
        local = self.api.SR.get_by_name_label("Local storage on xen-two")[0]
        answer = self.put("/import", b"", sr_id=local)
        self.assertEqual(answer.status, 302)
        self.assertTrue(answer.headers["location"].startswith(self.second))
        self.setting(upgrading=True)
        self.assertEqual(self.put("/import", b"").status, 400)

    def test_faults_of_an_upload(self) -> None:
        for error in (["SR_BACKEND_FAILURE_44", "", "full", ""], ["VDI_IO_ERROR", "Device I/O error"]):
            self.control("fault", kind="stream", path="/import", at=MIB, action="error", error=error)
            self.bad(self.archive, *error)
        self.control("fault", kind="stream", path="/import", at=MIB, action="reset")
        self.bad(self.archive, "CLIENT_ERROR")


if __name__ == "__main__":
    unittest.main()
