"""The HTTP and HTTPS front of a member: RPC on POST, the handlers on GET and PUT (contract 1.1)."""
from __future__ import annotations

import socket
import ssl
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import calls
import handlers
import rpc
from errors import ApiError, Gone
from request import Refused, Request, page
from world import Member, World

MAX_RPC = 300 << 10


class Server(ThreadingHTTPServer):
    """Listens on one port of one member. The TLS handshake is done in the thread of the connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], world: World, member: Member | None, tls: ssl.SSLContext | None = None) -> None:
        self.world, self.member, self.tls = world, member, tls
        super().__init__(address, Handler)

    def finish_request(self, request: socket.socket, client_address: object) -> None:
        if self.tls is None:
            return super().finish_request(request, client_address)
        try:
            wrapped = self.tls.wrap_socket(request, server_side=True)
        except (OSError, ssl.SSLError):
            return None
        handler = self.RequestHandlerClass(wrapped, client_address, self)
        end_tls(wrapped, orderly=not handler.was_reset)
        return None

    def verify_request(self, _request: object, _client_address: object) -> bool:
        return self.member.address not in self.world.down

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""


def end_tls(wrapped: ssl.SSLSocket, orderly: bool) -> None:
    """Ends a connection as stunnel does, with close_notify, or without one if it was reset."""
    try:
        if orderly:
            wrapped.settimeout(0.2)
            wrapped.unwrap()
    except (OSError, ValueError):
        pass
    finally:
        wrapped.close()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    began = False  # whether the head of a 200 is out
    was_reset = False

    def log_message(self, *_parts: object) -> None:
        """No log."""

    def parse_request(self) -> bool:
        """A member that is down does not answer on connections that are open either."""
        good = super().parse_request()
        if self.server.member.address in self.server.world.down:
            self.close_connection = True
            return False
        return good

    def do_POST(self) -> None:  # noqa: N802 - the name is http.server's
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_RPC:
            return self._end(page(400 if not length.isdigit() else 413, "Content-Length"))
        body = self.rfile.read(int(length))
        is_json = self.path.split("?")[0] in ("/jsonrpc", "/jsonrpc/")
        if is_json and not self.server.world.settings.json_rpc:
            return self._answer("text/xml", rpc.XmlCall.failure(ApiError("INTERNAL_ERROR", "Xmlrpc.Parse_error")))
        try:
            call = (rpc.JsonCall if is_json else rpc.XmlCall)(body)
        except rpc.Malformed as problem:
            return self._end(page(500, str(problem)))
        try:
            answer = call.success(calls.call(self.server.world, self.server.member, call.method, call.params))
        except ApiError as error:
            answer = call.failure(error)
        except Gone:
            self.close_connection = True
            return None
        except Exception as problem:  # a mistake of the simulator: it must not look like silence
            traceback.print_exc()
            answer = call.failure(ApiError("INTERNAL_ERROR", repr(problem)))
        return self._answer(call.content_type, answer)

    def _answer(self, content_type: str, body: bytes) -> None:
        keep = "close" if self.close_connection else "keep-alive"
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: {keep}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def _end(self, answer: bytes) -> None:
        self.close_connection = True
        try:
            self.wfile.write(answer)
        except OSError:
            pass

    def do_GET(self) -> None:  # noqa: N802
        self._handle(handlers.GET, 404)

    def do_PUT(self) -> None:  # noqa: N802
        self._handle(handlers.PUT, 403)

    def _handle(self, routes: dict, unknown: int) -> None:
        """Every handler ends the connection. An error behind the head of a 200 is appended to the body (contract 0.3)."""
        self.close_connection = True
        request = Request(self.server.world, self.server.member, self)
        self.server.world.count(f"{self.command} {request.path}")
        handler = routes.get(request.path)
        if handler is None:
            return self._end(page(unknown))
        try:
            request.faults_of_head()
            request.authenticate()
            handler(request)
        except Refused as refused:
            self._end(page(refused.status, refused.text, *refused.headers))
        except ApiError as error:
            if self.command == "GET" or not self.began:
                self._end(page(500, error.text))
        except Gone:
            pass
        except Exception as problem:  # as above
            traceback.print_exc()
            error = ApiError("INTERNAL_ERROR", repr(problem))
            self.server.world.db.fail(request.task, error)
            self._end(page(500, error.text))
        finally:
            request.end()
        return None

    def handle_expect_100(self) -> bool:
        """There is no 100 Continue (contract 1.1)."""
        return True
