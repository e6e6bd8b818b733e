"""Reads a tar as strictly as xapi's importer, from a body that may be compressed (contract 3.1, 3.2)."""
from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from typing import NamedTuple

from errors import ApiError, Gone

ZSTD = b"\x28\xb5\x2f\xfd"


def broken(what: str) -> ApiError:
    return ApiError("IMPORT_ERROR", f"INTERNAL_ERROR: [ {what} ]")


class Header(NamedTuple):
    name: str
    size: int


class Unpacker:
    """An external program between the body and the reader, fed by a thread."""

    def __init__(self, command: list[str], first: bytes, read: Callable[[int], bytes]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._problem: BaseException | None = None
        self._feeder = threading.Thread(target=self._feed, args=(first, read), daemon=True)
        self._feeder.start()

    def _feed(self, first: bytes, read: Callable[[int], bytes]) -> None:
        try:
            data = first
            while data:
                self._process.stdin.write(data)
                data = read(1 << 18)
            self._process.stdin.close()
        except (ApiError, Gone) as problem:
            self._problem = problem
            self._process.kill()
        except OSError:
            pass

    def read(self, length: int) -> bytes:
        data = self._process.stdout.read1(length)
        if not data:
            if self._problem is not None:
                raise self._problem
            if self._process.wait() != 0:
                raise broken(f"{self._process.args[0]} failed")
        return data

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._feeder.join(1)
        self._process.stdout.close()


class Tar:
    """Members of the archive in the order in which they come."""

    def __init__(self, read: Callable[[int], bytes], announced: int | None) -> None:
        self._body = self._source = read
        self._unpacker: Unpacker | None = None
        self._left = announced
        self._held = b""
        first = self._exactly(512)
        if _name(first) == "ova.xml" and _sum_is_right(first):
            self._held = first
            return
        command = ["zstd", "-dc", "-q"] if first[:4] == ZSTD else ["gzip", "-dc"]
        if self._left is not None:
            self._left -= len(first)
        self._unpacker = Unpacker(command, first, self._limited)
        self._source = self._unpacker.read

    def _limited(self, length: int) -> bytes:
        """Of a compressed body exactly the announced length is taken (contract 2.3)."""
        if self._left is None:
            return self._body(length)
        data = self._body(min(length, self._left)) if self._left > 0 else b""
        self._left -= len(data)
        return data

    def _exactly(self, length: int) -> bytes:
        parts, left = [], length
        if self._held and left:
            parts.append(self._held[:left])
            self._held = self._held[left:]
            left -= len(parts[0])
        while left:
            data = self._source(left)
            if not data:
                raise ApiError("IMPORT_ERROR_PREMATURE_EOF")
            parts.append(data)
            left -= len(data)
        return b"".join(parts)

    def read(self, length: int) -> bytes:
        return self._exactly(length)

    def skip_padding(self, size: int) -> None:
        self._exactly(-size % 512)

    def header(self) -> Header:
        """The next header; long names of GNU and PAX are followed."""
        long_name = None
        while True:
            block = self._exactly(512)
            if block == bytes(512):
                raise broken("End_of_archive")
            if not _sum_is_right(block):
                raise broken("Invalid XVA file: tar header checksum")
            size, kind = _octal(block[124:136]), block[156:157]
            if kind == b"L":
                long_name = self._data(size).rstrip(b"\0").decode()
            elif kind == b"x":
                long_name = _pax_path(self._data(size)) or long_name
            elif kind == b"g":
                self._data(size)
            else:
                return Header(long_name or _name(block), size)

    def _data(self, size: int) -> bytes:
        data = self._exactly(size)
        self.skip_padding(size)
        return data

    def close(self) -> None:
        if self._unpacker is not None:
            self._unpacker.close()


def _octal(text: bytes) -> int:
    digits = text.strip(b" \0")
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise broken("Invalid XVA file: tar number") from None


def _sum_is_right(block: bytes) -> bool:
    try:
        return sum(block[:148]) + 8 * 32 + sum(block[156:]) == int(block[148:156].strip(b" \0") or b"x", 8)
    except ValueError:
        return False


def _name(block: bytes) -> str:
    name = block[:100].split(b"\0")[0].decode("utf-8", "replace")
    prefix = block[345:500].split(b"\0")[0].decode("utf-8", "replace") if block[257:262] == b"ustar" else ""
    return f"{prefix}/{name}" if prefix else name


def _pax_path(data: bytes) -> str | None:
    path = None
    while data:
        length, _, rest = data.partition(b" ")
        key, _, value = rest[:int(length) - len(length) - 2].partition(b"=")
        path = value.decode() if key == b"path" else path
        data = data[int(length):]
    return path
