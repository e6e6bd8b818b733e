"""One request to an HTTP handler: who asks, for which task, and its two streams (contract 1.5, 1.6)."""
from __future__ import annotations

import base64
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlsplit

from errors import ApiError, Gone
from faults import stall
from schema import NULL
from world import REALM, Member, World

POOL_ADMIN_PATHS = ("/pool/xmldbdump", "/host_backup", "/host_restore")
NOT_CACHED = ("Connection: close", "Cache-Control: no-cache, no-store")
REASONS = {302: "Found", 400: "Bad Request", 401: "Unauthorised", 403: "Forbidden", 404: "Not Found", 500: "Internal Error"}


class Refused(Exception):
    """An answer other than 200, before anything was done."""

    def __init__(self, status: int, text: str = "", *headers: str) -> None:
        super().__init__(status, text)
        self.status, self.text, self.headers = status, text, headers


def page(status: int, text: str = "", *headers: str) -> bytes:
    """A whole error answer with its small HTML body (contract 1.1)."""
    reason = REASONS.get(status, "Error")
    body = f"<html><body><h1>HTTP {status} {reason}</h1>".encode()
    if text:
        body += f"<h1> Additional information </h1>{text}".encode()
    body += b"</body></html>"
    head = [f"HTTP/1.1 {status} {reason}", *headers, "Content-Type: text/html", f"Content-Length: {len(body)}", *NOT_CACHED]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Request:
    """A GET or PUT. Cookies come before the query."""

    def __init__(self, world: World, member: Member, handler) -> None:
        self.world, self.member, self._handler = world, member, handler
        self.headers = handler.headers
        parts = urlsplit(handler.path)
        self.path, self.query = parts.path.rstrip("/") or "/", parts.query
        cookies = dict(part.strip().split("=", 1) for part in re.split("[;&]", self.headers.get("Cookie", "")) if "=" in part)
        self.params = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **cookies}
        self.task = NULL
        self._own_session: str | None = None
        self._plan = world.faults.take_all("stream", path=self.path)
        self._plan.sort(key=lambda fault: -fault["at"])
        self.moved = 0  # bytes of the body so far, in or out

    # ------------------------------------------------------------ who asks

    def authenticate(self) -> None:
        """401 for a wrong session or password; 403 for a role that is too low, which also fails the task."""
        session = self.params.get("session_id") or self._basic()
        try:
            role = self.world.role(session)
        except ApiError:
            raise Refused(401, "", f'WWW-Authenticate: Basic realm="{REALM}"') from None
        if role == "read-only" or (role != "pool-admin" and self.path in POOL_ADMIN_PATHS):
            error = ApiError("RBAC_PERMISSION_DENIED", f"http/{self._handler.command.lower()}_{self.path[1:].replace('/', '_')}",
                             "No permission in user session")
            self.world.db.fail(self.params.get("task_id", NULL), error)
            raise Refused(403, error.text)

    def _basic(self) -> str | None:
        """A session of its own, which ends with the request (contract 1.5)."""
        basic = self.headers.get("Authorization", "")
        if not basic.startswith("Basic "):
            return None
        user, _, password = base64.b64decode(basic[6:]).decode().partition(":")
        self._own_session = self.world.login(user, password, "basic")
        return self._own_session

    def end(self) -> None:
        if self._own_session in self.world.db.tables["session"]:
            self.world.db.delete("session", self._own_session)

    def faults_of_head(self) -> None:
        if fault := self.world.faults.take("http_error", path=self.path):
            raise Refused(int(fault["status"]), str(fault.get("text", "")))
        if self.world.faults.take("redirect", path=self.path):
            self.redirect(next(member for member in self.world.members if member is not self.member))

    def redirect(self, member: Member) -> None:
        """To the same path and query of another member."""
        query = f"?{self.query}" if self.query else ""
        raise Refused(302, "", f"Location: https://{member.address}:{member.https}{self.path}{query}")

    def object(self, cls: str, by_ref: str, by_uuid: str) -> str | None:
        """The object that a parameter names by reference or by uuid."""
        db = self.world.db
        if by_ref in self.params:
            ref = self.params[by_ref]
            if by_ref == by_uuid and ref not in db.tables[cls]:
                return db.by_uuid(cls, ref)
            db.get(cls, ref)
            return ref
        return db.by_uuid(cls, self.params[by_uuid]) if by_uuid in self.params else None

    # ------------------------------------------------------------ the task

    @contextmanager
    def adopt(self, label: str) -> Iterator[Callable[[object], None]]:
        """The task of the client, or a new one. What is given to the yielded function becomes its result."""
        db, results = self.world.db, [None]
        with db.lock:
            self.task = self.params.get("task_id") or db.new_task(label, subtask_of=self.params.get("subtask_of", NULL))
            db.get("task", self.task)
            db.working.add(self.task)
        try:
            yield lambda result: results.append(result)
        except ApiError as error:
            db.fail(self.task, error)
            raise
        except Gone as gone:
            if not (gone.args and gone.args[0] == "pending"):
                db.fail(self.task, ApiError("CLIENT_ERROR", "End_of_file"))
            raise
        finally:
            db.working.discard(self.task)
        fault = self.world.faults.take("task", path=self.path)
        action = fault and fault["action"]
        if action == "vanishes":
            self.lose_task()
        elif action == "fails":
            db.fail(self.task, ApiError(*fault.get("error", ["VDI_IO_ERROR", "Device I/O error"])))
        elif action != "never_ends":
            db.succeed(self.task, results[-1])

    def lose_task(self) -> None:
        with self.world.db.lock:
            if self.task in self.world.db.tables["task"]:
                self.world.db.delete("task", self.task)

    # ------------------------------------------------------------ the streams

    def head(self, *lines: str) -> None:
        self._handler.began = True
        self._handler.wfile.write("\r\n".join(lines).encode() + b"\r\n\r\n")

    def write(self, data: bytes) -> None:
        """Sends a part of the body; armed faults come at their byte exactly."""
        view = memoryview(data)
        while True:
            self._fire()
            if not view:
                return
            part = view[:self._room(len(view))]
            try:
                self._handler.wfile.write(part)
            except OSError as problem:
                raise Gone from problem
            self.moved += len(part)
            view = view[len(part):]

    def read(self, length: int) -> bytes:
        """Reads up to so many bytes of the body; nothing at its end. The length that was announced is not looked at."""
        self._fire()
        try:
            data = self._handler.rfile.read1(min(self._room(length), 1 << 18))
        except OSError as problem:
            raise ApiError("IMPORT_ERROR_PREMATURE_EOF") from problem
        self.moved += len(data)
        return data

    def reset(self) -> None:
        """The connection will end without a word."""
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._handler.was_reset = True

    def _room(self, wanted: int) -> int:
        return min([wanted, *(fault["at"] - self.moved for fault in self._plan if fault["at"] > self.moved)])

    def _fire(self) -> None:
        if self.member.address in self.world.down:
            raise Gone("pending")
        if self.task in self.world.db.cancelled:
            raise ApiError("TASK_CANCELLED", self.task)
        while self._plan and self._plan[-1]["at"] <= self.moved:
            fault = self._plan.pop()
            action = fault["action"]
            if action == "error":
                raise ApiError(*fault.get("error", ["VDI_IO_ERROR", "Device I/O error"]))
            if action == "reset":
                self.reset()
            if action in ("cut", "reset"):
                raise Gone(fault.get("task", "failure"))
            if action == "stall":
                stall(fault)
            if action == "expire_sessions":
                self.world.db.drop("session")
            if action == "change_master":
                self.world.db.change_master()
            if action == "lose_task":
                self.lose_task()


class Progress:
    """Pushes the share that is done, at most once in so many seconds (contract 1.6)."""

    def __init__(self, request: Request, total: int) -> None:
        self._request, self._total, self._done, self._pushed = request, max(1, total), 0, time.monotonic()
        request.world.db.progress(request.task, 0.0)

    def add(self, amount: int) -> None:
        self._done += amount
        if time.monotonic() - self._pushed >= self._request.world.settings.progress_seconds:
            self._pushed = time.monotonic()
            self._request.world.db.progress(self._request.task, min(0.999, self._done / self._total))
