"""Tests of the independent reader: `python test_reader.py`.

1. RFC 9180, unit tests, hostile bytes, and repositories made by mini_writer.
2. The vectors of SPEC 16 in ../golden/*.json, in the formats of ../golden/README.md.
3. Golden repositories: ../golden/<name>.repo/ with <name>.json beside it.
   Without vectors or repositories these tests are skipped; with XENITH_REQUIRE_GOLDEN=1 in the environment
   they fail instead.
"""
from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import struct
import sys
import tarfile
import tempfile
import unittest
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cbor2
import xxhash
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pyhpke import AEADId, CipherSuite, KDFId, KEMId

sys.path.insert(0, str(Path(__file__).parent))
import xenith_format as f
import xenith_reader as x
import xva_layout as xva
from mini_writer import Writer, cuts, seal, u24le
from xenith_format import MIB, Damaged, derive, keyed, pad

GOLDEN = Path(__file__).parent.parent / "golden"
REQUIRED = os.environ.get("XENITH_REQUIRE_GOLDEN") == "1"


def fuzz(good: bytes, parse: Callable[[bytes], Any]) -> None:
    rng = random.Random(3)
    for _ in range(2000):
        data = bytearray(good[:rng.randrange(len(good) + 1)] if rng.random() < 0.3 else good)
        for _ in range(rng.randrange(1, 5)):
            if data:
                data[rng.randrange(len(data))] = rng.choice((0, 1, 255, rng.randrange(256)))
        with contextlib.suppress(Damaged):
            parse(bytes(data))


