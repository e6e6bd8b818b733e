"""Many VMs in one night, some of them lost; nights that are killed; things of others. Run: python test_many.py

Needs the binary (XENITH, default target/release/xenith).
"""
from __future__ import annotations

import json
import subprocess
import time
import unittest

from backup_case import BackupCase


class Many(BackupCase):
    """Forty VMs, of which three are lost in ways of their own; the others notice nothing."""

    vms = 0
    count = 40

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.control("vms", count=cls.count, name="vm-{}", disk_mib=2, tags=["nightly"])

    def lose_three(self) -> dict[str, str]:
        """Names to the words that each loss is told with."""
        self.control("fault", kind="rpc_error", method="VM.snapshot", first=self.vms["vm-7"],
                     error=["SR_BACKEND_FAILURE_109", "", "The snapshot chain is too long", ""])
        self.block({"snapshot": "not at night"})
        self.before["blocked_operations"].append(self.vms["vm-19"])
        self.boot_from("reset")
        return {"vm-7": "SR_BACKEND_FAILURE_109", "vm-19": "OPERATION_BLOCKED", "vm-33": "cannot be part of a snapshot"}

    def mend(self) -> None:
        self.block({})
        self.boot_from("persist")

    def block(self, operations: dict[str, str]) -> None:
        self.update(self.vms["vm-19"], {"blocked_operations": operations})

    def boot_from(self, mode: str) -> None:
        vdi, = self.disks_of(self.vms["vm-33"])
        self.control("update", cls="VDI", ref=vdi, changes={"on_boot": mode})

    def test_three_of_forty_are_lost_and_only_they_are_tried_again(self) -> None:
        lost = self.lose_three()
        summary, told = self.backup("tag:nightly", "--run", "night", "--concurrency", "4", code=3)
        self.assertEqual({snapshot["vm_name"] for snapshot in summary["snapshots"]}, set(self.vms) - set(lost))
        self.assertEqual({failed["path"].removeprefix("vm:"): failed["message"] for failed in summary["failed"]}.keys(), lost.keys())
        for failed in summary["failed"]:
            self.assertIn(lost[failed["path"].removeprefix("vm:")], failed["message"])
        self.assertEqual([line.count('"message_type":"error"') for line in told.splitlines() if '"error"' in line], [1, 1, 1])
        self.assertEqual(len(self.repository.snapshots()), self.count - 3)
        self.check_nothing_left()
        for snapshot in summary["snapshots"][:2]:
            self.check_same_disks(snapshot, snapshot["vm_name"])

        self.mend()
        taken = self.control("calls")["Async.VM.snapshot"]
        again, _ = self.backup("--retry-failed", "night")
        self.assertEqual({snapshot["vm_name"] for snapshot in again["snapshots"]}, set(lost))
        self.assertEqual(self.control("calls")["Async.VM.snapshot"] - taken, 3)
        self.assertEqual((again["run"], again["run_id"]), ("night", summary["run_id"]))
        self.assertEqual({row["run_id"] for row in self.repository.snapshots()}, {summary["run_id"]})
        nothing, _ = self.backup("--retry-failed", "night")
        self.assertEqual((nothing["snapshots"], nothing["failed"]), ([], []))
        self.check_nothing_left()

    def test_a_run_that_nobody_knows_is_not_tried_again(self) -> None:
        done = self.repository.run("backup", *self.login(), "--retry-failed", "never", code=1)
        self.assertIn("never", done.stderr.decode())


