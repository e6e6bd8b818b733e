"""Disks of any size, storage that fills up, logs that lie, what was read, and dumps of the database. Run: python test_storage.py"""

import base64
import time
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import client
from case import PoolCase
from client import MIB

SHARED = "Shared storage"


class Large(PoolCase):
    """A sparse disk costs what is in it, a snapshot of it nothing."""

    vms = 0

    def space(self) -> int:
        files = {path.stat().st_ino: path.stat().st_blocks * 512 for path in (Path(self.told["state_dir"]) / "disks").iterdir()}
        return sum(files.values())

    def test_a_snapshot_of_64_gib_is_quick_and_costs_no_space_until_somebody_writes(self) -> None:
        empty = self.space()
        made = self.control("vm", name="large", disk_mib=65536, data_mib=100, power_state="Running", tags=["big"])
        vm = self.api.VM.get_by_uuid(made["uuid"])
        disk, = self.disks_of(vm)
        self.assertEqual((self.api.VM.get_tags(vm), self.api.VDI.get_virtual_size(disk)), (["big"], str(64 << 30)))
        before = self.space()
        self.assertTrue(100 * MIB <= before - empty <= 101 * MIB, before)
        begun = time.monotonic()
        taken = self.api.VM.snapshot(vm, "now")
        self.assertLess(time.monotonic() - begun, 1)
        self.assertEqual(self.space(), before)
        self.control("scatter", vdi=made["vdis"][0], count=1024)
        self.assertGreater(self.space(), before + 64 * MIB)
        held = client.get(self.first, "/export_raw_vdi", vdi=self.disks_of(taken)[0], session_id=self.session._session, format="vhd").body
        self.assertEqual(len(held) // (2 * MIB), 100)  # each of the chunks lies in a block of its own; nothing was written to it

    def test_40_vms_are_made_quickly_and_count_as_there_before(self) -> None:
        begun = time.monotonic()
        made = self.control("vms", count=40, name="web-{}", disk_mib=4, disks=2, tags=["nightly"])
        self.assertLess(time.monotonic() - begun, 3)
        self.assertEqual([vm["name"] for vm in made], [f"web-{number}" for number in range(40)])
        self.assertEqual(len({vdi for vm in made for vdi in vm["vdis"]}), 80)
        self.assertEqual(self.control("leftovers")["vms"], [])

    def test_a_snapshot_keeps_what_was_there(self) -> None:
        made = self.control("vm", name="written", disk_mib=4)
        disk, = self.disks_of(self.api.VM.get_by_uuid(made["uuid"]))
        before = self.digest(disk)
        taken, other = self.api.VDI.snapshot(disk), self.api.VDI.clone(disk)
        self.control("write", vdi=made["vdis"][0], offset=0, length=4096, seed=7)
        self.assertEqual([self.digest(vdi) == before for vdi in (disk, taken, other)], [False, True, True])
        self.api.VDI.resize(other, str(8 * MIB))
        self.api.VDI.destroy(disk)
        self.assertEqual(self.digest(taken), before)


class Storage(PoolCase):
    """What fills up refuses (contract 6, 9)."""

    disk_mib = 8

    def setUp(self) -> None:
        super().setUp()
        self.sr, = self.api.SR.get_by_name_label(SHARED)
        before = self.api.SR.get_record(self.sr)
        self.addCleanup(self.control, "storage", sr=SHARED, kind=before["type"], physical_size=int(before["physical_size"]),
                        taken_elsewhere=0)
        self.guest = self.vm("halted")

    def taken(self) -> int:
        self.api.SR.scan(self.sr)
        return int(self.api.SR.get_physical_utilisation(self.sr))

    def test_a_scan_brings_sizes_up_to_date(self) -> None:
        before, vdi = self.taken(), self.disks_of(self.guest)[0]
        held = int(self.api.VDI.get_physical_utilisation(vdi))
        self.control("write", vdi=self.api.VDI.get_uuid(vdi), offset=0, length=8 * MIB, seed=3)
        self.assertEqual(int(self.api.VDI.get_physical_utilisation(vdi)), held)
        self.assertGreater(self.taken(), before)
        # File systems take some KiB for themselves.
        self.assertAlmostEqual(int(self.api.VDI.get_physical_utilisation(vdi)), 8 * MIB, delta=64 << 10)
        sizes = [int(self.api.VDI.get_virtual_size(vdi)) for vdi in self.api.SR.get_VDIs(self.sr)]
        self.assertEqual(int(self.api.SR.get_virtual_allocation(self.sr)), sum(sizes))

    def test_thin_storage_refuses_when_nothing_is_free(self) -> None:
        size = 1 << 30
        row = self.control("storage", sr=SHARED, physical_size=size, taken_elsewhere=size - self.taken() - 4096)
        self.assertEqual(row["physical_utilisation"], size - 4096)
        self.api.VM.snapshot(self.guest, "fits")
        self.control("storage", sr=SHARED, taken_elsewhere=size)
        with self.refused("SR_BACKEND_FAILURE_44"):
            self.api.VM.snapshot(self.guest, "does not")

    def test_thick_storage_refuses_a_snapshot_that_has_no_room_for_the_whole_disk(self) -> None:
        full = self.control("storage", sr=SHARED, kind="lvmoiscsi")["physical_utilisation"]
        self.assertEqual(full, sum(int(self.api.VDI.get_virtual_size(vdi)) for vdi in self.api.SR.get_VDIs(self.sr)))
        self.control("storage", sr=SHARED, physical_size=full + 8 * MIB - 512)
        with self.refused("SR_BACKEND_FAILURE_44"):
            self.api.VM.snapshot(self.guest, "does not fit")
        self.control("storage", sr=SHARED, physical_size=full + 8 * MIB)
        self.api.VM.snapshot(self.guest, "fits")
        self.assertEqual(self.taken(), full + 8 * MIB)

    def test_storage_that_is_not_attached_is_not_scanned(self) -> None:
        for pbd in self.api.SR.get_PBDs(self.sr):
            client.control(self.told["control"], "update", cls="PBD", ref=pbd, changes={"currently_attached": False})
            self.addCleanup(client.control, self.told["control"], "update", cls="PBD", ref=pbd, changes={"currently_attached": True})
        with self.refused("SR_NOT_ATTACHED", self.sr):
            self.api.SR.scan(self.sr)


class ChangedBlocks(PoolCase):
    """Logs of changes that lie, and bytes that were read."""

    vms = 0

    def setUp(self) -> None:
        super().setUp()
        self.made = self.control("vm", name="guest", disk_mib=64)
        self.disk, = self.disks_of(self.api.VM.get_by_uuid(self.made["uuid"]))
        self.uuid, = self.made["vdis"]
        self.api.VDI.enable_cbt(self.disk)

    def bits(self, older: str, newer: str) -> set[int]:
        data = base64.b64decode(self.api.VDI.list_changed_blocks(older, newer))
        return {at * 8 + bit for at, byte in enumerate(data) for bit in range(8) if byte & 0x80 >> bit}

    def test_scattered_writes_are_blocks_of_their_own(self) -> None:
        one = self.api.VDI.snapshot(self.disk)
        self.control("scatter", vdi=self.uuid, count=100, seed=1)
        self.assertEqual(len(self.bits(one, self.api.VDI.snapshot(self.disk))), 100)

    def test_a_lie_leaves_out_blocks_once(self) -> None:
        one = self.api.VDI.snapshot(self.disk)
        for block in (3, 4, 5, 90):
            self.control("write", vdi=self.uuid, offset=block << 16, length=512, seed=block)
        two = self.api.VDI.snapshot(self.disk)
        self.control("fault", kind="cbt_lies", vdi="another", ranges=[[0, 1000]])
        self.control("fault", kind="cbt_lies", vdi=self.uuid, ranges=[[4, 2]])
        self.control("fault", kind="cbt_lies", share=0.5, after=1)
        self.assertEqual(self.bits(one, two), {3, 90})
        self.assertEqual(self.bits(one, two), {3, 4, 5, 90})
        self.assertEqual(len(self.bits(one, two)), 2)
        self.assertEqual(self.bits(one, two), {3, 4, 5, 90})

    def test_what_is_read_of_snapshots_counts_for_the_disk(self) -> None:
        taken = self.api.VDI.snapshot(self.disk)
        before = self.control("traffic").get(self.uuid, {})
        self.assertEqual(before, {})
        for form in ("raw", "vhd", "raw"):
            self.get("/export_raw_vdi", vdi=taken, format=form)
        self.get("/export", ref=self.api.VM.get_by_uuid(self.made["uuid"]))
        read = self.control("traffic")[self.uuid]
        self.assertEqual((read["raw"], read["raw_reads"], read["vhd_reads"]), (128 * MIB, 2, 1))
        self.assertEqual(read["export"], 2 * MIB)  # one chunk of data, and the last, which is always there
        self.assertLess(read["vhd"], 3 * MIB)

    def test_what_tracks_changes_costs_nothing_and_outlives_its_data(self) -> None:
        sr = self.api.VDI.get_SR(self.disk)
        self.control("storage", sr=SHARED, kind="lvm")
        self.addCleanup(self.control, "storage", sr=SHARED, kind="nfs")
        before = int(self.api.SR.get_physical_utilisation(sr))
        one = self.api.VDI.snapshot(self.disk)
        self.api.SR.scan(sr)
        self.assertEqual(int(self.api.SR.get_physical_utilisation(sr)), before + 64 * MIB)
        self.api.VDI.data_destroy(one)
        self.api.SR.scan(sr)
        self.assertEqual(int(self.api.SR.get_physical_utilisation(sr)), before)
        self.control("write", vdi=self.uuid, offset=9 << 16, length=512, seed=1)
        self.assertEqual(self.bits(one, self.api.VDI.snapshot(self.disk)), {9})
        answer = self.get("/export_raw_vdi", vdi=one)
        self.assertIn(b"VDI_INCOMPATIBLE_TYPE", answer.body)


class Dumps(PoolCase):
    """Two dumps of a pool that stood still (contract 7)."""

    def rows(self) -> tuple[int, dict[str, dict[str, dict]]]:
        root = ElementTree.fromstring(self.get("/pool/xmldbdump", task_id=self.task()).body)
        generation = root.find("manifest/pair[@key='generation_count']").get("value")
        return int(generation), {table.get("name"): {row.get("ref"): dict(row.attrib) for row in table} for table in root.iterfind("table")}

    def test_they_differ_in_the_generation_and_in_sessions_and_tasks(self) -> None:
        self.setting(database_mib=1)
        (first, before), (second, after) = self.rows(), self.rows()
        self.assertGreater(second, first)
        changed = {name for name in before if before[name] != after[name]}
        self.assertTrue({"task"} <= changed <= {"task", "session"}, changed)
        self.assertEqual(list(before), sorted(before))
        self.assertGreater(len(before["VM_guest_metrics"]), 3000)


if __name__ == "__main__":
    unittest.main()
