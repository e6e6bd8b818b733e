"""Writes VMs as xapi exports them: the ova.xml and the tar (contract 3)."""
from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import xxhash

import rpc
from disks import MIB
from schema import CLASSES, NULL
from world import World

ORDER = ("host", "VM", "VM_metrics", "VM_guest_metrics", "VBD", "VIF", "network", "VDI", "SR", "VTPM")
CLUSTER = {"classic": MIB, "allocated": 2 * MIB, "extents": 64 << 10}
END = bytes(1024)


def header(name: str, size: int, mtime: int = 0) -> bytes:
    """A V7 tar header (contract 3.2)."""
    block = bytearray(512)
    for at, text in ((0, name), (100, "0000400"), (108, "0000000"), (116, "0000000"), (124, f"{size:011o}"), (136, f"{mtime:011o}"),
                     (148, " " * 8)):
        block[at:at + len(text)] = text.encode()
    block[148:156] = f"{sum(block):07o}".encode() + b"\0"
    return bytes(block)


def member(name: str, data: bytes, mtime: int = 0) -> bytes:
    return header(name, len(data), mtime) + data + bytes(-len(data) % 512)


def version(world: World) -> dict[str, object]:
    software = world.db.get("host", world.db.master)["software_version"]
    texts = {name: software[name] for name in ("hostname", "date", "product_version", "product_brand", "build_number")}
    return {**texts, "xapi_major": world.settings.xapi_major, "xapi_minor": world.settings.xapi_minor, "export_vsn": 2}


# ---------------------------------------------------------------- ova.xml

@dataclass
class Manifest:
    """The objects of an export and their ids. Null references get an id that no object has (contract 3.9)."""

    world: World
    whole: bool  # metadata: snapshots and power states stay
    preserve: bool
    vms: list[str]
    excluded: set[str] = field(default_factory=set)  # classes of devices
    ids: dict[str, str] = field(default_factory=dict)
    objects: dict[str, list[str]] = field(default_factory=lambda: {cls: [] for cls in ORDER})

    def __post_init__(self) -> None:
        for vm in self.vms:
            self._add_vm(vm)

    def _id(self, ref: str) -> None:
        if ref not in self.ids:
            self.ids[ref] = f"Ref:{next(self.world.references)}"

    def _add(self, cls: str, ref: str) -> None:
        self._id(ref)
        if ref in self.world.db.tables[cls] and ref not in self.objects[cls]:
            self.objects[cls].append(ref)

    def _add_vm(self, vm: str) -> None:
        db = self.world.db
        row = db.get("VM", vm)
        self._add("VM", vm)
        for cls, name in (("host", "affinity"), ("host", "resident_on"), ("VM_metrics", "metrics"),
                          ("VM_guest_metrics", "guest_metrics")):
            self._add(cls, row[name])
        for vbd in row["VBDs"] if "vbd" not in self.excluded else ():
            self._add("VBD", vbd)
            self._add_vdi(db.get("VBD", vbd)["VDI"])
        for vif in row["VIFs"] if "vif" not in self.excluded else ():
            self._add("VIF", vif)
            self._add("network", db.get("VIF", vif)["network"])
        if self.preserve or self.whole:
            self._add_vdi(row["suspend_VDI"])
        for vtpm in row["VTPMs"] if "vtpm" not in self.excluded else ():
            self._add("VTPM", vtpm)

    def _add_vdi(self, vdi: str) -> None:
        self._add("VDI", vdi)
        if vdi in self.world.db.tables["VDI"]:
            self._add("SR", self.world.db.get("VDI", vdi)["SR"])

    def xml(self) -> bytes:
        """All objects in xapi's order of classes."""
        objects = [{"class": cls, "id": self.ids[ref], "snapshot": self._record(cls, ref)} for cls in ORDER for ref in self.objects[cls]]
        return rpc.element({"version": version(self.world), "objects": objects}).encode()

    def _record(self, cls: str, ref: str) -> dict[str, object]:
        row = self.world.db.copy(cls, ref)
        if cls == "VTPM":
            secret = self.world.vtpm_contents.get(row["uuid"], "")
            held = {"VM": self._lookup(row["VM"]), "uuid": row["uuid"], "is_unique": row["is_unique"],
                    "is_protected": row["is_protected"], "content": secret}
            return {f"vTPM'_{name}": value for name, value in held.items()}
        row |= {name: type(row[name])() for name in ("allowed_operations", "current_operations") if name in row}
        if cls == "VM" and not self.whole:
            row |= {"is_a_snapshot": False, "snapshots": [], "snapshot_of": NULL, "parent": NULL}
            if not self.preserve:
                row |= {"power_state": "Halted", "suspend_VDI": NULL}
        for name, value in row.items():
            if name == "appliance":
                continue  # left dangling: members of one vApp tell the same reference
            if CLASSES[cls][name] == "ref":
                row[name] = self._lookup(value)
            elif CLASSES[cls][name] == "set":
                row[name] = [self._lookup(item) for item in value if not item.startswith("OpaqueRef:") or item in self.ids]
        if cls in ("VBD", "VIF"):  # left dangling
            row["metrics"] = f"OpaqueRef:{uuid.uuid5(uuid.NAMESPACE_OID, row['uuid'])}"
        return row

    def _lookup(self, ref: str) -> str:
        return self.ids.get(ref, NULL) if ref.startswith("OpaqueRef:") else ref

    def disks(self) -> list[tuple[str, str]]:
        """Id and VDI of each disk that is streamed, in the order of the ids as text (contract 0.7)."""
        db, found = self.world.db, []
        for vbd in self.objects["VBD"]:
            row = db.get("VBD", vbd)
            if row["type"] != "CD" and row["VDI"] != NULL and db.get("SR", db.get("VDI", row["VDI"])["SR"])["content_type"] != "iso":
                found.append((self.ids[row["VDI"]], row["VDI"]))
        for vm in self.vms if self.preserve else ():
            image = db.get("VM", vm)["suspend_VDI"]
            found += [(self.ids[image], image)] if image != NULL else []
        return sorted(found)


