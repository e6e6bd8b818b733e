"""The NBD server of a member: fixed newstyle, TLS first, simple replies (contract 5.2)."""
from __future__ import annotations

import socket
import socketserver
import ssl
import struct
import threading
from urllib.parse import parse_qsl, urlsplit

from errors import ApiError, Gone
from faults import stall
from server import end_tls
from world import Member, World

OPTION_MAGIC, REPLY_MAGIC = b"IHAVEOPT", 0x3E889045565A9
EXPORT_NAME, ABORT, LIST, STARTTLS = 1, 2, 3, 5
ACK, UNSUPPORTED, POLICY, TLS_REQUIRED = 1, 0x80000001, 0x80000002, 0x80000005
READ, DISCONNECT = 0, 2
EINVAL = 22
HAS_FLAGS_READ_ONLY = 3
MAX_CLIENTS = 16
MAX_READ = 32 << 20


class NbdServer(socketserver.ThreadingTCPServer):
    """One port of one member. Without a network of an NBD purpose it refuses everyone."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, world: World, member: Member, tls: ssl.SSLContext) -> None:
        self.world, self.member, self.tls = world, member, tls
        self.slots = threading.BoundedSemaphore(MAX_CLIENTS)
        super().__init__((member.address, member.nbd), Connection)

    def verify_request(self, _request: object, _client_address: object) -> bool:
        return self.member.address not in self.world.down

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""

    def purposes(self) -> set[str]:
        with self.world.db.lock:
            return {purpose for row in self.world.db.tables["network"].values() for purpose in row["purpose"]}


class Connection(socketserver.BaseRequestHandler):
    """One client, up to its end."""

    def handle(self) -> None:
        self.wire: socket.socket = self.request
        self.encrypted = False
        self.wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        purposes = self.server.purposes() & {"nbd", "insecure_nbd"}
        if len(purposes) != 1:
            return
        self.needs_tls = purposes == {"nbd"}
        try:
            vdi = self.negotiate()
            if vdi is not None:
                with self.server.world.plugged(vdi, self.server.member.ref):
                    self.serve(vdi)
        except (OSError, Gone, ApiError):
            pass
        finally:
            if self.encrypted:
                end_tls(self.wire, orderly=True)

    def receive(self, length: int) -> bytes:
        parts = []
        while length:
            data = self.wire.recv(min(length, 1 << 16))
            if not data:
                raise Gone
            parts.append(data)
            length -= len(data)
        return b"".join(parts)

    # ------------------------------------------------------------ handshake

    def negotiate(self) -> str | None:
        """The VDI that the client asked for; None if it gave up."""
        self.wire.sendall(b"NBDMAGIC" + OPTION_MAGIC + struct.pack(">H", 1))
        if struct.unpack(">I", self.receive(4))[0] & ~1:
            return None
        while True:
            magic, option, length = struct.unpack(">8sII", self.receive(16))
            if magic != OPTION_MAGIC or length > 1 << 16:
                return None
            data = self.receive(length)
            locked = self.needs_tls and not self.encrypted
            if option == ABORT:
                self.reply(option, ACK)
                return None
            if option == STARTTLS and locked:
                self.start_tls()
            elif option == EXPORT_NAME:
                return None if locked else self.open(data.decode("utf-8", "replace"))
            elif locked:
                self.reply(option, TLS_REQUIRED)
            else:
                self.reply(option, POLICY if option == LIST else UNSUPPORTED)

    def reply(self, option: int, kind: int) -> None:
        self.wire.sendall(struct.pack(">QIII", REPLY_MAGIC, option, kind, 0))

    def start_tls(self) -> None:
        self.reply(STARTTLS, ACK)
        self.wire = self.server.tls.wrap_socket(self.wire, server_side=True)
        self.encrypted = True

    def open(self, name: str) -> str:
        """`/<uuid>?session_id=<ref>`: whatever is wrong with it ends the connection."""
        world = self.server.world
        parts = urlsplit(name)
        world.count("NBD open")
        with world.db.lock:
            world.role(dict(parse_qsl(parts.query)).get("session_id"))
            vdi = world.db.by_uuid("VDI", parts.path.lstrip("/"))
            row = world.db.get("VDI", vdi)
            if row["type"] == "cbt_metadata" or not world.sees(self.server.member.ref, {row["SR"]}):
                raise Gone
        self.wire.sendall(struct.pack(">QH", row["virtual_size"], HAS_FLAGS_READ_ONLY) + bytes(124))
        return vdi

    # ------------------------------------------------------------ transmission

    def serve(self, vdi: str) -> None:
        if not self.server.slots.acquire(blocking=False):
            raise Gone
        try:
            row = self.server.world.db.get("VDI", vdi)
            with self.server.world.disks.path(row["uuid"]).open("rb") as data:
                while self.answer(data, row["virtual_size"], vdi):
                    pass
        finally:
            self.server.slots.release()

    def answer(self, data, size: int, vdi: str) -> bool:
        """One command; whether to go on. What is not a multiple of 512 gets one EINVAL, and that was it."""
        magic, _, command, handle, offset, length = struct.unpack(">IHH8sQI", self.receive(28))
        if magic != 0x25609513 or command == DISCONNECT:
            return False
        if command != READ or offset % 512 or length % 512 or offset + length > size or length > MAX_READ:
            self.wire.sendall(struct.pack(">II8s", 0x67446698, EINVAL, handle))
            return False
        if fault := self.server.world.faults.take("nbd"):
            if fault["action"] == "drop":
                return False
            stall(fault)
        data.seek(offset)
        self.wire.sendall(struct.pack(">II8s", 0x67446698, 0, handle))
        self.wire.sendall(data.read(length))
        self.server.world.was_read(vdi, "nbd", length)
        return True
