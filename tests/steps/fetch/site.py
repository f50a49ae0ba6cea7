"""A real HTTP server on the loopback whose routes can misbehave in every way that servers do."""

from __future__ import annotations

import contextlib
import http.server
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Route: TypeAlias = Callable[["Handler"], None]


@dataclass
class Site:
    """Routes by path, and what was asked: ``(path, Range header)``."""

    url: str = ""
    routes: dict[str, Route] = field(default_factory=dict)
    log: list[tuple[str, str]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)


class Handler(http.server.BaseHTTPRequestHandler):
    """Looks up the route."""

    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        self.site.log.append((self.path, self.headers.get("Range", "")))
        self.site.routes.get(self.path, status(404))(self)

    def log_message(self, *_: Any) -> None:
        """Stay quiet."""

    def head(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that was killed is no news."""


@contextlib.contextmanager
def running() -> Iterator[Site]:
    site = Site()
    handler = type("SiteHandler", (Handler,), {"site": site})
    with _Server(("127.0.0.1", 0), handler) as server:
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield site
        finally:
            site.closing.set()
            server.shutdown()
            thread.join()


def serve(content: bytes, *, pace: float = 0.0, **headers: str) -> Route:
    """A good server with ranges; ``pace`` is the pause in seconds after each 64 KiB."""

    def route(handler: Handler) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        if match and start >= len(content):
            handler.head(416, Content_Range=f"bytes */{len(content)}", Content_Length="0")
            return
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        extra = {"Content_Range": span} if match else {}
        rest = content[start:]
        handler.head(206 if match else 200, Content_Length=str(len(rest)), **extra, **headers)
        for at in range(0, len(rest), 1 << 16):
            handler.wfile.write(rest[at : at + (1 << 16)])
            time.sleep(pace)

    return route


def without_ranges(content: bytes) -> Route:
    """Ignores the Range header."""

    def route(handler: Handler) -> None:
        handler.head(200, Content_Length=str(len(content)))
        handler.wfile.write(content)

    return route


def wrong_range(content: bytes) -> Route:
    """Answers a range with another one, and a whole request well."""

    def route(handler: Handler) -> None:
        if not handler.headers.get("Range"):
            serve(content)(handler)
            return
        span = f"bytes 1-{len(content) - 1}/{len(content)}"
        handler.head(206, Content_Range=span, Content_Length=str(len(content) - 1))
        handler.wfile.write(content[1:])

    return route


def cut(content: bytes, size: int) -> Route:
    """Promises all, sends ``size`` bytes of what was asked for, and hangs up."""

    def route(handler: Handler) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        extra = {"Content_Range": span} if match else {}
        handler.head(206 if match else 200, Content_Length=str(len(content) - start), **extra)
        handler.wfile.write(content[start : start + size])
        handler.close_connection = True

    return route


def chunked(content: bytes) -> Route:
    """No length is told; the end is the end."""

    def route(handler: Handler) -> None:
        handler.head(200, Transfer_Encoding="chunked")
        for at in range(0, len(content), 50_000):
            block = content[at : at + 50_000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
        handler.wfile.write(b"0\r\n\r\n")

    return route


def hang(content: bytes = b"", size: int = 0) -> Route:
    """Promises all, sends ``size`` bytes and then nothing; without content not even a status."""

    def route(handler: Handler) -> None:
        if content:
            handler.head(200, Content_Length=str(len(content)))
            handler.wfile.write(content[:size])
        handler.site.closing.wait(30)
        handler.close_connection = True

    return route


def status(code: int, **headers: str) -> Route:
    """Only a status."""

    def route(handler: Handler) -> None:
        handler.head(code, Content_Length="0", **headers)

    return route


def redirect(to: str) -> Route:
    """Points elsewhere."""
    return status(302, Location=to)


def login(secret: str, inner: Route) -> Route:
    """Asks for basic authentication."""

    def route(handler: Handler) -> None:
        known = handler.headers.get("Authorization") == secret
        (inner if known else status(401))(handler)

    return route


def page(text: str, media_type: str = "text/html") -> Route:
    """An index page."""
    return serve(text.encode(), Content_Type=media_type)


def in_turn(*routes: Route) -> Route:
    """One route per request; the last one stays."""
    left = list(routes)

    def route(handler: Handler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return route
