"""VMs are tried on a pool: other ones each time, and whenever the program is killed a clean-up removes all that it made. Run: python test_trial.py

Needs the binary (XENITH, default target/release/xenith).
"""
from __future__ import annotations

import json
import shlex
import subprocess
import time
import unittest

from restore_case import RestoreCase

LAB = "lab"
VMS = [f"vm-{number}" for number in range(4)]
COPIED = {"xenith": "00000000-1111-2222-3333-444444444444", "xenith-restore": "copied:trial 20260101T00:00:00Z"}
FOREVER = 3600  # seconds: of a call that is never done
# Where the program is killed: in the so-manieth call of a method, or at a byte of a transfer.
CALLS = (
    ("before there is a network", "network.create", 0),
    ("a network without a mark of its own", "network.add_to_other_config", 0),
    ("the first import is done", "VM.get_all_records", 1),
    ("a VM without a mark of its own", "VM.add_to_other_config", 0),
    ("a disk without one", "VDI.add_to_other_config", 0),
    ("no cards", "VIF.create", 0),
    ("another name", "VM.set_name_label", 0),
    ("whole and off", "Async.VM.start", 0),
    ("it runs", "VM.get_guest_metrics", 0),
    ("one runs, and the next is whole", "Async.VM.start", 1),
    ("all run", "Async.VM.hard_shutdown", 0),
    ("one is off again", "Async.VM.destroy", 0),
    ("one is gone without its disk", "Async.VDI.destroy", 0),
    ("one is gone", "Async.VM.hard_shutdown", 1),
    ("only the network is there", "network.destroy", 0),
)
STREAMS = (
    ("half an import", "/import", 600_000),
    ("half a disk is read back", "/export_raw_vdi", 300_000),
)


class TrialCase(RestoreCase):
    """Four VMs in one vApp. On the other pool somebody has things that look like ours."""

    here_vms = 0

    @classmethod
    def prepare_pools(cls) -> None:
        made = cls.here.control("vms", count=len(VMS), name="vm-{}", disk_mib=1, data_mib=1)
        cls.here.control("appliance", name="shop", vms={vm["uuid"]: {"order": place} for place, vm in enumerate(made)})
        cls.there.control("vm", name="vm-0 (dr test 2026-01-01 00:00:00)", disk_mib=1, other_config=COPIED)
        cls.there.control("vm", name="Xenith: restoring vm-0", disk_mib=1)
        cls.there.update("network", LAB, name_label="Xenith: dr test 2026-01-01 00:00:00", other_config=COPIED)

    @classmethod
    def back_up(cls) -> None:
        cls.snapshots = cls.saved("all", "--with-pool-db")

    def tried(self, command: str, code: int = 0) -> subprocess.CompletedProcess:
        done = self.told(*shlex.split(command), *self.there.login("--to-pool", self.password))
        self.check_ended(done, code)
        return done


class Sample(TrialCase):
    """`verify --boot --sample N`."""

    def verified(self, typed: str, code: int = 0) -> dict:
        """The report of a test after which the pool is as before."""
        before, report = self.fingerprints(), self.repository.folder / "report.json"
        self.tried(f"verify --boot --wait-tools 5 --report {report} {typed}", code)
        self.check_same(before)
        return json.loads(report.read_text())

    def test_turn_by_turn_all_are_verified_and_boot(self) -> None:
        seen = []
        for turn in (7, 8):
            self.there.world.starts.clear()
            report = self.verified(f"--sample 2 --turn {turn}")
            self.assertEqual([report[key] for key in ("restored", "booted", "failed", "skipped")], [2, 2, 0, 0])
            self.assertEqual([(vm["verified"], vm["booted"], vm["tools"]) for vm in report["vms"]], [(True, True, True)] * 2)
            self.assertEqual(len(self.there.control("starts")), 2)
            seen += [vm["name"] for vm in report["vms"]]
        self.assertEqual(sorted(seen), VMS)

    def test_without_a_turn_it_is_that_of_the_day(self) -> None:
        day = int(time.time()) // 86_400
        names = [[vm["name"] for vm in self.verified(f"--sample 1 {typed}")["vms"]] for typed in ("", f"--turn {day}")]
        if int(time.time()) // 86_400 == day:
            self.assertEqual(*names)

    def test_one_that_is_spoilt_or_does_not_start_is_told(self) -> None:
        for fault, state, booted in (({"kind": "spoils", "at": 5}, "failed", None),
                                     ({"kind": "rpc_error", "method": "Async.VM.start", "error": ["INTERNAL_ERROR", "no"]}, "restored", False)):
            with self.subTest(state):
                self.there.control("fault", **fault)
                report = self.verified("--sample 2 --turn 0", code=3)
                self.assertEqual(self.there.control("faults"), [])
                [bad] = [vm for vm in report["vms"] if "error" in vm]
                self.assertEqual((bad["state"], bad["booted"]), (state, booted))
                [good] = [vm for vm in report["vms"] if "error" not in vm]
                self.assertEqual((good["state"], good["booted"]), ("restored", True))


class Killed(TrialCase):
    """kill -9 at any moment, and `cleanup --older-than 0`."""

    def check_killed(self, typed: str, **fault: object) -> None:
        before = self.there.control("fingerprint")
        self.there.control("fault", **fault)
        command = self.repository.command("dr", "test", *self.there.login("--to-pool", self.password), *shlex.split(typed))
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(running.kill)
        self.wait(lambda: running.poll() is None and not self.there.control("faults"))
        running.kill()
        running.wait()
        self.wait(lambda: not self.there.world.db.working)  # the pool ends what it has begun
        self.there.control("expire_sessions")
        done = self.told("cleanup", *self.there.login("--pool", self.password), "--older-than", "0")
        self.check_ended(done, 0)
        self.there.control("lose_tasks")
        self.assertEqual(self.there.control("fingerprint"), before, done.stdout)

    def wait(self, is_so) -> None:
        end = time.monotonic() + 20
        while not is_so():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.005)

    def test_in_a_call(self) -> None:
        for name, method, after in CALLS:
            with self.subTest(name):
                self.setUp()
                self.check_killed("--select vm:vm-0 --select vm:vm-1 --boot --wait-tools 5",
                                  kind="rpc_stall", method=method, after=after, seconds=FOREVER)

    def test_in_a_transfer(self) -> None:
        for name, path, at in STREAMS:
            with self.subTest(name):
                self.setUp()
                self.check_killed("--select vm:vm-0 --verify", kind="stream", path=path, at=at, action="stall", seconds=0.5)


if __name__ == "__main__":
    unittest.main()
