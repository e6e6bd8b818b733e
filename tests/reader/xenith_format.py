"""The bytes of a Xenith repository (SPEC 3 to 11): seals, keys, headers and tables; no storage.

Everything that is parsed here is hostile until its hash, seal or id has been verified, and every length is
compared with SPEC 13 before anything of that length is allocated. Numbers in docstrings are chapters of SPEC.md.
"""
from __future__ import annotations

import hmac
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import argon2.low_level as argon2
import cbor2
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pyhpke import AEADId, CipherSuite, KDFId, KEMId
from pyhpke.exceptions import PyHPKEError

MIB = 1 << 20
SEGMENT, UNIT, BLOCK, CHUNK, FRAME, FANOUT = 4 * MIB, 64 << 10, 4096, MIB, MIB, 256
# SPEC 13
MAX_DISK, MAX_STREAM, MAX_PACK, MAX_INDEX, MAX_CBOR = 1 << 54, 64 * MIB, 256 * MIB, 256 * MIB, 64 * MIB
MAX_CONTENTS, MAX_CONFIG, MAX_SLOTS, MAX_FRAMES, MAX_ENTRIES = 8 * MIB, 64 << 10, 256, 16_384, 65_536
MAX_INDEX_PACKS, MAX_RECORDS, MAX_HOOKS, MAX_TEXT, MAX_DEPTH = 65_536, 4_194_304, 4_194_304, 4096, 32

CONFIG, SLOT, DATA_PACK, MAP_PACK, PRINT_PACK, SEGMENT_INDEX, CHUNK_INDEX, PRINT_INDEX = range(1, 9)
SNAPSHOT, SESSION, STATE, TOMBSTONE, MARKER = range(9, 14)
MAP, NODE, DISK, BODY, PRINT = range(1, 6)
RAW, ZSTD, PADDING = range(3)
ROLES = ("disk", "memory", "record", "layout", "file")
SUITES = {CONFIG: 0, SLOT: 0, TOMBSTONE: 0, MARKER: 0, DATA_PACK: 2}  # all other kinds: 1


class Damaged(Exception):
    """Bytes that are not what the specification or a hash says they must be."""


class Missing(Damaged):
    """An object or an id that is not there."""


def need(condition: Any, what: str) -> None:
    if not condition:
        raise Damaged(what)


# ---------------------------------------------------------------- primitives (Conventions, 4.2, 4.4, 5)

def keyed(key: bytes, data: bytes) -> bytes:
    return blake3(data, key=key).digest()


def derive(context: str, material: bytes, length: int = 32) -> bytes:
    return blake3(material, derive_key_context=context).digest(length=length)


def u24(data: bytes) -> int:
    return int.from_bytes(data, "little")


def u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def is_zero(data: bytes) -> bool:
    return data.count(0) == len(data)


def pad(length: int) -> int:
    """Padme (5.3)."""
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    unit = 1 << (exponent - exponent.bit_length())  # S = floor(log2 E) + 1
    return (length + unit - 1) // unit * unit


def commitment(key: bytes) -> bytes:
    return derive("xenith v1 commitment", key)


def committed(key: bytes, claim: bytes, what: str) -> bytes:
    """The key, once it is shown to be the one that was committed to (4.2)."""
    need(hmac.compare_digest(commitment(key), claim), f"{what}: the commitment is of another key")
    return key


def unseal(key: bytes, prefix: bytes, number: int, sealed: bytes) -> bytes:
    """The inverse of seal (5.1)."""
    need(len(sealed) >= 24, "sealed text is too short")
    nonce = number.to_bytes(4, "big") + sealed[:8]
    try:
        return AESGCM(key).decrypt(nonce, sealed[8:], prefix + u32(number))
    except InvalidTag:
        raise Damaged(f"sealed text {number} does not open") from None


def unzstd(data: bytes, length: int) -> bytes:
    """One zstd frame of a known plain length (8.1)."""
    try:
        need(zstandard.frame_content_size(data) in (-1, length), "bad zstd frame")
        return zstandard.ZstdDecompressor(max_window_size=8 * MIB).decompress(
            data, max_output_size=length, allow_extra_data=False)
    except (zstandard.ZstdError, MemoryError) as error:
        raise Damaged(f"bad zstd frame: {error}") from None


