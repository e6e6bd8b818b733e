"""All that the members of the pool share: the objects, the disks, the armed faults and the settings."""
from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from database import Database, now
from disks import Disks
from errors import ApiError
from faults import Faults
from schema import NULL

# User to password and roles. A vm-admin may export and import, not dump the pool (contract 1.5).
USERS = {"root": ("secret", "pool-admin"), "backup": ("secret", "vm-admin"), "reader": ("secret", "read-only")}
REALM = "xapi"
THICK = ("lvm", "lvmoiscsi", "lvmohba", "lvmofcoe")  # kinds of storage where a disk takes its whole size from the start


@dataclass
class Settings:
    """How this pool behaves; all can be changed through the control endpoint."""

    auth_delay: float = 5.0  # before a refused login is answered (contract 1.3)
    progress_seconds: float = 10.0  # between two pushes of the progress of an export (contract 1.6)
    detach_seconds: float = 0.0  # that a disk stays plugged into dom0 after a transfer (contract 0.12)
    checksum: str = "xxhash"  # or sha1, as before CH 8.1 (contract 3.7)
    omission: str = "classic"  # or allocated, extents (contract 3.5)
    keep_alive_every: int = 0  # a keep-alive chunk after so many omitted ones; 0: never (contract 3.6)
    xapi_major: int = 26
    xapi_minor: int = 9
    upgrading: bool = False  # a rolling upgrade is under way
    cbt_broken: bool = False  # list_changed_blocks answers SR_BACKEND_FAILURE_459
    vbd_wait_seconds: float = 4.0  # that VDI.data_destroy waits for VBDs to go (contract 5.1)
    power_seconds: float = 0.0  # that a change of the power state takes
    database_mib: int = 0  # of rows that never change, in the dump of the database
    json_rpc: bool = True  # old hosts answer text/xml on /jsonrpc (contract 1.1)
    snapshot_params: int = 3  # 2: VM.snapshot of hosts before xapi 21.4 (contract 6)
    guest_tools: bool = True  # guests that run tell their metrics
    host_memory_mib: int = 64 << 10  # of each host, dom0's included


@dataclass
class Member:
    """One host and where it listens."""

    ref: str
    address: str
    http: int
    https: int
    nbd: int
    certificate: Path
    key: Path

    @property
    def pem(self) -> str:
        return self.certificate.read_text()


