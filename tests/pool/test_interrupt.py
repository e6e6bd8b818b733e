"""Ctrl-C while a VM comes back: until it has its name all goes again, from then on it is finished. Run: python test_interrupt.py

Needs the binary (XENITH, default target/release/xenith).
"""
from __future__ import annotations

import json
import shlex
import signal
import subprocess
import time
import unittest

from restore_case import RestoreCase

NAME = "small"
OVER = "--overwrite --shutdown-first"
STALL = 0.2  # seconds that the pool takes for the call in which the interrupt comes
# When it comes: the so-manieth call of a method. And what is there then: nothing new, or the VM.
MOMENTS = (
    ("", "VM.get_all_records", 1, False),
    ("", "VIF.create", 0, False),
    ("--verify", "VM.set_name_label", 0, True),
    ("", "VM.set_name_label", 0, True),
    ("--start", "VM.set_name_label", 0, True),
    ("--start", "Async.VM.start", 0, True),
    (OVER, "Async.VM.clean_shutdown", 0, False),
    (OVER, "VM.set_name_label", 0, True),
    (OVER, "VM.set_name_label", 1, True),
    (f"{OVER} --destroy-old --yes", "Async.VM.destroy", 0, True),
)
# The same for kill -9, behind which `cleanup` comes.
KILLED = (
    ("", "VIF.create", 0, False),
    ("", "VM.set_name_label", 0, True),
    ("", "VDI.remove_from_other_config", 1, True),  # the first makes room for a mark
    ("", "VM.remove_from_other_config", 1, True),
    ("", "VM.remove_from_other_config", 2, True),
    (OVER, "VM.set_name_label", 1, True),
    (f"{OVER} --destroy-old --yes", "VDI.remove_from_other_config", 3, True),  # of the disk that goes
    (f"{OVER} --destroy-old --yes", "Async.VM.destroy", 0, True),
)


class Interrupted(RestoreCase):
    """A VM that is so small that all of it can be under way at once."""

    here_vms = 0

    @classmethod
    def prepare_pools(cls) -> None:
        for side in cls.sides:
            side.control("vm", name=NAME if side is cls.here else f"not {NAME}", disk_mib=1, data_mib=1)

    @classmethod
    def back_up(cls) -> None:
        cls.snapshots = cls.saved("all")

    def begin(self, typed: str) -> subprocess.Popen:
        command = self.repository.command("--json", "restore", self.snapshot(NAME), *self.there.login("--to-pool", self.password))
        running = subprocess.Popen([*command, *shlex.split(typed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(running.kill)
        return running

    def wait(self, running: subprocess.Popen, is_so) -> None:
        end = time.monotonic() + 20
        while not is_so():
            self.assertIsNone(running.poll(), "it has ended")
            self.assertLess(time.monotonic(), end)
            time.sleep(0.005)

    def check_interrupted(self, running: subprocess.Popen) -> str:
        """What is told on standard output."""
        running.send_signal(signal.SIGINT)
        out, told = running.communicate(timeout=20)
        self.assertEqual(running.returncode, 130, told)
        return out

    def test_all_bytes_are_in_the_socket(self) -> None:
        before = self.fingerprints()
        self.there.control("fault", kind="stream", path="/import", at=1 << 20, action="stall", seconds=1)
        running = self.begin("")
        self.wait(running, lambda: not self.there.control("faults"))
        asked = self.asked_for_the_task()
        self.wait(running, lambda: self.asked_for_the_task() > asked)  # so there is nothing more to send
        self.check_interrupted(running)
        self.check_same(before)

    def asked_for_the_task(self) -> int:
        return self.there.control("calls").get("task.get_record", 0)

    def test_at_any_step(self) -> None:
        for typed, method, after, is_whole in MOMENTS:
            with self.subTest(f"{typed} {method} {after}"):
                self.setUp()
                if OVER in typed:
                    self.run_another()
                before = self.fingerprints()
                self.there.control("fault", kind="rpc_stall", method=method, after=after, seconds=STALL)
                running = self.begin(typed)
                self.wait(running, lambda: not self.there.control("faults"))
                out = self.check_interrupted(running)
                if is_whole:
                    self.check_whole(json.loads(out)["vm"], typed)
                else:
                    self.assertEqual(out, "")
                    self.check_same(before)

    def test_killed_at_any_step(self) -> None:
        """Nobody takes a VM that is whole for one that is not: somebody may use it already."""
        for typed, method, after, is_whole in KILLED:
            with self.subTest(f"{typed} {method} {after}"):
                self.setUp()
                if OVER in typed:
                    self.run_another()
                self.there.control("fault", kind="rpc_stall", method=method, after=after, seconds=STALL)
                running = self.begin(typed)
                self.wait(running, lambda: not self.there.control("faults"))
                running.kill()
                running.communicate()
                time.sleep(2 * STALL)  # what was asked for is done all the same
                done = self.told("cleanup", *self.there.login("--pool", self.password), "--older-than", "0")
                self.check_ended(done, 0)
                self.assertEqual(self.there.marks(), [])
                names = [self.there.world.db.get("VM", vm)["name_label"] for vm in self.there.new("vms")]
                self.assertEqual(names, [NAME] if is_whole else [])
                for vm in self.there.new("vms"):
                    self.assertEqual(self.there.digests(vm), self.here.digests(self.here.one("VM", NAME)))
                self.assertEqual(len(self.there.new("vdis")), len(names))

    def run_another(self) -> None:
        """The VM that is replaced."""
        self.there.control("set", guest_tools=False)  # what they tell is new with each start
        self.there.update("VM", f"not {NAME}", name_label=NAME)
        self.there.api.VM.start(self.there.one("VM", NAME), False, False)

    def check_whole(self, told: dict, typed: str) -> None:
        rows = self.there.world.db.tables["VM"]
        [vm] = [ref for ref, row in rows.items() if row["name_label"] == NAME]
        self.assertEqual((rows[vm]["uuid"], rows[vm]["power_state"]), (told["uuid"], "Running" if "--start" in typed.split() else "Halted"))
        self.assertEqual(self.there.digests(vm), self.here.digests(self.here.one("VM", NAME)))
        self.assertEqual((self.there.marks(), self.there.passing()), ([], []))
        self.assertFalse([row["name_label"] for row in rows.values() if row["name_label"].startswith("Xenith")])
        others = [row["name_label"] for row in rows.values() if NAME in row["name_label"] and row["uuid"] != told["uuid"]]
        self.assertEqual(len(others), 0 if "--destroy-old" in typed else 1)


if __name__ == "__main__":
    unittest.main()
