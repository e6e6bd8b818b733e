"""Hot, warm and cold backups: the VM is as it was before, whatever fails on the way. Run: python test_modes.py

Needs the binary (XENITH, default target/release/xenith).
"""
from __future__ import annotations

import hashlib
import json
import subprocess
import time
import unittest
from pathlib import Path

from backup_case import BackupCase
from client import MIB


class ModeCase(BackupCase):
    """A VM in each power state."""

    vms = 0

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        for state in ("Running", "Halted", "Paused"):
            cls.control("vm", name=state.lower(), disk_mib=4, power_state=state)
        cls.control("vm", name="suspended", disk_mib=4, power_state="Running")

    def setUp(self) -> None:
        super().setUp()
        if self.state("suspended") == "Running":
            self.api.VM.suspend(self.vms["suspended"])
            self.before = self.control("leftovers")

    def state(self, name: str) -> str:
        return self.api.VM.get_power_state(self.vms[name])

    def marks(self, name: str) -> list[str]:
        return [key for key in self.api.VM.get_other_config(self.vms[name]) if key.startswith("xenith")]

    def check_as_before(self, *names: str) -> None:
        """The VMs are in their states, without marks, and nothing else is left."""
        for name in names or self.vms:
            self.assertEqual((self.state(name).lower(), self.marks(name)), (name, []))
        self.check_nothing_left()

    def memory(self, snapshot: dict) -> list[dict]:
        return [disk for disk in snapshot["disks"] if disk["role"] == "memory"]


class Modes(ModeCase):
    """What each mode means for each power state."""

    def saved(self, name: str, *options: str) -> dict:
        summary, _ = self.backup(f"vm:{name}", *options)
        [snapshot] = summary["snapshots"]
        self.check_same_disks(snapshot, name)
        self.check_as_before()
        return snapshot

    def test_what_a_backup_holds_and_how_consistent_it_is(self) -> None:
        for name, mode, consistency, memory in (
            ("running", "hot", "crash", 0), ("halted", "hot", "cold", 0), ("running", "warm", "memory", 1), ("paused", "warm", "memory", 1),
            ("halted", "warm", "cold", 0), ("suspended", "warm", "memory", 1), ("running", "cold", "cold", 0),
            ("paused", "hot", "crash", 0),
        ):
            with self.subTest(f"{name} {mode}"):
                snapshot = self.saved(name, "--mode", mode)
                self.assertEqual(snapshot["consistency"], consistency)
                self.assertEqual(len(self.memory(snapshot)), memory)

    def test_memory_of_a_suspended_vm_comes_when_it_is_asked_for(self) -> None:
        image = self.digest(self.api.VM.get_suspend_VDI(self.vms["suspended"]))
        self.assertEqual(self.memory(self.saved("suspended")), [])
        snapshot = self.saved("suspended", "--include-memory")
        [memory] = self.memory(snapshot)
        done = self.repository.run("restore", snapshot["id"], "--format", "raw", "--disk", memory["name"], "--target", "-")
        self.assertEqual(hashlib.sha256(done.stdout).hexdigest(), image)

    def test_a_vm_that_is_read_cold_runs_again_while_it_is_exported(self) -> None:
        self.control("fault", kind="stream", path="/export", at=MIB, action="stall", seconds=1)
        command = self.repository.command("backup", *self.login(), "vm:running", "--mode", "cold")
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(running.kill)
        while self.control("faults"):
            self.assertIsNone(running.poll())
        self.assertEqual(self.state("running"), "Running")
        self.assertEqual(running.wait(), 0)
        self.check_as_before()


