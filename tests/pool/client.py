"""What the tests of the pool need on the client's side: plain HTTP over a socket, and archives made and read by the book."""
from __future__ import annotations

import hashlib
import io
import json
import socket
import ssl
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from urllib.parse import quote, urlencode, urlsplit  # noqa: F401

MIB = 1 << 20
QUESTIONS = ("state", "leftovers", "calls", "faults", "traffic", "starts", "fingerprint")


class Answer:
    """Head and body of an HTTP answer."""

    def __init__(self, head: bytes, body: bytes = b"") -> None:
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.protocol = lines[0].split()[0]
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        self.body = body


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    plain = socket.create_connection((parts.hostname, parts.port), timeout=30)
    if parts.scheme == "http":
        return plain
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain)


def read_head(wire: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = wire.recv(1)
        if not byte:
            raise ConnectionError(f"no head: {head!r}")
        head += byte
    return head[:-4]


def read_rest(wire: socket.socket) -> bytes:
    """To the end, however it comes."""
    parts = []
    try:
        while data := wire.recv(1 << 18):
            parts.append(data)
    except (ConnectionError, ssl.SSLError):
        pass
    return b"".join(parts)


def get(url: str, path: str, follow: bool = True, cookie: str = "", **query: str) -> Answer:
    with connect(url) as wire:
        extra = f"Cookie: {cookie}\r\n" if cookie else ""
        wire.sendall(f"GET {path}?{urlencode(query)} HTTP/1.1\r\nHost: pool\r\n{extra}\r\n".encode())
        answer = Answer(read_head(wire))
        answer.body = read_rest(wire)
    if answer.status == 302 and follow:
        there = urlsplit(answer.headers["location"])
        return get(f"{there.scheme}://{there.netloc}", path, False, cookie, **query)
    return answer


def put(url: str, path: str, body: bytes, headers: dict[str, str] | None = None, end: bool = True, **query: str) -> Answer:
    """The head of the answer is read before the first byte of the body is sent (contract 0.1)."""
    headers = {"Content-Length": str(len(body))} if headers is None else headers
    with connect(url) as wire:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        wire.sendall(f"PUT {path}?{urlencode(query)} HTTP/1.1\r\nHost: pool\r\n{lines}\r\n".encode())
        answer = Answer(read_head(wire))
        if answer.status != 200:
            return answer
        try:
            for at in range(0, len(body), MIB):
                wire.sendall(body[at:at + MIB])
            if end:
                wire.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the importer does not read to the end (contract 0.8)
        answer.body = read_rest(wire)
        return answer


def control(url: str, name: str, /, **given: object) -> object:
    """Tells the control endpoint, or asks it: some names are questions."""
    data = None if name in QUESTIONS else json.dumps(given).encode()
    name = f"{name}?{urlencode(given)}" if name in QUESTIONS else name
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/{name}", data=data)) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        raise AssertionError(f"{name} {given}: {refused.read().decode()}") from None


def wait(task: str, records) -> dict:
    """The record of a task once it has ended."""
    for _ in range(600):
        record = records(task)
        if record["status"] not in ("pending", "cancelling"):
            return record
        time.sleep(0.05)
    raise AssertionError("the task does not end")


# ---------------------------------------------------------------- archives

Members = list[tuple[str, bytes]]


def unpack(archive: bytes) -> Members:
    """Members of an archive, in order, by Python's tarfile."""
    if archive[:2] == b"\x1f\x8b" or archive[:4] == b"\x28\xb5\x2f\xfd":
        command = ["gzip", "-dc"] if archive[:2] == b"\x1f\x8b" else ["zstd", "-dc"]
        archive = subprocess.run(command, input=archive, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar]


def pack(members: Members) -> bytes:
    """An archive of these members, by Python's tarfile, with two zero blocks and no more."""
    out, end = io.BytesIO(), 0
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            end = tar.offset
    return out.getvalue()[:end] + bytes(1024)


def disk(members: Members, prefix: str, size: int) -> bytes:
    """The bytes of a disk by the loop of contract 3.6."""
    data, last, at, gap = bytearray(size), -1, 0, None
    for name, held in members:
        if not name.startswith(prefix + "/") or "." in name:
            continue
        number = int(name.removeprefix(prefix + "/"))
        gap = len(held) if gap is None else gap
        at += (number - last - 1) * gap
        data[at:at + len(held)] = held
        at += len(held)
        last = number
    if len(data) != size:
        raise AssertionError("a chunk lies behind the end")
    return bytes(data)


def prefixes(members: Members) -> list[str]:
    return list(dict.fromkeys(name.split("/")[0] for name, _ in members if "/" in name))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
