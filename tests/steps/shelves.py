"""Shared stores for tests: real servers on the loopback interface, and artifacts to share."""

from __future__ import annotations

import contextlib
import functools
import http.server
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from llamabuild import matching, plan, store
from llamabuild.model import Artifact, Flag, Plan
from tests.unit import values


def planned(number: int, **changes: Any) -> Plan:
    """A plan of its own for each number."""
    flag = Flag(name="GGML_TEST", value=str(number), why="a test")
    return replace(values.plan(), flags=(flag,), **changes)


def key(number: int) -> str:
    """The key of :func:`artifact` with this number."""
    return plan.key(planned(number))


def artifact(root: Path, number: int = 1, *, text: str = "", **changes: Any) -> Artifact:
    """A published artifact whose key is that of its plan; ``changes`` are those of its plan."""
    decided = planned(number, **changes)
    key = plan.key(decided)
    with store.workdir(root) as work:
        prefix = values.prefix(work / "prefix", text or f"text {number}")
        (prefix / "bin" / "llama-cli").write_bytes(bytes(range(256)) * 4096 + b"%d" % number)
        (prefix / "bin" / "llama-cli").chmod(0o755)
        manifest = replace(values.manifest(key, store.hashes(prefix)), plan=decided)
        requires = replace(manifest.requires, features=decided.cpu_features)
        manifest = replace(manifest, requires=requires)
        group = matching.group(decided)
        return store.publish(root, prefix, manifest, group=group, requested=key)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        """Tests read errors, not logs."""


@contextlib.contextmanager
def served(
    folder: Path, answer: Callable[[Lying, bytes], bytes | None] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """A web server that hands out a folder, whole files only; its address, and the paths that were
    asked for. ``answer`` may change what is sent (None: nothing is, and the line stays open)."""
    asked: list[str] = []
    kind = type("_Handler", (Lying,), {"asked": asked, "answer": staticmethod(answer)})
    handler = functools.partial(kind, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


class Lying(_Quiet):
    """A server that changes what it sends, as it is told."""

    asked: list[str]
    answer: Callable[[Lying, bytes], bytes | None] | None

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.answer is None:
            with contextlib.suppress(ConnectionError):
                super().do_GET()
            return
        path = Path(self.translate_path(self.path))
        data = path.read_bytes() if path.is_file() else b""
        sent = type(self).answer(self, data)  # type: ignore[misc]
        if sent is None:
            time.sleep(30)
            return
        if not path.is_file() and not sent:
            self.send_error(404)
            return
        with contextlib.suppress(ConnectionError):
            self.send_response(200)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)


@contextlib.contextmanager
def s3(monkeypatch: Any) -> Iterator[str]:
    """An S3 server with an empty bucket; its address."""
    from moto.server import ThreadedMotoServer

    bucket = f"team-{secrets.token_hex(8)}"  # all servers of a process share their buckets
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "a secret that nobody should see",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        import urllib.request

        asked = urllib.request.Request(f"http://{host}:{port}/{bucket}", method="PUT")
        urllib.request.urlopen(asked, timeout=10).close()
        yield f"s3://{bucket}/llama"
    finally:
        server.stop()
