"""Metadata back into a pool: its database, systems of hosts, records of VMs; and what is put right afterwards. Run: python test_recovery.py

Needs the binary (XENITH, default target/release/xenith).
"""
from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import unittest

from backup_case import BackupCase
from pool import Pool


class RecoveryCase(BackupCase):
    """A pool whose metadata is in a repository."""

    disk_mib = 2

    def setUp(self) -> None:
        super().setUp()
        self.world = self.pool.world
        self.world.blobs.clear()

    def saved(self, *arguments: str) -> str:
        """The id of the one snapshot."""
        summary, _ = self.backup(*arguments)
        [snapshot] = summary["snapshots"]
        return snapshot["id"]

    def to_pool(self, snapshot: str, *arguments: str, code: int = 0) -> dict:
        login = ["--to-pool", *self.login()[1:]]
        done = self.repository.run("--json", "restore", snapshot, *login, *arguments, code=code)
        return json.loads(done.stdout) if done.stdout else json.loads(done.stderr)

    def puts(self, path: str) -> int:
        return self.control("calls").get(f"PUT {path}", 0)

    def state(self) -> str:
        """All objects of the pool but its sessions and tasks, as text."""
        objects = self.control("state", digests=0)["objects"]
        return json.dumps({cls: rows for cls, rows in objects.items() if cls not in ("session", "task")}, sort_keys=True)

    def check_nothing_changed(self, before: str) -> None:
        self.assertEqual(self.world.blobs, {})
        self.assertEqual(self.state(), before)
        self.check_nothing_left()


class Database(RecoveryCase):
    """`pool-db`."""

    def test_it_goes_back_as_it_was_saved_after_the_pool_has_tried_it(self) -> None:
        snapshot = self.saved("pool-db")
        content = self.repository.run("dump", snapshot).stdout
        puts = self.puts("/pool/xmldbdump")
        told = self.to_pool(snapshot, "--yes")
        self.assertEqual((told["message_type"], told["container"], told["fits"]), ("restored_metadata", "pool-db", True))
        self.assertEqual(self.world.blobs, {"database": content})
        self.assertEqual(self.puts("/pool/xmldbdump") - puts, 2, "once to try it")
        hosts = {entry["name"] for entry in told["differences"] if entry["kind"] == "host"}
        self.assertEqual(hosts, {self.other["name"]}, "only the coordinator stays")
        self.check_nothing_left()

    def test_a_rehearsal_changes_nothing(self) -> None:
        snapshot, before = self.saved("pool-db"), self.state()
        self.assertTrue(self.to_pool(snapshot, "--dry-run")["fits"])
        self.check_nothing_changed(before)

    def test_nobody_restores_one_by_a_slip(self) -> None:
        snapshot, before = self.saved("pool-db"), self.state()
        told = self.to_pool(snapshot, code=1)
        self.assertIn("--yes", told["hint"])
        self.check_nothing_changed(before)

    def test_whoever_agrees_types_a_word_at_the_terminal(self) -> None:
        self.saved("pool-db")
        for word, code in (("yes", 1), ("replace", 0)):
            with self.subTest(word):
                self.world.blobs.clear()
                command = self.repository.command("restore", "pool:latest", "--to-pool", *self.login()[1:])
                main, side = pty.openpty()
                running = subprocess.Popen(command, stdin=side, stdout=subprocess.DEVNULL, stderr=side)
                os.close(side)
                told = b""
                while b"to go on:" not in told:
                    told += os.read(main, 4096)
                os.write(main, word.encode() + b"\n")
                while running.poll() is None:
                    with contextlib.suppress(OSError):
                        os.read(main, 4096)
                os.close(main)
                self.assertIn(b"have to join again", told)
                self.assertEqual((running.returncode, "database" in self.world.blobs), (code, code == 0))

    def test_a_pool_that_refuses_it_is_explained(self) -> None:
        snapshot = self.saved("pool-db")
        for code, word in (("RESTORE_INCOMPATIBLE_VERSION", "release"), ("RESTORE_TARGET_MISSING_DEVICE", "network card"),
                           ("RESTORE_TARGET_MGMT_IF_NOT_IN_BACKUP", "host-management-reconfigure")):
            with self.subTest(code):
                before = self.state()
                self.control("fault", kind="task", path="/pool/xmldbdump", action="fails", error=[code, "eth1"])
                told = self.to_pool(snapshot, "--yes", code=1)
                self.assertIn(code, told["message"])
                self.assertIn(word, told["hint"])
                self.check_nothing_changed(before)

    def test_a_card_that_is_missing_is_told_before(self) -> None:
        snapshot = self.saved("pool-db")
        card = next(ref for ref, row in self.api.PIF.get_all_records().items() if row["host"] == self.api.pool.get_all_records()
                    [self.api.pool.get_all()[0]]["master"])
        self.control("update", cls="PIF", ref=card, changes={"device": "eth5"})
        self.addCleanup(self.control, "update", cls="PIF", ref=card, changes={"device": "eth0"})
        before = self.state()
        told = self.to_pool(snapshot, "--dry-run", code=3)
        stops = {entry["name"] for entry in told["differences"] if entry["stops"]}
        self.assertEqual(stops, {"eth0", "eth5"})
        puts = self.puts("/pool/xmldbdump")
        self.to_pool(snapshot, "--yes", code=1)
        self.assertEqual(self.puts("/pool/xmldbdump"), puts, "nothing was sent")
        self.check_nothing_changed(before)

    def configured(self, **pools: str) -> list[str]:
        """A configuration with these pools."""
        lines = []
        for name, address in pools.items():
            lines += [f"[pool.{name}]", f"url = '{address.removeprefix('https://')}'", f"password_file = '{self.root_password}'",
                      "insecure = true"]
        config = self.repository.folder / "config.toml"
        config.write_text("\n".join(lines))
        return ["--config", str(config)]

    def test_a_pool_may_have_its_own_database_back_and_one_that_is_gone_is_not_asked(self) -> None:
        snapshot, before = self.saved("pool-db"), self.state()
        config = self.configured(same=self.first, gone="https://127.0.0.9:1")
        self.assertTrue(self.to_pool(snapshot, "--dry-run", *config)["fits"])
        self.check_nothing_changed(before)

    def test_a_host_that_lives_in_another_pool_stops_it(self) -> None:
        snapshot = self.saved("pool-db")
        folder = self.repository.folder / "twin"
        folder.mkdir()
        twin = Pool(folder, vms=1, disk_mib=1)  # of the same seed, so of the same uuids
        told = twin.start()
        self.addCleanup(twin.stop)
        self.assertIn(self.other["uuid"], {member["uuid"] for member in told["members"]})
        config = self.configured(twin=told["members"][0]["https"])
        for number, member in enumerate(self.told["members"]):
            ref = self.api.host.get_by_uuid(member["uuid"])
            self.control("update", cls="host", ref=ref, changes={"uuid": f"{number:08}-1111-2222-3333-444444444444"})
            self.addCleanup(self.control, "update", cls="host", ref=ref, changes={"uuid": member["uuid"]})
        before, puts = self.state(), self.puts("/pool/xmldbdump")
        error = self.to_pool(snapshot, "--yes", *config, code=1)
        self.assertIn("alive in pool twin", error["message"])
        self.assertIn("--allow-duplicate-uuid", error["hint"])
        self.assertEqual(self.puts("/pool/xmldbdump"), puts, "nothing was sent")
        self.check_nothing_changed(before)
        self.to_pool(snapshot, "--yes", "--allow-duplicate-uuid", *config)
        self.assertIn("database", self.world.blobs)


