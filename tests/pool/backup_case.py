"""A pool, a repository, and the program between them, for the tests of backups.

Needs the binary (XENITH, default target/release/xenith).
"""
from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import client
from case import PoolCase
from client import MIB

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cli"))

from repository import XENITH, Repository  # noqa: E402, F401


class BackupCase(PoolCase):
    """A pool, a repository, and how to get from one to the other."""

    def setUp(self) -> None:
        super().setUp()
        self.repository = Repository(self)
        self.root_password = self.repository.secret("xapi-password", "secret")
        coordinator, other = sorted(self.told["members"], key=lambda member: not member["coordinator"])
        self.coordinator, self.other = coordinator, other
        self.pins = ",".join(f"sha256:{member['sha256']}" for member in (coordinator, other))
        self.vms = {row["name_label"]: ref for ref, row in self.api.VM.get_all_records().items()
                    if not (row["is_a_template"] or row["is_a_snapshot"] or row["is_control_domain"])}
        self.before = self.control("leftovers")

    def login(self, *more: str, pool: str | None = None, password: Path | None = None) -> list[str]:
        """Arguments for the pool, by a member that does not lead it."""
        trust = more or ("--tls-fingerprint", self.pins)
        return ["--pool", pool or self.other["https"], "--xapi-password-file", str(password or self.root_password), *trust]

    def backup(self, *arguments: str, code: int = 0) -> tuple[dict, str]:
        """The summary, and what was told on standard error."""
        done = self.repository.run("--json", "backup", *self.login(), *arguments, code=code)
        return json.loads(done.stdout), done.stderr.decode()

    def tag(self, name: str, *tags: str) -> None:
        self.change(name, "tags", list(tags))

    def change(self, name: str, field: str, value: object) -> None:
        """Sets a field of a VM for the rest of the test."""
        vm, before = self.vms[name], self.api.VM.get_record(self.vms[name])[field]
        self.update(vm, {field: value})
        self.addCleanup(self.update, vm, {field: before})

    def update(self, vm: str, changes: dict) -> None:
        client.control(self.told["control"], "update", cls="VM", ref=vm, changes=changes)

    def name(self, kind: str) -> str:
        return next(name for name in self.vms if name.endswith(kind))

    def check_same_disks(self, snapshot: dict, name: str) -> None:
        """Every disk of the VM is in the snapshot, and comes out as it is on the pool."""
        state = self.control("state")
        wanted = {state["objects"]["VDI"][vdi]["uuid"] for vdi in self.disks_of(self.vms[name])}
        disks = [disk for disk in snapshot["disks"] if disk["role"] == "disk"]
        self.assertEqual({disk["key"] for disk in disks}, wanted)
        for disk in disks:
            done = self.repository.run("restore", snapshot["id"], "--format", "raw", "--disk", disk["name"], "--target", "-")
            self.assertEqual(hashlib.sha256(done.stdout).hexdigest(), state["disks"][disk["key"]], (name, disk["name"]))

    def check_nothing_left(self, tracked: int = 0) -> None:
        """No VM snapshot, disk, task or session that was not there before, but so many marked VDIs that only track changes."""
        left = {kind: set(refs) - set(self.before[kind]) for kind, refs in self.control("leftovers").items()}
        rows = self.control("state", digests=0)["objects"]["VDI"]
        tracking = {vdi for vdi in left["vdis"] if rows[vdi]["type"] == "cbt_metadata" and "xenith" in rows[vdi]["other_config"]}
        left["vdis"] -= tracking
        self.assertEqual({kind: refs for kind, refs in left.items() if refs}, {})
        self.assertEqual(len(tracking), tracked)

    def begin(self, *names: str) -> subprocess.Popen:
        """A backup in the middle of its first export, which stands still for two seconds."""
        self.control("fault", kind="stream", path="/export*", at=2 * MIB, action="stall", seconds=2)
        command = self.repository.command("backup", *self.login(), *(f"vm:{name}" for name in names))
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(running.kill)
        while self.control("faults"):
            self.assertIsNone(running.poll())
            time.sleep(0.01)
        return running