def hpke_export(private: bytes, enc: bytes, info: bytes, psk: bytes, psk_id: bytes, context: bytes) -> bytes:
    """RFC 9180, mode_psk, export only (4.4)."""
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.EXPORT_ONLY)
    try:
        receiver = suite.create_recipient_context(
            enc, suite.kem.deserialize_private_key(private), info, psk=psk, psk_id=psk_id)
        return receiver.export(context, 32)
    except (PyHPKEError, ValueError):
        raise Damaged("bad HPKE encapsulated key") from None


# ---------------------------------------------------------------- headers (3)

class Header(NamedTuple):
    kind: int
    epoch: int
    repository: bytes
    salt: bytes          # suite 2: enc
    commitment: bytes
    raw: bytes


def parse_header(data: bytes, kinds: set[int], repository: bytes | None) -> Header:
    """3.1 and 3.2; which of them follows from the kind."""
    need(len(data) >= 32, "object is too short")
    magic, version, kind, suite, epoch, zero = struct.unpack_from("<4sHBBII", data)
    need(magic == b"XNTH", "not a Xenith object")
    need(version == 1, f"format version {version} is not known")
    need(kind in kinds, f"object of kind {kind} in this place")
    need(suite == SUITES.get(kind, 1) and zero == 0, "bad header")
    need(suite or kind == SLOT or epoch == 0, "bad header")
    need(repository in (None, data[16:32]), "object of another repository")
    size = 96 if suite else 32
    need(len(data) >= size, "object is too short")
    return Header(kind, epoch, data[16:32], data[32:64], data[64:96], data[:size])


def strip_hash(data: bytes) -> bytes:
    """Verifies the 32 bytes at the end of an object and takes them off (3)."""
    need(len(data) >= 64 and blake3(data[:-32]).digest() == data[-32:], "the hash at the end does not fit")
    return data[:-32]


# ---------------------------------------------------------------- CBOR (4.3, 9)

Shape = Callable[[Any], bool]
number: Shape = lambda v: type(v) is int and 0 <= v < 1 << 64
integer: Shape = lambda v: type(v) is int and -(1 << 64) <= v < 1 << 64
text: Shape = lambda v: type(v) is str and len(v.encode()) <= MAX_TEXT


def bstr(size: int) -> Shape:
    return lambda v: type(v) is bytes and len(v) == size


def below(limit: int) -> Shape:
    return lambda v: number(v) and v < limit


def array(item: Shape, limit: int | None = None) -> Shape:
    return lambda v: type(v) is list and (limit is None or len(v) <= limit) and all(map(item, v))


def record(*required: Shape, optional: dict[int, Shape] | None = None) -> Shape:
    """A map: shapes of keys 0, 1, ..., in order, and of keys that may be absent. Unknown keys are rejected (9)."""
    shapes = dict(enumerate(required)) | (optional or {})
    needed = shapes.keys() - (optional or {}).keys()
    return lambda v: type(v) is dict and needed <= v.keys() and all(
        type(k) is int and k in shapes and shapes[k](item) for k, item in v.items())


EPOCH = record(below(1 << 32), bstr(32), bstr(32), optional={3: bstr(32)})
BUNDLE = record(below(2), bstr(32), array(EPOCH), bstr(32))
INFO = record(below(2), text, number)
CHUNKER = {0: 1, 1: 65_536, 2: 262_144, 3: 1_048_576, 4: 1}  # the only one (14)
CONFIG_SHAPE = record(number, bstr(16), lambda v: v == CHUNKER, number, number, number, number)
ORIGIN = record(text, text, text, text, text, text, optional={2: text, 3: text, 4: text, 6: text})
DISK_SHAPE = record(below(5), text, text, below(MAX_DISK + 1), bstr(32), optional={5: text})
SNAPSHOT_SHAPE = record(
    bstr(16), number, integer, bstr(16), text, text, text, array(text, 256), ORIGIN, array(DISK_SHAPE, 1024),
    below(5), record(*[number] * 7), optional={12: bstr(16)})
SESSION_SHAPE = record(bstr(16), number, text, number, text, number)
NAMES, PACKS, SESSIONS = array(bstr(36)), array(bstr(32)), array(bstr(16))
STATE_SHAPE = record(number, bstr(32), below(4), NAMES, NAMES, SESSIONS, PACKS, SESSIONS, NAMES, PACKS)


def decode_cbor(data: bytes, shape: Shape, what: str) -> Any:
    """Decodes deterministic CBOR. Encoding it again finds duplicates, wrong order, long heads and trailing bytes."""
    try:
        value = cbor2.loads(data)
        need(cbor2.dumps(value, canonical=True) == data, f"{what}: CBOR is not deterministic")
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise Damaged(f"{what}: bad CBOR: {error}") from None
    need(shape(value), f"{what}: CBOR of another shape")
    return value