class Hosts(RecoveryCase):
    """`host:NAME`."""

    def test_only_the_host_itself_takes_its_system(self) -> None:
        for member in self.told["members"]:
            snapshot = self.saved(f"host:{member['name']}")
            content = self.repository.run("dump", snapshot).stdout
            self.to_pool(snapshot, "--dry-run")
            self.assertEqual(self.world.blobs, {})
            self.to_pool(snapshot)
            self.assertEqual(self.world.blobs, {f"host:{member['hostname']}": content})
            self.world.blobs.clear()
        self.check_nothing_left()

    def test_it_says_that_nothing_is_active_yet(self) -> None:
        snapshot = self.saved(f"host:{self.other['name']}")
        login = ["--to-pool", *self.login()[1:]]
        told = self.repository.run("restore", snapshot, *login).stdout.decode()
        self.assertIn("staged on the spare partition; nothing is active until the install CD boots", told)

    def test_another_host_is_refused(self) -> None:
        snapshot = self.saved(f"host:{self.other['name']}")
        ref = self.api.host.get_by_uuid(self.other["uuid"])
        self.control("update", cls="host", ref=ref, changes={"uuid": "00000000-1111-2222-3333-444444444444"})
        self.addCleanup(self.control, "update", cls="host", ref=ref, changes={"uuid": self.other["uuid"]})
        puts = self.puts("/host_restore")
        told = self.to_pool(snapshot, code=1)
        self.assertIn(self.other["uuid"], told["message"])
        self.assertEqual(self.puts("/host_restore"), puts)

    def test_a_host_that_cannot_unpack_it_is_explained(self) -> None:
        snapshot = self.saved(f"host:{self.other['name']}")
        self.control("fault", kind="task", path="/host_restore", action="fails", error=["RESTORE_SCRIPT_FAILED", "no space"])
        self.assertIn("spare partition", self.to_pool(snapshot, code=1)["hint"])
        self.check_nothing_left()


