"""Serve the folder of an index over HTTP, for a team or a test; any web server does as well.

Files are replaced by renames, and each answer comes from one open file: nobody gets one half of an
old page and one half of a new one. Only what an index consists of is given out.
"""

from __future__ import annotations

import http.server
import ipaddress
import socket
import socketserver
import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

from llamabuild.errors import ConfigError
from llamabuild.events import Emit, Noticed
from llamabuild.index import folder, negotiation, opening
from llamabuild.index.opening import Found

_BLOCK: Final = 1 << 18
_SILENCE: Final = 60.0
"""Seconds after which a connection is closed on which nothing comes."""


def serve(top: Path, host: str, port: int, *, emit: Emit, ready: Callable[[str], None]) -> None:
    """Serve until interrupted (KeyboardInterrupt); ``ready`` is told the address. Port 0 is any.

    Raises ConfigError for a folder that is no index, or an address that cannot be listened on.
    """
    folder.check_is_index(top)
    with bound(top, host, port, emit=emit) as server:
        ready(server.address)
        server.serve_forever(poll_interval=0.1)


def loopback(host: str) -> bool:
    """True when nobody but this machine reaches an address.

    >>> [loopback(one) for one in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "lab.invalid")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bound(top: Path, host: str, port: int, *, emit: Emit) -> Server:
    """A server that listens. Raises ConfigError."""
    try:
        return Server(top.resolve(), host, port, emit)
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"cannot listen on {host} port {port}: {said}", "Choose --host and --port."
        ) from error


class Server(http.server.ThreadingHTTPServer):
    """A thread for each connection; those that are open do not hold up the end."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, top: Path, host: str, port: int, emit: Emit) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.top = top
        self._emit, self._lock = emit, threading.Lock()
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Without asking the name service what this machine is called."""
        socketserver.TCPServer.server_bind(self)

    @property
    def address(self) -> str:
        """Where it listens, as clients write it."""
        host, port = self.server_address[:2]
        name = f"[{host!s}]" if self.address_family == socket.AF_INET6 else str(host)
        return f"http://{name}:{port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base has it
        """A client that goes away is no error of ours; anything else is told, not printed."""
        import sys

        del request
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            self.tell(f"{client_address[0]} {type(error).__name__}: {error}")

    def tell(self, line: str) -> None:
        """One line of the log; one at a time."""
        with self._lock:
            self._emit(Noticed(message=line))


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "llamabuild"
    sys_version = ""
    timeout = _SILENCE

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del size
        path = quote(self.path.partition("?")[0], safe="/%+")
        number = code.value if isinstance(code, HTTPStatus) else code
        self.server.tell(f"{self.client_address[0]} {self.command} {path} {number}")

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002, ANN401 - as the base has it
        """Only requests are logged, see log_request."""

    def _answer(self, *, body: bool) -> None:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # what follows is a body, not a request
        segments = opening.path_of(self.path)
        if segments is None:
            self._refuse(HTTPStatus.NOT_FOUND, body=body)
            return
        names, directory = segments
        if not directory and opening.is_directory(self.server.top, names):
            self._redirect(names)
            return
        accept = self.headers.get("Accept", "")
        found = opening.opened(self.server.top, names, accept, directory=directory)
        if found is None:
            self._refuse(HTTPStatus.NOT_FOUND, body=body)
            return
        with found.stream:
            self._send(found, body=body)

    def _redirect(self, names: tuple[str, ...]) -> None:
        self.send_response(HTTPStatus.MOVED_PERMANENTLY)
        self.send_header("Location", f"/{'/'.join(map(quote, names))}/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _refuse(self, status: HTTPStatus, *, body: bool) -> None:
        text = f"{status.value} {status.phrase}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if body:
            self.wfile.write(text)

    def _send(self, found: Found, *, body: bool) -> None:
        asked = self.headers
        since = asked.get("If-Modified-Since", "")
        if negotiation.known(asked.get("If-None-Match", ""), since, found.etag, found.modified):
            self._head(HTTPStatus.NOT_MODIFIED, found)
            self.end_headers()
            return
        wanted = None
        if negotiation.continues(asked.get("If-Range", ""), found.etag, found.modified):
            wanted = negotiation.part(asked.get("Range", ""), found.size)
        start, end = wanted or (0, found.size)
        if wanted and start == end:
            self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, found)
            self.send_header("Content-Range", f"bytes */{found.size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._head(HTTPStatus.PARTIAL_CONTENT if wanted else HTTPStatus.OK, found)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{found.size}")
        self.send_header("Content-Type", found.kind)
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if body:
            self._copy(found.stream, start, end)

    def _head(self, status: HTTPStatus, found: Found) -> None:
        self.send_response(status)
        self.send_header("ETag", found.etag)
        self.send_header("Last-Modified", negotiation.date(found.modified))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Content-Type-Options", "nosniff")
        if found.varies:
            self.send_header("Vary", "Accept")

    def _copy(self, stream: IO[bytes], start: int, end: int) -> None:
        stream.seek(start)
        while start < end and (block := stream.read(min(_BLOCK, end - start))):
            self.wfile.write(block)
            start += len(block)
        if start < end:  # somebody cut the file: the client has to see that it ends early
            self.close_connection = True