# ---------------------------------------------------------------- chunks

def checksum(world: World, data: bytes) -> tuple[str, str]:
    """Extension and text of the checksum member (contract 3.7)."""
    if world.settings.checksum == "sha1":
        return "checksum", hashlib.sha1(data).hexdigest()
    return "xxhash", f"{xxhash.xxh64_intdigest(data):016X}"


def chunks(world: World, vdi: str) -> Iterator[tuple[int, int, bytes | None]]:
    """Place and data of each chunk; or the place of so many that are left out, and None (contract 3.5)."""
    file, size = world.file(vdi), world.db.get("VDI", vdi)["virtual_size"]
    omission = world.settings.omission
    cluster = CLUSTER[omission]
    allocated = {place for start, end in world.disks.extents(file)
                 for place in range(start // cluster * cluster // MIB, -(-min(size, -(-end // cluster) * cluster) // MIB))}
    last, before = (size - 1) // MIB, -1
    with world.disks.path(file).open("rb") as data:
        for place in sorted(allocated | {0, last}):
            if place > before + 1:
                yield before + 1, place - before - 1, None
            length, edge, before = min(MIB, size - place * MIB), place in (0, last), place
            data.seek(place * MIB)
            held = data.read(length)
            keep = edge or omission != "classic" or held.count(0) != length
            yield place, 1, held if keep else None


def write_disk(world: World, prefix: str, vdi: str, write: Callable[[bytes], None], done: Callable[[int], None]) -> int:
    """The members of one disk; how much of it they hold. Numbers are counters: a keep-alive takes one and no space (contract 3.6)."""
    every, omitted, number, sent = world.settings.keep_alive_every, 0, 0, 0

    def one(data: bytes, place: int) -> None:
        name = f"{prefix}/{number:08d}"
        extension, text = checksum(world, data)
        if world.faults.take("wrong_checksum", chunk=place):
            text = "0" * len(text)
        write(member(name, data) + member(f"{name}.{extension}", text.encode()))

    for place, count, data in chunks(world, vdi):
        if data is not None:
            one(data, place)
            sent += len(data)
        for _ in range(count if data is None and every else 0):
            omitted += 1
            if omitted % every == 0:
                one(b"", -1)
                number += 1
            number += 1
        number += 0 if data is None and every else count
        done(count * MIB)
    return sent


def write(world: World, manifest: Manifest, write_out: Callable[[bytes], None], done: Callable[[int], None]) -> None:
    """The whole archive."""
    write_out(member("ova.xml", manifest.xml(), int(time.time())))
    for prefix, vdi in manifest.disks():
        world.was_read(vdi, "export", write_disk(world, prefix, vdi, write_out, done))
    if not world.faults.take("no_final_zeros"):
        write_out(END)
