"""Applies a VHD stream to a disk as xapi does: forward only, by the bits of the bitmaps, any parent ignored (contract 4.4)."""
from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import groupby


class Bad(Exception):
    """Not a VHD that can be applied; the client only hears VDI_IO_ERROR."""


def _summed(data: bytes, at: int) -> None:
    held, = struct.unpack_from(">I", data, at)
    if ~(sum(data) - sum(data[at:at + 4])) & 0xFFFFFFFF != held:
        raise Bad("checksum")


def footer(data: bytes) -> tuple[int, int, int]:
    """Place of the header, size and type of a valid footer."""
    if data[:8] != b"conectix":
        raise Bad("no footer")
    _summed(data, 64)
    place, = struct.unpack_from(">Q", data, 16)
    size, = struct.unpack_from(">Q", data, 48)
    kind, = struct.unpack_from(">I", data, 60)
    return place, size, kind


class Reader:
    """The body, read forward; a seek back is refused."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read, self.at = read, 0

    def exactly(self, length: int) -> bytes:
        parts = []
        while length:
            data = self._read(length)
            if not data:
                raise Bad("end of the body")
            parts.append(data)
            length -= len(data)
            self.at += len(data)
        return b"".join(parts)

    def seek(self, place: int) -> None:
        if place < self.at:
            raise Bad("seek back")
        while self.at < place:
            self.exactly(min(1 << 20, place - self.at))


def apply(read: Callable[[int], bytes], length: int, size: int, write: Callable[[int, bytes], None]) -> None:
    """`length` is the announced one: its last sector must be the footer."""
    reader = Reader(read)
    place, current, kind = footer(reader.exactly(512))
    if kind not in (3, 4) or current > -(-size // (2 << 20)) * (2 << 20):
        raise Bad("kind or size")
    reader.seek(place)
    header = reader.exactly(1024)
    if header[:8] != b"cxsparse":
        raise Bad("no header")
    _summed(header, 36)
    table, _, entries, block = struct.unpack_from(">QIII", header, 16)
    if entries > 1 << 22 or block != 2 << 20:
        raise Bad("table")
    reader.seek(table)
    places = struct.unpack(f">{entries}I", reader.exactly(entries * 4))
    for sector, index in sorted((sector, index) for index, sector in enumerate(places) if sector != 0xFFFFFFFF):
        reader.seek(sector * 512)
        bits = reader.exactly(512)
        _write_present(bits, index * block, reader.exactly(block), size, write)
    reader.seek((length - 512) // 512 * 512)
    footer(reader.exactly(512))


def _write_present(bits: bytes, start: int, data: bytes, size: int, write: Callable[[int, bytes], None]) -> None:
    """Runs of sectors whose bit is set, the highest bit of a byte first; what lies behind the disk is padding."""
    sector = 0
    flags = "".join(f"{byte:08b}" for byte in bits)
    for flag, run in groupby(flags[:len(data) // 512]):
        count = len(list(run))
        begin, end = sector * 512, min((sector + count) * 512, size - start)
        if flag == "1" and begin < end:
            write(start + begin, data[begin:end])
        sector += count
