"""Metadata of a pool goes to another one: a database, hosts, records without disks. Run: python test_elsewhere.py

Needs the binary (XENITH, default target/release/xenith).
"""
from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
import unittest

from restore_case import RestoreCase

SHARED = "Shared storage"


class ElsewhereCase(RestoreCase):
    """The database of `here`, its hosts, and the records of its VMs."""

    disk_mib = 1
    form = ()

    @classmethod
    def back_up(cls) -> None:
        done = cls.repository.run("--json", "backup", *cls.here.login("--pool", cls.password), "pool-db", *(
            f"host:{member['name']}" for member in cls.here.told["members"]))
        rows = json.loads(done.stdout)["snapshots"]
        cls.database = next(row["id"] for row in rows if row["container"] == "pool-db")
        cls.hosts = {row["vm_name"]: row["id"] for row in rows if row["container"] == "host"}
        cls.stored = cls.repository.run("dump", cls.database).stdout
        cls.records = cls.saved("vm:vm-1-running", "vm:vm-0-halted", "--metadata-only")

    def lose_devices(self) -> None:
        for pif in self.there.world.db.tables["PIF"]:
            self.there.control("update", cls="PIF", ref=pif, changes={"device": "eth7"})


class Database(ElsewhereCase):
    """`restore` of a `pool-db`: the pool's own dry run, and what can be told without it."""

    def test_a_dry_run_compares_and_changes_nothing(self) -> None:
        before = self.fingerprints()
        done = self.restore(self.there, self.database, "--dry-run")
        self.assertIn(done.returncode, (0, 3), done.stderr)
        self.check_same(before)
        told = (done.stdout + done.stderr).lower()
        for row in (self.here.row("host", "xen-two"), self.here.row("SR", SHARED)):
            self.assertIn(row["uuid"], told)
        self.assertNotIn("database", self.there.world.blobs)

    def test_for_real_the_pool_gets_exactly_what_was_saved(self) -> None:
        self.check_ended(self.restore(self.there, self.database, "--yes"), 0)
        self.assertEqual(self.there.world.blobs["database"], self.stored)
        self.assertEqual(self.there.passing(), [])

    def test_what_has_no_meaning_for_it_is_told(self) -> None:
        before = self.fingerprints()
        for word in ("--start", "--keep-uuid", "--verify"):
            self.check_ended(self.restore(self.there, "pool:latest", "--yes", word), 1, f"{word} has no meaning for the database of a pool")
        self.check_same(before)

    def test_it_becomes_a_file_by_its_kind(self) -> None:
        path = self.repository.folder / "kind.xml"
        self.check_ended(self.told("restore", "pool:latest", "--target", str(path)), 0)
        self.assertEqual(path.read_bytes(), self.stored)
        self.assertEqual(self.repository.run("dump", "pool:latest").stdout, self.stored)

    def test_nobody_is_surprised(self) -> None:
        before = self.fingerprints()
        self.check_ended(self.restore(self.there, self.database), 1, "--yes")
        self.check_same(before)

    def test_a_pool_without_the_cards_is_refused(self) -> None:
        self.lose_devices()
        before = self.fingerprints()
        for more in (["--dry-run"], ["--yes"]):
            done = self.restore(self.there, self.database, *more)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("eth0", done.stdout + done.stderr)
            self.check_same(before)

    def test_faults_are_told_and_leave_nothing(self) -> None:
        before = self.fingerprints()
        for fault in ({"kind": "task", "path": "/pool/xmldbdump", "action": "fails", "error": ["RESTORE_INCOMPATIBLE_VERSION"]},
                      {"kind": "stream", "path": "/pool/xmldbdump", "at": 4096, "action": "reset"},
                      {"kind": "http_error", "path": "/pool/xmldbdump", "status": 403}):
            with self.subTest(fault):
                self.there.control("fault", **fault)
                self.assertIn(self.restore(self.there, self.database, "--yes").returncode, (1, 3))
                self.check_same(before)
                self.assertEqual(self.there.control("faults"), [])

    def test_a_role_that_may_not_is_told(self) -> None:
        before = self.fingerprints()
        done = self.restore(self.there, self.database, "--yes", "--xapi-user", "backup")
        self.check_ended(done, 1, "role")
        self.check_same(before)


class Hosts(ElsewhereCase):
    """`restore` of a `host`."""

    def test_another_host_is_refused(self) -> None:
        before = self.fingerprints()
        for name, snapshot in self.hosts.items():
            self.check_ended(self.restore(self.there, snapshot, "--yes"), 1, self.here.row("host", name)["uuid"])
        self.check_same(before)


