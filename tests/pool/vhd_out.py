"""Writes a VHD stream as xapi does (contract 4.2)."""
from __future__ import annotations

import struct
import uuid
from collections.abc import Callable

from errors import ApiError
from world import World

BLOCK = 2 << 20
LIMIT = 2190433320960
UNUSED = 0xFFFFFFFF


def geometry(size: int) -> tuple[int, int, int]:
    """Cylinders, heads and sectors, by the appendix of the VHD specification."""
    sectors = min(size // 512, 65535 * 16 * 255)
    if sectors >= 65535 * 16 * 63:
        return sectors // 255 // 16, 16, 255
    spt = 17
    rest = sectors // spt
    heads = max(4, -(-rest // 1024))
    if rest >= heads * 1024 or heads > 16:
        spt, heads = 31, 16
        rest = sectors // spt
    if rest >= heads * 1024:
        spt, heads = 63, 16
        rest = sectors // spt
    return rest // heads, heads, spt


def summed(data: bytes, at: int) -> bytes:
    """With the checksum, one's complement of the sum of all bytes, at its place."""
    return data[:at] + struct.pack(">I", ~sum(data) & 0xFFFFFFFF) + data[at + 4:]


def footer(size: int, kind: int, uid: bytes) -> bytes:
    cylinders, heads, spt = geometry(size)
    data = struct.pack(">8sIIQI4sIIQQHBBII16sB", b"conectix", 2, 0x00010000, 512, 0, b"caml", 1, 0, size, size, cylinders, heads, spt,
                       kind, 0, uid, 0)
    return summed(data.ljust(512, b"\0"), 64)


def dynamic_header(entries: int, parent: tuple[bytes, str] | None) -> bytes:
    """A parent is a uid and a name; its locator points at a sector that stays empty."""
    data = struct.pack(">8sQQIIII", b"cxsparse", 0xFFFFFFFFFFFFFFFF, 2048, 0x00010000, entries, BLOCK, 0)
    if parent is not None:
        uid, name = parent
        data += uid + bytes(8) + name.encode("utf-16-be")[:512].ljust(512, b"\0")
        data += struct.pack(">4sIIIQ", b"MacX", 1, len(f"file://{name}"), 0, 1536)
    return summed(data.ljust(1024, b"\0"), 36)


def present(world: World, file: str, base: str | None) -> list[int]:
    """Blocks in the stream: those with any allocation, or with a base those that differ from it."""
    blocks = {place for source in filter(None, (file, base)) for start, end in world.disks.extents(source)
              for place in range(start // BLOCK, -(-end // BLOCK))}
    if base is None:
        return sorted(blocks)
    with world.disks.path(file).open("rb") as new, world.disks.path(base).open("rb") as old:
        def differs(place: int) -> bool:
            new.seek(place * BLOCK)
            old.seek(place * BLOCK)
            return new.read(BLOCK) != old.read(BLOCK)
        return [place for place in sorted(blocks) if differs(place)]


def write(world: World, vdi: str, base: str | None, write_out: Callable[[bytes], None], done: Callable[[int], None]) -> None:
    row = world.db.copy("VDI", vdi)
    if row["virtual_size"] > LIMIT:
        raise ApiError("VDI_TOO_LARGE", vdi, LIMIT)
    file, size = row["uuid"], -(-row["virtual_size"] // BLOCK) * BLOCK
    parent = world.file(base) if base is not None else None
    blocks = present(world, file, parent)
    entries = size // BLOCK
    first = 2048 + -(-entries * 4 // 512) * 512
    table = [UNUSED] * ((first - 2048) // 4)
    for order, place in enumerate(blocks):
        table[place] = (first + order * (512 + BLOCK)) // 512
    end = footer(size, 3 if base is None else 4, uuid.uuid4().bytes)
    named = (uuid.uuid5(uuid.NAMESPACE_OID, parent).bytes, f"{parent}.vhd") if parent is not None else None
    write_out(end + dynamic_header(entries, named) + bytes(512) + struct.pack(f">{len(table)}I", *table))
    with world.disks.path(file).open("rb") as data:
        for place in blocks:
            data.seek(place * BLOCK)
            write_out(b"\xff" * 512 + data.read(BLOCK).ljust(BLOCK, b"\0"))
            done(BLOCK)
    write_out(end)