@dataclass
class World:
    """The pool."""

    folder: Path
    db: Database = field(default_factory=Database)
    faults: Faults = field(default_factory=Faults)
    settings: Settings = field(default_factory=Settings)
    members: list[Member] = field(default_factory=list)
    references: Iterator[int] = field(default_factory=itertools.count)  # `Ref:N` of exports, for the whole process
    vtpm_contents: dict[str, str] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)  # calls by method, requests by path
    down: set[str] = field(default_factory=set)  # addresses of members that answer nobody
    blobs: dict[str, bytes] = field(default_factory=dict)  # what /host_restore and /pool/xmldbdump were given
    traffic: dict[str, dict[str, int]] = field(default_factory=dict)  # uuid of a disk to the way and bytes that were read of it
    starts: list[dict[str, object]] = field(default_factory=list)  # of VMs, in order: name, uuid, and seconds of a steady clock
    taken_elsewhere: dict[str, int] = field(default_factory=dict)  # SR to bytes of others on a storage that is shared with them

    def __post_init__(self) -> None:
        self.disks = Disks(self.folder / "disks")

    def count(self, what: str) -> None:
        with self.db.lock:
            self.counters[what] = self.counters.get(what, 0) + 1

    def was_read(self, vdi: str, way: str, amount: int) -> None:
        """Bytes that went out of a disk, or of a snapshot of it; `way` and the number of such reads."""
        with self.db.lock:
            row = self.db.tables["VDI"].get(vdi)
            if row is None:
                return
            held = self.traffic.setdefault(self.db.tables["VDI"].get(row["snapshot_of"], row)["uuid"], {})
            held[way] = held.get(way, 0) + amount
            held[f"{way}_reads"] = held.get(f"{way}_reads", 0) + 1

    def member(self, host: str) -> Member:
        return next(member for member in self.members if member.ref == host)

    # ------------------------------------------------------------ sessions (contract 1.3, 1.5)

    def login(self, user: str, password: str, originator: str = "") -> str | None:
        if user not in USERS or USERS[user][0] != password:
            return None
        return self.db.create("session", {"auth_user_name": user, "originator": originator, "this_host": self.db.master,
                                          "is_local_superuser": user == "root", "last_active": now()})

    def role(self, session: str) -> str:
        """The role of a session; SESSION_INVALID if there is none."""
        row = self.db.tables["session"].get(session) if isinstance(session, str) else None
        if row is None:
            raise ApiError("SESSION_INVALID", session)
        return USERS[row["auth_user_name"]][1]

    # ------------------------------------------------------------ disks of objects

    def file(self, vdi: str) -> str:
        """The uuid under which the data of a VDI is kept."""
        return self.db.get("VDI", vdi)["uuid"]

    def new_vdi(self, sr: str, size: int, **given: object) -> str:
        size = max(512, -(-size // 512) * 512)
        with self.db.lock:
            room = self.db.get("SR", sr)["physical_size"] - self.taken(sr)
            if room < (size if self.is_thick(sr) else 1):
                raise ApiError("SR_BACKEND_FAILURE_44", "", "There is insufficient space", "")
            vdi = self.db.create("VDI", {"type": "user", **given, "SR": sr, "virtual_size": size,
                                         "allowed_operations": ["snapshot", "clone", "destroy", "resize"]})
            self.db.update("VDI", vdi, location=self.file(vdi))
        return vdi

    def is_thick(self, sr: str) -> bool:
        """Whether a disk takes its virtual size here, and a snapshot of it once more."""
        return self.db.get("SR", sr)["type"] in THICK

    def taken(self, sr: str) -> int:
        """Bytes that are in use on a storage, by its disks and by others."""
        rows = [self.db.get("VDI", vdi) for vdi in self.db.get("SR", sr)["VDIs"]]
        own = sum(row["virtual_size"] for row in rows if row["type"] != "cbt_metadata") if self.is_thick(sr) else \
            self.disks.utilisation(row["uuid"] for row in rows)
        return own + self.taken_elsewhere.get(sr, 0)

    def write(self, vdi: str, offset: int, data: bytes) -> None:
        """A write of an upload. A thin storage fills up only now."""
        row = self.db.get("VDI", vdi)
        if not self.is_thick(row["SR"]) and self.taken(row["SR"]) + len(data) > self.db.get("SR", row["SR"])["physical_size"]:
            raise ApiError("SR_BACKEND_FAILURE_44", "", "There is insufficient space", "")
        for fault in self.faults.list():
            if fault["kind"] == "spoils" and offset <= fault["at"] < offset + len(data) and self.faults.take("spoils", at=fault["at"]):
                at = fault["at"] - offset
                data = data[:at] + bytes([data[at] ^ 0xff]) + data[at + 1:]
        self.disks.write(row["uuid"], offset, data)

    def scan(self, sr: str) -> None:
        """Brings the sizes in the database up to date."""
        vdis = self.db.get("SR", sr)["VDIs"]
        for vdi in vdis:
            row = self.db.get("VDI", vdi)
            self.db.update("VDI", vdi, physical_utilisation=self.disks.utilisation([row["uuid"]]))
        self.db.update("SR", sr, physical_utilisation=self.taken(sr),
                       virtual_allocation=sum(self.db.get("VDI", vdi)["virtual_size"] for vdi in vdis))

    def create_disk(self, sr: str, size: int, **given: object) -> str:
        """A new VDI that reads as zeros."""
        vdi = self.new_vdi(sr, size, **given)
        self.disks.create(self.file(vdi), self.db.get("VDI", vdi)["virtual_size"])
        return vdi

    def snapshot_disk(self, vdi: str, clone: bool = False) -> str:
        """A snapshot inherits CBT and the log (contract 5.1); a clone is a disk of its own."""
        with self.db.lock:
            row = self.db.copy("VDI", vdi)
            kept = {name: row[name] for name in ("name_label", "name_description", "type", "read_only", "sharable", "other_config",
                                                 "xenstore_data", "sm_config", "tags", "on_boot")}
            if not clone:
                kept |= {"is_a_snapshot": True, "snapshot_of": vdi, "snapshot_time": now(), "cbt_enabled": row["cbt_enabled"]}
            new = self.new_vdi(row["SR"], row["virtual_size"], **kept)
            (self.disks.copy if clone else self.disks.snapshot)(row["uuid"], self.file(new))
            return new

    def destroy_disk(self, vdi: str) -> None:
        with self.db.lock:
            row = self.db.copy("VDI", vdi)
            for vbd in row["VBDs"]:
                self.db.delete("VBD", vbd)
            self.db.delete("VDI", vdi)
            self.disks.delete(row["uuid"])

    def attached(self, vdi: str, writable: bool = False) -> bool:
        with self.db.lock:
            vbds = [self.db.get("VBD", vbd) for vbd in self.db.get("VDI", vdi)["VBDs"]]
        return any(vbd["currently_attached"] and (vbd["mode"] == "RW" or not writable) for vbd in vbds)

    @contextmanager
    def plugged(self, vdi: str, host: str, mode: str = "RO") -> Iterator[None]:
        """The disk is plugged into dom0 meanwhile, and for a while after (contract 0.12)."""
        dom0 = self.db.get("host", host)["control_domain"]
        vbd = self.db.create("VBD", {"VM": dom0, "VDI": vdi, "type": "Disk", "mode": mode, "currently_attached": True,
                                     "userdevice": "autodetect"})
        try:
            yield
        finally:
            timer = threading.Timer(self.settings.detach_seconds, self._unplug, [vbd])
            timer.daemon = True
            timer.start() if self.settings.detach_seconds else self._unplug(vbd)

    def _unplug(self, vbd: str) -> None:
        with self.db.lock:
            if vbd in self.db.tables["VBD"]:
                self.db.delete("VBD", vbd)

    # ------------------------------------------------------------ operations on objects

    @contextmanager
    def operation(self, cls: str, ref: str, name: str, task: str) -> Iterator[None]:
        """The object carries this current operation meanwhile."""
        with self.db.lock:
            self.db.update(cls, ref, current_operations={**self.db.get(cls, ref)["current_operations"], task: name})
        try:
            yield
        finally:
            with self.db.lock:
                if ref in self.db.tables[cls]:
                    left = {key: held for key, held in self.db.get(cls, ref)["current_operations"].items() if key != task}
                    self.db.update(cls, ref, current_operations=left)

    def check_vm(self, vm: str, operation: str, states: str = "") -> None:
        """Refuses what the state of a VM, its blocked operations, or what runs on it do not allow (contract 6)."""
        row = self.db.get("VM", vm)
        if operation in row["blocked_operations"]:
            raise ApiError("OPERATION_BLOCKED", vm, row["blocked_operations"][operation])
        if states and row["power_state"].lower() not in states.split(", "):
            raise ApiError("VM_BAD_POWER_STATE", vm, states, row["power_state"].lower())
        together = {"export", "clone", "copy"} if operation in ("export", "clone", "copy") else \
            {"snapshot", "checkpoint"} if operation == "snapshot" else set()
        for task, running in row["current_operations"].items():
            if running not in together and running != "metadata_export":
                raise ApiError("OTHER_OPERATION_IN_PROGRESS", "VM", vm, running, task)

    def free_memory(self, host: str) -> int:
        """What the VMs on a host leave of its memory."""
        rows = (self.db.get("VM", vm) for vm in self.db.get("host", host)["resident_VMs"])
        return (self.settings.host_memory_mib << 20) - sum(row["memory_static_max"] for row in rows)

    def measure(self) -> None:
        """Brings the memory of all hosts in the database up to date."""
        for host, row in self.db.tables["host"].items():
            self.db.update("host_metrics", row["metrics"], memory_total=self.settings.host_memory_mib << 20, memory_free=self.free_memory(host))

    def sees(self, host: str, srs: set[str]) -> bool:
        return all(self.db.attached_to(sr, host) for sr in srs if sr != NULL)

    def host_for(self, srs: set[str]) -> Member | None:
        """A member that sees all of these SRs."""
        return next((member for member in self.members if self.sees(member.ref, srs)), None)
