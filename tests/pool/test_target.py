"""What a pool does that gets VMs back: room, memory, networks, vApps, uploads that end early, a second pool. Run: python test_target.py"""

import tempfile
import unittest
from pathlib import Path

import client
from case import PoolCase
from client import MIB
from pool import Pool

SHARED = "Shared storage"
NULL = "OpaqueRef:NULL"


class Uploads(PoolCase):
    """What an import meets (contract 0.8, 2.3, 2.6, 3.7)."""

    vms = 1

    def setUp(self) -> None:
        super().setUp()
        self.source = self.vm("halted")
        self.disk, = self.disks_of(self.source)
        self.archive = self.get("/export", ref=self.source).body
        self.before = self.control("fingerprint")

    def imported(self, **query: str) -> dict:
        task = self.task()
        self.put("/import", self.archive, task_id=task, **query)
        return self.ended(task)

    def check_lost(self, *error: str, **query: str) -> None:
        self.assertEqual(self.imported(**query)["error_info"][:len(error)], list(error))
        self.assertEqual(self.control("fingerprint"), self.before)

    def test_a_thin_storage_fills_up_in_the_middle(self) -> None:
        room = self.api.SR.get_physical_size(self.api.SR.get_by_name_label(SHARED)[0])
        self.addCleanup(self.control, "storage", sr=SHARED, physical_size=int(room))
        used = int(self.control("storage", sr=SHARED)["physical_utilisation"])
        self.control("storage", sr=SHARED, physical_size=used + MIB + 4096)
        self.before = self.control("fingerprint")
        self.check_lost("SR_BACKEND_FAILURE_44", "", "There is insufficient space")
        self.control("storage", sr=SHARED, physical_size=used + 2 * int(self.api.VDI.get_virtual_size(self.disk)))
        self.assertEqual(self.imported()["status"], "success")

    def test_without_a_default_storage_one_must_be_named(self) -> None:
        pool, = self.api.pool.get_all()
        default = self.api.pool.get_default_SR(pool)
        self.addCleanup(self.api.pool.set_default_SR, pool, default)
        self.api.pool.set_default_SR(pool, NULL)
        self.assertEqual(self.put("/import", self.archive).status, 500)
        self.assertEqual(self.imported(sr_id=default)["status"], "success")

    def test_a_copied_seed_of_addresses_is_refused_only_where_addresses_are_kept(self) -> None:
        twin = self.api.VM.clone(self.source, "twin")
        self.before = self.control("fingerprint")
        self.control("update", cls="VM", ref=self.source, changes={"other_config": {}})
        self.addCleanup(self.control, "update", cls="VM", ref=self.source, changes={"other_config": self.api.VM.get_other_config(twin)})
        seed = self.api.VM.get_other_config(twin)["mac_seed"]
        self.assertEqual(self.imported(restore="true")["error_info"], ["DUPLICATE_MAC_SEED", seed])
        self.assertEqual(self.imported()["status"], "success")
        self.api.VM.destroy(twin)

    def test_old_hosts_know_only_sha_1(self) -> None:
        self.setting(checksum="sha1")
        self.check_lost("IMPORT_ERROR")
        self.archive = self.get("/export", ref=self.source).body
        self.assertEqual(self.imported()["status"], "success")

    def test_the_version_of_an_old_pool_is_told_and_enforced(self) -> None:
        self.setting(xapi_major=1, xapi_minor=160)
        self.before = self.control("fingerprint")
        self.assertEqual({row["software_version"]["xapi"] for row in self.api.host.get_all_records().values()}, {"1.160"})
        self.check_lost("IMPORT_INCOMPATIBLE_VERSION")

    def test_a_connection_that_is_reset_behind_the_last_disk_is_a_success(self) -> None:
        self.control("fault", kind="stops_reading")
        self.assertEqual(self.imported()["status"], "success")
        self.assertEqual(self.control("faults"), [])

    def test_a_byte_that_is_stored_otherwise_changes_the_disk_and_nobody_is_told(self) -> None:
        self.control("fault", kind="spoils", at=5)
        ended = self.imported()
        self.assertEqual(ended["status"], "success")
        made = ended["result"].split("<value>")[2].split("<")[0]
        wrong, right = (self.get("/export_raw_vdi", vdi=vdi).body for vdi in (self.disks_of(made)[0], self.disk))
        self.assertEqual([place for place, (one, other) in enumerate(zip(wrong, right, strict=True)) if one != other], [5])


