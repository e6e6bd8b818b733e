"""The database of a pool, backups of hosts, and records of VMs without their disks (contract 7, 2.2). Run: python test_metadata.py

Needs the binary (XENITH, default target/release/xenith).
"""
from __future__ import annotations

import gzip
import io
import json
import stat
import tarfile
import unittest
import xml.etree.ElementTree as ElementTree

from backup_case import BackupCase


class MetadataCase(BackupCase):
    """A pool of some size."""

    disk_mib = 2

    def one(self, *arguments: str) -> dict:
        summary, _ = self.backup(*arguments)
        [snapshot] = summary["snapshots"]
        return snapshot

    def content(self, snapshot: dict) -> bytes:
        return self.repository.run("dump", snapshot["id"]).stdout

    def check_refused(self, *arguments: str, words: tuple[str, ...], code: int = 1) -> None:
        """Nothing is kept, one message has these words, and the exit code tells damage (3) from the rest."""
        done = self.repository.run("--json", "backup", *self.login(), *arguments, code=code)
        [failed] = json.loads(done.stdout)["failed"]
        for word in words:
            self.assertIn(word, f"{failed['message']}\n{failed['hint']}")
        self.assertEqual(self.repository.snapshots(), [])
        self.check_nothing_left()


class Database(MetadataCase):
    """`pool-db`."""

    def test_it_comes_out_as_the_pool_gave_it_and_only_its_owner_may_read_it(self) -> None:
        snapshot = self.one("pool-db")
        self.assertEqual((snapshot["container"], snapshot["vm_name"]), ("pool-db", "simulated"))
        target = self.repository.folder / "pool.xml"
        self.repository.run("restore", snapshot["id"], "--target", str(target))
        self.assertEqual(stat.S_IMODE(target.stat().st_mode), 0o600)
        self.assertEqual(target.read_bytes(), self.content(snapshot))
        root = ElementTree.fromstring(target.read_bytes())
        names = {row.get("name_label") for row in root.iterfind("table[@name='VM']/row")}
        self.assertLessEqual(set(self.vms), names)
        task = self.task()
        self.put("/pool/xmldbdump", target.read_bytes(), task_id=task, dry_run="true")
        self.assertEqual(self.ended(task)["status"], "success")
        self.api.task.destroy(task)
        self.check_nothing_left()

    def test_twice_the_same_adds_next_to_nothing(self) -> None:
        self.setting(database_mib=4)
        self.control("vms", count=20, name="more-{}", disk_mib=1)
        first = self.one("pool-db")
        self.assertGreater(first["added"], 16 << 10)
        second = self.one("pool-db")
        self.assertNotEqual(self.content(first), self.content(second))
        self.assertLessEqual(second["added"], 16 << 10)

    def test_one_that_is_empty_or_cut_is_not_kept(self) -> None:
        self.setting(upgrading=True)
        self.check_refused("pool-db", words=("upgrad",), code=3)
        self.control("set", upgrading=False)
        for action in ("cut", "error"):
            with self.subTest(action):
                self.control("fault", kind="stream", path="/pool/xmldbdump", at=5000, action=action)
                self.check_refused("pool-db", words=("/var/log/",))

    def test_a_role_that_may_not_is_told(self) -> None:
        self.check_refused("pool-db", "--xapi-user", "backup", words=("RBAC_PERMISSION_DENIED", "role"))


class Hosts(MetadataCase):
    """`host:NAME`."""

    def test_each_host_gives_its_own(self) -> None:
        for member in self.told["members"]:
            snapshot = self.one(f"host:{member['name']}")
            self.assertEqual((snapshot["container"], snapshot["vm_name"]), ("host", member["name"]))
            with tarfile.open(fileobj=io.BytesIO(gzip.decompress(self.content(snapshot)))) as tar:
                self.assertEqual(tar.extractfile("etc/hostname").read().decode(), member["hostname"])
        self.check_nothing_left()

    def test_one_that_is_cut_is_not_kept(self) -> None:
        self.control("fault", kind="stream", path="/host_backup", at=700, action="cut")
        self.check_refused(f"host:{self.other['name']}", words=("host",))


class Records(MetadataCase):
    """Without disks, and all together."""

    def test_records_alone_need_no_snapshot_and_can_be_imported(self) -> None:
        snapshots = self.control("calls").get("Async.VM.snapshot")
        name = self.name("running")
        snapshot = self.one(f"vm:{name}", "--metadata-only")
        self.assertEqual((snapshot["container"], snapshot["vm_name"]), ("metadata", name))
        self.assertEqual(self.control("calls").get("Async.VM.snapshot"), snapshots)
        task = self.task()
        self.put("/import_metadata", self.content(snapshot), task_id=task, dry_run="true")
        self.assertEqual(self.ended(task)["status"], "success")
        self.api.task.destroy(task)
        self.check_nothing_left()

    def test_everything_is_vms_templates_database_and_hosts(self) -> None:
        summary, _ = self.backup("--everything")
        found = {(snapshot["container"], snapshot["vm_name"]) for snapshot in summary["snapshots"]}
        hosts = {("host", member["name"]) for member in self.told["members"]}
        vms = {("xva", name) for name in [*self.vms, "golden template"]}
        self.assertEqual(found, {("pool-db", "simulated"), *hosts, *vms})
        self.assertEqual({snapshot["run_id"] for snapshot in summary["snapshots"]}, {summary["run_id"]})
        self.check_nothing_left()

    def test_the_database_and_the_hosts_come_with_vms(self) -> None:
        summary, _ = self.backup(f"vm:{self.name('halted')}", "--with-pool-db", "--with-hosts")
        self.assertEqual([snapshot["container"] for snapshot in summary["snapshots"]].count("host"), 2)
        self.assertEqual({snapshot["container"] for snapshot in summary["snapshots"]}, {"xva", "pool-db", "host"})


if __name__ == "__main__":
    unittest.main()
