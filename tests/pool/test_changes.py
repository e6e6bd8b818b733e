"""Disks by NBD, and only what has changed of them (contract 5). Run: python test_changes.py

Needs the binary (XENITH, default target/release/xenith).
"""
from __future__ import annotations

import os
import subprocess
import time
import unittest

from backup_case import BackupCase
from client import MIB

GIB = 1 << 30


class ChangesCase(BackupCase):
    """A pool that gives disks by NBD, over TLS."""

    vms = 0

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        network = next(ref for ref, row in cls.pool.world.db.tables["network"].items() if row["PIFs"])
        cls.control("update", cls="network", ref=network, changes={"purpose": ["nbd"]})

    def make(self, **given: object) -> tuple[str, str]:
        """Name and uuid of the disk of a new VM that runs."""
        name = f"vm-{self._testMethodName}"
        made = self.control("vm", name=name, power_state="Running", **given)
        self.vms[name] = self.api.VM.get_by_uuid(made["uuid"])
        self.before = self.control("leftovers")
        return name, made["vdis"][0]

    def night(self, name: str, *options: str) -> tuple[dict, dict]:
        """The snapshot, and what was read of the disk of the VM: bytes by way."""
        uuid = self.api.VDI.get_uuid(self.disks_of(self.vms[name])[0])
        before = self.control("traffic").get(uuid, {})
        summary, _ = self.backup(f"vm:{name}", *options)
        self.assertEqual(self.control("faults"), [])
        read = self.control("traffic").get(uuid, {})
        return summary["snapshots"][0], {way: count - before.get(way, 0) for way, count in read.items() if count != before.get(way, 0)}

    @staticmethod
    def disk_id(snapshot: dict) -> str:
        return next(disk["disk_id"] for disk in snapshot["disks"] if disk["role"] == "disk")