class Uuids(ElsewhereCase):
    """`--keep-uuid`: a VM is to be there once."""

    def configured(self, *sides: object) -> list[str]:
        lines = []
        for number, side in enumerate(sides):
            lines += [f"[pool.p{number}]", f"url = '{side.url}'", f"password_file = '{self.password}'", f"fingerprint = {json.dumps(side.pins.split(','))}"]
        config = self.repository.folder / "config.toml"
        config.write_text("\n".join([*lines, "[pool.gone]", "url = 'https://127.0.0.9:1'", f"password_file = '{self.password}'", "insecure = true"]))
        return ["--config", str(config)]

    def test_a_vm_that_another_pool_has_does_not_come_with_its_uuid(self) -> None:
        vm = self.saved("vm:vm-0-halted")["vm-0-halted"]
        config, before = self.configured(self.here, self.there), self.fingerprints()
        for more in (["--dry-run"], []):
            self.check_ended(self.restore(self.there, vm, "--keep-uuid", *config, *more), 1, "pool p0 has the VM vm-0-halted", "--allow-duplicate-uuid")
            self.check_same(before)
        self.check_ended(self.restore(self.there, vm, "--keep-uuid", "--allow-duplicate-uuid", *config), 0)
        self.assertEqual(self.there.row("VM", "vm-0-halted")["uuid"], self.here.row("VM", "vm-0-halted")["uuid"])

    def test_only_pools_that_answer_are_asked_and_not_the_pool_itself(self) -> None:
        vm = self.saved("vm:vm-0-halted")["vm-0-halted"]
        done = self.restore(self.there, vm, "--keep-uuid", *self.configured(self.there))
        self.check_ended(done, 0, "pool gone was not asked")


class DatabasesOfHosts(ElsewhereCase):
    """`restore --only-pool-db`: what `host-backup` saved beside the system."""

    def setUp(self) -> None:
        super().setUp()
        self.file = self.repository.folder / "pool.xml"
        self.file.unlink(missing_ok=True)

    def database_of(self, *arguments: str) -> subprocess.CompletedProcess:
        return self.told("restore", *arguments, "--only-pool-db", "--target", str(self.file))

    def saved_by(self, snapshot: str) -> bytes:
        archive = gzip.decompress(self.repository.run("dump", snapshot).stdout)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            [name] = [name for name in tar.getnames() if name.startswith("var/backup/pool-database-")]
            return tar.extractfile(name).read()

    def test_it_comes_out_as_it_was_and_only_its_owner_may_read_it(self) -> None:
        two = self.hosts["xen-two"]
        for arguments, snapshots in ((["host:latest", "--vm", "xen-two"], [two]), ([two], [two]), (["latest"], self.hosts.values())):
            with self.subTest(arguments):
                self.check_ended(self.database_of(*arguments, "--dry-run"), 0)
                self.assertFalse(self.file.exists())
                done = self.database_of(*arguments)
                self.check_ended(done, 0)
                self.assertIn("xe pool-restore-database", done.stdout)
                self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)
                self.assertIn(self.file.read_bytes(), [self.saved_by(snapshot) for snapshot in snapshots])
                self.file.unlink()

    def test_a_file_that_is_there_stays(self) -> None:
        self.file.write_text("mine")
        self.check_ended(self.database_of("latest"), 1, "exists", "--force")
        self.assertEqual(self.file.read_text(), "mine")
        self.check_ended(self.database_of("latest", "--force"), 0)

    def test_what_is_no_host_or_has_no_database_is_told(self) -> None:
        self.check_ended(self.database_of(self.database), 1, "not the system of a host")
        self.check_ended(self.database_of("host:latest", "--vm", "nobody"), 1, "no snapshot matches")
        done = self.told("restore", "latest", "--only-pool-db", "--target", f"{self.repository.folder}/")
        self.check_ended(done, 1, "name that file")
        self.check_ended(self.restore(self.there, "latest", "--only-pool-db"), 1, "usage:")
        self.assertEqual([path.name for path in self.repository.folder.iterdir() if "pool.xml" in path.name], [])


class Records(ElsewhereCase):
    """`restore --metadata-only`: a VM whose disks are there."""

    def forget(self, name: str) -> str:
        """The VM is gone, its disks are there. The uuid that it had."""
        vm = self.here.one("VM", name)
        self.here.control("update", cls="VM", ref=vm, changes={"power_state": "Halted"})
        for vbd in self.here.world.db.get("VM", vm)["VBDs"]:
            self.here.control("update", cls="VBD", ref=vbd, changes={"currently_attached": False})
        uuid = self.here.world.db.get("VM", vm)["uuid"]
        self.here.api.VM.destroy(vm)
        return uuid

    def test_a_vm_comes_back_to_its_disks(self) -> None:
        for name in ("vm-0-halted", "vm-1-running"):
            with self.subTest(name):
                self.here.control("back")
                wanted = self.here.digests(self.here.one("VM", name))
                uuid = self.forget(name)
                before = self.here.control("fingerprint")
                arguments = [self.records[name], "--metadata-only", "--keep-uuid"]
                self.check_ended(self.restore(self.here, *arguments, "--dry-run"), 0)
                self.assertEqual(self.here.control("fingerprint"), before)
                self.check_ended(self.restore(self.here, *arguments), 0)
                [made] = self.here.new("vms")
                self.assertEqual((self.here.world.db.get("VM", made)["uuid"], self.here.digests(made)), (uuid, wanted))
                self.assertEqual((self.here.marks(), self.here.passing()), ([], []))

    def test_without_the_disks_there_is_no_vm(self) -> None:
        before = self.fingerprints()
        for more in (["--dry-run"], []):
            done = self.restore(self.there, self.records["vm-0-halted"], "--metadata-only", *more)
            self.assertIn(done.returncode, (1, 3), done.stderr)
            self.check_same(before)

    def test_a_newer_pool_is_needed(self) -> None:
        self.there.control("set", xapi_major=1, xapi_minor=160)
        before = self.fingerprints()
        done = self.restore(self.there, self.records["vm-0-halted"], "--metadata-only")
        self.assertIn(done.returncode, (1, 3), done.stderr)
        self.check_same(before)


if __name__ == "__main__":
    unittest.main()
