"""Power states of VMs, and checkpoints, as the contract says (6, 8). Run: python test_power.py"""

import time
import unittest

from case import PoolCase


class Guest(PoolCase):
    """A pool with a VM that runs."""

    vms = 0

    def setUp(self) -> None:
        super().setUp()
        made = self.control("vm", name="guest", disk_mib=4, power_state="Running")
        self.guest = self.api.VM.get_by_uuid(made["uuid"])

    def state(self) -> str:
        return self.api.VM.get_power_state(self.guest)

    def done(self, call: str, *params: object) -> dict:
        """The record of the task of an asynchronous call."""
        cls, verb = call.split(".")
        task = getattr(getattr(self.api.Async, cls), verb)(*params)
        self.addCleanup(self.api.task.destroy, task)
        return self.ended(task)


class Power(Guest):
    """Each call wants its states, takes its time, and can be refused in its task."""

    def test_each_call_leads_to_its_state_and_attaches_or_detaches_disks(self) -> None:
        vbd, = self.api.VM.get_VBDs(self.guest)
        before = self.control("leftovers")["vdis"]
        for call, more, state in (
            ("pause", [], "Paused"), ("unpause", [], "Running"), ("suspend", [], "Suspended"), ("resume", [True, False], "Paused"),
            ("hard_shutdown", [], "Halted"), ("start", [True, False], "Paused"), ("unpause", [], "Running"),
            ("clean_shutdown", [], "Halted"), ("start", [False, False], "Running"), ("suspend", [], "Suspended"),
            ("resume", [False, False], "Running"),
        ):
            with self.subTest(call):
                self.assertEqual(self.done(f"VM.{call}", self.guest, *more)["status"], "success")
                self.assertEqual(self.state(), state)
                self.assertEqual(self.api.VBD.get_currently_attached(vbd), state in ("Running", "Paused"))
                self.assertEqual(self.api.VM.get_suspend_VDI(self.guest) != "OpaqueRef:NULL", state == "Suspended")
        self.assertEqual(self.control("leftovers")["vdis"], before)

    def test_other_states_are_refused(self) -> None:
        for call, more, wanted in (("start", [False, False], "halted"), ("resume", [False, False], "suspended"), ("unpause", [], "paused")):
            error = ["VM_BAD_POWER_STATE", self.guest, wanted, "running"]
            with self.refused(*error):
                getattr(self.api.VM, call)(self.guest, *more)
            self.assertEqual(self.done(f"VM.{call}", self.guest, *more)["error_info"], error)
        self.api.VM.clean_shutdown(self.guest)
        for call, wanted in (("clean_shutdown", "running"), ("suspend", "running"), ("pause", "running")):
            with self.refused("VM_BAD_POWER_STATE", self.guest, wanted, "halted"):
                getattr(self.api.VM, call)(self.guest)
        with self.refused("VM_BAD_POWER_STATE", self.guest, "running, paused, suspended", "halted"):
            self.api.VM.checkpoint(self.guest, "x")

    def test_a_call_can_be_refused_in_its_task(self) -> None:
        self.control("fault", kind="rpc_error", method="VM.suspend", error=["VM_LACKS_FEATURE", "$0"])
        self.assertEqual(self.done("VM.suspend", self.guest)["error_info"], ["VM_LACKS_FEATURE", self.guest])
        self.assertEqual(self.state(), "Running")

    def test_the_task_of_a_call_can_vanish_fail_or_never_end(self) -> None:
        for action in ("vanishes", "never_ends", "fails"):
            self.control("fault", kind="task", path="Async.VM.pause", action=action)
            task = self.api.Async.VM.pause(self.guest)
            end = time.monotonic() + 5
            while self.control("faults") or self.state() != "Paused":
                self.assertLess(time.monotonic(), end)
            if action == "vanishes":
                with self.refused("HANDLE_INVALID", "task", task):
                    [self.api.task.get_record(task) for _ in range(100)]
            else:
                self.assertEqual(self.api.task.get_status(task) == "pending", action == "never_ends")
            self.api.VM.unpause(self.guest)

    def test_a_change_takes_its_time_and_nothing_else_may_happen_meanwhile(self) -> None:
        self.setting(power_seconds=0.4)
        begun = time.monotonic()
        task = self.api.Async.VM.clean_shutdown(self.guest)
        while not self.api.VM.get_current_operations(self.guest):
            self.assertLess(time.monotonic() - begun, 5)
        self.assertEqual(self.state(), "Running")
        with self.refused("OTHER_OPERATION_IN_PROGRESS", "VM", self.guest, "clean_shutdown", task):
            self.api.VM.snapshot(self.guest, "x")
        self.assertEqual(self.ended(task)["status"], "success")
        self.assertGreater(time.monotonic() - begun, 0.3)
        self.assertEqual((self.state(), self.api.VM.get_current_operations(self.guest)), ("Halted", {}))

    def test_changes_are_events(self) -> None:
        since = getattr(self.api.event, "from")
        token, seen, end = since(["VM"], "", 0.0)["token"], [], time.monotonic() + 5
        self.setting(power_seconds=0.2)
        task = self.api.Async.VM.checkpoint(self.guest, "x")
        while seen[-2:] != ["Suspended", "Running"]:
            self.assertLess(time.monotonic(), end, seen)
            answer = since(["VM"], token, 1.0)
            token = answer["token"]
            seen += [event["snapshot"]["power_state"] for event in answer["events"] if event["ref"] == self.guest]
        self.assertEqual(self.ended(task)["status"], "success")


class Checkpoints(Guest):
    """Disks and memory, and the VM as before."""

    def check(self, taken: str) -> None:
        row = self.api.VM.get_record(taken)
        self.assertEqual((row["is_a_snapshot"], row["power_state"]), (True, "Suspended"))
        self.assertEqual(self.api.VDI.get_type(row["suspend_VDI"]), "suspend")
        self.assertEqual([self.digest(vdi) for vdi in self.disks_of(taken)], [self.digest(vdi) for vdi in self.disks_of(self.guest)])

    def test_the_vm_goes_on_as_it_was(self) -> None:
        for call, before in ((None, "Running"), ("pause", "Paused"), ("suspend", "Suspended")):
            if call == "suspend":
                self.api.VM.unpause(self.guest)
            if call:
                getattr(self.api.VM, call)(self.guest)
            taken = self.api.VM.checkpoint(self.guest, "with memory")
            self.check(taken)
            self.assertEqual(self.api.VM.get_snapshot_info(taken)["power-state-at-snapshot"], before)
            self.assertEqual(self.state(), before)

    def test_a_disk_that_cannot_be_taken_leaves_the_vm_as_it_was(self) -> None:
        disk, = self.disks_of(self.guest)
        self.api.VDI.set_on_boot(disk, "reset")
        with self.refused("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"):
            self.api.VM.checkpoint(self.guest, "x")
        self.assertEqual((self.state(), self.api.VM.get_snapshots(self.guest)), ("Running", []))

    def test_the_host_can_leave_it_suspended(self) -> None:
        self.control("fault", kind="resume_fails")
        with self.refused("VM_CHECKPOINT_RESUME_FAILED", self.guest):
            self.api.VM.checkpoint(self.guest, "x")
        taken, = self.api.VM.get_snapshots(self.guest)
        self.check(taken)
        self.assertEqual(self.state(), "Suspended")
        self.api.VM.resume(self.guest, False, False)
        self.assertEqual(self.state(), "Running")


if __name__ == "__main__":
    unittest.main()
