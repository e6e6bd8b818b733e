"""XVAs from elsewhere go into a repository and come out identical; qemu-img agrees on raw disks.

Needs: the binary (XENITH, default target/release/xenith), node with the packages of package.json beside this file,
qemu-img, zstd. Run: python test_peers.py
"""

import random
import subprocess
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cli"))

import make_xva  # noqa: E402
from make_xva import MIB, Disk, Kind  # noqa: E402
from repository import Repository  # noqa: E402


def noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def disks(seed: int) -> dict[str, list[Disk]]:
    """Sets of disks: each is one way in which an archive can be unusual."""
    keeps = Disk(64 * MIB, {0: noise(seed, MIB), 40: noise(seed + 1, MIB)}, keep_alives={7, 12, 39, 50})
    return {
        "one disk": [Disk(6 * MIB, {1: noise(seed, MIB), 3: noise(seed + 1, 700)})],
        "twelve disks, whose ids sort as text": [Disk(3 * MIB, {1: noise(seed + i, MIB)}) for i in range(12)],
        "sizes that are no multiple of 1 MiB": [Disk(5 * MIB + 512 * 7, {5: noise(seed, 3584)}), Disk(3 * MIB - 512, {0: noise(seed, MIB)})],
        "keep-alives in long zero areas": [keeps],
        "zero chunks that are written": [Disk(9 * MIB, {4: noise(seed, MIB)}, written_zeros={2, 3, 6})],
        "first chunk zero": [Disk(4 * MIB, {3: noise(seed, MIB)})],
        "last chunk zero": [Disk(4 * MIB, {0: noise(seed, MIB)})],
        "all disks empty": [Disk(4 * MIB), Disk(2 * MIB)],
        "a disk of 512 bytes": [Disk(2 * MIB, {1: noise(seed, MIB)}), Disk(512, {0: noise(seed, 512)})],
        "3 TiB, nearly all of it sparse": [Disk(3 << 40, {0: noise(seed, MIB), 2_000_000: noise(seed + 1, MIB)})],
    }


class Archives(unittest.TestCase):
    """What must be shown, item 2: byte-identical restore of every kind."""

    def check(self, repository: Repository, archive: bytes, given: bytes | None = None) -> None:
        source = repository.folder / "given.xva"
        source.write_bytes(given or archive)
        snapshot = repository.backup(str(source))
        target = repository.folder / f"{snapshot['id']}.xva"
        repository.run("restore", snapshot["id"], "--target", str(target))
        self.assertTrue(target.read_bytes() == archive, "the restored archive differs")
        target.unlink()

    def test_every_kind_of_archive_comes_out_identical(self) -> None:
        repository = Repository(self)
        for checksum, header in (("xxhash", "v7"), ("sha1", "ustar")):
            for name, made in disks(3).items():
                with self.subTest(name, checksum=checksum, header=header):
                    self.check(repository, make_xva.archive(Kind(checksum, header), made))

    def test_of_a_compressed_archive_the_tar_inside_comes_out(self) -> None:
        repository = Repository(self)
        archive = make_xva.archive(Kind(), disks(5)["keep-alives in long zero areas"])
        for pack in (make_xva.gzipped, make_xva.zstded):
            with self.subTest(pack.__name__):
                self.check(repository, archive, given=pack(archive))

    def test_a_pipe_is_as_good_as_a_file(self) -> None:
        repository = Repository(self)
        archive = make_xva.archive(Kind(), disks(6)["one disk"])
        snapshot = repository.backup("--stdin", stdin=archive)
        self.assertEqual(repository.run("dump", snapshot["id"]).stdout, archive)

    def test_an_unchanged_disk_in_another_export_adds_next_to_nothing(self) -> None:
        """Item 3: other Ref numbers, other keep-alives, another order of objects; then the disk as a raw file."""
        repository = Repository(self)
        data = {place: noise(place, MIB) for place in range(0, 200, 3)}
        size = 256 * MIB
        first = make_xva.archive(Kind(first_ref=41), [Disk(size, data)])
        second = make_xva.archive(Kind(first_ref=98, shuffle=True), [Disk(size, data, keep_alives={220, 230})])
        repository.backup("--stdin", stdin=first)
        before = repository.stored_bytes()
        repository.backup("--stdin", stdin=second)
        added = repository.stored_bytes() - before
        self.assertLessEqual(added, 0.002 * len(data) * MIB)
        raw = repository.folder / "disk.raw"
        with raw.open("wb") as file:
            for place, chunk in data.items():
                file.seek(place * MIB)
                file.write(chunk)
            file.truncate(size)
        before = repository.stored_bytes()
        snapshot = repository.backup("--vm-name", "as-raw", "--type", "raw", str(raw))
        self.assertLess(repository.stored_bytes() - before, 0.001 * len(data) * MIB)
        back = repository.folder / "back.raw"
        repository.run("restore", snapshot["id"], "--target", str(back))
        subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", str(raw), str(back)], check=True, stdout=subprocess.DEVNULL)

    def test_an_archive_of_xen_orchestra_comes_out_identical_and_its_disks_too(self) -> None:
        """Item 4."""
        repository = Repository(self)
        raws = []
        for number, content in enumerate((noise(1, 3 * MIB) + bytes(2 * MIB), bytes(4 * MIB))):
            raws.append(repository.folder / f"d{number}.raw")
            raws[-1].write_bytes(content)
        archive = repository.folder / "orchestra.xva"
        subprocess.run(["node", str(HERE / "orchestra_xva.mjs"), str(archive), *map(str, raws)], check=True)
        snapshot = repository.backup(str(archive))
        self.assertTrue(repository.run("dump", snapshot["id"]).stdout == archive.read_bytes())
        for number, raw in enumerate(raws):
            back = repository.folder / "back.raw"
            repository.run("restore", snapshot["id"], "--format", "raw", "--disk", str(number), "--target", str(back), "--force")
            subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", str(raw), str(back)], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    unittest.main()
