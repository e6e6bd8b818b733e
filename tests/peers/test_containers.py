"""One disk as XVA, VHD, qcow2 and raw: each goes in, any comes out, and other programs agree.

Needs: the binary (XENITH, default target/release/xenith), qemu-img, and libvhdi-python (tests/cli/requirements.txt).
Run: python test_containers.py
"""

import json
import random
import re
import struct
import subprocess
import sys
import unittest
from pathlib import Path

import pyvhdi

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cli"))

import make_xva  # noqa: E402
from make_xva import MIB, Disk, Kind  # noqa: E402
from repository import XENITH, Repository  # noqa: E402

SIZE = 128 * MIB + 4 * MIB
PLACES = [*range(0, 9), 20, 21, 45, *range(64, 100, 2), 131]
NEW = {  # how qemu-img makes each container of a raw disk
    "dynamic.vhd": ["-O", "vpc", "-o", "subformat=dynamic,force_size=on"],
    "fixed.vhd": ["-O", "vpc", "-o", "subformat=fixed,force_size=on"],
    "plain.qcow2": ["-O", "qcow2"],
    "old.qcow2": ["-O", "qcow2", "-o", "compat=0.10"],
    "deflate.qcow2": ["-c", "-O", "qcow2"],
    "zstd.qcow2": ["-c", "-O", "qcow2", "-o", "compression_type=zstd"],
    "small-clusters.qcow2": ["-O", "qcow2", "-o", "cluster_size=4096"],
}


def noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def qemu_img(*arguments: object) -> str:
    done = subprocess.run(["qemu-img", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"qemu-img {arguments}: {done.stdout}{done.stderr}")
    return done.stdout


def checksum(part: bytes) -> int:
    return ~sum(part) & 0xFFFFFFFF


def sealed(part: bytes, at: int) -> bytes:
    """The same with its checksum at `at`."""
    blank = part[:at] + bytes(4) + part[at + 4 :]
    return blank[:at] + struct.pack(">I", checksum(blank)) + blank[at + 4 :]


def differencing(size: int, parent: Path, own_id: bytes, sectors: dict[int, bytes]) -> bytes:
    """A child of a VHD that has only these sectors: written from the specification, sharing nothing with xenith."""
    block = 2 * MIB
    parent_id = parent.read_bytes()[-512:][68:84]
    footer = struct.pack(">8sIIQI4sI4sQQHBBI", b"conectix", 2, 0x10000, 512, 0, b"test", 0x10000, b"Wi2k", size, size, 0, 0, 0, 4)
    footer = sealed((footer + bytes(4) + own_id).ljust(512, b"\0"), 64)
    entries = -(-size // block)
    name = parent.name.encode("utf-16-be").ljust(512, b"\0")
    header = struct.pack(">8sQQIII", b"cxsparse", (1 << 64) - 1, 1536, 0x10000, entries, block) + bytes(4) + parent_id + bytes(8) + name
    header = sealed(header.ljust(1024, b"\0"), 36)
    bat = [0xFFFFFFFF] * entries
    at = (1536 + 4 * entries + 511) // 512
    body = b""
    # Blocks in falling order: a reader that takes them in the order of the file would mix them up.
    for number in sorted({sector * 512 // block for sector in sectors}, reverse=True):
        bat[number] = at + len(body) // 512
        bitmap, data = bytearray(512), bytearray(b"\xee" * block)  # what the bitmap denies must not be seen
        for sector, bytes_ in sectors.items():
            if sector * 512 // block == number:
                place = sector % (block // 512)
                bitmap[place // 8] |= 0x80 >> (place % 8)
                data[place * 512 : (place + 1) * 512] = bytes_
        body += bytes(bitmap) + bytes(data)
    head = footer + header + struct.pack(f">{entries}I", *bat)
    return head.ljust(-(-len(head) // 512) * 512, b"\xff") + body + footer


def through_libvhdi(*chain: Path) -> bytes:
    """The disk as another library reads it: the base first."""
    parent = None
    for path in chain:
        file = pyvhdi.file()
        file.open(str(path))
        if parent is not None:
            file.set_parent(parent)
        parent = file
    return parent.read_buffer_at_offset(parent.get_media_size(), 0)


class Containers(unittest.TestCase):
    def setUp(self) -> None:
        self.repository = Repository(self)
        self.folder = self.repository.folder
        self.data = {place: noise(place, MIB) for place in PLACES}
        self.raw = self.folder / "disk.raw"
        with self.raw.open("wb") as file:
            for place, chunk in self.data.items():
                file.seek(place * MIB)
                file.write(chunk)
            file.truncate(SIZE)

    def made(self, name: str) -> Path:
        path = self.folder / name
        qemu_img("convert", "-f", "raw", *NEW[name], self.raw, path)
        return path

    def restored(self, snapshot: dict, name: str, *arguments: str) -> Path:
        target = self.folder / name
        if name.endswith("/"):
            target.mkdir()
        self.repository.run("restore", snapshot["id"], "--target", str(target), "--force", *arguments)
        return target

    def test_each_container_after_the_first_adds_next_to_nothing(self) -> None:
        """Item 4; and each comes out as raw, identical."""
        archive = self.folder / "disk.xva"
        archive.write_bytes(make_xva.archive(Kind(), [Disk(SIZE, self.data)]))
        self.repository.backup(str(archive))
        inputs = [self.raw, *map(self.made, NEW)]
        for path in inputs:
            with self.subTest(path.name):
                before = self.repository.stored_bytes()
                snapshot = self.repository.backup(str(path))
                added = self.repository.stored_bytes() - before
                print(f"{path.name}: {added} bytes added to {len(PLACES) * MIB}")
                self.assertLess(added, 0.001 * len(PLACES) * MIB)
                self.assertEqual(snapshot["container"], path.suffix[1:])
                back = self.restored(snapshot, "back.raw")
                self.assertTrue(back.read_bytes() == self.raw.read_bytes(), "the disk differs")

    def test_what_is_written_satisfies_qemu_and_libvhdi(self) -> None:
        snapshot = self.repository.backup(str(self.raw))
        wanted = self.raw.read_bytes()
        vhd = self.restored(snapshot, "out.vhd")
        qcow2 = self.restored(snapshot, "out.qcow2")
        qemu_img("check", "-f", "qcow2", qcow2)
        qemu_img("compare", "-f", "raw", "-F", "qcow2", self.raw, qcow2)
        qemu_img("compare", "-f", "raw", "-F", "vpc", self.raw, vhd)
        for path in (vhd, qcow2):
            self.assertEqual(json.loads(qemu_img("info", "--output=json", path))["virtual-size"], SIZE)
        self.assertTrue(through_libvhdi(vhd) == wanted)
        for form, path in (("vhd", vhd), ("qcow2", qcow2)):
            dumped = self.repository.run("dump", snapshot["id"], "--format", form).stdout
            self.assertTrue(dumped == path.read_bytes(), f"{form}: dump and restore differ")
            again = self.repository.backup(str(path))
            self.assertTrue(self.repository.run("dump", again["id"], "--format", "raw").stdout == wanted)
        piped = self.repository.backup("--stdin", stdin=vhd.read_bytes())
        self.assertTrue(self.repository.run("dump", piped["id"], "--format", "raw").stdout == wanted)
        as_it_came = self.restored(piped, "as-it-came/")
        self.assertEqual([path.name for path in as_it_came.iterdir()], ["xvda.vhd"])

    def test_a_fixed_vhd_reads_from_a_pipe_and_a_qcow2_does_not(self) -> None:
        fixed = self.made("fixed.vhd").read_bytes()
        snapshot = self.repository.backup("--stdin", "--type", "vhd", stdin=fixed)
        self.assertTrue(self.repository.run("dump", snapshot["id"], "--format", "raw").stdout == self.raw.read_bytes())
        refused = self.repository.run("backup", "--stdin", stdin=self.made("plain.qcow2").read_bytes(), code=1)
        self.assertIn(b"cannot be read from a pipe", refused.stderr)

    def test_disks_of_several_containers_are_one_vm(self) -> None:
        paths = [self.raw, self.made("dynamic.vhd"), self.made("plain.qcow2")]
        snapshot = self.repository.backup("--vm-name", "mixed", *map(str, paths))
        out = self.restored(snapshot, "mixed/")
        self.assertEqual(sorted(path.name for path in out.iterdir()), ["xvda.raw", "xvdb.raw", "xvdc.raw"])
        self.assertTrue(all(path.read_bytes() == self.raw.read_bytes() for path in out.iterdir()))

    def chain(self, first: dict[int, bytes], second: dict[int, bytes]) -> tuple[list[Path], bytes]:
        """A base by qemu-img with two generations upon it, and the disk that they are together."""
        base, child, grandchild = self.made("dynamic.vhd"), self.folder / "child.vhd", self.folder / "grandchild.vhd"
        child.write_bytes(differencing(SIZE, base, noise(7, 16), first))
        grandchild.write_bytes(differencing(SIZE, child, noise(8, 16), second))
        wanted = bytearray(self.raw.read_bytes())
        for sector, data in [*first.items(), *second.items()]:
            wanted[sector * 512 : (sector + 1) * 512] = data
        return [base, child, grandchild], bytes(wanted)

    def backed_up(self, chain: list[Path]) -> bytes:
        snapshot = self.repository.backup("--type", "vhd-chain", *map(str, chain))
        return self.repository.run("dump", snapshot["id"], "--format", "raw").stdout

    def test_a_differencing_chain_made_elsewhere_reads_right(self) -> None:
        """Changes of whole 4 KiB: libvhdi takes the sectors after a present one of the same bitmap byte for present."""

        def page(seed: int, sector: int) -> dict[int, bytes]:
            return {sector + place: noise(seed + place, 512) for place in range(8)}

        first = page(10, 8) | page(20, 4096 + 16) | page(30, 70_000) | {200_000 + place: bytes(512) for place in range(8)}
        chain, wanted = self.chain(first, page(40, 8) | page(50, 16) | page(60, 150_000))
        self.assertTrue(through_libvhdi(*chain) == wanted, "libvhdi sees another disk")
        self.assertTrue(self.backed_up(chain) == wanted)
        base, child, grandchild = chain
        for wrong in ([child], [base, grandchild], [child, grandchild], [base, base], [grandchild, child, base]):
            with self.subTest([path.name for path in wrong]):
                refused = self.repository.run("backup", "--type", "vhd-chain", *map(str, wrong), code=1)
                self.assertRegex(refused.stderr, b"needs its parent|was made upon|has no parent")

    def test_single_sectors_of_a_chain_read_right(self) -> None:
        first = {7: noise(1, 512), 4096 + 9: noise(2, 512), 70_000: noise(3, 512), 200_001: bytes(512)}
        chain, wanted = self.chain(first, {7: noise(4, 512), 8: noise(5, 512), 150_000: noise(6, 512)})
        self.assertTrue(self.backed_up(chain) == wanted)

    def test_qcow2_files_that_need_others_are_refused(self) -> None:
        base = self.made("plain.qcow2")
        child = self.folder / "child.qcow2"
        qemu_img("create", "-f", "qcow2", "-b", base, "-F", "qcow2", child)
        refused = self.repository.run("backup", str(child), code=1)
        self.assertIn(b"backing file", refused.stderr)

    def test_a_disk_of_more_than_2040_gib_becomes_no_vhd(self) -> None:
        large = self.folder / "large.raw"
        with large.open("wb") as file:
            file.truncate(2041 << 30)
        snapshot = self.repository.backup(str(large))
        refused = self.repository.run("restore", snapshot["id"], "--target", str(self.folder / "large.vhd"), code=1)
        self.assertIn(b"2040 GiB", refused.stderr)
        qcow2 = self.restored(snapshot, "large.qcow2")
        qemu_img("check", "-f", "qcow2", qcow2)


class Importers(unittest.TestCase):
    """`xenith xva check` finds what xapi would stumble over."""

    def check(self, archive: bytes, code: int) -> list[tuple[str, str]]:
        done = subprocess.run([XENITH, "--json", "xva", "check", "-"], input=archive, capture_output=True)
        self.assertEqual(done.returncode, code, done.stderr)
        found = json.loads(done.stdout)
        self.assertEqual(found["importable"], code == 0)
        return [(finding["severity"], finding["message"]) for finding in found["findings"]]

    def assert_found(self, archive: bytes, severity: str, words: str) -> None:
        found = self.check(archive, 1 if severity == "error" else 0)
        self.assertTrue(any(kind == severity and words in message for kind, message in found), found)

    def test_what_would_fail_is_found(self) -> None:
        data = {place: noise(place, MIB) for place in (0, 3)}
        good = make_xva.archive(Kind(), [Disk(6 * MIB, data)])
        self.assertFalse([found for found in self.check(good, 0) if found[0] == "error"])
        self.assertFalse([found for found in self.check(make_xva.zstded(good), 0) if found[0] == "error"])
        at = good.index(data[3][:64])
        self.assert_found(good[:at] + b"\0" + good[at + 1 :] if good[at] else good[:at] + b"\1" + good[at + 1 :], "error", "checksum")
        self.assert_found(good[: at + 100], "error", "ends inside")
        self.assert_found(good + b"foreign" * 20_000, "warning", "follows the last disk")
        self.assert_found(make_xva.archive(Kind(), [Disk(512, {0: b"x" * 512}), Disk(6 * MIB, data)]), "warning", "smaller than 1 MiB")
        self.assert_found(make_xva.archive(Kind(), [Disk(6 * MIB + 100, data)]), "error", "512")
        self.assert_found(b"no XVA at all" * 100, "error", "not an XVA")
        record = good[512 : 512 + int(good[124:135], 8)]
        for name in (b"SR", b"VDI"):
            lost, count = re.subn(rb"(<name>%s</name>\s*<value>(?:<string>)?)Ref:\d" % name, rb"\1Ref:x", record)
            self.assertGreater(count, 0)
            self.assert_found(good.replace(record, lost), "error", "missing")


if __name__ == "__main__":
    unittest.main()
