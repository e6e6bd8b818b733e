"""A fail-over that takes of each VM what is newest in several repositories. Run: python test_repositories.py

Needs the binary (XENITH, default target/release/xenith).
"""
from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import unittest
from pathlib import Path

from restore_case import ClassCleanup, Repository, RestoreCase


class Several(RestoreCase):
    """`web` is newer in the second repository, `db` in the first, `mail` only in the first and `wiki` only in the second,
    which knows the vApp of `web` and `db`, too."""

    here_vms = 0
    names = ("web", "db", "mail", "wiki")

    @classmethod
    def prepare_pools(cls) -> None:
        made = cls.here.control("vms", count=4, name="{}", disk_mib=2, data_mib=1)
        cls.vms = {}
        for vm, name in zip(made, cls.names, strict=True):
            cls.here.update("VM", vm["name"], name_label=name)
            cls.vms[name] = vm["uuid"]
        cls.here.control("appliance", name="shop", vms={cls.vms[name]: {"order": 0} for name in ("web", "db")})

    @classmethod
    def back_up(cls) -> None:
        first, second = cls.repository, Repository(ClassCleanup(cls))
        second.password = second.secret("password", "battery staple")
        shutil.rmtree(second.path)
        second.run("init")
        cls.second = second
        cls.digests = {}
        for repository, time, names, more in ((first, "2026-11-01 01:00:00", ("web", "mail"), ()), (second, "2026-11-01 02:00:00", ("db", "wiki"), ("--with-pool-db",)),
                                              (second, "2026-11-02 01:00:00", ("web",), ()), (first, "2026-11-02 02:00:00", ("db",), ())):
            cls.change(names)
            cls.save(repository, time, names, *more)
        cls.config = first.folder / "config.toml"
        cls.config.write_text(f"[repository.usb]\npath = '{second.path}'\npassword_file = '{second.password}'\n")

    @classmethod
    def change(cls, names: tuple[str, ...]) -> None:
        for name in names:
            vm = cls.here.one("VM", name)
            [drive] = cls.here.drives(vm)
            uuid = cls.here.world.db.get("VDI", drive["VDI"])["uuid"]
            cls.here.control("write", vdi=uuid, offset=0, length=100_000, seed=len(cls.digests) + 7)
            cls.digests.setdefault(name, []).append(cls.here.digests(vm))

    @classmethod
    def save(cls, repository: Repository, time: str, names: tuple[str, ...], *more: str) -> None:
        vms = [f"vm:{name}" for name in names]
        repository.run("backup", *cls.here.login("--pool", cls.password), *vms, "--time", time, *more)

    def dr(self, action: str, typed: str = "", code: int = 0, also: str = "usb") -> subprocess.CompletedProcess:
        done = self.told("dr", action, "--config", str(self.config), *self.there.login("--to-pool", self.password), "--also-repo", also, *shlex.split(typed))
        self.check_ended(done, code)
        return done

    def planned(self, typed: str = "", code: int = 0, also: str = "usb") -> dict:
        before = self.fingerprints()
        done = self.dr("plan", typed, code, also)
        self.check_same(before)
        return json.loads(done.stdout)

    def without_packs(self) -> None:
        """The second repository keeps its lists and loses what they name."""
        shutil.copytree(self.second.path / "packs", self.second.folder / "kept", dirs_exist_ok=True)
        self.addCleanup(self.packs_back)
        for path in (self.second.path / "packs").rglob("*"):
            if path.is_file():
                path.unlink()

    def packs_back(self) -> None:
        shutil.rmtree(self.second.path / "packs")
        shutil.move(self.second.folder / "kept", self.second.path / "packs")

    def sources(self, plan: dict) -> dict[str, Path]:
        return {vm["name"]: Path(vm["repository"]) for vm in plan["vms"]}

    def test_the_newest_of_each_vm_is_taken(self) -> None:
        first, second = self.repository.path, self.second.path
        plan = self.planned()
        self.assertEqual(self.sources(plan), {"web": second, "db": first, "mail": first, "wiki": second})
        self.assertTrue(plan["feasible"])
        self.assertEqual({vm["name"]: vm["app"] for vm in plan["vms"]}, {"web": "shop", "db": "shop", "mail": None, "wiki": None})
        plan = self.planned("--at '2026-11-01 12:00:00'")
        self.assertEqual(self.sources(plan), {"web": first, "db": second, "mail": first, "wiki": second})

    def test_what_comes_up_is_the_newest(self) -> None:
        self.dr("run", "--concurrency 2")
        made = {self.there.world.db.get("VM", vm)["name_label"]: self.there.digests(vm) for vm in self.there.new("vms")}
        self.assertEqual(made, {name: digests[-1] for name, digests in self.digests.items()})
        self.assertNotEqual(*self.digests["web"])
        [app] = self.there.world.db.tables["VM_appliance"].values()
        self.assertEqual((app["name_label"], len(app["VMs"])), ("shop", 2))

    def test_a_snapshot_that_cannot_be_read_gives_way_to_one_of_before(self) -> None:
        self.without_packs()
        plan = self.planned("--select vm:web --select vm:db", code=3)
        self.assertEqual(self.sources(plan), {"web": self.repository.path, "db": self.repository.path})
        self.assertTrue(plan["feasible"])
        notes = "\n".join(plan["notes"])
        self.assertIn("web", notes)
        self.assertIn(f"{self.repository.path} is taken instead", notes)
        report = json.loads(self.dr("test", "--select vm:web", code=3).stdout)
        self.assertEqual((report["restored"], report["failed"]), (1, 0))
        self.assertEqual(report["vms"][0]["repository"], str(self.repository.path))

    def test_a_vm_of_which_nothing_can_be_read_is_in_the_way(self) -> None:
        self.without_packs()
        plan = self.planned(code=3)
        self.assertFalse(plan["feasible"])
        [lost] = plan["lost"]
        self.assertIn("wiki", lost)
        before = self.fingerprints()
        self.dr("run", code=3)
        self.check_same(before)
        self.dr("run", "--force", code=3)
        made = {self.there.world.db.get("VM", vm)["name_label"] for vm in self.there.new("vms")}
        self.assertEqual(made, {"web", "db", "mail"})

    def test_a_vm_that_is_not_meant_is_in_nobodys_way(self) -> None:
        self.without_packs()
        self.assertEqual(self.planned("--select vm:mail", code=3)["lost"], [])

    def test_each_repository_has_to_open(self) -> None:
        """Without it older snapshots might be taken than there are."""
        before = self.fingerprints()
        for also, words in ((str(self.second.path), "password"), (str(self.second.folder / "gone"), "no repository"), ("s3:bucket", "local")):
            with self.subTest(also):
                done = self.dr("plan", code={"password": 12, "no repository": 10}.get(words, 1), also=also)
                self.assertIn(words, done.stderr)
                self.assertIn(also, done.stderr)
        self.check_same(before)