# ---------------------------------------------------------------- keys (4)

@dataclass
class Keys:
    """What a key slot opens, and what is derived from it (4.1, 4.2)."""
    repository: bytes
    role: int
    identity: bytes
    epochs: dict[int, dict[int, Any]]

    def of(self, kind: str) -> bytes:
        """Segment, chunk, node or disk key."""
        return derive(f"xenith v1 {kind} id", self.identity + self.repository)

    def fingerprint_key(self) -> bytes:
        return derive("xenith v1 fingerprint", self.identity + self.repository)

    def gear_table(self) -> bytes:
        return derive("xenith v1 gear table", self.identity + self.repository, 2048)

    def epoch(self, epoch: int) -> dict[int, Any]:
        need(epoch in self.epochs, f"no secrets of epoch {epoch}")
        return self.epochs[epoch]

    def catalog_key(self, epoch: int, kind: int, salt: bytes) -> bytes:
        return derive("xenith v1 catalog object", self.epoch(epoch)[1] + self.repository + bytes([kind]) + salt)

    def contents_key(self, header: Header) -> bytes:
        return self.catalog_key(header.epoch, header.kind + 128, header.salt)

    def psk(self, epoch: int) -> bytes:
        return derive("xenith v1 hpke psk", self.epoch(epoch)[1] + self.repository)

    def object_key(self, header: Header) -> bytes:
        """The key of a sealed object, after its commitment was compared."""
        if header.kind != DATA_PACK:
            key = self.catalog_key(header.epoch, header.kind, header.salt)
        else:
            private = self.epoch(header.epoch).get(3)
            if private is None:
                raise Damaged("this password is of the backup role: it opens no data")
            where = self.repository + u32(header.epoch)
            key = hpke_export(private, header.salt, b"xenith v1" + where + bytes([header.kind]),
                              self.psk(header.epoch), where, b"xenith v1 pack key")
        return committed(key, header.commitment, "object")


def wrap_key(password: bytes, salt: bytes, passes: int, lanes: int, memory: int) -> bytes:
    need(1 <= passes <= 16 and 1 <= lanes <= 16 and 8192 <= memory <= 2_097_152, "key slot asks for too much work")
    return derive("xenith v1 slot", argon2.hash_secret_raw(
        password, salt, passes, memory, lanes, 32, argon2.Type.ID, 0x13))


def open_slot(data: bytes, repository: bytes, password: bytes) -> Keys | None:
    """The keys in a slot (4.3; its hash is off already), or None if the slot is another password's."""
    header = parse_header(data, {SLOT}, repository)
    need(len(data) >= 112, "key slot is too short")
    derivation, passes, lanes, zero, memory = struct.unpack_from("<BBBBI", data, 48)
    need(derivation == 1 and zero == 0, "key slot of unknown derivation")
    bundle_length = int.from_bytes(data[104:108], "little")
    need(bundle_length <= 65_536 and len(data) >= 112 + bundle_length, "bad key slot")
    bundle, rest = data[108:108 + bundle_length], data[108 + bundle_length:]
    need(len(rest) - 4 == int.from_bytes(rest[:4], "little") <= 65_536, "bad key slot")
    key = wrap_key(password, data[56:72], passes, lanes, memory)
    if not hmac.compare_digest(commitment(key), data[72:104]):
        return None
    secrets = decode_cbor(unseal(key, data[:104], 0, bundle), BUNDLE, "key bundle")
    numbers = [e[0] for e in secrets[2]]
    need(numbers and numbers == sorted(set(numbers)), "epochs do not rise")
    for epoch in secrets[2]:
        need((3 in epoch) == (secrets[0] == 0), "private key and role do not fit")
        need(3 not in epoch or epoch[2] ==
             X25519PrivateKey.from_private_bytes(epoch[3]).public_key().public_bytes_raw(), "public key does not fit")
    keys = Keys(repository, secrets[0], secrets[1], {e[0]: e for e in secrets[2]})
    info_key = keys.catalog_key(header.epoch, SLOT, data[32:48] + data[56:72])
    info = decode_cbor(unseal(info_key, data[:104], 1, rest[4:]), INFO, "info of the key slot")
    need(info[0] == keys.role, "roles of the key slot do not fit")
    return keys


