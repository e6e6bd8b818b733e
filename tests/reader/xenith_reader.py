"""An independent reader of Xenith repositories, written from SPEC.md alone; it favours clarity over speed.

This module knows storage, the protocol of readers (SPEC 12.2) and the command line; xenith_format knows bytes.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import struct
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from blake3 import blake3

from xenith_format import (
    CHUNK_INDEX, CONFIG, CONFIG_SHAPE, DATA_PACK, DISK, Damaged, FANOUT, FRAME, Frame, Header, Keys,
    MAP, MAP_PACK, MARKER, MAX_CBOR, MAX_CONFIG, MAX_CONTENTS, MAX_INDEX, MAX_PACK, MAX_SLOTS, MAX_STREAM,
    Missing, NODE, PRINT_INDEX, PRINT_PACK, Place, ROLES, SEGMENT, SEGMENT_INDEX, SESSION, SLOT, SNAPSHOT,
    SNAPSHOT_SHAPE, STATE, STATE_SHAPE, Shape, TOMBSTONE, UNIT, ZSTD, committed, decode_cbor, is_zero, keyed, need,
    open_slot, pad, parse_contents, parse_disk, parse_header, parse_index, parse_map, parse_node, strip_hash, u24,
    unseal, unzstd)
from xva_layout import restore_xva

# ---------------------------------------------------------------- storage (3, 12)

class Directory:
    """A repository in a local directory."""

    def __init__(self, root: str | Path):
        self.root = Path(root)

    def list(self, prefix: str) -> list[str]:
        """Names (below the prefix) of the files directly in it."""
        try:
            return sorted(e.name for e in os.scandir(self.root / prefix) if e.is_file(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def size(self, name: str) -> int:
        try:
            return (self.root / name).stat().st_size
        except FileNotFoundError:
            raise Missing(name) from None

    def get(self, name: str, limit: int) -> bytes:
        size = self.size(name)
        need(size <= limit, f"{name} is longer than {limit} bytes")
        return self.get_range(name, 0, size)

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        try:
            with open(self.root / name, "rb") as file:
                file.seek(offset)
                data = file.read(length)
        except FileNotFoundError:
            raise Missing(name) from None
        need(len(data) == length, f"{name} is too short")
        return data


KNOWN_NAMES = [(re.compile(pattern), kinds, limit) for pattern, kinds, limit in (
    (r"roots/[123]/config/(0|[1-9]\d*)", {CONFIG}, MAX_CONFIG + 100),
    (r"roots/[123]/keys/([0-9a-f]{32})", {SLOT}, 2 * 65_536 + 144),
    (r"packs/(?P<ab>[0-9a-f]{2})/(?P<hash>(?P=ab)[0-9a-f]{62})", {DATA_PACK, MAP_PACK, PRINT_PACK}, MAX_PACK),
    (r"index/[0-9a-f]{32}-(?P<hash>[0-9a-f]{40})", {SEGMENT_INDEX, CHUNK_INDEX}, MAX_INDEX),
    (r"prints/[0-9a-f]{32}-(?P<hash>[0-9a-f]{40})", {PRINT_INDEX}, MAX_INDEX),
    (r"snapshots/([0-9a-f]{32})", {SNAPSHOT, TOMBSTONE}, MAX_CBOR),
    (r"snapshots/([0-9a-f]{32})\.void", {MARKER}, 96),
    (r"sessions/([0-9a-f]{32})", {SESSION}, MAX_CBOR),
    (r"state/(0|[1-9]\d*)", {STATE}, MAX_CBOR))]
ID, COUNTER = re.compile(r"[0-9a-f]{32}"), re.compile(r"0|[1-9]\d*")


def check(storage: Directory) -> tuple[int, list[str]]:
    """Verifies every object that is there, without any key (3): how many, and what is wrong with which."""
    repository = read_config(storage)[0]
    objects, errors = 0, []
    for path in sorted(p for p in storage.root.rglob("*") if p.is_file()):
        name = path.relative_to(storage.root).as_posix()
        for pattern, kinds, limit in KNOWN_NAMES:
            if not (match := pattern.fullmatch(name)):
                continue
            objects += 1
            try:
                data = storage.get(name, limit)
                if "hash" in match.groupdict():
                    need(blake3(data).hexdigest().startswith(match["hash"]), "its hash is not its name")
                else:
                    strip_hash(data)
                header = parse_header(data, kinds, repository)
                if header.kind in (SLOT, TOMBSTONE, MARKER):
                    need(data[32:48].hex() == match[1], "its id is not its name")
                if header.kind in (TOMBSTONE, MARKER):
                    need(len(data) == 96 and is_zero(data[56:64]), "bad tombstone or marker")
            except Damaged as error:
                errors.append(f"{name}: {error}")
    return objects, errors


def first_good(storage: Directory, folder: str, name: str, limit: int) -> bytes | None:
    """The first of the three copies of a root that verifies, without its hash (3)."""
    for copy in (1, 2, 3):
        try:
            return strip_hash(storage.get(f"roots/{copy}/{folder}/{name}", limit))
        except Damaged:
            pass
    return None


def root_names(storage: Directory, folder: str, pattern: re.Pattern[str]) -> set[str]:
    return {n for copy in (1, 2, 3) for n in storage.list(f"roots/{copy}/{folder}") if pattern.fullmatch(n)}


def read_config(storage: Directory) -> tuple[bytes, dict[int, Any]]:
    """R and the config (9.1)."""
    for name in sorted(root_names(storage, "config", COUNTER), key=int, reverse=True):
        if (data := first_good(storage, "config", name, MAX_CONFIG + 100)) is None:
            continue
        repository = parse_header(data, {CONFIG}, None).repository
        need(len(data) >= 36 and u24(data[32:36]) == len(data) - 36 <= MAX_CONFIG, "bad config")
        config = decode_cbor(data[36:], CONFIG_SHAPE, "config")
        need(config[0] == 1 and config[1] == repository and config[3] == SEGMENT, "bad config")
        need(config[4] == 0, "the repository needs features that this reader does not know")
        return repository, config
    raise Missing("no config: not a Xenith repository")


# ---------------------------------------------------------------- repository

class Repository:
    """A repository that was opened with a password, or with its keys."""

    def __init__(self, storage: Directory, secret: bytes | Keys):
        self.storage = storage
        self.id, self.config = read_config(storage)
        self.keys = secret if isinstance(secret, Keys) else self._unlock(secret)
        self.segment_key, self.chunk_key, self.node_key, self.disk_key = map(
            self.keys.of, ("segment", "chunk", "node", "disk"))
        self.state: dict[int, Any] | None = None
        self.index: dict[tuple[int, bytes], list[Place]] = {}
        self.pack_key = lru_cache(4096)(self._pack_key)
        self.frame = lru_cache(64)(self._frame)

    def _unlock(self, password: bytes) -> Keys:
        for name in sorted(root_names(self.storage, "keys", ID))[:MAX_SLOTS]:
            data = first_good(self.storage, "keys", name, 2 * 65_536 + 144)
            try:
                if data and data[32:48].hex() == name and (keys := open_slot(data, self.id, password)):
                    return keys
            except Damaged as error:
                print(f"key slot {name}: {error}", file=sys.stderr)
        raise Damaged("no key slot opens with this password")

    # Single objects (5.2)

    def _open_object(self, data: bytes, kinds: set[int]) -> tuple[int, bytes]:
        header = parse_header(data, kinds, self.id)
        key, out, at = self.keys.object_key(header), bytearray(), 96
        need(len(data) > 96 + 24, "object without frames")
        while at < len(data):
            sealed = data[at:at + FRAME + 24]
            need(len(sealed) > 24, "empty frame")
            out += unseal(key, header.raw, (at - 96) // (FRAME + 24), sealed)
            at += len(sealed)
        return header.kind, bytes(out)

    def _read_cbor(self, name: str, kind: int, shape: Shape) -> tuple[Any, bytes]:
        """The value of a snapshot, session or state, and the hash at its end."""
        data = self.storage.get(name, MAX_CBOR)
        plain = self._open_object(strip_hash(data), {kind})[1]
        need(len(plain) >= 4, f"{name} is too short")
        length = int.from_bytes(plain[:4], "little")
        need(len(plain) == pad(4 + length) and is_zero(plain[4 + length:]), f"{name}: bad padding")
        return decode_cbor(plain[4:4 + length], shape, name), data[-32:]

    # State, snapshots and index (9, 12.2)

    def newest_state(self) -> dict[int, Any]:
        """R2."""
        for _ in range(10):
            names = [n for n in self.storage.list("state") if COUNTER.fullmatch(n)]
            need(names, "the repository has no state")
            newest = max(names, key=int)
            try:
                state: dict[int, Any] = self._read_cbor(f"state/{newest}", STATE, STATE_SHAPE)[0]
            except Missing:
                continue
            need(state[0] == int(newest), f"state/{newest} is of another number")
            return state
        raise Missing("the newest state")

    def _is_tombstone(self, name: str) -> bool:
        """A snapshot is never as short as that (3.3)."""
        return self.storage.size(f"snapshots/{name}") == 96

    def committed(self) -> list[str]:
        """Ids of all snapshots that were committed, forgotten or not."""
        return [n for n in self.storage.list("snapshots") if ID.fullmatch(n) and not self._is_tombstone(n)]

    def is_marked(self, name: str) -> bool:
        return f"{name}.void" in self.storage.list("snapshots")

    def snapshot(self, name: str) -> dict[int, Any]:
        need(ID.fullmatch(name) and not self._is_tombstone(name), f"no such snapshot: {name}")
        value: dict[int, Any] = self._read_cbor(f"snapshots/{name}", SNAPSHOT, SNAPSHOT_SHAPE)[0]
        need(value[0].hex() == name, f"snapshots/{name} is of another id")
        need(value[7] == sorted(set(value[7])), "tags are not sorted")
        return value

    def snapshots(self) -> list[dict[int, Any]]:
        found = [self.snapshot(n) for n in self.committed() if not self.is_marked(n)]
        return sorted(found, key=lambda s: (s[1], s[0]))

    def load_index(self) -> None:
        """R3 and R16."""
        tries = 0
        while True:
            state = self.newest_state()
            counting = set(self.committed()) - {s.hex() for s in state[5]}
            names = {f"{n[:16].hex()}-{n[16:].hex()}" for n in state[3] + state[4]}
            names |= {n for n in self.storage.list("index") if n[:32] in counting}
            names -= {f"{n[:16].hex()}-{n[16:].hex()}" for n in state[8]}
            try:
                index = self._read_index(names)
            except Missing:
                tries += 1
                if tries < 10 and self.newest_state()[0] != state[0]:
                    continue
                raise
            self.state, self.index = state, index
            return

    def _read_index(self, names: set[str]) -> dict[tuple[int, bytes], list[Place]]:
        index: dict[tuple[int, bytes], list[Place]] = defaultdict(list)
        for name in sorted(names):
            if not KNOWN_NAMES[3][0].fullmatch(f"index/{name}"):
                continue
            data = self.storage.get(f"index/{name}", MAX_INDEX)
            need(blake3(data).digest()[:20].hex() == name[33:], f"index/{name}: its hash is not its name")
            kind, plain = self._open_object(data, {SEGMENT_INDEX, CHUNK_INDEX})
            for what, key, where in parse_index(kind, plain):
                index[what, key].append(where)
        return dict(index)

    # Packs (8)

    def _pack_name(self, pack: bytes) -> str:
        return f"packs/{pack.hex()[:2]}/{pack.hex()}"

    def _pack_key(self, pack: bytes, kinds: frozenset[int]) -> tuple[Header, bytes]:
        header = parse_header(self.storage.get_range(self._pack_name(pack), 0, 96), set(kinds), self.id)
        return header, self.keys.object_key(header)

    def _frame(self, frame: Frame, kind: int) -> bytes:
        """The plain bytes of a frame."""
        header, key = self.pack_key(frame.pack, frozenset({kind}))
        sealed = self.storage.get_range(self._pack_name(frame.pack), frame.offset, frame.sealed)
        plain = unseal(key, header.raw, frame.number, sealed)
        if frame.codec == ZSTD:
            plain = unzstd(plain, frame.plain)
        need(len(plain) == frame.plain, "frame of another length")
        return plain

    def pack_entries(self, pack: bytes) -> list[tuple[int, bytes, Place]]:
        """The entries of a pack from its own contents (8.1, 8.2), which a restore does not need."""
        name = self._pack_name(pack)
        size = self.storage.size(name)
        need(96 + 24 + 64 <= size <= MAX_PACK, f"{name}: bad length")
        header = parse_header(self.storage.get_range(name, 0, 96), {DATA_PACK, MAP_PACK, PRINT_PACK}, self.id)
        claim, offset, length, parity, zero, magic = struct.unpack(
            "<32sIIQQ8s", self.storage.get_range(name, size - 64, 64))
        need(magic == b"XNTHTAIL" and parity == zero == 0, f"{name}: bad trailer")
        need(offset >= 96 and length <= MAX_CONTENTS + 24 and offset + length == size - 64, f"{name}: bad trailer")
        key = committed(self.keys.contents_key(header), claim, name)
        plain = unseal(key, header.raw, 0xFFFFFFFF, self.storage.get_range(name, offset, length))
        return parse_contents(pack, header.kind, plain, offset)

    # Content (2, 7)

    def _answers(self, what: int, key: bytes, use: Callable[[bytes], bytes]) -> bytes:
        """use(text) of the first place of an id whose text can be read and that `use` accepts (R17, R18)."""
        fresh = self.state is None
        if fresh:
            self.load_index()
        while True:
            error: Damaged = Missing(f"id {key.hex()} is not in the index")
            for where in self.index.get((what, key), ()):
                try:
                    plain = self.frame(where.frame, MAP_PACK if what else DATA_PACK)
                    return use(plain[where.offset:where.offset + where.length])
                except Damaged as problem:
                    error = problem
            if fresh:
                raise error
            seen = self.state and self.state[0]
            self.load_index()
            fresh = bool(self.state and self.state[0] == seen)

    def chunk(self, name: bytes, length: int) -> bytes:
        def use(data: bytes) -> bytes:
            need(len(data) == length and keyed(self.chunk_key, data)[:16] == name, f"chunk {name.hex()} is wrong")
            return data
        return self._answers(0, name, use)

    def segment(self, name: bytes) -> bytes:
        """The 4 MiB that a segment id names."""
        def use(data: bytes) -> bytes:
            chunks, extents = parse_map(data)
            used = sorted({e.source for e in extents} - {255})
            content = {i: self.chunk(*chunks[i]) for i in used}
            out = b"".join(bytes(e.length) if e.source == 255 else content[e.source][e.offset:e.offset + e.length]
                           for e in extents)
            need(keyed(self.segment_key, out) == name, f"segment {name.hex()} is wrong")
            return out
        return self._answers(MAP, name, use)

    def _verified(self, what: int, name: bytes, key: bytes) -> bytes:
        def use(data: bytes) -> bytes:
            need(keyed(key, data) == name, f"node or disk {name.hex()} is wrong")
            return data
        return self._answers(what, name, use)

    def _segments(self, name: bytes, level: int, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Number and id of each segment below a node, in order; none may lie behind the end of the disk."""
        span = FANOUT ** (level - 1)
        for i, child in parse_node(self._verified(NODE, name, self.node_key), level):
            number_ = first + i * span
            need(number_ < end, "node has children behind the end of the disk")
            if level == 1:
                yield number_, child
            else:
                yield from self._segments(child, level - 1, number_, end)

    def disk(self, name: bytes, size: int) -> Iterator[tuple[int, bytes]]:
        """Offset and content of each segment of a disk that is not a hole; the last is cut at the end of the disk."""
        found, level, root = parse_disk(self._verified(DISK, name, self.disk_key))
        need(found == size, "size of the disk is not that in the snapshot")
        if root:
            for n, segment in self._segments(root, level, 0, -(-size // SEGMENT)):
                data = self.segment(segment)
                yield n * SEGMENT, data[:size - n * SEGMENT]

    def stream(self, entry: dict[int, Any]) -> bytes:
        """A stream that is read whole."""
        need(entry[3] <= MAX_STREAM, "stream is too long")
        out = bytearray(entry[3])
        for offset, data in self.disk(entry[4], entry[3]):
            out[offset:offset + len(data)] = data
        return bytes(out)


# ---------------------------------------------------------------- restore

def write_sparse(repository: Repository, entry: dict[int, Any], path: Path) -> str:
    """Writes a disk or stream; holes and 64 KiB of zeros take no space. Returns its SHA-256."""
    digest, at = hashlib.sha256(), 0

    def zeros(count: int) -> None:
        while count:
            step = min(count, SEGMENT)
            digest.update(bytes(step))
            count -= step

    with open(path, "wb") as file:
        for offset, data in repository.disk(entry[4], entry[3]):
            zeros(offset - at)
            digest.update(data)
            at = offset + len(data)
            for i in range(0, len(data), UNIT):
                if not is_zero(unit := data[i:i + UNIT]):
                    file.seek(offset + i)
                    file.write(unit)
        zeros(entry[3] - at)
        file.truncate(entry[3])
    return digest.hexdigest()


def restore(repository: Repository, name: str, outdir: Path) -> list[dict[str, Any]]:
    """Writes all disks and streams of a snapshot as <n>-<role>-<name>."""
    outdir.mkdir(parents=True, exist_ok=True)
    report = []
    for n, entry in enumerate(repository.snapshot(name)[9]):
        safe = re.sub(r"[^\w.-]", "_", entry[1])[:100]
        path = outdir / f"{n}-{ROLES[entry[0]]}-{safe}"
        try:
            digest = write_sparse(repository, entry, path)
        except Damaged as error:
            marked = " (the snapshot is marked: it is being forgotten)" if repository.is_marked(name) else ""
            raise Damaged(f"{entry[1]}: {error}{marked}") from error
        report.append({"file": path.name, "name": entry[1], "role": entry[0], "size": entry[3], "sha256": digest})
    return report


# ---------------------------------------------------------------- command line

def describe(s: dict[int, Any]) -> dict[str, Any]:
    """A snapshot (9.2) for JSON."""
    origin = {name: s[8].get(i) for i, name in enumerate(
        ("container", "compression", "vm_uuid", "vm_name", "exporter", "source", "selection"))}
    disks = [{"role": d[0], "name": d[1], "key": d[2], "size": d[3], "id": d[4].hex(), "version": d.get(5)} for d in s[9]]
    return {"id": s[0].hex(), "time": s[1], "zone": s[2], "run": s[3].hex(), "run_name": s[4], "host": s[5],
            "program": s[6], "tags": s[7], "origin": origin, "disks": disks, "consistency": s[10],
            "statistics": [s[11][i] for i in range(7)], "parent": s[12].hex() if 12 in s else None}


def read_password(path: Path) -> bytes:
    """Without one end of line (4.3)."""
    data = path.read_bytes()
    return data.removesuffix(b"\r\n" if data.endswith(b"\r\n") else b"\n")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--password-file", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="verify the hashes of all objects; needs no password")
    commands.add_parser("snapshots", help="list snapshots as JSON")
    one = commands.add_parser("restore", help="write the disks and streams of a snapshot")
    one.add_argument("snapshot")
    one.add_argument("outdir", type=Path)
    xva = commands.add_parser("restore-xva", help="rebuild the XVA that was backed up")
    xva.add_argument("snapshot")
    xva.add_argument("out", type=Path)
    args = parser.parse_args(arguments)
    storage = Directory(args.repository)
    try:
        if args.command == "check":
            objects, errors = check(storage)
            print(json.dumps({"objects": objects, "errors": errors}, indent=1))
            return 1 if errors else 0
        if not args.password_file:
            parser.error("--password-file is needed")
        repository = Repository(storage, read_password(args.password_file))
        if args.command == "snapshots":
            print(json.dumps([describe(s) for s in repository.snapshots()], indent=1))
        elif args.command == "restore":
            print(json.dumps(restore(repository, args.snapshot, args.outdir), indent=1))
        else:
            restore_xva(repository, args.snapshot, args.out)
    except Damaged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
