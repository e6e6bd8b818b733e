"""Each fault of a pool once: a backup is saved nevertheless, or tells once what it met, and leaves nothing. Run: python test_faults.py

Needs the binary (XENITH, default target/release/xenith).
"""
from __future__ import annotations

import json
import unittest

from backup_case import BackupCase
from client import MIB

EXPORT = "/export"
LOG = "/var/log/"  # every message names the log of the host that says more


class FaultCase(BackupCase):
    """A pool of two VMs; the fault meets the first."""

    vms = 0
    lanes = "1"

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        for name, state in (("first", "Halted"), ("second", "Running")):
            cls.control("vm", name=name, disk_mib=8, data_mib=5, power_state=state)

    def fault(self, kind: str, **given: object) -> None:
        self.control("fault", kind=kind, **given)

    def night(self, *options: str, code: int = 0) -> tuple[dict, list[dict]]:
        """What came of a backup of both, and the errors that were told. All faults have happened."""
        done = self.repository.run("--json", "backup", *self.login(), "all", "--concurrency", self.lanes, *options, code=code)
        self.assertEqual(self.control("faults"), [])
        told = [json.loads(line) for line in done.stderr.decode().splitlines() if line.startswith("{")]
        return json.loads(done.stdout), [line for line in told if line["message_type"] == "error"]

    def check_saved(self, *options: str) -> None:
        """Nobody notices anything."""
        summary, told = self.night(*options)
        self.assertEqual(([snapshot["vm_name"] for snapshot in summary["snapshots"]], told), (["first", "second"], []))
        self.check_nothing_left()
        for snapshot in summary["snapshots"]:
            self.check_same_disks(snapshot, snapshot["vm_name"])

    def check_lost(self, *words: str, options: tuple[str, ...] = ()) -> None:
        """Of the first VM there is one message with these words, and no snapshot; the second is saved."""
        summary, told = self.night(*options, code=3)
        self.assertEqual([snapshot["vm_name"] for snapshot in summary["snapshots"]], ["second"])
        [message], [failed] = told, summary["failed"]
        self.assertEqual((failed["path"], failed["message"]), ("vm:first", message["message"]))
        for word in (*words, "first"):
            self.assertIn(word, f"{message['message']}\n{message['hint']}")
        self.assertEqual({snapshot["vm_name"] for snapshot in self.repository.snapshots()}, {"second"})
        self.check_nothing_left()
        self.check_same_disks(summary["snapshots"][0], "second")


class Passing(FaultCase):
    """What passes is waited for, or done again."""

    def test_a_session_that_expires_at_any_call(self) -> None:
        for after in (5, 8, 11, 14, 17, 20):
            with self.subTest(after):
                self.fault("expire_sessions", method="*", after=after)
                self.check_saved()

    def test_a_session_that_expires_inside_a_login(self) -> None:
        for method in ("pool.get_all_records", "host.get_all_records"):
            self.fault("expire_sessions", method=method)
            self.check_saved()

    def test_a_session_that_expires_in_the_middle_of_an_export(self) -> None:
        self.fault("stream", path=EXPORT, at=2 * MIB, action="expire_sessions")
        self.check_saved()

    def test_a_task_that_vanishes_before_the_end_and_at_the_end(self) -> None:
        self.fault("stream", path=EXPORT, at=2 * MIB, action="lose_task")
        self.check_saved()
        self.fault("task", path=EXPORT, action="vanishes")
        self.check_saved()

    def test_a_call_that_changes_something_and_of_which_nobody_tells(self) -> None:
        for method in ("VM.snapshot", "VM.destroy", "VDI.destroy"):
            self.fault("task", path=f"Async.{method}", action="vanishes")
        self.fault("rpc_drop", method="VM.set_is_a_template")
        self.fault("rpc_drop", method="VDI.add_to_other_config")
        self.check_saved()
        self.fault("rpc_drop", method="Async.VM.snapshot")
        self.check_saved()

    def test_an_export_that_is_sent_elsewhere(self) -> None:
        self.fault("redirect", path=EXPORT)
        self.check_saved()

    def test_a_connection_that_ends_without_an_answer(self) -> None:
        self.fault("rpc_drop", method="VM.get_all_records")
        self.fault("rpc_drop", method="task.*")
        self.check_saved()

    def test_an_export_that_is_silent_for_less_than_it_may(self) -> None:
        self.fault("stream", path=EXPORT, at=2 * MIB, action="stall", seconds=0.5)
        self.check_saved("--stall-timeout", "5")


class Busy(FaultCase):
    """What is busy is asked again after a pause."""

    def test_too_many_pending_tasks(self) -> None:
        self.fault("rpc_error", method="Async.VM.snapshot", error=["TOO_MANY_PENDING_TASKS"])
        self.check_saved()

    def test_disks_that_are_in_use_when_they_are_to_go(self) -> None:
        self.fault("rpc_error", method="*VDI.destroy", error=["VDI_IN_USE", "$0", "destroy"])
        self.check_saved()