# ---------------------------------------------------------------- maps, nodes, disks, packs, index (7, 8, 11)

class Extent(NamedTuple):
    length: int
    source: int
    offset: int


def parse_map(data: bytes) -> tuple[list[tuple[bytes, int]], list[Extent]]:
    """Chunk table and extents (7.1)."""
    need(len(data) >= 8, "map is too short")
    c, x, zero = struct.unpack_from("<HHI", data)
    need(1 <= c <= 192 and 1 <= x <= 1023 and zero == 0 and len(data) == 8 + 20 * c + 8 * x, "bad map")
    chunks, extents = [], []
    for chunk, length, zero in struct.iter_unpack("<16s3sB", data[8:8 + 20 * c]):
        need(1 <= u24(length) <= CHUNK and zero == 0, "bad chunk table")
        chunks.append((chunk, u24(length)))
    for length, source, offset, zero in struct.iter_unpack("<3sB3sB", data[8 + 20 * c:]):
        extent = Extent(u24(length), source, u24(offset))
        need(extent.length and zero == 0 and (source == 255 or source < c), "bad extent")
        need(extent.offset + (extent.length if source < c else 0) <= (chunks[source][1] if source < c else 0),
             "extent outside of its chunk")
        extents.append(extent)
    need(sum(e.length for e in extents) == SEGMENT, "extents do not fill the segment")
    return chunks, extents


