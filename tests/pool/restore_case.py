"""Two pools and a repository with backups of the VMs of one, for the tests of what goes back.

Needs the binary (XENITH, default target/release/xenith).
"""
from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import XenAPI

import client
from pool import Pool

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cli"))

from repository import Repository  # noqa: E402

NULL = "OpaqueRef:NULL"
SECONDS = 30  # that any restore may take


class Side:
    """A pool, asked by its own API and told by its control endpoint; `login` is how the program gets there."""

    def __init__(self, case: type[unittest.TestCase], seed: int, **given: int) -> None:
        folder = tempfile.TemporaryDirectory(prefix="pool-")
        case.addClassCleanup(folder.cleanup)
        self.pool = Pool(Path(folder.name), seed=seed, **given)
        self.world, self.told = self.pool.world, self.pool.start()
        case.addClassCleanup(self.pool.stop)
        self.control("set", auth_delay=0, progress_seconds=0, vbd_wait_seconds=0.3)
        coordinator, other = sorted(self.told["members"], key=lambda member: not member["coordinator"])
        self.url, self.pins = other["https"], ",".join(f"sha256:{member['sha256']}" for member in (coordinator, other))
        session = XenAPI.Session(coordinator["https"], ignore_ssl=True)
        session.login_with_password("root", "secret", "1.0", "tests")
        case.addClassCleanup(lambda: session("close")())
        self.api = session.xenapi
        self.own_session = session._session

    def control(self, name: str, /, **given: object) -> object:
        return client.control(self.told["control"], name, **given)

    def login(self, option: str, password: Path) -> list[str]:
        """By a member that does not lead the pool."""
        return [option, self.url, "--xapi-password-file", str(password), "--tls-fingerprint", self.pins]

    # ------------------------------------------------------------ what is there

    def one(self, cls: str, name: str) -> str:
        """The object of this name, or whose name ends with it if it is a VM of the start."""
        rows = self.world.db.tables[cls].items()
        found = [ref for ref, row in rows if row["name_label"] == name and not row.get("is_a_snapshot")] or \
            [ref for ref, row in rows if row["name_label"].endswith(name) and not row.get("is_a_snapshot")]
        [only] = found
        return only

    def row(self, cls: str, name: str) -> dict:
        return self.world.db.get(cls, self.one(cls, name))

    def has(self, cls: str, name: str) -> bool:
        return any(row["name_label"] == name for row in self.world.db.tables[cls].values())

    def update(self, cls: str, name: str, **changes: object) -> None:
        self.control("update", cls=cls, ref=self.one(cls, name), changes=changes)

    def new(self, kind: str) -> list[str]:
        """References of what was not there at the start."""
        return self.control("leftovers")[kind]

    def drives(self, vm: str, kind: str = "Disk") -> list[dict]:
        rows = (self.world.db.get("VBD", vbd) for vbd in self.world.db.get("VM", vm)["VBDs"])
        return sorted((row for row in rows if row["type"] == kind), key=lambda row: row["userdevice"])

    def digests(self, vm: str) -> list[str | None]:
        """Of the disks of a VM, in the order of its drives, and of its memory if it has such."""
        disks = [row["VDI"] for row in self.drives(vm)] + [self.world.db.get("VM", vm)["suspend_VDI"]]
        return [self.digest(vdi) for vdi in disks if vdi != NULL]

    def digest(self, vdi: str) -> str | None:
        return self.world.disks.digest(self.world.file(vdi))

    def cards(self, vm: str) -> list[tuple[str, str, str]]:
        """Place, address and network of each card of a VM."""
        rows = (self.world.db.get("VIF", vif) for vif in self.world.db.get("VM", vm)["VIFs"])
        return sorted((row["device"], row["MAC"], self.world.db.get("network", row["network"])["name_label"]) for row in rows)

    def storage_of(self, vm: str) -> list[str]:
        return [self.world.db.get("SR", self.world.db.get("VDI", row["VDI"])["SR"])["name_label"] for row in self.drives(vm)]

    def marks(self) -> list[str]:
        """Marks of the program on whatever is there."""
        rows = (row for rows in self.world.db.tables.values() for row in rows.values())
        return [f"{row['uuid']}: {key}" for row in rows for key in row.get("other_config", {}) if key.startswith("xenith")]

    def forget_sessions(self) -> None:
        """Those of others than the test: what a killed program leaves is forgotten after a day."""
        for session in set(self.world.db.tables["session"]) - {self.own_session}:
            self.world.db.delete("session", session)

    def passing(self) -> list[str]:
        """Tasks and sessions of others than the test."""
        sessions = [ref for ref in self.world.db.tables["session"] if ref != self.own_session]
        return [*sessions, *self.world.db.tables["task"]]