class Foreign(BackupCase):
    """What only looks like ours is nobody's business (marks name the object that bears them)."""

    disk_mib = 8

    def test_names_and_copied_marks_are_left_alone(self) -> None:
        name = self.name("halted")
        running = self.begin(name)
        running.kill()
        running.wait()
        while self.control("leftovers")["dom0_vbds"]:
            time.sleep(0.05)
        ours = next(ref for ref in self.control("leftovers")["vm_snapshots"])
        row = self.api.VM.get_record(ours)
        looks = self.api.VM.snapshot(self.vms[name], row["name_label"])
        marked = self.api.VM.snapshot(self.vms[name], "xenith-20260101")
        for key, value in row["other_config"].items():
            if key.startswith("xenith"):
                self.api.VM.add_to_other_config(marked, key, value)
                self.api.VM.add_to_other_config(self.vms[name], key, value)
                self.addCleanup(self.api.VM.remove_from_other_config, self.vms[name], key)
        cloned = self.api.VM.clone(ours, "xenith of a person")
        kept = {looks, marked, cloned}
        disks = {vdi: self.digest(vdi) for vm in kept for vdi in self.disks_of(vm)}
        summary = json.loads(self.repository.run("--json", "cleanup", *self.login(), "--older-than", "0").stdout)
        self.assertEqual([entry["uuid"] for entry in summary["removed"] if entry["kind"] != "task"], [row["uuid"]])
        self.backup(f"vm:{name}")
        here = self.api.VM.get_all()
        self.assertNotIn(ours, here)
        self.assertEqual(kept - set(here), set())
        self.assertIn(self.vms[name], here)
        self.assertEqual({vdi: self.digest(vdi) for vdi in disks}, disks)


class Killed(BackupCase):
    """A backup that is killed at any moment leaves what cleanup finds, and nothing else."""

    vms = 0

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.control("vm", name="guest", disk_mib=4, power_state="Running")

    def state(self) -> str:
        return self.api.VM.get_power_state(self.vms["guest"])

    def killed(self, *options: str, **fault: object) -> None:
        """A backup that is killed while the pool takes two seconds for this."""
        self.addCleanup(self.clean)
        self.control("fault", **fault)
        command = self.repository.command("backup", *self.login(), "vm:guest", *options)
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while self.control("faults"):
            self.assertIsNone(running.poll())
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        running.kill()
        running.wait()
        self.control("clear")
        while self.control("leftovers")["dom0_vbds"]:
            time.sleep(0.05)

    def clean(self) -> dict:
        return json.loads(self.repository.run("--json", "cleanup", *self.login(), "--older-than", "0").stdout)

    def end_sessions(self) -> None:
        """The pool forgets sessions and pending tasks after a day."""
        self.control("expire_sessions")
        self.control("lose_tasks")

    def check_cleanup(self, **fault: object) -> None:
        """After a kill at this moment the pool is as before, with the snapshot of a person."""
        foreign = self.api.VM.snapshot(self.vms["guest"], "of a person")
        before = self.control("leftovers")
        self.killed(**fault)
        time.sleep(0.6)  # what the pool was about to do is done
        self.clean()
        self.end_sessions()
        after = self.control("leftovers")
        for kind in ("vm_snapshots", "vms", "vdis", "dom0_vbds"):
            self.assertEqual(set(after[kind]), set(before[kind]), kind)
        self.assertIn(foreign, after["vm_snapshots"])

    def test_cleanup_removes_exactly_what_was_left(self) -> None:
        self.check_cleanup(kind="stream", path="/export", at=1000, action="stall", seconds=0.5)
        for method in ("*VM.snapshot", "VM.set_is_a_template", "*VM.destroy", "*VDI.destroy"):
            with self.subTest(method):
                self.check_cleanup(kind="rpc_stall", method=method, seconds=0.5)

    def test_the_next_backup_is_whole(self) -> None:
        self.killed(kind="stream", path="/export", at=1000, action="stall", seconds=0.5)
        summary, _ = self.backup("vm:guest")
        self.check_same_disks(summary["snapshots"][0], "guest")

    def test_a_vm_that_was_shut_down_for_it_runs_again(self) -> None:
        for method in ("*VM.snapshot", "*VM.start"):
            for command in ("cleanup", "backup"):
                with self.subTest(method, command=command):
                    self.killed("--mode", "cold", kind="rpc_stall", method=method, seconds=0.5)
                    time.sleep(0.6)
                    self.clean() if command == "cleanup" else self.backup("vm:guest")
                    self.assertEqual(self.state(), "Running")
                    self.assertNotIn("xenith-power", self.api.VM.get_other_config(self.vms["guest"]))


if __name__ == "__main__":
    unittest.main()
