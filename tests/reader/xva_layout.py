"""Writes an XVA again, byte by byte, from what a snapshot keeps of it (SPEC 10).

An XVA is a tar: `ova.xml`, then the chunks of its disks, each with the member of its checksum behind it. The layout
says only where the archive departs from the one that is expected. Numbers in docstrings are chapters of SPEC.md.
"""
from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import xxhash

from xenith_format import MIB, ROLES, SEGMENT, Damaged, Shape, array, below, decode_cbor, is_zero, need, number, record

if TYPE_CHECKING:
    from xenith_reader import Repository

BLOCK = 512
MAX_LAYOUT, MAX_PRELUDE, MAX_ZERO_TAIL, MAX_TAIL, MAX_DISKS = 64 * MIB, 65_536, 1 << 26, 65_536, 4096
NUMBERS = 100_000_000  # a name has 8 digits
NAME, SIZE, SUM = slice(0, 100), slice(124, 136), slice(148, 156)

# ---------------------------------------------------------------- the CBOR of a layout

Changes = dict[int, Any]
PRELUDE, PATCHES, PADDING, CHECKSUM = range(4)


def fixed(*items: Shape) -> Shape:
    """An array of exactly these items."""
    return lambda v: type(v) is list and len(v) == len(items) and all(s(i) for s, i in zip(items, v, strict=True))


def between(low: int, high: int) -> Shape:
    return lambda v: number(v) and low <= v <= high


def blob(low: int, high: int) -> Shape:
    return lambda v: type(v) is bytes and low <= len(v) <= high


def either(one: Shape, other: Shape) -> Shape:
    return lambda v: one(v) or other(v)


def is_utf8(v: bytes) -> bool:
    try:
        return bool(v.decode())
    except UnicodeDecodeError:
        return False


is_patch = fixed(below(BLOCK), blob(0, BLOCK))
CHANGES = record(optional={
    PRELUDE: lambda v: blob(0, MAX_PRELUDE)(v) and len(v) % BLOCK == 0,
    PATCHES: lambda v: array(is_patch)(v) and len(v) > 0 and all(at + len(new) <= BLOCK for at, new in v),
    PADDING: blob(0, BLOCK - 1),
    CHECKSUM: below(2)})
DISK = fixed(
    lambda v: blob(1, 80)(v) and is_utf8(v),
    array(number),
    array(fixed(number, between(1, NUMBERS - 1))),
    array(fixed(number, CHANGES)))
LAYOUT = fixed(
    between(1, 1),
    lambda v: between(BLOCK, SEGMENT)(v) and v & v - 1 == 0,
    CHANGES,
    array(DISK, MAX_DISKS),
    either(between(0, MAX_ZERO_TAIL), blob(0, MAX_TAIL)))


class DiskLayout(NamedTuple):
    id: bytes
    zero_runs: list[int]
    keep_alives: list[list[int]]
    exceptions: list[list[Any]]


class Layout(NamedTuple):
    chunk_length: int
    record: Changes
    disks: list[DiskLayout]
    tail: int | bytes


def decode_layout(data: bytes) -> Layout:
    need(len(data) <= MAX_LAYOUT, "layout is too long")
    _, chunk_length, changes, disks, tail = decode_cbor(data, LAYOUT, "layout")
    return Layout(chunk_length, changes, [DiskLayout(*disk) for disk in disks], tail)


# ---------------------------------------------------------------- headers

def v7_header() -> bytes:
    """The template of the first members: what xapi writes."""
    header = bytearray(BLOCK)
    for offset, digits in ((100, b"0000400"), (108, b"0000000"), (116, b"0000000"),  # mode, uid, gid
                           (124, b"0" * 11), (136, b"0" * 11), (148, b"0" * 7)):     # size, mtime, sum
        header[offset:offset + len(digits)] = digits
    return bytes(header)


V7 = v7_header()


def octal(field: bytes, value: int) -> bytes | None:
    """The value in octal up to the last decimal digit of a template's field, or None if there is no such place."""
    places = max((i + 1 for i, byte in enumerate(field) if byte in b"0123456789"), default=0)
    digits = b"%o" % value
    if len(digits) > places:
        return None
    return digits.rjust(places, b" " if field[:1] == b" " else b"0") + field[places:]


def size_field(field: bytes, size: int) -> bytes:
    base_256 = b"\x80" + size.to_bytes(11, "big")
    return base_256 if field[0] & 0x80 else octal(field, size) or base_256


def sum_field(field: bytes, header: bytes) -> bytes:
    total = sum(header) - sum(header[SUM]) + 8 * ord(" ")
    return octal(field, total) or b"%06o\0 " % total


def make_header(template: bytes, name: bytes, size: int, patches: Iterable[tuple[int, bytes]] = ()) -> bytes:
    """The expected header, with patches; those that begin within the sum come after it."""
    header = bytearray(template)
    header[NAME] = name[:100].ljust(100, b"\0")
    header[SIZE] = size_field(template[SIZE], size)

    def patch(within_sum: bool) -> None:
        for offset, new in patches:
            if (SUM.start <= offset < SUM.stop) == within_sum:
                header[offset:offset + len(new)] = new

    patch(within_sum=False)
    header[SUM] = sum_field(template[SUM], bytes(header))
    patch(within_sum=True)
    return bytes(header)


# ---------------------------------------------------------------- the archive (10.1)

Segments = Iterable[tuple[int, bytes]]  # offset and bytes of what is no hole, in order