class RestoreCase(unittest.TestCase):
    """`here` are the VMs that were backed up, `there` is an empty pool. Both are as at the start before each test."""

    disk_mib = 4
    here_vms, there_vms = 4, 0
    form = ("--json",)  # of what the program tells

    @classmethod
    def setUpClass(cls) -> None:
        cls.here = Side(cls, 1, vms=cls.here_vms, disk_mib=cls.disk_mib)
        cls.there = Side(cls, 2, vms=cls.there_vms, disk_mib=cls.disk_mib)
        cls.sides = (cls.here, cls.there)
        cls.prepare_pools()
        cls.write()
        cls.repository = Repository(ClassCleanup(cls))
        cls.password = cls.repository.secret("xapi-password", "secret")
        cls.back_up()
        for side in cls.sides:
            side.control("keep")

    @classmethod
    def write(cls) -> None:
        """Each disk of `here` gets data of its own."""
        for number, row in enumerate(cls.here.world.db.tables["VDI"].values()):
            if row["virtual_size"] >= 512 << 10:
                cls.here.control("write", vdi=row["uuid"], offset=0, length=300_000, seed=number)

    @classmethod
    def prepare_pools(cls) -> None:
        """What is there before the backup."""

    @classmethod
    def back_up(cls) -> None:
        """All VMs and templates, with memory; `snapshots` is name to id."""
        cls.snapshots = cls.saved("all", "--include-templates", "--include-memory")

    @classmethod
    def saved(cls, *arguments: str) -> dict[str, str]:
        done = cls.repository.run("--json", "backup", *cls.here.login("--pool", cls.password), *arguments)
        return {row["vm_name"]: row["id"] for row in json.loads(done.stdout)["snapshots"]}

    def setUp(self) -> None:
        for side in self.sides:
            side.control("back")
            side.forget_sessions()

    def snapshot(self, name: str) -> str:
        """The snapshot of the VM of this name, or whose name ends with it."""
        return self.snapshots.get(name) or next(one for vm, one in self.snapshots.items() if vm.endswith(name))

    def restore(self, side: Side, snapshot: str, *arguments: str) -> subprocess.CompletedProcess:
        return self.told("restore", snapshot, *side.login("--to-pool", self.password), *arguments)

    def told(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(self.repository.command(*self.form, *arguments), capture_output=True, text=True, timeout=SECONDS)

    def check_ended(self, done: subprocess.CompletedProcess, code: int, *words: str) -> None:
        """The exit code, and words that were told on standard error."""
        told = f"{done.args[7:]}\n{done.stdout}\n{done.stderr}"
        self.assertEqual(done.returncode, code, told)
        for word in words:
            self.assertIn(word.lower(), done.stderr.lower(), told)
        self.assertNotIn("panicked", done.stderr)

    def check_same(self, before: dict[Side, str]) -> None:
        """Nothing is other than it was, and nobody waits for anything."""
        for side, fingerprint in before.items():
            left = {kind: refs for kind, refs in side.control("leftovers").items() if kind not in ("sessions", "blocked_operations")}
            self.assertEqual({kind: refs for kind, refs in left.items() if refs}, {})
            self.assertEqual(side.passing(), [])
            self.assertEqual(side.control("fingerprint"), fingerprint)

    def fingerprints(self) -> dict[Side, str]:
        return {side: side.control("fingerprint") for side in self.sides}


class ClassCleanup:
    """What asks a test to clean up asks its class."""

    def __init__(self, case: type[unittest.TestCase]) -> None:
        self.addCleanup = case.addClassCleanup