class Coordinators(FaultCase):
    """Another member takes over, and sessions and tasks of the old one are lost."""

    def fault(self, kind: str, **given: object) -> None:
        """The first member leads again afterwards, whom the test asks."""
        super().fault(kind, **given)
        self.addCleanup(self.lead_again)

    def lead_again(self) -> None:
        if not self.pool.world.db.master == self.pool.world.members[0].ref:
            self.control("change_master")

    def check_saved(self, *options: str) -> None:
        """The disks are compared when the first member leads again."""
        summary, told = self.night(*options)
        self.assertEqual(([snapshot["vm_name"] for snapshot in summary["snapshots"]], told), (["first", "second"], []))
        self.check_nothing_left()
        self.lead_again()
        for snapshot in summary["snapshots"]:
            self.check_same_disks(snapshot, snapshot["vm_name"])

    def test_before_the_snapshot(self) -> None:
        self.fault("change_master", method="*VM.snapshot")
        self.check_saved()

    def test_while_the_snapshot_is_taken(self) -> None:
        for done in (True, False):
            with self.subTest(done=done):
                self.fault("task", path="Async.VM.snapshot", action="change_master", done=done)
                self.check_saved()

    def test_while_two_lanes_take_snapshots(self) -> None:
        self.lanes = "2"
        self.fault("task", path="Async.VM.snapshot", action="change_master")
        self.fault("task", path="Async.VM.snapshot", action="change_master", done=False)
        self.check_saved()

    def test_in_the_middle_of_an_export(self) -> None:
        self.fault("stream", path=EXPORT, at=2 * MIB, action="change_master")
        self.check_saved()

    def test_when_the_snapshot_is_to_go(self) -> None:
        self.fault("change_master", method="*VM.destroy")
        self.check_saved()


class Final(FaultCase):
    """What does not pass is told once, with the code of the pool and where to read more."""

    def test_an_export_that_fails_with_a_page_behind_what_it_sent(self) -> None:
        for at in (0, 5000, 2 * MIB):
            with self.subTest(at):
                error = ["SR_BACKEND_FAILURE_46", "", "The VDI is not available", ""]
                self.fault("stream", path=EXPORT, at=at, action="error", error=error)
                self.check_lost("SR_BACKEND_FAILURE_46", LOG)

    def test_an_export_that_ends_too_early(self) -> None:
        for action in ("cut", "reset"):
            with self.subTest(action):
                self.fault("stream", path=EXPORT, at=2 * MIB + 99, action=action)
                self.check_lost("CLIENT_ERROR", LOG)

    def test_an_export_that_lacks_its_end_although_its_task_succeeds(self) -> None:
        self.fault("no_final_zeros")
        self.check_lost("input ends inside tar header", "export again", LOG)

    def test_a_whole_export_whose_task_fails(self) -> None:
        self.fault("task", path=EXPORT, action="fails", error=["VDI_IO_ERROR", "Device I/O error"])
        self.check_lost("VDI_IO_ERROR", LOG)

    def test_an_export_that_is_refused(self) -> None:
        self.fault("http_error", path=EXPORT, status=500, text="INTERNAL_ERROR: [ no memory ]")
        self.check_lost("INTERNAL_ERROR", LOG)

    def test_a_chunk_that_does_not_have_its_sum(self) -> None:
        self.fault("wrong_checksum", chunk=0)
        self.check_lost("checksum is wrong", "export again", LOG)  # the pool says that all is well

    def test_an_export_that_is_silent_for_longer_than_it_may(self) -> None:
        self.fault("stream", path=EXPORT, at=2 * MIB, action="stall", seconds=2)
        self.check_lost("export", LOG, options=("--stall-timeout", "1"))

    def test_a_task_that_never_ends(self) -> None:
        self.fault("task", path=EXPORT, action="never_ends")
        self.check_lost("export", LOG, options=("--stall-timeout", "1"))

    def test_a_snapshot_that_the_storage_refuses(self) -> None:
        self.fault("rpc_error", method="VM.snapshot", error=["SR_BACKEND_FAILURE_44", "", "There is insufficient space", ""])
        self.check_lost("SR_BACKEND_FAILURE_44", "make room", LOG)

    def test_a_role_that_may_not(self) -> None:
        done = self.repository.run("--json", "backup", *self.login(), "--xapi-user", "reader", "vm:first", code=1)
        [failed] = json.loads(done.stdout)["failed"]
        self.assertIn("RBAC_PERMISSION_DENIED", failed["message"])
        self.assertIn("role", failed["hint"])
        self.assertEqual(self.repository.snapshots(), [])
        self.check_nothing_left()


class Room(FaultCase):
    """Storage that is nearly full, or full."""

    def setUp(self) -> None:
        super().setUp()
        self.fill(free_mib=10 << 20)
        self.addCleanup(self.fill, free_mib=10 << 20)

    def fill(self, free_mib: int) -> None:
        """Others leave so much of it free, of 16 TiB."""
        self.control("storage", sr="Shared storage", taken_elsewhere=0)
        own = self.control("storage", sr="Shared storage")
        free = free_mib * MIB
        self.control("storage", sr="Shared storage", taken_elsewhere=own["physical_size"] - own["physical_utilisation"] - free)

    def test_below_what_must_stay_free_nothing_is_begun(self) -> None:
        self.fill(free_mib=1024)
        snapshots = self.control("calls").get("Async.VM.snapshot", 0)
        done = self.repository.run("--json", "backup", *self.login(), "vm:first", code=1)
        [failed] = json.loads(done.stdout)["failed"]
        for word in ("Shared storage", "GiB"):
            self.assertIn(word, failed["message"])
        self.assertEqual(self.control("calls").get("Async.VM.snapshot", 0), snapshots)
        self.check_saved("--force")
        self.check_saved("--min-sr-free", "0")

    def test_a_storage_that_is_full_says_so(self) -> None:
        self.fill(free_mib=0)
        done = self.repository.run("--json", "backup", *self.login(), "vm:first", "--force", code=1)
        [failed] = json.loads(done.stdout)["failed"]
        self.assertIn("SR_BACKEND_FAILURE_44", failed["message"])
        self.assertIn("make room", failed["hint"])
        self.assertEqual(self.repository.snapshots(), [])
        self.check_nothing_left()


if __name__ == "__main__":
    unittest.main()
