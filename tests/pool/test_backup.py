"""Nights of a pool, as those see them who type the commands: what is in the repository, and what is left on the pool. Run: python test_backup.py

Needs the binary (XENITH, default target/release/xenith).
"""

import json
import signal
import socket
import subprocess
import time
import unittest

from backup_case import XENITH, BackupCase
from client import MIB


class Nights(BackupCase):
    """What is saved is what the pool has, and the pool is as before."""

    def test_all_vms_with_a_tag_through_a_member_that_does_not_lead(self) -> None:
        for name in self.vms:
            self.tag(name, "nightly")
        summary, _ = self.backup("tag:nightly", "--run", "first")
        self.assertEqual({snapshot["vm_name"] for snapshot in summary["snapshots"]}, set(self.vms))
        self.assertEqual({snapshot["run_id"] for snapshot in summary["snapshots"]}, {summary["run_id"]})
        for snapshot in summary["snapshots"]:
            self.assertEqual(snapshot["vm_uuid"], self.api.VM.get_uuid(self.vms[snapshot["vm_name"]]))
            self.check_same_disks(snapshot, snapshot["vm_name"])
        self.check_nothing_left()
        self.repository.run("check", "--read-data")

    def test_the_second_night_stores_what_was_written(self) -> None:
        name = self.name("running")
        self.backup(f"vm:{name}")
        vdi = self.disks_of(self.vms[name])[0]
        self.control("write", vdi=vdi, offset=3 * MIB + 4096, length=8192, seed=5)
        summary, _ = self.backup(f"vm:{self.api.VM.get_uuid(self.vms[name])}")
        [snapshot] = summary["snapshots"]
        changed, unchanged = (disk["new"] for disk in snapshot["disks"] if disk["role"] == "disk")
        self.assertTrue(8192 <= changed <= 64 << 10, changed)
        self.assertEqual(unchanged, 0)
        self.assertLess(snapshot["added"], 64 << 10)
        self.assertEqual(snapshot["predecessor"], self.repository.snapshots()[0]["id"])
        self.check_same_disks(snapshot, name)
        self.check_nothing_left()

    def test_selectors_add_up_and_states_and_tags_leave_out(self) -> None:
        halted, running, elsewhere = (self.name(kind) for kind in ("halted", "running", "elsewhere"))
        self.tag(running, "a")
        self.tag(elsewhere, "a", "no backup")
        for selectors, expected in (
            (["tag:a", f"vm:{halted}"], {running, elsewhere, halted}),
            (["tag:a", f"vm:{halted}", "power:halted"], {elsewhere, halted}),
            (["tag:a", "--exclude-tag", "no backup"], {running}),
            (["power:running", "power:suspended"], {running, self.name("suspended")}),
            (["name:*-halt*"], {halted}),
            (["all"], set(self.vms)),
        ):
            plan, _ = self.backup("--dry-run", *selectors)
            self.assertEqual({vm["name"] for vm in plan["vms"]}, expected, selectors)

    def test_a_dry_run_changes_nothing(self) -> None:
        files, calls = self.repository.files(), self.control("calls")
        done = self.repository.run("backup", "--dry-run", *self.login(), "all").stdout.decode()
        for name in self.vms:
            self.assertIn(name, done)
        self.assertEqual(self.repository.files(), files)
        self.assertEqual(self.control("calls").get("VM.snapshot"), calls.get("VM.snapshot"))
        self.check_nothing_left()

    def test_vms_lists_what_can_be_chosen(self) -> None:
        done = subprocess.run([XENITH, "--json", "vms", *self.login()], capture_output=True, check=True)
        listed = {vm["name"]: vm for vm in json.loads(done.stdout)}
        self.assertEqual(listed.keys(), self.vms.keys())
        running = listed[self.name("running")]
        self.assertEqual((running["power_state"], len(running["disks"])), ("running", 2))
        self.assertEqual(running["size"], sum(disk["size"] for disk in running["disks"]))
        table = subprocess.run([XENITH, "vms", *self.login()], capture_output=True, check=True).stdout.decode()
        self.assertIn("backup,gold", table)
        self.check_nothing_left()


