"""A disk that no VHD can hold goes back to a pool. Run: python test_large.py

Needs the binary (XENITH, default target/release/xenith).
"""
from __future__ import annotations

import shlex
import unittest

from client import MIB
from restore_case import RestoreCase, Side

SHARED, LOCAL = "Shared storage", "Local storage on xen-two"


class Large(RestoreCase):
    """A disk of more than 2 TiB. Hashes of it would take too long: all that is no hole is compared."""

    here_vms, gib = 0, 2100

    @classmethod
    def prepare_pools(cls) -> None:
        cls.here.control("vm", name="large", disk_mib=cls.gib << 10, data_mib=3)

    @classmethod
    def back_up(cls) -> None:
        cls.snapshots = cls.saved("vm:large")

    @staticmethod
    def data(side: Side, vdi: str) -> dict[int, bytes]:
        """Places and bytes of all MiB of a disk that are not zeros."""
        found, uuid = {}, side.world.file(vdi)
        with side.world.disks.path(uuid).open("rb") as file:
            for start, end in side.world.disks.extents(uuid):
                for place in range(start // MIB, -(-end // MIB)):
                    file.seek(place * MIB)
                    held = file.read(MIB)
                    if held.count(0) != len(held):
                        found[place] = held
        return found

    def wanted(self) -> dict[int, bytes]:
        [drive] = self.here.drives(self.here.one("VM", "large"))
        found = self.data(self.here, drive["VDI"])
        self.assertGreaterEqual(len(found), 3)
        return found

    def test_it_comes_back_in_one_stream_and_alone(self) -> None:
        wanted = self.wanted()
        for typed in ("", f"--disk-sr '0={LOCAL}'", "--format raw", "--disks-only", "--disks-only --format raw"):
            with self.subTest(typed):
                self.there.control("back")
                self.check_ended(self.restore(self.there, self.snapshots["large"], *shlex.split(typed)), 0)
                [made] = self.there.new("vdis")
                self.assertEqual(len(self.there.new("vms")), int("--disks-only" not in typed))
                self.assertEqual(self.there.world.db.get("VDI", made)["virtual_size"], self.gib << 30)
                self.assertEqual(self.data(self.there, made), wanted)
                self.assertEqual((self.there.marks(), self.there.passing()), ([], []))

    def test_as_a_vhd_it_is_refused_before_the_first_byte(self) -> None:
        for typed in ("--format vhd", "--format vhd --force", "--format vhd --disks-only"):
            for more in ("--dry-run", ""):
                with self.subTest(f"{typed} {more}"):
                    before = self.fingerprints()
                    done = self.restore(self.there, self.snapshots["large"], *typed.split(), *more.split())
                    self.check_ended(done, 1, "2.1 TiB", "more than a VHD holds", "--format raw")
                    self.check_same(before)

    def test_storage_of_vhds_does_not_take_it(self) -> None:
        self.there.control("set", xapi_major=24, xapi_minor=11)
        before = self.fingerprints()
        for typed in ("", "--format raw"):
            with self.subTest(typed):
                done = self.restore(self.there, self.snapshots["large"], *typed.split())
                self.check_ended(done, 1, SHARED, "--disk-sr")
                self.check_same(before)


if __name__ == "__main__":
    unittest.main()