def parse_node(data: bytes, level: int) -> list[tuple[int, bytes]]:
    """Number and id of each child that is present (7.2)."""
    need(len(data) >= 72 and data[0] == level and is_zero(data[1:8]), "bad node")
    present = [i for i in range(FANOUT) if data[8 + i // 8] >> i % 8 & 1]
    need(present and len(data) == 40 + 32 * len(present), "bad node")
    return [(i, data[40 + 32 * k:72 + 32 * k]) for k, i in enumerate(present)]


def level_of(size: int) -> int:
    return next(level for level in range(5) if size <= (SEGMENT * FANOUT ** level if level else 0))


def parse_disk(data: bytes) -> tuple[int, int, bytes | None]:
    """Virtual size, level of the root, id of the root (7.3)."""
    need(len(data) == 64, "bad disk")
    size, level, rooted, zero, root = struct.unpack("<QBB22s32s", data)
    need(size <= MAX_DISK and level == level_of(size) and is_zero(zero) and rooted <= (size > 0), "bad disk")
    need(rooted or is_zero(root), "bad disk")
    return size, level, root if rooted else None


class Frame(NamedTuple):
    """Where a frame is, and how it is stored (8.1)."""
    pack: bytes
    number: int
    offset: int
    sealed: int
    plain: int
    codec: int


def parse_frames(pack: bytes, data: bytes, end: int) -> list[Frame]:
    """A frame table (8.1) of a pack whose frames end at or before `end`."""
    frames: list[Frame] = []
    offset = 96
    for i, (sealed, plain, codec, zero) in enumerate(struct.iter_unpack("<3s3sBB", data)):
        frame = Frame(pack, i, offset, u24(sealed), u24(plain), codec)
        need(codec <= PADDING and zero == 0 and 1 <= frame.plain <= FRAME, "bad frame table")
        need(24 < frame.sealed <= frame.plain + 24, "bad frame table")
        need(codec == ZSTD or frame.sealed == frame.plain + 24, "bad frame table")
        need(codec == PADDING or not frames or frames[-1].codec != PADDING, "padding frames must be last")
        frames.append(frame)
        offset += frame.sealed
    need(offset <= end, "frames do not fit into the pack")
    return frames


class Place(NamedTuple):
    """A range of a plain frame."""
    frame: Frame
    offset: int
    length: int


def place(frames: list[Frame], frame: int, offset: bytes, length: bytes) -> Place:
    need(frame < len(frames) and frames[frame].codec != PADDING, "record of a frame that is not there")
    need(u24(length) and u24(offset) + u24(length) <= frames[frame].plain, "record outside of its frame")
    return Place(frames[frame], u24(offset), u24(length))


ENTRIES = {MAP_PACK: (MAP, NODE, DISK, BODY), PRINT_PACK: (PRINT,)}


def parse_contents(pack: bytes, kind: int, data: bytes, end: int) -> list[tuple[int, bytes, Place]]:
    """Kind (0: chunk), id and place of every entry of a pack (8.1)."""
    need(len(data) >= 16, "bad contents")
    f, n, zero = struct.unpack_from("<IIQ", data)
    form = "<16sH3s3s" if kind == DATA_PACK else "<32sBBH3s3sH"
    need(f <= MAX_FRAMES and n <= MAX_ENTRIES and zero == 0, "bad contents")
    begin, width = 16 + 8 * f, struct.calcsize(form)
    need(len(data) == pad(begin + n * width) and is_zero(data[begin + n * width:]), "bad contents")
    frames, entries = parse_frames(pack, data[16:begin], end), []
    need(sum(frame.sealed for frame in frames) == end - 96, "the contents do not follow the frames")
    for fields in struct.iter_unpack(form, data[begin:begin + n * width]):
        if kind == DATA_PACK:
            entries.append((0, fields[0], place(frames, *fields[1:])))
        else:
            need(fields[1] in ENTRIES[kind] and fields[2] == 0 and fields[6] == 0, "bad entry")
            entries.append((fields[1], fields[0], place(frames, *fields[3:6])))
    places = [(where.frame.number, where.offset) for _, _, where in entries]
    need(places == sorted(places), "entries are not in the order of their places")
    return entries


INDEXED = {SEGMENT_INDEX: MAP_PACK, CHUNK_INDEX: DATA_PACK, PRINT_INDEX: PRINT_PACK}


def parse_index(kind: int, data: bytes) -> Iterator[tuple[int, bytes, Place]]:
    """Kind (0: chunk), id and place of every record of an index object (11)."""
    need(len(data) >= 32, "bad index")
    p, f, r, h, zero = struct.unpack_from("<IIII16s", data)
    need(p <= MAX_INDEX_PACKS and r <= MAX_RECORDS and is_zero(zero), "bad index")
    need(h <= (MAX_HOOKS if kind == PRINT_INDEX else 0), "bad index")
    form = "<16sIH3s3s" if kind == CHUNK_INDEX else "<32sBBHI3s3s"
    hooks = 32 + 48 * p + 8 * f + struct.calcsize(form) * r
    length = hooks + 16 * h
    need(len(data) == pad(length) and is_zero(data[length:]), "bad index")
    packs, at = [], 32 + 48 * p
    for pack, size, count, pack_kind, zero1, writer, zero4 in struct.iter_unpack("<32sIIBBHI", data[32:at]):
        need(count <= MAX_FRAMES and size <= MAX_PACK and not (zero1 or writer or zero4), "bad pack in index")
        need(pack_kind == INDEXED[kind], "bad pack in index")
        need(at + 8 * count <= 32 + 48 * p + 8 * f, "bad index")
        packs.append(parse_frames(pack, data[at:at + 8 * count], size - 64))
        at += 8 * count
    need(at == 32 + 48 * p + 8 * f, "bad index")
    parse_hooks(data[hooks:length], r)
    previous: tuple[bytes, int] = (b"", 0)
    for fields in struct.iter_unpack(form, data[at:hooks]):
        if kind == CHUNK_INDEX:
            what, name, pack_number, frame, offset, size = 0, *fields
        else:
            name, what, zero, frame, pack_number, offset, size = fields
            need(what in ENTRIES[INDEXED[kind]] and what != BODY and zero == 0, "bad record")
            need(kind != PRINT_INDEX or previous[0] != name, "two prints of one segment")
        need(previous <= (name, what) and pack_number < p, "bad record")
        previous = name, what
        yield what, name, place(packs[pack_number], frame, offset, size)


def parse_hooks(data: bytes, records: int) -> list[tuple[bytes, int]]:
    """Fingerprint and number of a record, of each hook (11)."""
    hooks = list(struct.iter_unpack("<12sI", data))
    need(hooks == sorted(hooks) and all(number < records for _, number in hooks), "bad hooks")
    return hooks


# ---------------------------------------------------------------- prints (7.4): no restore needs what is below

class Print(NamedTuple):
    """A print as it is stored."""
    depth: int
    base: bytes | None
    units: dict[int, bytes]
    blocks: dict[int, bytes]


def parse_print(data: bytes) -> Print:
    need(len(data) >= 48, "print is too short")
    depth, zero, base, mask = struct.unpack_from("<B7s32sQ", data)
    units = [i for i in range(64) if mask >> i & 1]
    need(depth <= MAX_DEPTH and is_zero(zero) and units, "bad print")
    need(depth or is_zero(base), "a full print has no base")
    at = 48 + 34 * len(units)
    need(len(data) >= at, "print is too short")
    values, blocks = {}, []
    for i, (value, given) in zip(units, struct.iter_unpack("<32sH", data[48:at]), strict=True):
        values[i] = value
        blocks += [16 * i + j for j in range(16) if given >> j & 1]
    need(len(data) == at + 12 * len(blocks), "bad print")
    return Print(depth, base if depth else None, values,
                 {block: data[at + 12 * n:at + 12 * n + 12] for n, block in enumerate(blocks)})


def zero_print(key: bytes) -> tuple[list[bytes], list[bytes]]:
    """All 64 unit values and 1,024 fingerprints of 4 MiB of zeros; the key is the segment key."""
    return unit_values(key, 0, bytes(SEGMENT)), [bytes(12)] * 1024


def over(stored: Print, below: tuple[list[bytes], list[bytes]]) -> tuple[list[bytes], list[bytes]]:
    """All unit values and fingerprints, given those of the base, or of zeros for a full print."""
    units, blocks = below
    return ([stored.units.get(i, value) for i, value in enumerate(units)],
            [stored.blocks.get(i, value) for i, value in enumerate(blocks)])


def fingerprint(key: bytes, block: bytes) -> bytes:
    found = keyed(key, block)[:12]
    if is_zero(block):
        return bytes(12)
    return b"\xff" * 12 if is_zero(found) else found


def is_hook(found: bytes) -> bool:
    return found[0] % 16 == 0 and not is_zero(found)


# BLAKE3, many equal steps at a time: the library has no way to its inner nodes. Each word of the state is one integer
# that has 64 bits for each step.

CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED_HASH = 1, 2, 4, 8, 16
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
LINES = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


def compress(before: list[bytes], blocks: list[bytes], counters: Iterable[int], flags: int) -> list[bytes]:
    """The chaining values behind 64 bytes each. Counters are below 2^32."""
    ones = int.from_bytes(b"\1\0\0\0\0\0\0\0" * len(blocks), "little")
    mask = 0xFFFFFFFF * ones

    def words(values: list[bytes], count: int) -> list[int]:
        columns = (b"".join(v[i:i + 4] + bytes(4) for v in values) for i in range(0, 4 * count, 4))
        return [int.from_bytes(column, "little") for column in columns]

    def turned(word: int, turns: int) -> int:
        return (word >> turns | word << 32 - turns) & mask

    low = int.from_bytes(b"".join(counter.to_bytes(8, "little") for counter in counters), "little")
    m, v = words(blocks, 16), [*words(before, 8), *(ones * word for word in IV), low, 0, ones * 64, ones * flags]
    for _ in range(7):
        for line, (a, b, c, d) in enumerate(LINES):
            for half, first, second in ((0, 16, 12), (1, 8, 7)):
                v[a] = v[a] + v[b] + m[2 * line + half] & mask
                v[d] = turned(v[d] ^ v[a], first)
                v[c] = v[c] + v[d] & mask
                v[b] = turned(v[b] ^ v[c], second)
        m = [m[i] for i in ORDER]
    found = [(v[i] ^ v[i + 8]).to_bytes(8 * len(blocks), "little") for i in range(8)]
    return [b"".join(word[at:at + 4] for word in found) for at in range(0, 8 * len(blocks), 8)]


def parents(key: bytes, values: list[bytes], last: int = 0) -> list[bytes]:
    """The nodes above pairs; `last` are further flags."""
    pairs = [values[i] + values[i + 1] for i in range(0, len(values), 2)]
    return compress([key] * len(pairs), pairs, [0] * len(pairs), KEYED_HASH | PARENT | last)


def unit_values(key: bytes, first: int, units: bytes) -> list[bytes]:
    """Of whole units, the first of which has this number in its segment."""
    places = range(0, len(units), 1024)
    values = [key] * len(places)
    for i in range(16):
        flags = KEYED_HASH | (CHUNK_START if i == 0 else 0) | (CHUNK_END if i == 15 else 0)
        blocks = [units[at + 64 * i:at + 64 * i + 64] for at in places]
        values = compress(values, blocks, range(64 * first, 64 * first + len(places)), flags)
    for _ in range(6):
        values = parents(key, values)
    return values


def segment_id(key: bytes, units: list[bytes]) -> bytes:
    """The id of the segment with these unit values."""
    for _ in range(5):
        units = parents(key, units)
    return parents(key, units, ROOT)[0]