class Mishaps(BackupCase):
    """Each is told, with its code; the others are saved; nothing is left and nothing else removed."""

    def test_an_export_that_fails_in_the_middle_stops_no_other(self) -> None:
        names = sorted(self.vms)
        self.control("fault", kind="stream", path="/export*", at=2 * MIB, action="error")
        summary, told = self.backup("all", "--concurrency", "1", code=3)
        self.assertEqual(self.control("faults"), [])
        self.assertEqual([snapshot["vm_name"] for snapshot in summary["snapshots"]], names[1:])
        [lost] = summary["failed"]
        self.assertEqual(lost["path"], f"vm:{names[0]}")
        self.assertIn("VDI_IO_ERROR", lost["message"])
        self.assertIn("VDI_IO_ERROR", told)
        for snapshot in summary["snapshots"]:
            self.check_same_disks(snapshot, snapshot["vm_name"])
        self.check_nothing_left()
        self.assertEqual(len(self.backup("all")[0]["snapshots"]), len(names))

    def test_a_snapshot_that_the_pool_refuses_is_told_with_its_code(self) -> None:
        error = ["SR_BACKEND_FAILURE_44", "", "There is insufficient space", ""]
        self.control("fault", kind="rpc_error", method="*VM.snapshot", error=error)
        name = self.name("halted")
        summary, told = self.backup(f"vm:{name}", code=1)
        self.assertEqual(summary["snapshots"], [])
        for words in ("SR_BACKEND_FAILURE_44", name, "make room", "nothing in the repository is damaged"):
            self.assertIn(words, told)
        self.check_nothing_left()

    def test_a_vm_that_is_not_there_stops_no_other(self) -> None:
        halted = self.name("halted")
        summary, told = self.backup("vm:nobody", f"vm:{halted}", code=3)
        self.assertEqual([snapshot["vm_name"] for snapshot in summary["snapshots"]], [halted])
        self.assertIn("the pool has no VM nobody", told)
        for selector in ("vm:nobody", "tag:nobody", "vm:golden template", "power:paused"):
            self.assertIn("xenith vms", self.backup(selector, code=1)[1])

    def test_a_name_that_two_vms_have_chooses_neither(self) -> None:
        first, second = self.name("halted"), self.name("elsewhere")
        self.change(second, "name_label", first)
        _, told = self.backup(f"vm:{first}", code=1)
        for name in (first, second):
            self.assertIn(self.api.VM.get_uuid(self.vms[name]), told)
        self.assertEqual(self.repository.snapshots(), [])

    def refused(self, login: list[str], *words: str) -> None:
        """Nothing is done, and this is told; it is no fault of the repository's password."""
        told = self.repository.run("backup", *login, "all", code=1).stderr.decode()
        for word in (*words, "hint:"):
            self.assertIn(word, told)
        self.assertEqual(self.repository.snapshots(), [])

    def test_who_cannot_log_in_is_told_why(self) -> None:
        wrong = self.repository.secret("wrong", "guess")
        self.refused(self.login(password=wrong), "SESSION_AUTHENTICATION_FAILED", "--xapi-user")
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{unused.getsockname()[1]}"
            self.refused(self.login(pool=address), f"{address} does not answer", "firewall")
        self.refused(self.login(pool="nowhere.invalid"), "nowhere.invalid does not answer")
        self.check_nothing_left()

    def test_a_certificate_that_is_not_trusted_gets_no_password(self) -> None:
        found = self.other["sha256"].upper()
        shown = ":".join(found[at:at + 2] for at in range(0, 64, 2))
        logins = self.control("calls").get("session.login_with_password")
        for trust in (["--tls-fingerprint", "0" * 64], ["--cacert", self.coordinator["certificate"]]):
            self.refused(self.login(*trust), "certificate that is not trusted", f"--tls-fingerprint sha256:{shown}")
        system = ["--pool", self.other["https"], "--xapi-password-file", str(self.root_password)]
        self.refused(system, "certificate that is not trusted")
        self.assertEqual(self.control("calls").get("session.login_with_password"), logins)
        self.repository.run("vms", *self.login("--insecure"))

    def test_the_next_member_is_tried(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            addresses = f"127.0.0.1:{unused.getsockname()[1]},{self.other['https']}"
            self.repository.run("vms", *self.login(pool=addresses))

    def test_an_interrupted_backup_takes_its_snapshot_with_it(self) -> None:
        running = self.begin(self.name("halted"), self.name("running"))
        running.send_signal(signal.SIGTERM)
        self.assertEqual(running.wait(), 130)
        self.assertEqual(self.repository.snapshots(), [])
        self.check_nothing_left()

    def cleanup(self, *options: str) -> dict:
        return json.loads(self.repository.run("--json", "cleanup", *self.login(), "--older-than", "0", *options).stdout)

    @staticmethod
    def snapshots_in(entries: list[dict]) -> list[str]:
        return [entry["uuid"] for entry in entries if entry["kind"] == "vm"]

    def test_cleanup_removes_what_a_killed_backup_left_and_nothing_else(self) -> None:
        name = self.name("halted")
        foreign = self.api.VM.snapshot(self.vms[name], "of a person")
        running = self.begin(name)
        running.kill()
        running.wait()
        while self.control("leftovers")["dom0_vbds"]:
            time.sleep(0.1)
        ours = [self.api.VM.get_uuid(vm) for vm in self.control("leftovers")["vm_snapshots"] if vm != foreign]
        self.assertEqual(len(ours), 1)
        self.update(self.api.VM.get_by_uuid(ours[0]), {"current_operations": {"task": "export"}})
        busy = self.cleanup()
        self.assertEqual((self.snapshots_in(busy["in_use"]), self.snapshots_in(busy["removed"])), (ours, []))
        self.update(self.api.VM.get_by_uuid(ours[0]), {"current_operations": {}})
        young = json.loads(self.repository.run("--json", "cleanup", *self.login()).stdout)
        self.assertEqual((self.snapshots_in(young["young"]), young["removed"]), (ours, []))
        self.assertEqual(self.snapshots_in(self.cleanup("--dry-run")["removed"]), ours)
        self.assertIn(ours[0], [self.api.VM.get_uuid(vm) for vm in self.control("leftovers")["vm_snapshots"]])
        self.assertEqual(self.snapshots_in(self.cleanup()["removed"]), ours)
        left = self.control("leftovers")
        self.assertEqual(left["vm_snapshots"], [foreign])
        self.assertEqual(len(left["vdis"]), len(self.before["vdis"]) + 1)


if __name__ == "__main__":
    unittest.main()