class Refusals(ModeCase):
    """Every call of a sequence fails once."""

    def lost(self, name: str, mode: str, method: str, *error: str) -> str:
        """The VM is not saved, or is; it is as before, and what was told has the code of the pool."""
        self.control("fault", kind="rpc_error", method=method, error=error or ["INTERNAL_ERROR", "no"])
        command = self.repository.command("backup", *self.login(), f"vm:{name}", "--mode", mode)
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(self.control("faults"), [], method)
        self.check_as_before()
        if done.returncode:
            self.assertIn(error[0] if error else "INTERNAL_ERROR", done.stderr)
        return done.stderr

    def test_warm(self) -> None:
        for method in ("Async.VM.checkpoint", "VM.checkpoint", "VM.set_is_a_template", "VM.add_to_other_config"):
            with self.subTest(method):
                self.lost("running", "warm", method)
        self.assertIn("suspend", self.lost("running", "warm", "VM.checkpoint", "VM_LACKS_FEATURE", "$0"))

    def test_a_vm_that_the_host_leaves_suspended_goes_on(self) -> None:
        self.control("fault", kind="resume_fails")
        done = subprocess.run(self.repository.command("backup", *self.login(), "vm:running", "--mode", "warm"), capture_output=True)
        self.assertEqual(self.control("faults"), [])
        self.assertEqual(self.state("running"), "Running", done.stderr)

    def test_cold(self) -> None:
        for method in ("Async.VM.clean_shutdown", "VM.clean_shutdown", "Async.VM.snapshot", "VM.snapshot", "VM.set_is_a_template",
                       "VM.add_to_other_config"):
            with self.subTest(method):
                self.lost("running", "cold", method)

    def test_a_snapshot_that_cannot_go_is_told_and_goes_with_cleanup(self) -> None:
        self.control("fault", kind="rpc_error", method="*VM.destroy", error=["INTERNAL_ERROR", "no"])
        done = self.repository.run("--json", "backup", *self.login(), "vm:running", "--mode", "cold", code=3)
        summary = json.loads(done.stdout)
        self.assertEqual(len(summary["snapshots"]), 1)
        self.assertIn("INTERNAL_ERROR", done.stdout.decode() + done.stderr.decode())
        self.assertEqual(self.state("running"), "Running")
        self.repository.run("cleanup", *self.login(), "--older-than", "0")
        self.check_as_before()

    def test_a_start_that_fails_once_is_tried_again(self) -> None:
        self.lost("running", "cold", "VM.start", "HOST_NOT_ENOUGH_FREE_MEMORY", "1", "0")

    def test_an_export_that_fails(self) -> None:
        for mode in ("warm", "cold"):
            with self.subTest(mode):
                self.control("fault", kind="stream", path="/export", at=MIB // 2, action="error")
                self.repository.run("backup", *self.login(), "vm:running", "--mode", mode, code=1)
                self.check_as_before()


class Ended(ModeCase):
    """A backup is killed, or asked to end, while its VM does not run."""

    def begin(self, mode: str, until: str) -> subprocess.Popen:
        """A backup of the VM that runs, which has just called this."""
        before = self.control("calls").get(until, 0)
        command = self.repository.command("backup", *self.login(), "vm:running", "--mode", mode)
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.addCleanup(running.stderr.close)
        self.addCleanup(running.kill)
        while self.control("calls").get(until, 0) == before:
            self.assertIsNone(running.poll())
            time.sleep(0.01)
        return running

    def test_what_a_kill_leaves_suspended_goes_on_with_cleanup(self) -> None:
        self.control("fault", kind="resume_fails")
        self.control("fault", kind="rpc_error", method="Async.VM.resume", error=["INTERNAL_ERROR", "no"], count=-1)
        running = self.begin("warm", "Async.VM.resume")
        running.kill()
        running.wait()
        self.control("clear")
        self.assertEqual((self.state("running"), len(self.marks("running"))), ("Suspended", 1))
        self.repository.run("cleanup", *self.login(), "--older-than", "0")
        left = self.control("leftovers")
        self.before |= {kind: left[kind] for kind in ("sessions", "tasks")}  # the pool forgets them after a day
        self.check_as_before()

    def test_a_shutdown_is_left_at_once_and_a_guest_that_goes_down_all_the_same_is_started(self) -> None:
        self.setting(power_seconds=2.0)
        calls = self.control("calls")
        running = self.begin("cold", "Async.VM.clean_shutdown")
        self.control("set", power_seconds=0)
        running.terminate()
        _, told = running.communicate()
        self.assertEqual(running.returncode, 130, told)
        self.assertIn("VM running was told to shut down", told)
        for method, more in (("task.cancel", 1), ("Async.VM.snapshot", 0), ("Async.VM.start", 1)):
            self.assertEqual(self.control("calls").get(method, 0) - calls.get(method, 0), more, method)
        self.check_as_before()


class Hooks(ModeCase):
    """Commands before and after the snapshot."""

    def hooks(self, before: str, after: str) -> tuple[list[str], Path]:
        out = self.repository.folder / "hooks"
        return ["--pre-snapshot", f"{before.format(out=out)}", "--post-snapshot", f"{after.format(out=out)}"], out

    TELL = 'echo "$XENITH_VM_NAME $XENITH_VM_UUID $XENITH_RUN $XENITH_MODE" >> {out}'

    def test_they_know_the_vm_and_flank_the_snapshot(self) -> None:
        options, out = self.hooks(self.TELL, self.TELL)
        summary, _ = self.backup("vm:running", "--run", "night", *options)
        uuid = self.api.VM.get_uuid(self.vms["running"])
        self.assertEqual(out.read_text().splitlines(), [f"running {uuid} night hot"] * 2)
        self.assertEqual(summary["snapshots"][0]["consistency"], "quiesced")
        self.check_as_before()

    def test_without_the_first_there_is_no_backup_and_the_second_comes_in_any_case(self) -> None:
        options, out = self.hooks("exit 7", self.TELL)
        snapshots = self.control("calls").get("Async.VM.snapshot")
        done = self.repository.run("--json", "backup", *self.login(), "vm:running", *options, code=1)
        [failed] = json.loads(done.stdout)["failed"]
        self.assertIn("7", failed["message"])
        self.assertEqual(self.control("calls").get("Async.VM.snapshot"), snapshots)
        self.assertEqual(len(out.read_text().splitlines()), 1)
        options, out = self.hooks("true", self.TELL)
        self.control("fault", kind="rpc_error", method="VM.snapshot", error=["INTERNAL_ERROR", "no"])
        out.unlink()
        self.repository.run("backup", *self.login(), "vm:running", *options, code=1)
        self.assertEqual(len(out.read_text().splitlines()), 1)
        self.check_as_before()


if __name__ == "__main__":
    unittest.main()