def chunks_of(size: int, length: int, segments: Segments) -> Iterator[bytes | None]:
    """Each chunk of a disk; None if it is all zero."""
    at = 0
    for offset, data in segments:
        yield from repeat(None, (offset - at) // length)
        for i in range(0, len(data), length):
            chunk = data[i:i + length]
            yield None if is_zero(chunk) else chunk
        at = offset + len(data)
    yield from repeat(None, -(-(size - at) // length))


def as_expected(zero_runs: list[int]) -> Iterator[bool]:
    """For each zero chunk of a disk, whether it is written or absent as expected."""
    for i, run in enumerate(zero_runs):
        yield from repeat(i % 2 == 0, run)
    yield from repeat(True)


def changes_of(exceptions: list[list[Any]]) -> Iterator[Changes | None]:
    """For each member of a disk, its changes."""
    for skipped, changes in exceptions:
        yield from repeat(None, skipped)
        yield changes
    yield from repeat(None)


class Archive:
    """An archive that is being written. Templates and the kind of checksum go on from disk to disk."""

    def __init__(self, out: BinaryIO, layout: Layout, vm_record: bytes):
        self.out, self.layout = out, layout
        self.chunk_template = self.checksum_template = V7
        self.sha1 = layout.record.get(CHECKSUM, 0) == 1
        self.member(V7, b"ova.xml", vm_record, layout.record)

    def member(self, template: bytes, name: bytes, data: bytes, changes: Changes | None) -> bytes:
        """Writes a member; returns the template for the members of this sort after it."""
        given = changes or {}
        header = make_header(template, name, len(data), given.get(PATCHES, ()))
        zeros = bytes(-len(data) % BLOCK)
        padding = given.get(PADDING, zeros)
        need(len(padding) == len(zeros), f"{name.decode()}: padding of another length")
        for part in (given.get(PRELUDE, b""), header, data, padding):
            self.out.write(part)
        return template if changes is None else header

    def disk(self, n: int, size: int, segments: Segments) -> None:
        """Writes the n-th disk."""
        layout, length = self.layout.disks[n], self.layout.chunk_length
        count = -(-size // length)
        self._check_counts(layout, count)
        ends = {0, count - 1}
        expected, changes = as_expected(layout.zero_runs), changes_of(layout.exceptions)
        keep_alives = iter(layout.keep_alives)
        since, pending = next(keep_alives, (None, 0))
        used = written = zeros = 0  # numbers, pairs, zero chunks

        def pair(data: bytes) -> None:
            nonlocal written
            self._pair(b"%s/%08d" % (layout.id, used), data, changes)
            written += 1

        for i, chunk in enumerate(chunks_of(size, length, segments)):
            while since == 0:
                for _ in range(pending):
                    pair(b"")
                    used += 1
                since, pending = next(keep_alives, (None, 0))
            if since is not None:
                since -= 1
            if chunk is not None:
                pair(chunk)
            else:
                zeros += 1
                if next(expected) == (i in ends):
                    pair(bytes(min(length, size - i * length)))
            used += 1
        need(sum(layout.zero_runs) <= zeros, "layout: more zero chunks than the disk has")
        need(sum(skipped + 1 for skipped, _ in layout.exceptions) <= 2 * written, "layout: exceptions behind the disk")

    def _pair(self, name: bytes, data: bytes, changes: Iterator[Changes | None]) -> None:
        """Writes a chunk and its checksum."""
        change = next(changes)
        need(CHECKSUM not in (change or {}), "layout: a chunk member changes the kind of checksum")
        self.chunk_template = self.member(self.chunk_template, name, data, change)
        change = next(changes)
        if change and CHECKSUM in change:
            self.sha1 = change[CHECKSUM] == 1
        if self.sha1:
            suffix, checksum = b".checksum", hashlib.sha1(data).hexdigest()
        else:
            suffix, checksum = b".xxhash", xxhash.xxh64_hexdigest(data, seed=0).upper()
        self.checksum_template = self.member(self.checksum_template, name + suffix, checksum.encode(), change)

    @staticmethod
    def _check_counts(layout: DiskLayout, count: int) -> None:
        """What can be said before the content is read; bounds the work that a layout can ask for."""
        need(count + sum(n for _, n in layout.keep_alives) <= NUMBERS, "layout: numbers of more than 8 digits")
        need(not layout.keep_alives or sum(since for since, _ in layout.keep_alives) < count,
             "layout: keep-alives behind the disk")
        need(sum(layout.zero_runs) <= count, "layout: more zero chunks than the disk has")
        need(sum(skipped + 1 for skipped, _ in layout.exceptions) <= 2 * NUMBERS, "layout: exceptions behind the disk")

    def end(self) -> None:
        self.out.write(bytes(2 * BLOCK))
        tail = self.layout.tail
        if isinstance(tail, bytes):
            self.out.write(tail)
        else:
            for at in range(0, tail, MIB):
                self.out.write(bytes(min(MIB, tail - at)))


def restore_xva(repository: Repository, name: str, path: Path) -> None:
    """Rebuilds the XVA that was backed up (of a compressed one, the tar inside)."""
    streams = repository.snapshot(name)[9]
    records = [s for s in streams if ROLES[s[0]] == "record"]
    disks = [s for s in streams if ROLES[s[0]] in ("disk", "memory")]
    layouts = [s for s in streams if ROLES[s[0]] == "layout"]
    need(layouts and layouts == streams[-1:] and len(records) == 1, "not the snapshot of an XVA with its layout")
    need(layouts[0][3] <= MAX_LAYOUT, "layout is too long")
    layout = decode_layout(repository.stream(layouts[0]))
    need(len(layout.disks) == len(disks), "layout: disks are not those of the snapshot")
    vm_record = repository.stream(records[0])
    try:
        with open(path, "wb") as out:
            archive = Archive(out, layout, vm_record)
            for n, disk in enumerate(disks):
                archive.disk(n, disk[3], repository.disk(disk[4], disk[3]))
            archive.end()
    except Damaged:
        path.unlink()  # half an archive is none
        raise