class Hosts(PoolCase):
    """Memory, and guests that tell of themselves."""

    vms = 0

    def setUp(self) -> None:
        super().setUp()
        self.guest = self.api.VM.get_by_uuid(self.control("vm", name="guest", disk_mib=1)["uuid"])

    def free(self) -> int:
        told = [int(self.api.host_metrics.get_memory_free(row["metrics"])) for row in self.api.host.get_all_records().values()]
        self.assertEqual(told, [int(self.api.host.compute_free_memory(host)) for host in self.api.host.get_all()])
        return sum(told)

    def test_a_vm_that_runs_takes_memory_and_one_that_does_not_fit_does_not_start(self) -> None:
        before = self.free()
        self.api.VM.start(self.guest, False, False)
        self.assertEqual(before - self.free(), int(self.api.VM.get_memory_static_max(self.guest)))
        self.api.VM.clean_shutdown(self.guest)
        self.assertEqual(self.free(), before)
        self.setting(host_memory_mib=2560)
        with self.refused("HOST_NOT_ENOUGH_FREE_MEMORY", str(1 << 30), str(512 << 20)):
            self.api.VM.start(self.guest, False, False)
        self.assertEqual(self.api.VM.get_power_state(self.guest), "Halted")

    def test_guests_with_tools_tell_of_themselves_while_they_run(self) -> None:
        for tools in (True, False):
            self.setting(guest_tools=tools)
            self.api.VM.start(self.guest, False, False)
            told = self.api.VM.get_guest_metrics(self.guest)
            self.assertEqual(told != NULL and self.api.VM_guest_metrics.get_live(told), tools)
            self.api.VM.hard_shutdown(self.guest)
            self.assertEqual(self.api.VM.get_guest_metrics(self.guest), NULL)


class Networks(PoolCase):
    """Networks without hosts' cards, and cards of VMs."""

    vms = 1

    def test_a_network_goes_when_nothing_is_plugged_into_it(self) -> None:
        made = self.api.network.create({"name_label": "alone", "name_description": "", "MTU": "1500", "other_config": {}, "tags": []})
        self.assertEqual(self.control("leftovers")["networks"], [made])
        guest = self.vm("halted")
        card = self.api.VIF.get_record(self.api.VM.get_VIFs(guest)[0])
        given = {**card, "VM": guest, "network": made, "MAC": "02:00:00:00:00:09", "device": "1"}
        vif = self.api.VIF.create(given)
        self.assertEqual(self.api.VIF.get_MAC(vif), "02:00:00:00:00:09")
        with self.refused("DEVICE_ALREADY_EXISTS", "1"):
            self.api.VIF.create(given)
        self.api.VM.start(guest, False, False)
        with self.refused("NETWORK_CONTAINS_VIF", vif):
            self.api.network.destroy(made)
        with self.refused("OPERATION_NOT_ALLOWED"):
            self.api.VIF.destroy(vif)
        self.api.VM.hard_shutdown(guest)
        self.api.network.destroy(made)
        self.assertNotIn(vif, self.api.VM.get_VIFs(guest))
        used = next(ref for ref, row in self.api.network.get_all_records().items() if row["PIFs"])
        with self.refused("NETWORK_CONTAINS_PIF"):
            self.api.network.destroy(used)