class Large(ChangesCase):
    """A large disk of which 64 MiB have changed in 1,024 places. XENITH_LARGE_GIB=64 takes minutes: the first night is read in full."""

    size = int(os.environ.get("XENITH_LARGE_GIB", "2")) * GIB

    def test_a_night_reads_what_has_changed_and_is_the_same_as_a_full_read(self) -> None:
        name, uuid = self.make(disk_mib=self.size // MIB, data_mib=64)
        first, _ = self.night(name, "--cbt", "auto", "--transfer", "nbd")
        changed = self.control("scatter", vdi=uuid, count=1024, seed=1)["written"]
        self.assertEqual(changed, 64 * MIB)

        second, read = self.night(name, "--cbt", "auto", "--transfer", "nbd", "--cbt-sample", "0")
        self.assertEqual(set(read), {"nbd", "nbd_reads"})
        self.assertTrue(changed <= read["nbd"] <= 1.1 * changed, read)
        self.check_nothing_left(tracked=1)

        third, read = self.night(name, "--cbt", "auto", "--transfer", "nbd", "--cbt-sample", "1")
        segments = self.size // (4 * MIB)
        self.assertEqual(read["nbd"], -(-segments // 100) * 4 * MIB)

        full, read = self.night(name, "--cbt", "off", "--transfer", "xva")
        self.assertGreater(read["export"], changed)
        self.assertEqual([self.disk_id(second), self.disk_id(third)], [self.disk_id(full)] * 2)
        self.assertNotEqual(self.disk_id(first), self.disk_id(full))
        self.assertLess(full["added"], MIB)
        self.check_nothing_left(tracked=1)


class Sparse(ChangesCase):
    """A disk of 4 GiB with 40 MiB of data."""

    def test_holes_are_not_read(self) -> None:
        name, uuid = self.make(disk_mib=4096, data_mib=0)
        for at in range(0, 4000, 400):
            self.control("write", vdi=uuid, offset=at * MIB, length=4 * MIB, seed=at)
        snapshot, read = self.night(name, "--cbt", "off", "--transfer", "nbd")
        self.assertEqual(read["nbd"], 40 * MIB)
        self.assertLess(read["vhd"], 16 * MIB)  # its table, and what is under way when it is given up
        full, _ = self.night(name, "--cbt", "off", "--transfer", "xva")
        self.assertEqual(self.disk_id(snapshot), self.disk_id(full))
        self.check_nothing_left()


class Small(ChangesCase):
    """What is told of changes is right, or is not used."""

    SIZE = 64 * MIB

    def check_night(self, name: str, *options: str, changes_only: bool) -> dict:
        """The disk is as it is on the pool, and was read in full (but for holes, which a VHD tells), or nearly not; one VDI tracks what comes."""
        snapshot, read = self.night(name, "--cbt", "auto", "--transfer", "nbd", *options)
        self.check_nothing_left(tracked=1)
        self.check_same_disks(snapshot, name)
        self.assertEqual("vhd" in read, not changes_only, read)
        if not options:
            self.assertLess(read["nbd"], self.SIZE // 2)
        return snapshot

    def test_several_nights_with_writes_between_them(self) -> None:
        name, uuid = self.make(disk_mib=64, data_mib=8)
        self.check_night(name, changes_only=False)
        for night in range(3):
            self.control("scatter", vdi=uuid, count=9, length=5000, seed=night)
            self.check_night(name, changes_only=True)
        self.check_night(name, changes_only=True)

    def test_each_way_gives_the_same_disk(self) -> None:
        name, _ = self.make(disk_mib=17, data_mib=8, disks=2)
        ids = {self.disk_id(self.night(name, "--cbt", "off", "--transfer", way)[0]) for way in ("xva", "vdi", "nbd", "auto")}
        self.assertEqual(len(ids), 1)
        self.check_nothing_left()

    def test_a_log_that_lies_is_caught_by_reading_it_all(self) -> None:
        name, uuid = self.make(disk_mib=64, data_mib=8)
        self.check_night(name, changes_only=False)
        self.control("scatter", vdi=uuid, count=20, seed=1)
        self.control("fault", kind="cbt_lies", vdi=uuid, share=0.5)
        self.check_night(name, "--cbt-sample", "100", changes_only=False)
        self.control("scatter", vdi=uuid, count=2, seed=2)
        self.check_night(name, changes_only=True)

    def test_what_the_pool_cannot_tell_is_read_in_full(self) -> None:
        name, uuid = self.make(disk_mib=64, data_mib=8)
        disk, = self.disks_of(self.vms[name])
        self.check_night(name, changes_only=False)
        for code in ("SR_BACKEND_FAILURE_459", "SR_BACKEND_FAILURE_460"):
            with self.subTest(code):
                self.control("fault", kind="rpc_error", method="VDI.list_changed_blocks", error=[code, "", "no", ""])
                self.check_night(name, changes_only=False)
        with self.subTest("switched off and on"):
            self.api.VDI.disable_cbt(disk)
            self.control("scatter", vdi=uuid, count=3, seed=3)
            self.check_night(name, changes_only=False)
        self.check_night(name, changes_only=True)

    def test_a_disk_that_grows(self) -> None:
        name, uuid = self.make(disk_mib=64, data_mib=8)
        self.check_night(name, changes_only=False)
        self.api.VDI.resize(self.disks_of(self.vms[name])[0], str(71 * MIB))
        self.control("write", vdi=uuid, offset=70 * MIB, length=4096, seed=1)
        self.check_night(name, changes_only=True)

    def check_stream(self, name: str, *options: str) -> None:
        """NBD ends for good in the middle, and the rest comes as VHD."""
        self.control("fault", kind="nbd", action="drop", after=2, count=-1)
        summary, _ = self.backup(f"vm:{name}", "--transfer", "nbd", *options)
        self.control("clear")
        way = next(disk for disk in summary["snapshots"][0]["disks"] if disk["role"] == "disk")
        self.assertEqual((way["transfer"], way["changes_only"]), ("vhd", False), way)
        self.assertIn("NBD failed", way["reason"])
        self.check_same_disks(summary["snapshots"][0], name)

    def test_a_disk_that_nbd_does_not_give_whole_comes_as_a_stream(self) -> None:
        name, uuid = self.make(disk_mib=64, data_mib=8)
        self.check_stream(name)
        self.check_nothing_left(tracked=1)
        self.control("scatter", vdi=uuid, count=20, seed=7)
        self.check_stream(name)
        self.check_night(name, changes_only=True)

    def test_a_connection_that_breaks_is_made_again(self) -> None:
        name, _ = self.make(disk_mib=64, data_mib=8)
        self.control("fault", kind="nbd", action="drop", after=5)
        self.check_night(name, changes_only=False)

    def test_a_disk_that_stays_plugged_still_becomes_what_tracks(self) -> None:
        self.setting(detach_seconds=1.0)
        name, _ = self.make(disk_mib=64, data_mib=1)
        self.check_night(name, changes_only=False)

    def test_a_night_that_fails_keeps_what_tracked_before(self) -> None:
        name, uuid = self.make(disk_mib=64, data_mib=8)
        self.check_night(name, changes_only=False)
        self.control("scatter", vdi=uuid, count=3, seed=5)
        self.control("fault", kind="nbd", action="drop", count=-1)
        self.control("fault", kind="http_error", path="/export_raw_vdi", status=500, count=-1)
        self.control("fault", kind="http_error", path="/export", status=500, count=-1)
        self.repository.run("backup", *self.login(), f"vm:{name}", "--transfer", "nbd", code=1)
        self.control("clear")
        self.check_nothing_left(tracked=1)
        self.check_night(name, changes_only=True)

    def test_a_night_that_is_killed_keeps_what_tracked_before(self) -> None:
        name, uuid = self.make(disk_mib=64, data_mib=8)
        self.check_night(name, changes_only=False)
        self.control("scatter", vdi=uuid, count=3, seed=6)
        self.control("fault", kind="nbd", action="stall", seconds=0.5)
        command = self.repository.command("backup", *self.login(), f"vm:{name}", "--transfer", "nbd")
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while self.control("faults"):
            self.assertIsNone(running.poll())
            time.sleep(0.01)
        running.kill()
        running.wait()
        while self.control("leftovers")["dom0_vbds"]:
            time.sleep(0.05)
        self.repository.run("cleanup", *self.login(), "--older-than", "0")
        left = self.control("leftovers")
        self.before |= {kind: left[kind] for kind in ("sessions", "tasks")}  # the pool forgets them after a day
        self.check_nothing_left(tracked=1)
        self.check_night(name, changes_only=True)

    def test_without_nbd_it_is_read_in_another_way(self) -> None:
        name, _ = self.make(disk_mib=64, data_mib=8)
        network = next(ref for ref, row in self.pool.world.db.tables["network"].items() if row["purpose"])
        self.control("update", cls="network", ref=network, changes={"purpose": []})
        self.addCleanup(self.control, "update", cls="network", ref=network, changes={"purpose": ["nbd"]})
        snapshot, read = self.night(name, "--transfer", "nbd", "--cbt", "off")
        self.assertNotIn("nbd", read)
        self.check_same_disks(snapshot, name)


if __name__ == "__main__":
    unittest.main()
