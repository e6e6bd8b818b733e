"""Disks as sparse files, and the log of what was written to them (contract 5.1)."""
from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

MIB = 1 << 20
CBT_BLOCK = 64 << 10
DIGEST_MAX = 1 << 30


def blocks_of(size: int) -> int:
    return -(-size // CBT_BLOCK)


class Log:
    """Changed blocks since the snapshot `parent` (a uuid) of the same disk."""

    def __init__(self, parent: str | None = None) -> None:
        self.parent = parent
        self.blocks: set[int] = set()


class Disks:
    """The files of all VDIs, by uuid.

    A snapshot is another name of the same file. Whoever writes first to a file of several names gets one of his own: so a snapshot of
    a large disk takes neither time nor space, and old data stays with those who read it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.logs: dict[str, Log] = {}
        self._times = count(1)  # of writes
        self._lock = threading.RLock()  # of names and of writes: no name is given while somebody writes
        self._digests: dict[tuple[int, int], str] = {}  # by file and the time of its last write

    def path(self, uuid: str) -> Path:
        return self.folder / f"{uuid}.img"

    def create(self, uuid: str, size: int) -> None:
        with self.path(uuid).open("xb") as file:
            file.truncate(size)
            os.utime(file.fileno(), ns=(0, next(self._times)))

    def delete(self, uuid: str) -> None:
        self.drop_data(uuid)
        gone = self.logs.pop(uuid, None)
        for log in self.logs.values() if gone else ():
            if log.parent == uuid:  # the child then tells the changes of both
                log.parent, log.blocks = gone.parent, log.blocks | gone.blocks

    def drop_data(self, uuid: str) -> None:
        self.path(uuid).unlink(missing_ok=True)

    def extents(self, uuid: str) -> Iterator[tuple[int, int]]:
        """Start and end of each run of the file that is not a hole."""
        with self.path(uuid).open("rb") as file:
            end, at = os.fstat(file.fileno()).st_size, 0
            while at < end:
                try:
                    start = os.lseek(file.fileno(), at, os.SEEK_DATA)
                except OSError as problem:
                    if problem.errno == errno.ENXIO:
                        return
                    raise
                at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
                yield start, at

    def copy(self, source: str, target: str) -> None:
        """A copy, at first by name only."""
        with self._lock:
            self.path(target).hardlink_to(self.path(source))

    def keep(self) -> Path:
        """All disks as they are now: further names of their files, in a folder of their own."""
        kept = self.folder / f"kept-{next(self._times)}"
        with self._lock:
            kept.mkdir()
            for path in self.folder.glob("*.img"):
                (kept / path.name).hardlink_to(path)
        return kept

    def put_back(self, kept: Path) -> None:
        """The disks are those that were kept, and no others."""
        with self._lock:
            for path in self.folder.glob("*.img"):
                path.unlink()
            for path in kept.iterdir():
                (self.folder / path.name).hardlink_to(path)

    def _own(self, uuid: str) -> None:
        """The file gets no other name than this: a copy with the same holes, if there is another."""
        if self.path(uuid).stat().st_nlink == 1:
            return
        fresh = self.folder / f"{uuid}.new"
        with self.path(uuid).open("rb") as old, fresh.open("xb") as new:
            new.truncate(os.fstat(old.fileno()).st_size)
            for start, end in self.extents(uuid):
                while start < end:
                    start += os.copy_file_range(old.fileno(), new.fileno(), end - start, start, start)
            os.utime(new.fileno(), ns=(0, next(self._times)))
        fresh.rename(self.path(uuid))

    def snapshot(self, source: str, target: str) -> None:
        """A copy that takes over the log; the disk goes on with an empty one."""
        with self._lock:
            self.copy(source, target)
            if source in self.logs:
                self.logs[target] = self.logs[source]
                self.logs[source] = Log(parent=target)

    def write(self, uuid: str, offset: int, data: bytes) -> None:
        """A write as from the guest: past the end is an error, changed blocks are logged."""
        with self._lock:
            self._own(uuid)
            with self.path(uuid).open("r+b") as file:
                if offset < 0 or offset + len(data) > os.fstat(file.fileno()).st_size:
                    raise OSError(errno.EIO, "write past the end of the disk")
                file.seek(offset)
                file.write(data)
                os.utime(file.fileno(), ns=(0, next(self._times)))  # the clock of the file system is too coarse to tell writes apart
            if uuid in self.logs and data:
                self.logs[uuid].blocks.update(range(offset // CBT_BLOCK, blocks_of(offset + len(data))))

    def resize(self, uuid: str, size: int) -> None:
        with self._lock:
            self._own(uuid)
            os.truncate(self.path(uuid), size)
            os.utime(self.path(uuid), ns=(0, next(self._times)))

    def changed(self, older: str, newer: str) -> set[int] | None:
        """Blocks written between two points of one chain; None if the chain does not lead from one to the other."""
        found: set[int] = set()
        at: str | None = newer
        while at is not None and at != older:
            log = self.logs.get(at)
            if log is None:
                return None
            found |= log.blocks
            at = log.parent
        return found if at is not None and older in self.logs and older != newer else None

    def utilisation(self, uuids: Iterable[str]) -> int:
        """Bytes that these disks take together: what several share is counted once."""
        found = (self.path(uuid).stat() for uuid in uuids if self.path(uuid).exists())
        return 512 * sum({stat.st_ino: stat.st_blocks for stat in found}.values())

    def version(self, uuid: str) -> str:
        """The file of a disk and the time of its last write: another after each."""
        path = self.path(uuid)
        stat = path.stat() if path.exists() else None
        return f"{stat.st_ino} {stat.st_mtime_ns}" if stat else ""

    def digest(self, uuid: str) -> str | None:
        """SHA-256 of the whole disk, holes as zeros; of none that is larger than 1 GiB, which would take long."""
        path = self.path(uuid)
        if not path.exists() or path.stat().st_size > DIGEST_MAX:
            return None
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            of = (stat.st_ino, stat.st_mtime_ns)
            if of not in self._digests:
                self._digests[of] = hashlib.file_digest(file, "sha256").hexdigest()
            return self._digests[of]


def bitmap(blocks: set[int], size: int) -> bytes:
    """One bit for each block of 64 KiB, the highest bit of a byte first."""
    bits = bytearray(-(-blocks_of(size) // 8))
    for block in blocks:
        bits[block // 8] |= 0x80 >> block % 8
    return bytes(bits)