class Appliances(PoolCase):
    """vApps."""

    vms = 0

    def test_members_start_in_their_order_and_tell_the_same_reference_in_their_exports(self) -> None:
        made = self.control("vms", count=3, name="member-{}", disk_mib=1)
        orders = {vm["uuid"]: {"order": order, "start_delay": 5} for vm, order in zip(made, (2, 0, 1), strict=True)}
        held = self.control("appliance", name="shop", vms=orders)
        members = [self.api.VM.get_by_uuid(vm["uuid"]) for vm in made]
        self.assertEqual(set(self.api.VM_appliance.get_VMs(held["ref"])), set(members))
        for vm in members:
            xml = client.unpack(self.get("/export", ref=vm).body)[0][1].decode()
            self.assertIn(f"<name>appliance</name><value>{held['ref']}<", xml)
            self.assertIn("<name>start_delay</name><value>5<", xml)
        self.api.VM_appliance.start(held["ref"], False)
        self.assertEqual([start["name"] for start in self.control("starts")], ["member-1", "member-2", "member-0"])
        self.api.VM_appliance.hard_shutdown(held["ref"])
        made = self.api.VM_appliance.create({"name_label": "other", "name_description": ""})
        self.assertEqual(self.control("leftovers")["appliances"], [made])
        self.api.VM.set_appliance(members[0], made)
        self.assertEqual((len(self.api.VM_appliance.get_VMs(held["ref"])), self.api.VM_appliance.get_VMs(made)), (2, members[:1]))
        self.api.VM_appliance.destroy(made)
        self.assertEqual(self.api.VM.get_appliance(members[0]), NULL)


class Fingerprint(PoolCase):
    """One hash tells whether anything was changed."""

    vms = 2

    def test_what_reads_changes_nothing_and_each_write_does(self) -> None:
        seen = [self.control("fingerprint")]
        self.get("/export", ref=self.vm("halted"))
        self.api.SR.scan(self.api.SR.get_by_name_label(SHARED)[0])
        self.api.task.destroy(self.task())
        self.assertEqual(self.control("fingerprint"), seen[0])
        for change in (lambda: self.api.VM.set_name_label(self.vm("halted"), "other halted"),
                       lambda: self.control("write", vdi=self.disks_of(self.vm("halted"))[0], offset=0, length=1, seed=1),
                       lambda: self.api.VIF.destroy(self.api.VM.get_VIFs(self.vm("halted"))[0])):
            change()
            seen.append(self.control("fingerprint"))
        self.assertEqual(len(set(seen)), 4)


class Back(PoolCase):
    """A pool goes back to what it was."""

    vms = 2

    def test_whatever_was_changed_is_as_it_was(self) -> None:
        self.control("vm", name="kept", disk_mib=2)
        self.control("keep")
        before = self.control("fingerprint")
        for _ in range(2):
            doomed = self.vm("halted")
            self.control("write", vdi=self.disks_of(self.vm("kept"))[0], offset=7, length=5, seed=1)
            disk, = self.disks_of(doomed)
            self.api.VM.destroy(doomed)
            self.api.VDI.destroy(disk)
            self.control("set", xapi_major=1)
            self.control("vm", name="more")
            self.control("storage", sr=SHARED, physical_size=1)
            self.assertNotEqual(self.control("fingerprint"), before)
            self.control("back")
            self.assertEqual(self.control("fingerprint"), before)
        self.assertEqual(self.pool.world.settings.xapi_major, 26)
        self.get("/export", ref=self.vm("halted"))


class TwoPools(PoolCase):
    """A second pool in the same process knows nothing of the first."""

    vms = 1

    def test_a_vm_goes_from_one_to_the_other(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        other = Pool(Path(folder.name), vms=0, seed=2)
        told = other.start()
        self.addCleanup(other.stop)
        before = self.control("fingerprint")
        archive = self.get("/export", ref=self.vm("halted")).body
        session = other.world.login("root", "secret")
        self.assertEqual(client.put(self.first, "/import", archive, session_id=session).status, 401)
        answer = client.put(told["members"][0]["https"], "/import", archive, session_id=session, restore="true")
        client.wait(answer.headers["task-id"], lambda task: other.world.db.get("task", task))
        self.assertEqual([row["uuid"] for row in other.world.db.tables["VM"].values() if row["name_label"] == "vm-0-halted"],
                         [self.api.VM.get_uuid(self.vm("halted"))])
        self.assertEqual(self.control("fingerprint"), before)


if __name__ == "__main__":
    unittest.main()