class Temporary(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root, self.out = Path(folder.name) / "repo", Path(folder.name) / "out"

    def open(self) -> x.Repository:
        return x.Repository(x.Directory(self.root), Writer.password)


class OwnRepository(Temporary):
    """Repositories made by mini_writer."""

    def build(self) -> None:
        self.writer = Writer(self.root)
        noise = self.writer.random.randbytes
        self.plain = bytearray(10 * MIB + 12_345)
        self.plain[:f.SEGMENT] = noise(f.SEGMENT)
        self.plain[9 * MIB:] = b"text" * ((MIB + 12_345) // 4) + b"x"
        pieces = {0: bytes(self.plain[:f.SEGMENT]), 2: bytes(self.plain[2 * f.SEGMENT:])}
        self.far = noise(500_000)
        self.name = self.writer.snapshot([
            (0, "xvda/../\u00e4", len(self.plain), pieces), (4, "empty", 0, {}), (0, "holes", 3 << 30, {}),
            (0, "far", 1100 * MIB, {270: self.far}), (2, "record", 5, {0: b"hello"})])

    def test_restore(self) -> None:
        self.build()
        repository = self.open()
        self.assertEqual([s[0].hex() for s in repository.snapshots()], [self.name])
        report = x.restore(repository, self.name, self.out)
        files = [self.out / entry["file"] for entry in report]
        self.assertEqual(files[0].name, "0-disk-xvda_.._\u00e4")
        self.assertEqual(files[0].read_bytes(), self.plain)
        self.assertEqual(files[1].read_bytes(), b"")
        self.assertEqual(files[2].stat().st_size, 3 << 30)
        self.assertLess(files[2].stat().st_blocks, 100)
        with open(files[3], "rb") as file:
            self.assertEqual(hashlib.file_digest(file, "sha256").hexdigest(), report[3]["sha256"])
            file.seek(1080 * MIB)
            self.assertEqual(file.read().rstrip(b"\0"), self.far.rstrip(b"\0"))
        self.assertEqual(report[0]["sha256"], hashlib.sha256(self.plain).hexdigest())
        self.assertEqual(repository.stream(repository.snapshot(self.name)[9][4]), b"hello")
        for pack in self.root.glob("packs/*/*"):
            entries = repository.pack_entries(bytes.fromhex(pack.name))
            self.assertTrue(entries)
            for what, name, where in entries:
                if what < 4:
                    self.assertIn(where, repository.index[what, name])
        self.assertEqual(x.check(x.Directory(self.root)), (6 + 1 + 1 + 4, []))

    def test_command_line(self) -> None:
        self.writer = Writer(self.root)
        name = self.writer.snapshot([(0, "d", 5, {0: b"hello"})])
        password = self.root.parent / "password"
        password.write_bytes(Writer.password + b"\n")

        def run(*arguments: str) -> Any:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                self.assertEqual(x.main([str(self.root), "--password-file", str(password), *arguments]), 0)
            return json.loads(out.getvalue())

        self.assertEqual(run("snapshots")[0]["id"], name)
        self.assertEqual(run("snapshots")[0]["origin"]["selection"], "all")
        self.assertEqual(run("snapshots")[0]["disks"][0]["version"], "version")
        self.assertEqual(run("restore", name, str(self.out))[0]["sha256"], hashlib.sha256(b"hello").hexdigest())
        self.assertEqual(run("check"), {"objects": 12, "errors": []})
        for end in (b"", b"\r\n"):
            password.write_bytes(Writer.password + end)
            self.assertEqual(len(run("snapshots")), 1)
        password.write_bytes(b"a\n\r\n")
        self.assertEqual(x.read_password(password), b"a\n")

    def test_tombstones_markers_states(self) -> None:
        writer = Writer(self.root)
        names = [writer.snapshot([(0, "d", 5, {0: b"abc%d" % i})], i) for i in range(3)]
        writer.mark(f.MARKER, names[0])
        writer.mark(f.TOMBSTONE, names[1])
        repository = self.open()
        self.assertEqual([s[0].hex() for s in repository.snapshots()], names[2:])
        repository.load_index()
        self.assertEqual(len(repository.index), 2 * 4)  # chunk, map, node, disk; of the marked one too
        self.assertRaises(Damaged, repository.snapshot, names[1])
        ids = [bytes.fromhex(name) for name in names]
        fenced = [i + bytes.fromhex(p.name[33:]) for i in ids for p in self.root.glob(f"index/{i.hex()}-*")]
        for number, lists, count in ((10, {"k5": ids[:1]}, 4), (12, {"k5": ids}, 0),
                                     (13, {"k5": ids, "k3": fenced[:2], "k4": fenced[2:]}, 12),
                                     (14, {"k8": fenced[:2]}, 4)):
            writer.state(number, **lists)
            repository.load_index()
            self.assertEqual(len(repository.index), count)
        writer.state(15, k3=[bytes(36)])
        self.assertRaises(f.Missing, repository.load_index)
        writer.put("state/16", (self.root / "state/15").read_bytes()[:-1])
        self.assertRaises(Damaged, repository.newest_state)

    def test_password_and_role(self) -> None:
        name = Writer(self.root, role=1).snapshot([(0, "d", 5, {0: b"abc"})])
        with self.assertRaisesRegex(Damaged, "no key slot"):
            x.Repository(x.Directory(self.root), b"wrong")
        self.assertEqual(len(self.open().snapshots()), 1)
        self.assertRaisesRegex(Damaged, "backup role", x.restore, self.open(), name, self.out)

    def test_every_damage_is_found(self) -> None:
        """A flipped bit is found by check without keys; a restore never gives other bytes."""
        writer = Writer(self.root)
        content = writer.random.randbytes(5000)
        name = writer.snapshot([(0, "d", 5000, {0: content})])
        storage, rng = x.Directory(self.root), random.Random(2)
        for path in sorted(p for p in self.root.rglob("*") if p.is_file()):
            data = path.read_bytes()
            positions = {0, 6, 7, 12, 20, 40, 70, len(data) - 1, len(data) - 40, rng.randrange(len(data))}
            for position in {p for p in positions if 0 <= p < len(data)}:
                flipped = data[position] ^ 1 << rng.randrange(8)
                path.write_bytes(data[:position] + bytes([flipped]) + data[position + 1:])
                self.assertEqual(len(x.check(storage)[1]), 1, path)
                try:
                    with contextlib.redirect_stderr(io.StringIO()):
                        x.restore(self.open(), name, self.out)
                except Damaged:
                    continue
                self.assertEqual((self.out / "0-disk-d").read_bytes(), content)
            path.write_bytes(data[:len(data) // 2])
            self.assertEqual(len(x.check(storage)[1]), 1)
            path.write_bytes(data)
        self.assertEqual(x.check(storage)[1], [])

    def test_another_place_of_an_id_answers(self) -> None:
        """R17 and R18: packs vanish before, and while, the reader reads."""
        writer, disks = Writer(self.root), [(0, "d", 5000, {0: b"same"})]
        name = writer.snapshot(disks)
        early = self.open()
        early.load_index()
        first = set(self.root.glob("packs/*/*"))
        writer.snapshot(disks)
        for path in first:
            path.unlink()
        for repository in (early, self.open()):
            x.restore(repository, name, self.out)
            self.assertEqual((self.out / "0-disk-d").read_bytes(), b"same".ljust(5000, b"\0"))
        for path in self.root.glob("packs/*/*"):
            path.unlink()
        self.assertRaises(Damaged, x.restore, self.open(), name, self.out)

    def test_a_lying_writer(self) -> None:
        """Sealed with the right keys, but content that is not what its id says."""
        writer = Writer(self.root)
        of = writer.keys.of
        for kind in ("chunk", "segment", "node", "disk"):
            def lie(k: str, wrong: str = kind) -> bytes:
                return of(k)[::-1] if k == wrong else of(k)
            writer.keys.of = lie  # type: ignore
            name = writer.snapshot([(0, "d", 5000, {0: kind.encode()})])
            self.assertRaisesRegex(Damaged, "is wrong", x.restore, self.open(), name, self.out)

    def test_prints_are_verified_and_never_needed(self) -> None:
        """Print packs and print index objects (7.4, 11): whatever becomes of them, a restore is the same."""
        writer = Writer(self.root)
        name = writer.snapshot([(0, "d", 5000, {0: b"same"})])
        segment = keyed(writer.keys.of("segment"), b"same".ljust(f.SEGMENT, b"\0"))
        false = full_print({0: b"v"}, {0: b"\x20" * 12})
        before = set(self.root.rglob("*"))
        writer.index(bytes.fromhex(name), f.PRINT_INDEX,
                     [(f.PRINT, segment, false), (f.PRINT, bytes(32), b"no print")], [(b"\x20" * 12, 1)])
        pack, index = sorted(p for p in set(self.root.rglob("*")) - before if p.is_file())
        self.assertEqual((pack.parts[-3], index.parts[-2]), ("packs", "prints"))
        found = self.open().pack_entries(bytes.fromhex(pack.name))
        self.assertEqual([(what, key) for what, key, _ in found], [(f.PRINT, segment), (f.PRINT, bytes(32))])

        def restored(errors: int) -> None:
            self.assertEqual(len(x.check(x.Directory(self.root))[1]), errors)
            repository = self.open()
            x.restore(repository, name, self.out)
            self.assertEqual((self.out / "0-disk-d").read_bytes(), b"same".ljust(5000, b"\0"))
            self.assertNotIn(f.PRINT, {what for what, _ in repository.index})

        restored(0)
        for path in (pack, index):
            data = path.read_bytes()
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            restored(1)
            path.unlink()
            restored(0)
        wrong = next(self.root.glob("index/*"))
        writer.put(f"prints/{wrong.name}", wrong.read_bytes())
        restored(1)  # it is no print index

    def test_the_end_of_a_disk(self) -> None:
        """Bytes behind it are cut off; segments behind it are rejected (7.2)."""
        writer = Writer(self.root)
        x.restore(self.open(), writer.snapshot([(0, "d", 3, {0: b"four"})]), self.out)
        self.assertEqual((self.out / "0-disk-d").read_bytes(), b"fou")
        name = writer.snapshot([(0, "d", f.SEGMENT, {1: b"next"})])
        self.assertRaisesRegex(Damaged, "behind the end", x.restore, self.open(), name, self.out)

    def test_restore_xva(self) -> None:
        writer = Writer(self.root)
        noise = writer.random.randbytes(3 * MIB)
        layout = cbor2.dumps([1, MIB, {1: [[136, b"14000000000"]]},
                              [[b"Ref:3", [], [], []], [b"Ref:4", [0, 1], [[1, 1]], []]], 5])
        disks = [(0, "xvda", 9 * MIB + 4096, {0: bytes(MIB) + noise}), (1, "suspend", MIB, {})]
        name = writer.snapshot([(2, "record", 5, {0: b"hello"}), *disks, (3, "layout", len(layout), {0: layout})])
        pairs = [pair("Ref:3", 0, bytes(MIB))]
        pairs += [pair("Ref:3", n, noise[(n - 1) * MIB:n * MIB]) for n in (1, 2, 3)] + [pair("Ref:3", 9, bytes(4096))]
        wanted = member("ova.xml", b"hello", header("ova.xml", 5, mtime=b"14000000000")) + b"".join(pairs)
        password, out = self.root.parent / "password", self.root.parent / "out.xva"
        password.write_bytes(Writer.password)
        arguments = [str(self.root), "--password-file", str(password), "restore-xva"]

        def run(snapshot: str) -> int:
            with contextlib.redirect_stderr(io.StringIO()):
                return x.main([*arguments, snapshot, str(out)])

        self.assertEqual(run(name), 1)  # the keep-alive of Ref:4 is behind its only chunk
        self.assertFalse(out.exists())
        layout = layout.replace(b"\x82\1\1", b"\x82\0\1")
        name = writer.snapshot([(2, "record", 5, {0: b"hello"}), *disks, (3, "layout", len(layout), {0: layout})])
        self.assertEqual(run(name), 0)
        self.assertEqual(out.read_bytes(), wanted + pair("Ref:4", 0, b"") + bytes(1024 + 5))
        bare = writer.snapshot(disks[1:])
        self.assertEqual(run(bare), 1)


def full_print(units: dict[int, bytes], blocks: dict[int, bytes]) -> bytes:
    """With unit values made of one byte each."""
    def row(i: int) -> bytes:
        return units[i] * 32 + sum(1 << b % 16 for b in blocks if b // 16 == i).to_bytes(2, "little")
    head = bytes(40) + sum(1 << i for i in units).to_bytes(8, "little")
    return head + b"".join(map(row, sorted(units))) + b"".join(blocks[b] for b in sorted(blocks))


def header(name: str, size: int, mtime: bytes = b"0" * 11, rest: bytes = b"") -> bytes:
    """A tar header made by hand."""
    def with_sum(digits: bytes) -> bytes:
        fields = name.encode(), b"0000400", b"0000000", b"0000000", b"%011o" % size, mtime, digits, rest
        return struct.pack("100s8s8s8s12s12s8s356s", *fields)
    return with_sum(b"%07o\0" % sum(with_sum(b" " * 8)))


def member(name: str, data: bytes, head: bytes = b"") -> bytes:
    return (head or header(name, len(data))) + data + bytes(-len(data) % 512)


def pair(disk: str, number: int, data: bytes, sha1: bool = False, heads: tuple[bytes, bytes] = (b"", b"")) -> bytes:
    name = f"{disk}/{number:08}"
    suffix, digest = ((".checksum", hashlib.sha1(data).hexdigest()) if sha1 else
                      (".xxhash", xxhash.xxh64(data).hexdigest().upper()))
    return member(name, data, heads[0]) + member(name + suffix, digest.encode(), heads[1])


class LayoutEngine(unittest.TestCase):
    """SPEC 10, on layouts and archives made by hand; chunks of 1 KiB."""

    A, B, ZERO = b"a" * 1024, b"b" * 1024, bytes(1024)

    def rebuild(self, disks: Iterable[tuple[list[Any], bytes]] = (), changes: Any = None, tail: Any = 0) -> bytes:
        """What is written for disks, given by their layouts and bytes."""
        disks = list(disks)
        value = [1, 1024, changes or {}, [[b"Ref:%d" % n, *given] for n, (given, _) in enumerate(disks)], tail]
        layout = xva.decode_layout(cbor2.dumps(value, canonical=True))
        out = io.BytesIO()
        archive = xva.Archive(out, layout, b"<vm/>")
        for n, (_, data) in enumerate(disks):
            segments = ((at, data[at:at + 4096]) for at in range(0, len(data), 4096))
            archive.disk(n, len(data), (s for s in segments if not f.is_zero(s[1])))
        archive.end()
        return out.getvalue()

    def same(self, found: bytes, *members: bytes, record: bytes = member("ova.xml", b"<vm/>"),
             tail: bytes = b"") -> None:
        wanted = record + b"".join(members) + bytes(1024) + tail
        if found != wanted:
            differ = next((i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), -1)
            self.fail(f"{len(found)} bytes instead of {len(wanted)}, different at {differ}: "
                      f"{found[differ:differ + 40]!r} instead of {wanted[differ:differ + 40]!r}")

    def rejected(self, *arguments: Any, **named: Any) -> None:
        self.assertRaises(Damaged, self.rebuild, *arguments, **named)

    def test_expected_archive(self) -> None:
        first = self.A + self.ZERO * 6 + self.B + self.ZERO * 5 + bytes(100)
        found = self.rebuild([([[], [], []], first), ([[], [], []], self.ZERO * 9), ([[], [], []], b"")])
        self.same(found, pair("Ref:0", 0, self.A), pair("Ref:0", 7, self.B), pair("Ref:0", 13, bytes(100)),
                  pair("Ref:1", 0, self.ZERO), pair("Ref:1", 8, self.ZERO))
        with tarfile.open(fileobj=io.BytesIO(found)) as tar:
            self.assertEqual(tar.getnames()[:3], ["ova.xml", "Ref:0/00000000", "Ref:0/00000000.xxhash"])
            self.assertEqual([m.mode for m in tar.getmembers()], [0o400] * 11)

    def test_known_checksums(self) -> None:
        """Of the empty chunk: the published values of both hashes."""
        found = self.rebuild([([[], [[0, 1]], [[3, {3: 1}]]], self.ZERO)])
        self.assertIn(b"EF46DB3751D8E999" + bytes(496), found)
        found = self.rebuild([([[], [[0, 1]], []], self.ZERO)], changes={3: 1})
        self.assertIn(b"da39a3ee5e6b4b0d3255bfef95601890afd80709" + bytes(472), found)

    def test_zero_runs(self) -> None:
        data = self.A + self.ZERO * 3 + self.B + self.ZERO * 2  # zero: 1 2 3 5 6
        for runs, written in (([], [6]), ([0, 1], [1, 6]), ([1, 1], [2, 6]), ([0, 5], [1, 2, 3, 5]), ([4, 1], []),
                              ([1, 1, 1, 1], [2, 5, 6]), ([0, 0, 5], [6]), ([0, 1, 3, 1], [1])):
            pairs = [pair("Ref:0", n, {0: self.A, 4: self.B}.get(n, self.ZERO)) for n in sorted({0, 4, *written})]
            self.same(self.rebuild([([runs, [], []], data)]), *pairs)
        self.rejected([([[0, 6], [], []], data)])
        self.rejected([([[(1 << 64) - 1], [], []], data)])

    def test_keep_alives(self) -> None:
        data = self.A + self.ZERO * 2 + self.B
        found = self.rebuild([([[], [[0, 2], [2, 1], [0, 1], [1, 1]], []], data)])
        numbers = [(0, b""), (1, b""), (2, self.A), (4, b""), (5, b""), (7, b""), (8, self.B)]
        self.same(found, *(pair("Ref:0", *item) for item in numbers))
        self.rejected([([[], [[4, 1]], []], data)])
        self.rejected([([[], [[0, 1]], []], b"")])
        self.rejected([([[], [[0, 0]], []], data)])
        self.rejected([([[], [[0, 99_999_999]], []], data)])

    def test_sha1(self) -> None:
        none: list[Any] = [[], [], []]
        self.same(self.rebuild([(none, self.A), (none, self.B)], changes={3: 1}),
                  pair("Ref:0", 0, self.A, True), pair("Ref:1", 0, self.B, True))
        self.same(self.rebuild([([[], [], [[3, {3: 1}]]], self.A * 3), ([[], [], [[3, {3: 0}]]], self.B * 2)]),
                  pair("Ref:0", 0, self.A), *(pair("Ref:0", n, self.A, True) for n in (1, 2)),
                  pair("Ref:1", 0, self.B, True), pair("Ref:1", 1, self.B))
        self.rejected([([[], [], [[0, {3: 1}]]], self.A)])

    def test_ustar_patches_are_inherited(self) -> None:
        """By members of the same sort, across disks; not from ova.xml."""
        magic, time = b"\0" * 101 + b"ustar\x0000", b"14000000000"
        changes = {1: [[136, time], [257, b"ustar\x0000"]]}
        exceptions = [[2, changes], [2, {1: [[136, time]]}]]
        found = self.rebuild([([[], [], exceptions], self.A * 3), ([[], [], []], self.B)], changes=changes)

        def heads(name: str, ustar: bool, late: bool) -> tuple[bytes, bytes]:
            chunk = header(name, 1024, time, magic) if ustar else header(name, 1024)
            return chunk, header(f"{name}.xxhash", 16, time if late else b"0" * 11)

        self.same(found, pair("Ref:0", 0, self.A),
                  pair("Ref:0", 1, self.A, heads=heads("Ref:0/00000001", True, False)),
                  pair("Ref:0", 2, self.A, heads=heads("Ref:0/00000002", True, True)),
                  pair("Ref:1", 0, self.B, heads=heads("Ref:1/00000000", True, True)),
                  record=member("ova.xml", b"<vm/>", header("ova.xml", 5, time, magic)))
        with tarfile.open(fileobj=io.BytesIO(found)) as tar:
            self.assertEqual(len(tar.getmembers()), 9)

    def test_size_and_sum_fields(self) -> None:
        def fields(*patches: tuple[int, bytes], size: int = 1024) -> tuple[bytes, bytes]:
            """Those of a header after one with patches."""
            found = xva.make_header(xva.make_header(xva.V7, b"n", 7, patches), b"n", size)
            self.assertEqual(sum(found) - sum(found[148:156]) + 256, int(found[148:156].strip(b" \0"), 8))
            return found[124:136], found[148:156]

        big = b"\x80" + bytes(9) + b"\4\0"
        for patch, size in (
                (b"0" * 11, b"00000002000\0"), (b" " * 10 + b"7 ", b"       2000 "),
                (b"9999\0\0xxxxxx", b"2000\0\0xxxxxx"), (b"0009\0 xxxxxx", b"2000\0 xxxxxx"), (b"009" + bytes(9), big),
                (bytes(12), big), (b"\x80" + b"7" * 11, big), (b"\xff" + b"7" * 11, big), (b" " * 12, big)):
            self.assertEqual(fields((124, patch))[0], size)
        self.assertEqual(fields(size=4 * MIB)[0], b"00020000000\0")
        for patch, form in ((b"000000\0 ", b"%06o\0 "), (b"    00 \0", b"%6o \0"), (b"0" * 8, b"%08o"),
                            (bytes(8), b"%06o\0 "), (b"077\0zzzz", b"%06o\0 ")):
            found = fields((148, patch))[1]
            self.assertEqual(found, form % int(found.strip(b" \0"), 8))

    def test_patches_to_the_sum_come_last(self) -> None:
        plain = xva.make_header(xva.V7, b"n", 1)
        self.assertEqual(plain, header("n", 1))
        found = xva.make_header(xva.V7, b"n", 1, [(152, b"wrong"), (0, b"other")])
        self.assertEqual(found[:152], header("other", 1)[:152])
        self.assertEqual(found[152:158], b"wrong\0")

    def test_prelude_padding_tail(self) -> None:
        prelude = b"pax!" * 128
        found = self.rebuild([([[], [], [[1, {0: prelude, 2: b"p" * 496}]]], self.A)], {2: b"q" * 507}, b"tail")
        record = header("ova.xml", 5) + b"<vm/>" + b"q" * 507
        self.same(found, pair("Ref:0", 0, self.A)[:1536], prelude, pair("Ref:0", 0, self.A)[1536:-496], b"p" * 496,
                  record=record, tail=b"tail")
        self.same(self.rebuild(tail=2_000_000), tail=bytes(2_000_000))
        self.rejected([([[], [], [[0, {2: b"p"}]]], self.A)])
        self.rejected(changes={2: b"q" * 506})
        self.rejected([([[], [], [[2, {}]]], self.A)])
        self.rejected([([[], [], [[(1 << 64) - 1, {}]]], self.A)])

    def test_hostile_layouts(self) -> None:
        disk = [b"Ref:1", [0, 1], [[1, 2]], [[3, {0: bytes(512), 1: [[0, b"x"]], 2: b"y", 3: 1}]]]
        good = [1, MIB, {1: [[511, b"z"]]}, [disk], b"tail"]
        data = cbor2.dumps(good, canonical=True)
        self.assertEqual(xva.decode_layout(data).disks[0].keep_alives, [[1, 2]])
        wrong: list[tuple[Any, ...]] = [
            (0, 2, "1"), (0, 256, 1000, 8 * MIB, -512),
            ([], {4: 0}, {0: bytes(511)}, {0: bytes(66_048)}, {1: []}, {1: [[512, b""]]}, {1: [[511, b"ab"]]},
             {1: [[0, "x"]]}, {1: [[0]]}, {2: bytes(512)}, {3: 2}, {3: True}, {"0": b""}),
            (None, [disk] * 4097, [disk[:3]], [[*disk, 0]], [["Ref:1", *disk[1:]]], [[b"", *disk[1:]]],
             [[b"a" * 81, *disk[1:]]], [[b"\xff", *disk[1:]]], [[b"a", [-1], [], []]], [[b"a", [], [[0]], []]],
             [[b"a", [], [[0, 100_000_000]], []]], [[b"a", [], [], [[0]]]], [[b"a", [], [], [[0, []]]]]),
            (-1, (1 << 26) + 1, bytes(65_537), "", None)]
        for at, values in enumerate(wrong):
            for value in values:
                bad = cbor2.dumps([*good[:at], value, *good[at + 1:]], canonical=True)
                self.assertRaises(Damaged, xva.decode_layout, bad)
        for bad in (b"", data[:-1], data + b"\0", cbor2.dumps([*good, 0]), cbor2.dumps(good[:4]), bytes(17 * MIB)):
            self.assertRaises(Damaged, xva.decode_layout, bad)
        fuzz(data, xva.decode_layout)


class Units(unittest.TestCase):
    def test_hpke_rfc_9180(self) -> None:
        """Appendix A.7.2: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, export-only AEAD, mode PSK."""
        private = bytes.fromhex("98f304d4ecb312689690b113973c61ffe0aa7c13f2fbe365e48f3ed09e5a6a0c")
        ephemeral = bytes.fromhex("1d72396121a6a826549776ef1a9d2f3a2907fc6a38902fa4e401afdb0392e627")
        enc = X25519PrivateKey.from_private_bytes(ephemeral).public_key().public_bytes_raw()
        psk = bytes.fromhex("0247fd33b913760fa1fa51e1892d9f307fbe65eb171e8132c2af18555a738b82")
        for context, value in (
                (b"", "be6c76955334376aa23e936be013ba8bbae90ae74ed995c1c6157e6f08dd5316"),
                (b"\0", "1721ed2aa852f84d44ad020c2e2be4e2e6375098bf48775a533505fd56a3f416"),
                (b"TestContext", "7c9d79876a288507b81a5a52365a7d39cc0fa3f07e34172984f96fec07c44cba")):
            self.assertEqual(value, f.hpke_export(private, enc, b"Ode on a Grecian Urn", psk,
                                                  b"Ennyn Durin aran Moria", context).hex())
        self.assertRaises(Damaged, f.hpke_export, private, bytes(32), b"", psk, b"i", b"")

    def test_pad(self) -> None:
        known = {0: 0, 1: 1, 2: 2, 3: 3, 7: 7, 8: 8, 9: 10, 11: 12, 15: 16, 17: 18, 100: 104, 1000: 1024, 65537: 67584}
        self.assertEqual({n: pad(n) for n in known}, known)
        for n in range(2, 70_000, 7):
            self.assertTrue(n <= pad(n) <= n * 1.12 and pad(pad(n)) == pad(n), n)

    def test_chunker(self) -> None:
        gear = blake3(b"gear").digest(length=2048)
        data = blake3(b"data").digest(length=2 * MIB + 12_345)
        found = cuts(data, gear)
        sizes = [b - a for a, b in zip([0, *found], found, strict=False)]
        self.assertEqual(found[-1], len(data))
        self.assertTrue(all(65_536 <= s <= MIB for s in sizes[:-1]), sizes)
        self.assertEqual(cuts(data[found[0]:], gear), [c - found[0] for c in found[1:]])
        self.assertEqual(cuts(bytes(65_537), bytes(2048)), [65_537])
        self.assertEqual(cuts(bytes(65_538), bytes(2048)), [65_536, 65_538])
        self.assertEqual(cuts(bytes(65_536), gear), [65_536])
        never = struct.pack("<256Q", *[1 << 47] * 256)  # keeps a bit of each mask set
        self.assertEqual(cuts(bytes(MIB + 70_000), never), [MIB, MIB + 70_000])

    def test_map(self) -> None:
        good = struct.pack("<HHI", 1, 2, 0) + bytes(16) + u24le(500) + b"\0"
        good += u24le(400) + b"\0" + u24le(100) + b"\0" + u24le(f.SEGMENT - 400) + b"\xff" + bytes(4)
        self.assertEqual(f.parse_map(good)[1][0], (400, 0, 100))

        def changed(at: int, new: bytes) -> bytes:
            return good[:at] + new + good[at + len(new):]

        holes = struct.pack("<HHI", 0, 1, 0) + u24le(f.SEGMENT) + b"\xff" + bytes(4)
        bad = [b"", good[:-1], good + b"\0", good[:8], holes, struct.pack("<HHI", 0, 0, 0), changed(0, b"\xff\xff"),
               changed(2, b"\xff\xff"), changed(4, b"\1"), changed(24, u24le(499)), changed(24, bytes(3)),
               changed(24, u24le(MIB + 1)), changed(27, b"\1"), changed(28, u24le(399)), changed(28, bytes(3)),
               changed(31, b"\1"), changed(32, b"\x65"), changed(35, b"\1"), changed(40, b"\1"), changed(43, b"\1")]
        for data in bad:
            self.assertRaises(Damaged, f.parse_map, data)
        fuzz(good, f.parse_map)

    def test_node(self) -> None:
        good = b"\2" + bytes(7) + b"\5" + bytes(30) + b"\x80" + b"a" * 32 + b"b" * 32 + b"c" * 32
        self.assertEqual([n for n, _ in f.parse_node(good, 2)], [0, 2, 255])
        for data in (b"", good[:-1], good + b"\0", b"\1" + good[1:], good[:1] + b"\1" + good[2:], good[:8] + bytes(32)):
            self.assertRaises(Damaged, f.parse_node, data, 2)
        fuzz(good, lambda data: f.parse_node(data, 2))

    def test_disk(self) -> None:
        good = struct.pack("<QBB22s32s", 1 << 30, 1, 1, b"", b"r" * 32)
        self.assertEqual(f.parse_disk(good), (1 << 30, 1, b"r" * 32))
        for size, level in ((0, 0), (1, 1), ((1 << 30) + 1, 2), ((1 << 46) + 1, 4), (1 << 54, 4)):
            self.assertEqual(f.parse_disk(struct.pack("<QBB54s", size, level, 0, b"")), (size, level, None))
        for fields in (((1 << 54) + 1, 4, 0), (1, 0, 0), (1, 2, 0), (0, 0, 1), (1, 1, 2)):
            self.assertRaises(Damaged, f.parse_disk, struct.pack("<QBB54s", *fields, b""))
        fuzz(good, f.parse_disk)

    def test_frame_table(self) -> None:
        def table(*frames: tuple[int, int, int]) -> bytes:
            return b"".join(u24le(sealed) + u24le(plain) + bytes([codec, 0]) for sealed, plain, codec in frames)

        good = table((1024, 1000, 0), (25, 1000, 1), (1024, 1000, 1), (25, 1, 0), (MIB + 24, MIB, 2), (25, 1, 2))
        frames = f.parse_frames(b"", good, 2_000_000)
        self.assertEqual([frame.offset for frame in frames[:3]], [96, 96 + 1024, 96 + 1049])
        for bad in ((24, 0, 0), (24, 1, 1), (1025, 1000, 1), (1023, 1000, 0), (1023, 1000, 2), (MIB + 25, MIB + 1, 0),
                    (1024, 1000, 3)):
            self.assertRaises(Damaged, f.parse_frames, b"", table(bad), 2_000_000)
        self.assertRaises(Damaged, f.parse_frames, b"", table((25, 1, 2), (25, 1, 0)), 2_000_000)
        self.assertRaises(Damaged, f.parse_frames, b"", table((25, 1, 0)), 120)
        self.assertRaises(Damaged, f.parse_frames, b"", table((25, 1, 0))[:-1] + b"\1", 2_000_000)

    def test_packs_of_an_index(self) -> None:
        """Its kind fits, and so do the kinds of the records (11)."""
        frame, name = u24le(124) + u24le(100) + bytes(2), b"i" * 32
        for kind, pack_kind, entry, good in (
                (6, 4, 1, True), (6, 4, 3, True), (6, 4, 4, False), (6, 4, 5, False), (6, 3, 1, False),
                (6, 5, 1, False), (7, 3, 0, True), (7, 4, 0, False), (8, 5, 5, True), (8, 5, 1, False),
                (8, 4, 5, False)):
            data = struct.pack("<III20s", 1, 1, 1, b"") + struct.pack("<32sIIBBHI", b"", 1000, 1, pack_kind, 0, 0, 0)
            place = u24le(0) + u24le(100)
            data += frame + (name[:16] + struct.pack("<IH", 0, 0) + place if kind == 7 else
                             name + struct.pack("<BBHI", entry, 0, 0, 0) + place)
            data = data.ljust(pad(len(data)), b"\0")
            bad = [data + b"\0", data[:-1] + b"\1"]  # padding too long; padding not zero
            if good:
                self.assertEqual([r[2].length for r in f.parse_index(kind, data)], [100])
            else:
                bad.append(data)
            for text in bad:
                with self.assertRaises(Damaged):
                    list(f.parse_index(kind, text))

    def test_print_index(self) -> None:
        """Each id once; hooks are sorted and lead to records (11)."""
        def text(records: list[bytes], hooks: list[tuple[bytes, int]], kind: int = 5) -> bytes:
            data = struct.pack("<IIII16s", 1, 1, len(records), len(hooks), b"")
            data += struct.pack("<32sIIBBHI", b"", 1000, 1, kind, 0, 0, 0) + u24le(124) + u24le(100) + bytes(2)
            row = struct.pack("<BBHI", 5, 0, 0, 0) + u24le(0) + u24le(100)
            data += b"".join(name * 32 + row for name in records)
            data += b"".join(struct.pack("<12sI", first * 12, number) for first, number in hooks)
            return data.ljust(pad(len(data)), b"\0")

        good = text([b"a", b"b"], [(b" ", 1), (b"@", 0), (b"@", 1)])
        self.assertEqual([(what, name[:1]) for what, name, _ in f.parse_index(8, good)], [(5, b"a"), (5, b"b")])
        for data in (text([b"a", b"a"], []), text([b"b", b"a"], []), text([b"a"], [(b" ", 1)]),
                     text([b"a", b"b"], [(b"@", 0), (b" ", 0)]), text([b"a", b"b"], [(b" ", 1), (b" ", 0)]),
                     text([], [(b" ", 0)]), good[:12] + b"\xff\xff\xff\xff" + good[16:]):
            with self.assertRaises(Damaged):
                list(f.parse_index(8, data))
        for kind, pack_kind in ((6, 4), (7, 3)):
            self.assertEqual(list(f.parse_index(kind, text([], [], pack_kind))), [])
            with self.assertRaises(Damaged):
                list(f.parse_index(kind, text([], [(b" ", 0)], pack_kind)))
        fuzz(good, lambda data: list(f.parse_index(8, data)))

    def test_print(self) -> None:
        key = b"k" * 32
        zeros = f.zero_print(key)
        self.assertEqual(f.segment_id(key, zeros[0]), keyed(key, bytes(f.SEGMENT)))
        full = full_print({0: b"t", 1: b"u", 9: b"v", 63: b"z"}, {0: b"a" * 12, 17: b"b" * 12, 1023: b"c" * 12})
        self.assertEqual((full[40:48], len(full)), (b"\3\2\0\0\0\0\0\x80", 48 + 4 * 34 + 3 * 12))
        stored = f.parse_print(full)
        self.assertEqual((stored.depth, stored.base), (0, None))
        whole = f.over(stored, zeros)
        given = {0: b"t" * 32, 1: b"u" * 32, 9: b"v" * 32, 63: b"z" * 32}
        self.assertEqual(whole[0], [given.get(i, value) for i, value in enumerate(zeros[0])])
        given = {0: b"a" * 12, 17: b"b" * 12, 1023: b"c" * 12}
        self.assertEqual(whole[1], [given.get(i, bytes(12)) for i in range(1024)])
        delta = b"\2" + bytes(7) + b"s" * 32 + struct.pack("<Q", 1 << 1 | 1 << 63)
        delta += b"w" * 32 + b"\2\x80" + b"x" * 32 + b"\0\0" + bytes(12) + b"d" * 12
        stored = f.parse_print(delta)
        self.assertEqual((stored.depth, stored.base), (2, b"s" * 32))
        units, blocks = f.over(stored, whole)
        self.assertEqual((units[0], units[1], units[63]), (b"t" * 32, b"w" * 32, b"x" * 32))
        self.assertEqual(units[2:63], whole[0][2:63])
        self.assertEqual([blocks[i] for i in (0, 17, 31, 1023)], [b"a" * 12, bytes(12), b"d" * 12, b"c" * 12])
        for bad in (b"", full[:47], full[:-1], full + b"\0", b"\1" * 2 + full[2:], full[:39] + b"\1" + full[40:],
                    full[:40] + bytes(8), full[:40] + bytes(8) + full[48:], full[:40] + b"\1" + full[41:],
                    b"\x21" + delta[1:], b"\0" + delta[1:], delta[:48], delta[:40] + bytes(8),
                    delta[:40] + bytes(8) + delta[48:], delta[:-12], delta + bytes(12)):
            self.assertRaises(Damaged, f.parse_print, bad)
        fuzz(full, f.parse_print)
        fuzz(delta, f.parse_print)

    def test_fingerprint(self) -> None:
        block, key = b"x".ljust(f.BLOCK, b"\0"), b"k" * 32
        self.assertEqual(f.fingerprint(key, block), keyed(key, block)[:12])
        self.assertEqual(f.fingerprint(key, bytes(f.BLOCK)), bytes(12))
        self.assertEqual([first for first in range(256) if f.is_hook(bytes([first]) + b"x" * 11)], [*range(0, 256, 16)])
        self.assertFalse(f.is_hook(bytes(12)))

    def test_slow_tree_is_blake3(self) -> None:
        key, data = blake3(b"key").digest(), blake3(b"data").digest(length=2 * f.UNIT)
        values = f.unit_values(key, 0, data)
        self.assertEqual(f.parents(key, values, f.ROOT), [keyed(key, data)])
        one_by_one = [f.unit_values(key, n, data[n * f.UNIT:(n + 1) * f.UNIT]) for n in (0, 1)]
        self.assertEqual(one_by_one, [[value] for value in values])

    def test_claims_of_tables_allocate_nothing(self) -> None:
        for data in (struct.pack("<IIQ", 16_384, 65_536, 0), b"\xff" * 16, b"", struct.pack("<IIQ", 1, 0, 0)):
            self.assertRaises(Damaged, f.parse_contents, b"", f.MAP_PACK, data, 1 << 28)
        for counts in ((65_536, 0xFFFFFFFF, 4_194_304), (1, 0, 0), (0, 1, 0), (0, 0, 0xFFFFFFFF)):
            with self.assertRaises(Damaged):
                list(f.parse_index(f.SEGMENT_INDEX, struct.pack("<III20s", *counts, b"")))
        fuzz(bytes(16), lambda data: f.parse_contents(b"", f.DATA_PACK, data, 1 << 28))
        fuzz(bytes(32), lambda data: list(f.parse_index(f.CHUNK_INDEX, data)))

    def test_cbor(self) -> None:
        shape = f.record(f.number, optional={5: f.text})
        self.assertEqual(f.decode_cbor(b"\xa2\x00\x01\x05\x61a", shape, ""), {0: 1, 5: "a"})
        self.assertEqual(f.decode_cbor(b"\x3b" + b"\xff" * 8, f.integer, ""), -1 << 64)
        self.assertRaises(Damaged, f.decode_cbor, bytes.fromhex("c349010000000000000000"), f.integer, "")
        bad = ["", "a1000100", "a1001801", "a200010001", "a205600001", "bf0001ff", "a100c11a00000000", "a10020",
               "a1a000", "9b7fffffffffffffff", "5b7fffffffffffffff00", "81" * 100_000 + "00", "a100fb3ff0000000000000",
               "a200010500", "d81c81d81d00", "a100f5", "a10061ff", "a20001186300",
               "a20001f500", "a1f500", "a20001054100", "a200010580"]
        for data in bad:
            self.assertRaises(Damaged, f.decode_cbor, bytes.fromhex(data), shape, "test")

    def test_unzstd(self) -> None:
        import zstandard
        data = zstandard.compress(bytes(100_000))
        self.assertEqual(f.unzstd(data, 100_000), bytes(100_000))
        unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100_000))
        self.assertEqual(f.unzstd(unsized, 100_000), bytes(100_000))
        for bad, length in ((data, 99_999), (unsized, 99_999), (data + b"x", 100_000), (data[:-1], 100_000), (b"", 1),
                            (data + data, 100_000), (b"\x50\x2a\x4d\x18\0\0\0\0", 5)):
            self.assertRaises(Damaged, lambda bad=bad, length=length: f.need(len(f.unzstd(bad, length)) == length, ""))

    def test_unseal(self) -> None:
        sealed = seal(bytes(32), b"p", 3, b"text")
        self.assertEqual(f.unseal(bytes(32), b"p", 3, sealed), b"text")
        self.assertEqual(len(sealed), 28)
        for key, prefix, number, data in ((b"\1" * 32, b"p", 3, sealed), (bytes(32), b"q", 3, sealed),
                                          (bytes(32), b"p", 4, sealed), (bytes(32), b"p", 3, b"")):
            self.assertRaises(Damaged, f.unseal, key, prefix, number, data)

    def test_slot_bounds_come_first(self) -> None:
        for work in ((0, 1, 8192), (17, 1, 8192), (1, 0, 8192), (1, 17, 8192), (1, 1, 8191), (1, 1, 1 << 31)):
            self.assertRaises(Damaged, f.wrap_key, b"", bytes(16), *work)


def key_pair(material: bytes) -> tuple[bytes, bytes]:
    """DeriveKeyPair of RFC 9180, 7.1.3."""
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.EXPORT_ONLY)
    pair = suite.kem.derive_key_pair(material)
    return pair.private_key.to_private_bytes(), pair.public_key.to_public_bytes()


class Vector(dict[str, Any]):
    """An object of a vector file; knows which of its fields no test has looked at. Hex becomes bytes with `raw`."""

    def __init__(self, fields: dict[str, Any]):
        super().__init__({name: [Vector(v) if isinstance(v, dict) else v for v in value]
                          if isinstance(value, list) else value for name, value in fields.items()})
        self.unread = set(fields)

    def __getitem__(self, name: str) -> Any:
        self.unread.discard(name)
        return super().__getitem__(name)

    def raw(self, name: str) -> bytes:
        return bytes.fromhex(self[name])

    def all_unread(self) -> set[str]:
        inner = (v for value in self.values() if isinstance(value, list) for v in value if isinstance(v, Vector))
        return self.unread.union(*(v.all_unread() for v in inner))


class Vectors(unittest.TestCase):
    """SPEC 16; the formats are those of ../golden/README.md. Every field of every file must be looked at."""

    def load(self, name: str, *parts: str, whole: bool = True) -> Vector:
        """A file, or only some lists of it."""
        path = GOLDEN / name
        if not path.exists():
            self.fail(f"no {path}") if REQUIRED else self.skipTest(f"no {path}")
        value = json.loads(path.read_text())
        vector = Vector({part: value[part] for part in parts or value})
        if whole:
            self.addCleanup(lambda: self.assertEqual(vector.all_unread(), set(), f"{name}: read by no test"))
        return vector

    def keys(self) -> f.Keys:
        v = self.load("keys.json", whole=False)
        epoch = {0: v["epoch"], 1: v.raw("catalog_secret"), 2: v.raw("public_key"), 3: v.raw("private_key")}
        return f.Keys(v.raw("repository"), 0, v.raw("identity"), {v["epoch"]: epoch})

    def test_keys(self) -> None:
        v = self.load("keys.json")
        keys = self.keys()
        self.assertEqual(keys.repository + keys.identity, v.raw("repository") + v.raw("identity"))
        self.assertEqual(keys.epochs[v["epoch"]][1], v.raw("catalog_secret"))
        for kind in ("segment", "chunk", "node", "disk"):
            self.assertEqual(keys.of(kind), v.raw(f"{kind}_key"))
        self.assertEqual(keys.fingerprint_key(), v.raw("fingerprint_key"))
        gear = keys.gear_table()
        self.assertEqual((gear, blake3(gear).digest()), (v.raw("gear_table"), v.raw("gear_table_hash")))
        self.assertEqual([str(n) for n in struct.unpack("<4Q", gear[:32])], v["gear_first"])
        self.assertEqual(keys.psk(v["epoch"]), v.raw("hpke_psk"))
        private, public = key_pair(v.raw("key_material"))
        # the vector keeps the private key as X25519 uses it (RFC 7748, 5)
        clamped = bytes([private[0] & 248]) + private[1:31] + bytes([private[31] & 127 | 64])
        self.assertEqual((clamped, public), (v.raw("private_key"), v.raw("public_key")))
        for e in v["catalog_object"]:
            key = keys.catalog_key(v["epoch"], e["kind"], e.raw("salt"))
            self.assertEqual((key, f.commitment(key), derive("xenith v1 frame nonce", key)),
                             (e.raw("key"), e.raw("commitment"), e.raw("nonce_key")))
        for e in v["hpke"]:
            head = f.parse_header(e.raw("header"), {e["kind"]}, keys.repository)
            self.assertEqual((head.salt, head.commitment), (e.raw("enc"), e.raw("commitment")))
            self.assertEqual(keys.object_key(head), e.raw("pack_key"))
            self.assertEqual(f.hpke_export(v.raw("private_key"), e.raw("enc"), e.raw("info"), v.raw("hpke_psk"),
                                           e.raw("psk_id"), e.raw("exporter_context")), e.raw("pack_key"))
            self.assertEqual(key_pair(keyed(e.raw("seed"), b""))[1], e.raw("enc"))
        for e in v["slot"]:
            data, password = f.strip_hash(e.raw("object")), e["password"].encode()
            opened = f.open_slot(data, keys.repository, password)
            assert opened
            self.assertEqual(["full", "backup"][opened.role], e["role"])
            secrets = {k: s for k, s in keys.epochs[v["epoch"]].items() if k < 3 or opened.role == 0}
            self.assertEqual((opened.identity, opened.epochs), (keys.identity, {v["epoch"]: secrets}))
            self.assertIsNone(f.open_slot(data, keys.repository, password + b"\n"))
            self.assertEqual((data[32:48], data[56:72]), (e.raw("id"), e.raw("salt")))
            key = f.wrap_key(password, e.raw("salt"), e["t"], e["p"], e["m"])
            info_key = keys.catalog_key(v["epoch"], f.SLOT, e.raw("id") + e.raw("salt"))
            self.assertEqual((key, info_key), (e.raw("wrap_key"), e.raw("info_key")))
            bundle, info = e.raw("bundle"), e.raw("info")
            sealed = seal(key, data[:104], 0, bundle), seal(info_key, data[:104], 1, info)
            self.assertEqual(data[104:], b"".join(f.u32(len(text)) + text for text in sealed))
            self.assertEqual(cbor2.loads(info), {0: opened.role, 1: e["label"], 2: 1_700_000_000})

    def test_chunker(self) -> None:
        v = self.load("chunker.json")
        gear = derive("xenith v1 gear table", v.raw("gear_secret"), 2048)
        self.assertEqual(gear, v.raw("gear_table"))
        for e in v["cases"]:
            data = blake3(e["seed"].encode()).digest(length=e["length"])
            self.assertEqual(cuts(data, gear), e["cuts"])
        for e in v["constant"]:
            self.assertEqual(cuts(bytes([e["byte"]]) * e["length"], gear), e["cuts"])

    def test_seal(self) -> None:
        for e in self.load("seal.json")["frames"]:
            key, prefix, number_, text = e.raw("key"), e.raw("prefix"), e["number"], e.raw("text")
            self.assertEqual(f.unseal(key, prefix, number_, e.raw("sealed")), text)
            self.assertEqual(seal(key, prefix, number_, text), e.raw("sealed"))

    PURE = ("pad", "map", "node", "disk", "ids", "segment", "fingerprint", "print")

    def test_every_part_of_codec_has_a_test(self) -> None:
        v = self.load("codec.json", whole=False)
        self.assertEqual(set(v), {*self.PURE, "clear", "objects", "pack", "index"})

    def test_codec(self) -> None:
        v = self.load("codec.json", *self.PURE)
        keys = self.keys()
        self.assertEqual([[n, pad(n)] for n, _ in v["pad"]], v["pad"])
        for e in v["map"]:
            chunks, extents = f.parse_map(e.raw("bytes"))
            self.assertEqual([[name.hex(), length] for name, length in chunks], e["chunks"])
            self.assertEqual([list(extent) for extent in extents], e["extents"])
        for e in v["node"]:
            data = e.raw("bytes")
            self.assertEqual([[n, name.hex()] for n, name in f.parse_node(data, e["level"])], e["children"])
            self.assertEqual((keys.of("node"), keyed(e.raw("key"), data)), (e.raw("key"), e.raw("id")))
        for e in v["disk"]:
            data = e.raw("bytes")
            size, level, root = f.parse_disk(data)
            self.assertEqual((size, level, root and root.hex()), (e["size"], e["level"], e["root"]))
            self.assertEqual((keys.of("disk"), keyed(e.raw("key"), data)), (e.raw("key"), e.raw("id")))
        for e in v["ids"]:
            self.assertEqual(keys.of(e["of"]), e.raw("key"))
            self.assertEqual(keyed(e.raw("key"), e.raw("data"))[:len(e["id"]) // 2], e.raw("id"))
        for e in v["segment"]:
            self.assertEqual(keys.of("segment"), e.raw("key"))
            self.assertEqual(keyed(e.raw("key"), e.raw("data").ljust(f.SEGMENT, b"\0")), e.raw("id"))
            units = [bytes.fromhex(value) for value in e["units"]]
            self.assertEqual(f.segment_id(e.raw("key"), units), e.raw("id"))
            self.assertEqual(f.unit_values(e.raw("key"), 0, e.raw("data").ljust(f.SEGMENT, b"\0")), units)
        for e in v["fingerprint"]:
            self.assertEqual(keys.fingerprint_key(), e.raw("key"))
            found = f.fingerprint(e.raw("key"), e.raw("data").ljust(f.BLOCK, b"\0"))
            self.assertEqual((found, f.is_hook(found)), (e.raw("fingerprint"), e["hook"]))
        known: dict[bytes | None, tuple[list[bytes], list[bytes]]] = {None: f.zero_print(keys.of("segment"))}
        for e in v["print"]:
            self.prints(e, keys, known)
        self.assertEqual([e["depth"] for e in v["print"]], [0, 1])

    def prints(self, e: Vector, keys: f.Keys, known: dict[bytes | None, tuple[list[bytes], list[bytes]]]) -> None:
        """A print against its segment, over those that are known already."""
        segment = bytearray(f.SEGMENT)
        for at, text in e["written"]:
            segment[at:at + len(text)] = text.encode()
        stored = f.parse_print(e.raw("bytes"))
        self.assertEqual((stored.depth, stored.base and stored.base.hex()), (e["depth"], e["base"]))
        units, blocks = known[e.raw("id")] = f.over(stored, known[stored.base])
        self.assertEqual([value.hex() for value in units], e["units"])
        self.assertEqual([[n, value.hex()] for n, value in enumerate(blocks) if not f.is_zero(value)], e["blocks"])
        of_all = [f.fingerprint(keys.fingerprint_key(), bytes(segment[at:at + f.BLOCK]))
                  for at in range(0, f.SEGMENT, f.BLOCK)]
        self.assertEqual(blocks, of_all)
        self.assertEqual(keys.of("segment"), e.raw("key"))
        self.assertEqual(f.unit_values(e.raw("key"), 0, bytes(segment)), units)
        self.assertEqual({f.segment_id(e.raw("key"), units), keyed(e.raw("key"), bytes(segment))}, {e.raw("id")})

    def repository(self, vectors: list[Vector]) -> x.Repository:
        """One with these objects in it, opened without a key slot."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for e in vectors:
            path = Path(folder.name) / e["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(e.raw("object"))
        return x.Repository(x.Directory(folder.name), self.keys())

    def test_clear_objects(self) -> None:
        v = self.load("codec.json", "clear")
        config, tombstone, marker = v["clear"]
        self.assertEqual([config["kind"], tombstone["kind"], marker["kind"]], [f.CONFIG, f.TOMBSTONE, f.MARKER])
        repository = self.repository(v["clear"])
        self.assertEqual(repository.config[6], 1_700_000_000)
        self.assertEqual(x.check(repository.storage), (3, []))
        name = tombstone["name"].removeprefix("snapshots/")
        self.assertEqual((repository.committed(), repository.is_marked(name)), ([], True))
        for e in (tombstone, marker):
            self.assertEqual(e.raw("object")[48:56], struct.pack("<Q", 1_700_000_000))

    def test_objects(self) -> None:
        v, config = self.load("codec.json", "objects"), self.load("codec.json", "clear", whole=False)["clear"][0]
        shapes = {f.SNAPSHOT: f.SNAPSHOT_SHAPE, f.SESSION: f.SESSION_SHAPE, f.STATE: f.STATE_SHAPE}
        repository = self.repository([config, *v["objects"]])
        self.assertEqual(x.check(repository.storage), (1 + len(v["objects"]), []))
        for e in v["objects"]:
            value, final = repository._read_cbor(e["name"], e["kind"], shapes[e["kind"]])
            data = e.raw("object")
            self.assertEqual(cbor2.loads(e.raw("cbor")), value)
            self.assertEqual((data[32:64], data[-32:]), (e.raw("salt"), final))
            key = repository.keys.catalog_key(3, e["kind"], e.raw("salt"))
            self.assertEqual(key, e.raw("key"))
            body = e.raw("cbor")
            text = (f.u32(len(body)) + body).ljust(pad(4 + len(body)), b"\0")
            self.assertEqual(data[96:-32], seal(key, data[:96], 0, text))
        self.assertEqual([s[0].hex() for s in repository.snapshots()], [v["objects"][0]["name"][10:]])
        self.assertEqual(repository.newest_state()[0], 7)

    def test_packs_and_index(self) -> None:
        v = self.load("codec.json", "pack", "index")
        others = self.load("codec.json", "clear", "objects", "print", whole=False)
        repository = self.repository([others["clear"][0], *v["pack"], *v["index"]])
        self.assertEqual(x.check(repository.storage), (1 + len(v["pack"]) + len(v["index"]), []))
        listed: list[tuple[int, bytes, f.Place]] = []
        for e in v["pack"]:
            data, name = e.raw("object"), e.raw("id")
            self.assertEqual((blake3(data).digest(), repository._pack_name(name)), (name, e["name"]))
            head = f.parse_header(data, {e["kind"]}, repository.id)
            key, contents_key = repository.keys.object_key(head), repository.keys.contents_key(head)
            self.assertEqual((key, contents_key), (e.raw("key"), e.raw("contents_key")))
            salt = key_pair(keyed(e.raw("seed"), b""))[1] if e["kind"] == f.DATA_PACK else e.raw("seed")
            self.assertEqual(head.salt, salt)
            text = e.raw("contents")
            count = int.from_bytes(text[:4], "little")
            frames = f.parse_frames(name, text[16:16 + 8 * count], len(data))
            self.assertEqual([[i.sealed, i.plain, i.codec] for i in frames], e["frames"])
            for frame, stored in zip(frames, e["stored"], strict=True):
                sealed = seal(key, head.raw, frame.number, bytes.fromhex(stored))
                self.assertEqual(sealed, data[frame.offset:frame.offset + frame.sealed])
                plain = repository.frame(frame, e["kind"])
                self.assertEqual(plain == bytes(frame.plain), frame.codec == f.PADDING)
                if frame.codec == f.ZSTD:
                    self.assertEqual(plain, b"x" * 1000)
            end = frames[-1].offset + frames[-1].sealed
            self.assertEqual(data[end:-64], seal(contents_key, head.raw, 0xFFFFFFFF, text))
            self.assertEqual(len(data), pad(len(data)))
            entries = repository.pack_entries(name)
            self.assertEqual([[i.hex(), what, at.frame.number, at.offset, at.length] for what, i, at in entries],
                             e["entries"])
            for what, i, at in entries:
                plain = repository.frame(at.frame, e["kind"])[at.offset:at.offset + at.length]
                if what == f.PRINT:
                    wanted = {p["id"]: p["bytes"] for p in others["print"]}
                    self.assertEqual(plain.hex(), wanted[i.hex()])
                elif what == f.BODY:
                    self.assertEqual((i[16:], plain), (bytes(16), others["objects"][0].raw("cbor")))
                else:
                    hashed = keyed(repository.keys.of(("chunk", "segment", "node", "disk")[what]), plain)
                    self.assertTrue(what == f.MAP or hashed.startswith(i))
            listed += [entry for entry in entries if entry[0] != f.BODY]
        for e in v["index"]:
            data = e.raw("object")
            self.assertEqual(e["kind"], data[6])
            self.assertEqual(repository._open_object(data, {e["kind"]}), (e["kind"], e.raw("text")))
            self.assertEqual(data[32:64], e.raw("salt"))
        names = [e["name"] for e in v["index"]]
        self.assertEqual([name.split("/")[0] for name in names], ["index", "index", "prints"])
        index = repository._read_index({name.removeprefix("index/") for name in names[:2]})
        prints = list(f.parse_index(f.PRINT_INDEX, v["index"][2].raw("text")))
        found = [(what, i, at) for (what, i), places in index.items() for at in places] + prints
        self.assertEqual(sorted(found), sorted(listed))
        hooks = f.parse_hooks(v["index"][2].raw("text")[32 + 48 + 8 * len(v["pack"][2]["frames"]) + 46 * 2:][:48], 2)
        self.assertEqual(hooks, [(b"\x20" * 12, 1), (b"\x40" * 12, 0), (b"\x40" * 12, 1)])


class Golden(Temporary):
    def test_every_file_is_read_by_some_test(self) -> None:
        known = {"keys.json", "chunker.json", "seal.json", "codec.json", "README.md"}
        for path in GOLDEN.glob("*"):
            self.assertTrue(path.name in known or path.with_suffix(".repo").is_dir(), f"{path.name}: read by no test")

    def test_golden_repositories(self) -> None:
        found = sorted(GOLDEN.glob("*.repo"))
        if not found:
            message = f"no golden repositories in {GOLDEN}"
            self.fail(message) if REQUIRED else self.skipTest(message)
        for root in found:
            with self.subTest(root.name):
                self.one(root, json.loads(root.with_suffix(".json").read_text()))

    def one(self, root: Path, wanted: dict[str, Any]) -> None:
        storage = x.Directory(root)
        self.assertEqual(x.check(storage)[1], [])
        repository = x.Repository(storage, wanted["password"].encode())
        self.assertEqual({s[0].hex() for s in repository.snapshots()}, {s["id"] for s in wanted["snapshots"]})
        for snapshot in wanted["snapshots"]:
            report = x.restore(repository, snapshot["id"], self.out / snapshot["id"])
            names = ("name", "role", "size", "sha256")
            found, known = ([{n: e[n] for n in names} for e in disks] for disks in (report, snapshot["disks"]))
            self.assertEqual(found, known)
            if snapshot.get("xva_sha256"):
                path = self.out / f"{snapshot['id']}.xva"
                xva.restore_xva(repository, snapshot["id"], path)
                with open(path, "rb") as file:
                    self.assertEqual(hashlib.file_digest(file, "sha256").hexdigest(), snapshot["xva_sha256"])
        for pack in root.glob("packs/*/*"):
            self.assertTrue(repository.pack_entries(bytes.fromhex(pack.name)))


if __name__ == "__main__":
    unittest.main()
