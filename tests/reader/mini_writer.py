"""A tiny writer of Xenith repositories, for tests of the reader only; made from SPEC.md alone, like the reader.

It has one epoch (7), cuts chunks at fixed places (SPEC 6 allows any) and writes one pack of a kind per snapshot.
"""
from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import cbor2
import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pyhpke import AEADId, CipherSuite, KDFId, KEMId

import xenith_format as f
from xenith_format import derive, keyed, pad, u32

MASK64 = (1 << 64) - 1
EPOCH, CHUNK_SIZE = 7, 300_000


def cuts(data: bytes, gear: bytes, minimum: int = 65_536, average: int = 262_144, maximum: int = 1 << 20) -> list[int]:
    """Where the chunker (6) cuts: the end of each chunk."""
    g = struct.unpack("<256Q", gear)
    gl = [v << 1 & MASK64 for v in g]
    mask_s, mask_l = 0x0000D91707537000, 0x0000D90703537000

    def cut(at: int) -> int:
        n = len(data) - at
        if n <= minimum:
            return n
        end, center, h = min(n, maximum), min(n, average), 0
        for i in range(minimum // 2, end // 2):
            mask = mask_s if i < center // 2 else mask_l
            h = (h << 2) + gl[data[at + 2 * i]] & MASK64
            if not h & mask << 1:
                return 2 * i
            h = h + g[data[at + 2 * i + 1]] & MASK64
            if not h & mask:
                return 2 * i + 1
        return end

    found, at = [], 0
    while at < len(data):
        at += cut(at)
        found.append(at)
    return found


def seal(key: bytes, prefix: bytes, number: int, text: bytes) -> bytes:
    """5.1."""
    tail = keyed(derive("xenith v1 frame nonce", key), text)[:8]
    return tail + AESGCM(key).encrypt(number.to_bytes(4, "big") + tail, text, prefix + u32(number))


def u24le(number: int) -> bytes:
    return number.to_bytes(3, "little")


def encode(value: Any) -> bytes:
    return cbor2.dumps(value, canonical=True)


def hashed(data: bytes) -> bytes:
    return data + blake3(data).digest()


Entry = tuple[int, bytes, bytes]  # kind (0: chunk), id, text


class Writer:
    """A new repository in a directory."""

    password = b"correct horse"

    def __init__(self, root: Path, role: int = 0):
        self.root, self.random = root, random.Random(1)
        noise = self.random.randbytes
        private = X25519PrivateKey.from_private_bytes(noise(32))
        self.public = private.public_key().public_bytes_raw()
        self.r, identity, slot, salt = noise(16), noise(32), noise(16), noise(16)
        epoch = {0: EPOCH, 1: noise(32), 2: self.public, 3: private.private_bytes_raw()}
        self.keys = f.Keys(self.r, 0, identity, {EPOCH: dict(epoch)})
        config = encode({0: 1, 1: self.r, 2: {0: 1, 1: 65536, 2: 262144, 3: 1048576, 4: 1}, 3: f.SEGMENT,
                         4: 0, 5: 0, 6: 1_700_000_000})
        self.roots("config/0", hashed(self.clear(f.CONFIG) + u32(len(config)) + config))
        wrap = f.wrap_key(self.password, salt, 1, 1, 8192)
        head = self.clear(f.SLOT, EPOCH) + slot + struct.pack("<BBBBI", 1, 1, 1, 0, 8192) + salt + f.commitment(wrap)
        if role == 1:
            del epoch[3]
        bundle = seal(wrap, head, 0, encode({0: role, 1: identity, 2: [epoch], 3: bytes(32)}))
        info_key = self.keys.catalog_key(EPOCH, f.SLOT, slot + salt)
        info = seal(info_key, head, 1, encode({0: role, 1: "test", 2: 0}))
        self.roots(f"keys/{slot.hex()}", hashed(head + u32(len(bundle)) + bundle + u32(len(info)) + info))
        self.state(0)

    def put(self, name: str, data: bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def roots(self, name: str, data: bytes) -> None:
        for copy in (1, 2, 3):
            self.put(f"roots/{copy}/{name}", data)

    def state(self, number: int, **lists: list[bytes]) -> None:
        """9.4; lists by key: k3 live, k4 retired, k5 absorbed."""
        value: dict[int, Any] = {0: number, 1: bytes(32), 2: 0}
        value |= {k: lists.get(f"k{k}", []) for k in range(3, 10)}
        self.put(f"state/{number}", self.single(f.STATE, value))

    def clear(self, kind: int, epoch: int = 0) -> bytes:
        return struct.pack("<4sHBBII", b"XNTH", 1, kind, 0, epoch, 0) + self.r

    def sealed(self, kind: int) -> tuple[bytes, bytes]:
        """A sealed header (3.2) and its object key."""
        if kind == f.DATA_PACK:
            suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.EXPORT_ONLY)
            where = self.r + u32(EPOCH)
            salt, sender = suite.create_sender_context(
                suite.kem.deserialize_public_key(self.public), b"xenith v1" + where + b"\3",
                psk=derive("xenith v1 hpke psk", self.keys.epochs[EPOCH][1] + self.r), psk_id=where)
            key = sender.export(b"xenith v1 pack key", 32)
        else:
            salt = self.random.randbytes(32)
            key = self.keys.catalog_key(EPOCH, kind, salt)
        suite_number = 2 if kind == f.DATA_PACK else 1
        head = struct.pack("<4sHBBII", b"XNTH", 1, kind, suite_number, EPOCH, 0) + self.r
        return head + salt + f.commitment(key), key

    def framed(self, kind: int, text: bytes) -> bytes:
        """5.2, without the hash at the end."""
        header, key = self.sealed(kind)
        return header + b"".join(seal(key, header, i, text[at:at + f.FRAME])
                                 for i, at in enumerate(range(0, len(text), f.FRAME)))

    def single(self, kind: int, value: Any) -> bytes:
        body = encode(value)
        body = u32(len(body)) + body
        return hashed(self.framed(kind, body.ljust(pad(len(body)), b"\0")))

    def pack(self, kind: int, entries: list[Entry]) -> tuple[bytes, bytes, list[tuple[int, int, int]]]:
        """Stores entries (8); returns the pack's row of the index, its frame table, the places of the entries."""
        header, key = self.sealed(kind)
        plains, places = [bytearray()], []
        for _, _, text in entries:
            if len(plains[-1]) + len(text) > f.FRAME:
                plains.append(bytearray())
            places.append((len(plains) - 1, len(plains[-1]), len(text)))
            plains[-1] += text
        stored = []
        for plain in map(bytes, plains):
            packed = zstandard.compress(plain)
            stored.append((packed, len(plain), f.ZSTD) if len(packed) < len(plain) else (plain, len(plain), f.RAW))
        tables = 16 + 8 * (len(stored) + 1) + len(entries) * (24 if kind == f.DATA_PACK else 44)
        bare = 96 + sum(len(text) + 24 for text, *_ in stored) + 24 + 24 + pad(tables) + 64
        length = pad(bare + 1) - bare  # of a padding frame that makes the pack as long as pad() wants it
        stored.append((bytes(length), length, f.PADDING))
        out, table = bytearray(header), b""
        for i, (text, length, codec) in enumerate(stored):
            frame = seal(key, header, i, text)
            table += u24le(len(frame)) + u24le(length) + bytes([codec, 0])
            out += frame
        contents = struct.pack("<IIQ", len(stored), len(entries), 0) + table
        for (what, name, _), (frame_number, offset, size) in zip(entries, places, strict=True):
            where = struct.pack("<H", frame_number) + u24le(offset) + u24le(size)
            contents += name + where if kind == f.DATA_PACK else name + bytes([what, 0]) + where + b"\0\0"
        contents_key = self.keys.contents_key(f.parse_header(header, {kind}, self.r))
        sealed = seal(contents_key, header, 0xFFFFFFFF, contents.ljust(pad(len(contents)), b"\0"))
        assert len(out) + len(sealed) + 64 == bare + length
        trailer = f.commitment(contents_key) + struct.pack("<IIQQ8s", len(out), len(sealed), 0, 0, b"XNTHTAIL")
        out += sealed + trailer
        name = blake3(bytes(out)).digest()
        self.put(f"packs/{name.hex()[:2]}/{name.hex()}", bytes(out))
        return name + struct.pack("<IIBBHI", len(out), len(stored), kind, 0, 0, 0), table, places

    def index(self, owner: bytes, kind: int, entries: list[Entry],
              hooks: list[tuple[bytes, int]] | None = None) -> None:
        """Stores entries in a pack, and an index object (11) that names it."""
        pack, table, places = self.pack(f.INDEXED[kind], entries)
        rows = []
        for (what, name, _), (frame, offset, size) in zip(entries, places, strict=True):
            where = u24le(offset) + u24le(size)
            if kind == f.CHUNK_INDEX:
                rows.append((name, what, name + struct.pack("<IH", 0, frame) + where))
            elif what != 4:
                rows.append((name, what, name + bytes([what, 0]) + struct.pack("<HI", frame, 0) + where))
        hooks = sorted(hooks or [])
        text = struct.pack("<IIII16s", 1, len(table) // 8, len(rows), len(hooks), b"") + pack + table
        text += b"".join(row for *_, row in sorted(rows)) + b"".join(struct.pack("<12sI", *hook) for hook in hooks)
        data = self.framed(kind, text.ljust(pad(len(text)), b"\0"))
        folder = "prints" if kind == f.PRINT_INDEX else "index"
        self.put(f"{folder}/{owner.hex()}-{blake3(data).hexdigest()[:40]}", data)

    def snapshot(self, disks: list[tuple[int, str, int, dict[int, bytes]]], when: int = 1) -> str:
        """Stores disks (role, name, size, segments by number); returns the snapshot's id."""
        keys = {kind: self.keys.of(kind) for kind in ("segment", "chunk", "node", "disk")}
        chunks: dict[bytes, bytes] = {}
        entries: dict[tuple[int, bytes], bytes] = {}
        listed = []
        for role, name, size, segments in disks:
            layer = {n: self._segment(data, keys, chunks, entries) for n, data in segments.items()}
            level = f.level_of(size)
            for depth in range(1, level + 1):
                above: dict[int, bytes] = {}
                for parent in {n // 256 for n in layer}:
                    children = {n % 256: layer[n] for n in sorted(layer) if n // 256 == parent}
                    bits = sum(1 << n for n in children).to_bytes(32, "little")
                    node = bytes([depth]) + bytes(7) + bits + b"".join(children.values())
                    above[parent] = keyed(keys["node"], node)
                    entries[f.NODE, above[parent]] = node
                layer = above
            disk = struct.pack("<QBB22s32s", size, level, bool(layer), b"", layer.get(0, b""))
            disk_id = keyed(keys["disk"], disk)
            entries[f.DISK, disk_id] = disk
            listed.append({0: role, 1: name, 2: "", 3: size, 4: disk_id, **({5: "version"} if role == 0 else {})})
        owner = self.random.randbytes(16)
        body = {0: owner, 1: when, 2: -60, 3: bytes(16), 4: "", 5: "host", 6: "test", 7: ["a", "b"],
                8: {0: "raw", 1: "", 5: "-", 6: "all"}, 9: listed, 10: 0, 11: {i: 0 for i in range(7)}}
        if chunks:
            self.index(owner, f.CHUNK_INDEX, [(0, *item) for item in chunks.items()])
        texts = [(what, name, text) for (what, name), text in entries.items()]
        self.index(owner, f.SEGMENT_INDEX, [*texts, (4, owner + bytes(16), encode(body))])
        self.put(f"snapshots/{owner.hex()}", self.single(f.SNAPSHOT, body))
        return owner.hex()

    def _segment(self, data: bytes, keys: dict[str, bytes], chunks: dict[bytes, bytes],
                 entries: dict[tuple[int, bytes], bytes]) -> bytes:
        """Cuts a segment, makes its map; returns its id."""
        data = data.ljust(f.SEGMENT, b"\0")
        table: list[bytes] = []
        extents = b""
        for at in range(0, f.SEGMENT, CHUNK_SIZE):
            chunk = data[at:at + CHUNK_SIZE]
            if f.is_zero(chunk):
                extents += u24le(len(chunk)) + b"\xff" + bytes(4)
                continue
            chunk_id = keyed(keys["chunk"], chunk)[:16]
            chunks[chunk_id] = chunk
            extents += u24le(len(chunk)) + bytes([len(table)]) + bytes(4)
            table.append(chunk_id + u24le(len(chunk)) + b"\0")
        segment = keyed(keys["segment"], data)
        entries[f.MAP, segment] = struct.pack("<HHI", len(table), len(extents) // 8, 0) + b"".join(table) + extents
        return segment

    def mark(self, kind: int, name: str) -> None:
        """Puts a tombstone or a marker (3.3)."""
        data = hashed(self.clear(kind) + bytes.fromhex(name) + struct.pack("<QQ", 5, 0))
        self.put(f"snapshots/{name}" + (".void" if kind == f.MARKER else ""), data)