class Copied(RestoreCase):
    """A second directory is a copy of the first, of which a pack is damaged."""

    here_vms = 0

    @classmethod
    def prepare_pools(cls) -> None:
        cls.here.control("vm", name="web", disk_mib=24, data_mib=24)

    @classmethod
    def back_up(cls) -> None:
        cls.saved("all")
        cls.copy = cls.repository.folder / "copy"
        shutil.copytree(cls.repository.path, cls.copy)
        largest = max((cls.repository.path / "packs").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
        bytes_of = bytearray(largest.read_bytes())
        middle = len(bytes_of) // 2
        bytes_of[middle:middle + 64] = bytes(64)
        largest.chmod(0o600)
        largest.write_bytes(bytes_of)

    def dr(self, typed: str, code: int) -> subprocess.CompletedProcess:
        done = self.told("dr", "run", *self.there.login("--to-pool", self.password), *shlex.split(typed))
        self.check_ended(done, code)
        return done

    def test_what_one_cannot_deliver_comes_from_the_other(self) -> None:
        report = json.loads(self.dr(f"--also-repo {self.copy}", 3).stdout)
        self.assertEqual((report["restored"], report["failed"]), (1, 0))
        [note] = report["notes"]
        self.assertIn(f"it is taken from {self.copy}", note)
        [vm] = self.there.new("vms")
        self.assertEqual(self.there.digests(vm), self.here.digests(self.here.one("VM", "web")))
        self.assertEqual(len(self.there.new("vdis")), 1)

    def test_alone_it_fails_and_leaves_nothing(self) -> None:
        before = self.fingerprints()
        report = json.loads(self.dr("", 3).stdout)
        self.assertEqual((report["restored"], report["failed"]), (0, 1))
        self.check_same(before)


if __name__ == "__main__":
    unittest.main()
