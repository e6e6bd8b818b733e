"""A pool for the tests of one class, with the official Python client logged in."""
from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

import XenAPI

import client
from pool import Pool


class PoolCase(unittest.TestCase):
    """The pool lives as long as the class; faults and settings are those of one test."""

    disk_mib = 12
    vms = 4

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        cls.pool = Pool(cls.folder, vms=cls.vms, disk_mib=cls.disk_mib)
        cls.told = cls.pool.start()
        cls.addClassCleanup(cls.pool.stop)
        cls.control("set", auth_delay=0, progress_seconds=0, vbd_wait_seconds=0.3)

    def setUp(self) -> None:
        self.first, self.second = (member["https"] for member in self.told["members"])
        self.session = XenAPI.Session(self.first, ignore_ssl=True)
        self.session.login_with_password("root", "secret", "1.0", "tests")
        self.api = self.session.xenapi
        self.addCleanup(self.control, "clear")
        self.addCleanup(lambda: self.session("close")())

    @classmethod
    def control(cls, name: str, /, **given: object) -> object:
        return client.control(cls.told["control"], name, **given)

    def setting(self, **given: object) -> None:
        before = {name: getattr(self.pool.world.settings, name) for name in given}
        self.control("set", **given)
        self.addCleanup(self.control, "set", **before)

    def vm(self, kind: str) -> str:
        return next(ref for ref, row in self.api.VM.get_all_records().items() if row["name_label"].endswith(kind))

    def disks_of(self, vm: str) -> list[str]:
        vbds = [self.api.VBD.get_record(vbd) for vbd in self.api.VM.get_VBDs(vm)]
        return [vbd["VDI"] for vbd in sorted(vbds, key=lambda row: row["userdevice"]) if vbd["type"] == "Disk"]

    def digest(self, vdi: str) -> str:
        return self.control("state")["disks"][self.api.VDI.get_uuid(vdi)]

    def get(self, path: str, url: str | None = None, **query: str) -> client.Answer:
        return client.get(url or self.first, path, session_id=self.session._session, **query)

    def put(self, path: str, body: bytes, **more: object) -> client.Answer:
        return client.put(self.first, path, body, session_id=self.session._session, **more)

    def task(self) -> str:
        return self.api.task.create("test", "")

    def ended(self, task: str) -> dict:
        return client.wait(task, self.api.task.get_record)

    def same_disks(self, archive: bytes, vdis: list[str]) -> None:
        """The disks in an archive are these, byte by byte, and in the order of their ids as text."""
        members = client.unpack(archive)
        found = client.prefixes(members)
        self.assertEqual(found, sorted(found))
        sizes = {vdi: int(self.api.VDI.get_virtual_size(vdi)) for vdi in vdis}
        wanted = {self.digest(vdi): sizes[vdi] for vdi in vdis}
        self.assertEqual(len(found), len(vdis))
        for prefix in found:
            digests = {client.sha256(client.disk(members, prefix, size)) for size in wanted.values() if self.fits(members, prefix, size)}
            self.assertTrue(digests & wanted.keys(), prefix)

    @staticmethod
    def fits(members: list, prefix: str, size: int) -> bool:
        try:
            client.disk(members, prefix, size)
        except AssertionError:
            return False
        return True

    def refused(self, *error: str):
        """Expects this failure; its parameters may be left out."""
        case = self

        class Expect:
            def __enter__(self) -> None:
                pass

            def __exit__(self, _kind: object, problem: object, _trace: object) -> bool:
                case.assertIsInstance(problem, XenAPI.Failure)
                case.assertEqual(problem.details[:len(error)], list(error))
                return True
        return Expect()
