"""Makes XVAs of every kind that hosts have written, for black-box tests. Shares nothing with xenith.

A disk is a list of 1 MiB chunks: bytes, or None for zeros, and a size. Rules that are followed here are those of
xapi's exporter: chunk numbers are counters; an empty keep-alive member uses up a number and no disk space; disks
come in byte order of their ids; first and last chunk are always there.
"""

import gzip
import hashlib
import io
import random
import subprocess
from dataclasses import dataclass, field

import xxhash

MIB = 1 << 20


@dataclass
class Disk:
    """Virtual size in bytes, and chunks that hold data by their place; all others are zero."""

    size: int
    data: dict[int, bytes] = field(default_factory=dict)
    written_zeros: set[int] = field(default_factory=set)  # zero chunks that are there all the same
    keep_alives: set[int] = field(default_factory=set)  # places before which an empty member stands

    @property
    def chunks(self) -> int:
        return -(-self.size // MIB)

    def chunk(self, place: int) -> bytes:
        length = min(MIB, self.size - place * MIB)
        return self.data.get(place, b"").ljust(length, b"\0")[:length]


@dataclass
class Kind:
    """How the archive is written."""

    checksum: str = "xxhash"  # or sha1
    header: str = "v7"  # or ustar
    first_ref: int = 41
    name: str = "test-vm"
    shuffle: bool = False  # other order of objects in ova.xml


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def header(kind: Kind, name: str, size: int) -> bytes:
    block = bytearray(512)
    block[0 : len(name)] = name.encode()
    block[100:108] = octal(0o400 if kind.header == "v7" else 0o644, 8)
    block[108:116] = octal(0, 8)
    block[116:124] = octal(0, 8)
    block[124:136] = octal(size, 12)
    block[136:148] = octal(0 if kind.header == "v7" else 1767225600, 12)
    if kind.header == "ustar":
        block[156:157] = b"0"
        block[257:265] = b"ustar\00000"
    block[148:156] = b" " * 8
    block[148:156] = octal(sum(block), 8)
    return bytes(block)


def member(out, kind: Kind, name: str, data: bytes) -> None:
    out.write(header(kind, name, len(data)))
    out.write(data)
    out.write(bytes(-len(data) % 512))


def pair(out, kind: Kind, name: str, data: bytes) -> None:
    member(out, kind, name, data)
    if kind.checksum == "xxhash":
        member(out, kind, name + ".xxhash", b"%016X" % xxhash.xxh64_intdigest(data))
    else:
        member(out, kind, name + ".checksum", hashlib.sha1(data).hexdigest().encode())


def value(of) -> str:
    if isinstance(of, bool):
        return f"<value><boolean>{int(of)}</boolean></value>"
    if isinstance(of, dict):
        members = "".join(f"<member><name>{k}</name>{value(v)}</member>" for k, v in of.items())
        return f"<value><struct>{members}</struct></value>"
    if isinstance(of, list):
        return f"<value><array><data>{''.join(map(value, of))}</data></array></value>"
    return f"<value>{of}</value>"


def record(kind: Kind, disks: list[Disk], refs: list[str]) -> bytes:
    """An ova.xml with the objects that the importer needs to find the disks."""
    top = kind.first_ref + len(disks)
    vm, sr = f"Ref:{top}", f"Ref:{top + 1}"
    rng = random.Random(kind.name)

    def uuid() -> str:
        text = f"{rng.getrandbits(128):032x}"
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    objects = [("VM", vm, {"uuid": uuid(), "name_label": kind.name, "is_a_template": False, "memory_static_max": 1 << 30,
                           "VCPUs_max": 2, "VBDs": [f"Ref:{top + 2 + i}" for i in range(len(disks))], "other_config": {}})]
    for i, (disk, ref) in enumerate(zip(disks, refs)):
        objects.append(("VBD", f"Ref:{top + 2 + i}", {"uuid": uuid(), "VM": vm, "VDI": ref, "userdevice": i, "type": "Disk",
                                                       "bootable": i == 0, "mode": "RW", "empty": False}))
        objects.append(("VDI", ref, {"uuid": uuid(), "SR": sr, "name_label": f"disk {i}", "virtual_size": disk.size, "type": "user",
                                     "VBDs": [f"Ref:{top + 2 + i}"]}))
    objects.append(("SR", sr, {"uuid": uuid(), "name_label": "Local storage", "content_type": "user", "VDIs": refs}))
    if kind.shuffle:
        random.Random(7).shuffle(objects)
    version = {"hostname": "xs1", "date": "2026-01-01", "product_version": "8.3.0", "product_brand": "XCP-ng", "build_number": "0",
               "xapi_major": 1, "xapi_minor": 20, "export_vsn": 2}
    listed = [{"class": c, "id": i, "snapshot": s} for c, i, s in objects]
    return value({"version": version, "objects": listed}).encode()


def write(out, kind: Kind, disks: list[Disk]) -> None:
    refs = [f"Ref:{kind.first_ref + i}" for i in range(len(disks))]
    member(out, kind, "ova.xml", record(kind, disks, refs))
    for ref, disk in sorted(zip(refs, disks), key=lambda both: both[0].encode()):
        number = 0
        last = disk.chunks - 1
        wanted = {0, last} | set(disk.data) | disk.written_zeros
        for place in sorted(wanted | disk.keep_alives):
            shift = number  # keep-alives so far
            if place in disk.keep_alives and place not in (0, last):
                pair(out, kind, f"{ref}/{place + shift:08d}", b"")
                number += 1
                shift = number
            if place in wanted:
                pair(out, kind, f"{ref}/{place + shift:08d}", disk.chunk(place))
    out.write(bytes(1024))


def archive(kind: Kind, disks: list[Disk]) -> bytes:
    out = io.BytesIO()
    write(out, kind, disks)
    return out.getvalue()


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def zstded(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-1", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
