"""Serve the folder of an index over HTTP, for a team or a test; any web server does as well.

Files are replaced by renames, and each answer comes from one open file: nobody gets one half of an
old page and one half of a new one. Only what an index consists of is given out.
"""

from __future__ import annotations

import hashlib
import http.server
import ipaddress
import os
import re
import socket
import socketserver
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, ClassVar, Final
from urllib.parse import quote, unquote, urlsplit

from llamabuild.errors import ConfigError, IntegrityError
from llamabuild.events import Emit, Noticed
from llamabuild.index import entries, folder, negotiation
from llamabuild.index.names import METADATA, RECORD

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_BLOCK: Final = 1 << 18
_SILENCE: Final = 60.0
"""Seconds after which a connection is closed on which nothing comes."""
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".whl": "application/octet-stream",
    METADATA: "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An open file that is to be sent."""

    stream: IO[bytes]
    size: int
    modified: float
    kind: str
    etag: str
    varies: bool


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
    _negotiated: ClassVar = {negotiation.JSON: "index.json"}

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
        segments = path_of(self.path)
        if segments is None:
            self._refuse(HTTPStatus.NOT_FOUND, body=body)
            return
        names, directory = segments
        if not directory and _inside(self.server.top, names, stat.S_ISDIR):
            self._redirect(names)
            return
        found = self._found(names, directory=directory)
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

    def _found(self, names: tuple[str, ...], *, directory: bool) -> _Found | None:
        """What an address means, opened; None when there is nothing."""
        varies = directory and bool(names)
        kind = negotiation.preferred(self.headers.get("Accept", "")) if varies else ""
        if directory:
            names = (*names, self._negotiated.get(kind, "index.html"))
        path = _inside(self.server.top, names, stat.S_ISREG)
        if path is None:
            return None
        try:
            stream = path.open("rb")
        except OSError:
            return None
        about = os.fstat(stream.fileno())
        return _Found(
            stream=stream,
            size=about.st_size,
            modified=about.st_mtime,
            kind=_kind(names, kind),
            etag=f'"{_etag(path, stream, about)}"',
            varies=varies,
        )

    def _send(self, found: _Found, *, body: bool) -> None:
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

    def _head(self, status: HTTPStatus, found: _Found) -> None:
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


def path_of(target: str) -> tuple[tuple[str, ...], bool] | None:
    """The names in a request's path, and whether it means a directory; None for a path that an
    index does not have.

    >>> path_of("/cpu.v3/llama-cpp-python/"), path_of("/a%2Bb.whl?x=1"), path_of("/")
    ((('cpu.v3', 'llama-cpp-python'), True), (('a+b.whl',), False), ((), True))
    >>> path_of("/../etc/passwd"), path_of("/cpu/%2e%2e/x"), path_of("/a%2fb"), path_of("//host/")
    (None, None, None, None)
    """
    path = urlsplit(f"//index{target}").path if target.startswith("/") else ""
    if not path or len(target) > 2000:
        return None
    names = tuple(unquote(one) for one in path[1:].removesuffix("/").split("/"))
    if names == ("",):
        return ((), True) if path == "/" else None
    return (names, path.endswith("/")) if all(map(_SEGMENT.fullmatch, names)) else None


def _inside(top: Path, names: tuple[str, ...], kind: Callable[[int], bool]) -> Path | None:
    """The path of these names when it is of a kind, and in the folder: no link leads out."""
    path = top.joinpath(*names)
    try:
        real = path.resolve(strict=True)
        return real if real.is_relative_to(top) and kind(real.stat().st_mode) else None
    except (OSError, ValueError, RuntimeError):
        return None


def _kind(names: tuple[str, ...], asked: str) -> str:
    """The content type of a file, as one of a page that was ``asked`` for."""
    if asked:
        return asked if asked == negotiation.JSON else f"{asked}; charset=utf-8"
    if names[-1] == "index.json" and len(names) > 1:
        return negotiation.JSON
    ending = next((one for one in _TYPES if names[-1].endswith(one)), "")
    return _TYPES.get(ending, "application/octet-stream")


def _etag(path: Path, stream: IO[bytes], about: os.stat_result) -> str:
    """The SHA-256 of a file: of a wheel as its record knows it, else of what is read. A wheel that
    is not as its record says is told apart by its size and time."""
    if path.suffix != ".whl":
        data = stream.read(about.st_size)
        return hashlib.sha256(data).hexdigest()
    try:
        entry = entries.decode(path.with_name(path.name + RECORD).read_bytes(), path.name + RECORD)
    except (OSError, IntegrityError):
        entry = None
    if entry and (entry.size, entry.modified) == (about.st_size, about.st_mtime_ns):
        return entry.sha256
    return f"{about.st_mtime_ns:x}-{about.st_size:x}"