class Records(RecoveryCase):
    """Of VMs whose disks are there."""

    def check_same_drives(self, vm: str, disks: set[str]) -> None:
        ref = self.api.VM.get_by_uuid(vm)
        self.assertEqual({self.api.VDI.get_uuid(vdi) for vdi in self.disks_of(ref)}, disks)
        self.api.VM.destroy(ref)

    def test_records_make_the_vm_again_on_its_disks(self) -> None:
        name = self.name("halted")
        disks = {self.api.VDI.get_uuid(vdi) for vdi in self.disks_of(self.vms[name])}
        for kind in (["--metadata-only"], []):
            with self.subTest(kind):
                snapshot = self.saved(f"vm:{name}", *kind)
                before = self.state()
                self.to_pool(snapshot, "--metadata-only", "--dry-run")
                self.check_nothing_changed(before)
                [made] = self.to_pool(snapshot, "--metadata-only")["vms"]
                self.assertEqual(made["name"], name)
                self.assertNotEqual(made["uuid"], self.api.VM.get_uuid(self.vms[name]))
                self.check_same_drives(made["uuid"], disks)

    def test_a_disk_that_is_gone_is_told_before(self) -> None:
        for kind in (["--metadata-only"], []):
            with self.subTest(kind):
                self.control("vm", name="short-lived", disk_mib=1)
                vm = self.vm("short-lived")
                snapshot = self.saved("vm:short-lived", *kind)
                [vdi] = self.disks_of(vm)
                gone = self.api.VDI.get_uuid(vdi)
                self.api.VM.destroy(vm)
                self.api.VDI.destroy(vdi)
                before = self.state()
                told = self.to_pool(snapshot, "--metadata-only", code=1)
                self.assertRegex(told["message"], "VDI_LOCATION_MISSING|VDI_CONTENT_ID_MISSING")
                self.assertIn("--vdi OLD=NEW", told["hint"])
                self.assertEqual(self.state(), before)
                there = self.api.VDI.get_uuid(self.disks_of(self.vms[self.name("halted")])[0])
                [made] = self.to_pool(snapshot, "--metadata-only", "--vdi", f"{gone}={there}")["vms"]
                self.check_same_drives(made["uuid"], {there})


class Suspended(RecoveryCase):
    """`pool fix-suspended`."""

    def fix(self, *arguments: str) -> list[str]:
        done = self.repository.run("--json", "pool", "fix-suspended", *self.login(), *arguments)
        return [vm["name"] for vm in json.loads(done.stdout)["reset"]]

    def test_only_a_vm_without_memory_is_reset(self) -> None:
        name = self.name("suspended")
        vm = self.vms[name]
        before = self.state()
        self.assertEqual(self.fix(), [], "its memory is there")
        self.assertEqual(self.state(), before)
        memory = self.api.VM.get_record(vm)["suspend_VDI"]
        self.update(vm, {"suspend_VDI": "OpaqueRef:gone"})
        before = self.state()
        self.assertEqual(self.fix("--dry-run"), [name])
        self.assertEqual(self.state(), before)
        states = {ref: row["power_state"] for ref, row in self.api.VM.get_all_records().items()}
        self.assertEqual(self.fix(), [name])
        after = {ref: row["power_state"] for ref, row in self.api.VM.get_all_records().items()}
        self.assertEqual(after, states | {vm: "Halted"})
        self.assertEqual(self.fix(), [])
        self.assertTrue(self.api.VDI.get_uuid(memory), "no disk is removed")


class Runbook(RecoveryCase):
    """`dr runbook`."""

    def test_it_has_the_uuids_of_the_pool_and_needs_no_pool(self) -> None:
        summary, _ = self.backup(f"vm:{self.name('halted')}", "--with-pool-db", "--with-hosts")
        text = self.repository.run("dr", "runbook", "latest", "--pool", "simulated").stdout.decode()
        uuids = [member["uuid"] for member in self.told["members"]]
        uuids += [row["uuid"] for row in self.api.SR.get_all_records().values()]
        for uuid in uuids:
            self.assertIn(uuid, text)
        self.assertIn(f"xe host-forget uuid={self.other['uuid']}", text)
        self.assertNotIn(f"xe host-forget uuid={self.coordinator['uuid']}", text)
        for snapshot in summary["snapshots"]:
            self.assertIn(snapshot["short_id"], text)
        self.assertIn(self.name("suspended"), text.split("In the database these are suspended")[1])
        self.repository.run("dr", "runbook", "latest", "--pool", "another", code=1)


if __name__ == "__main__":
    unittest.main()
