"""An index and its real clients: pip and uv, a web server of ours and a dumb one, and a hostile
second index that offers more."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import http.client
import http.server
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import pytest

from llamabuild import index
from llamabuild.events import Event, Noticed, silent
from llamabuild.index import folder, negotiation, serving
from tests.steps.test_cli import refused, run
from tests.unit import indexed

pytestmark = pytest.mark.steps
NOW = dt.datetime(2026, 11, 22, tzinfo=dt.timezone.utc)
V3 = indexed.statement("cpu.v3", features=("sse4_2",))
NEVER = indexed.statement("cpu.x", requires=replace(indexed.BARE, features=("no_such_feature",)))
UV = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")


@dataclass(frozen=True)
class Running:
    """A server: its address, and its log."""

    address: str
    log: list[str]

    def asked(self, ending: str) -> int:
        """How often a file or page was given out whose address ends so."""
        return len([one for one in self.log if re.search(rf"GET \S*{re.escape(ending)} 200$", one)])


@contextlib.contextmanager
def served(top: Path) -> Iterator[Running]:
    log: list[str] = []

    def told(event: Event) -> None:
        assert isinstance(event, Noticed)
        log.append(event.message)

    server = serving.bound(top, "127.0.0.1", 0, emit=told)
    with _started(server):
        yield Running(server.address, log)


@contextlib.contextmanager
def dumb(top: Path) -> Iterator[Running]:
    """What everybody has: `python -m http.server`."""
    log: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *words: object) -> None:  # noqa: A002 - as the base
            line = format % words
            log.append(re.sub(r'"(\w+ \S+) HTTP/1\.\d" (\d+) .*', r"127.0.0.1 \1 \2", line))

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(top))
    )
    with _started(server):
        yield Running(f"http://127.0.0.1:{server.server_address[1]}/", log)


@contextlib.contextmanager
def _started(server: http.server.ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """An index of three variants: for any CPU, for this one, for none."""
    made = [indexed.wheel(tmp_path / "house", one) for one in (indexed.statement(), V3, NEVER)]
    index.publish(tmp_path / "index", made, check=index.minimal, now=NOW, emit=silent)
    return tmp_path / "index"


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[Running]:
    """An index with higher versions, an sdist, and wheels of just the names that are wanted."""
    at = tmp_path / "hostile" / "llama-cpp-python"
    for said in (indexed.statement(release="99.0"), V3, indexed.statement()):
        indexed.wheel(at, said, text="HOSTILE = True\n")
    plain = {
        "setup.py": "raise SystemExit('an sdist was run')",
        "PKG-INFO": "Metadata-Version: 2.1",
    }
    with tarfile.open(at / "llama_cpp_python-99.1.tar.gz", "w:gz") as archive:
        for name, text in plain.items():
            info = tarfile.TarInfo(f"llama_cpp_python-99.1/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    links = (f'<a href="{quote(one.name)}">{one.name}</a><br>' for one in at.iterdir())
    (at / "index.html").write_text("".join(links), encoding="utf-8")
    with dumb(at.parent) as running:
        yield running


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    """Nothing of the machine's configuration, and no proxy on the way to ourselves."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TEMP") if name in os.environ}
    return {
        **kept,
        "HOME": str(tmp_path / "home"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
        "UV_PYTHON_DOWNLOADS": "never",
        "no_proxy": "127.0.0.1,localhost",
        "NO_PROXY": "127.0.0.1,localhost",
        **more,
    }


def ran(argv: list[str], env: dict[str, str], cwd: Path | None = None) -> str:
    ended = subprocess.run(
        argv, env=env, cwd=cwd, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def python_of(tmp_path: Path, name: str = "fresh") -> Path:
    """A fresh environment without anything in it."""
    ran([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / name)], dict(os.environ))
    return tmp_path / name / "bin" / "python"


def pip(python: Path, *words: str, env: dict[str, str]) -> str:
    return ran([sys.executable, "-m", "pip", "--python", str(python), *words], env)


def installed(python: Path) -> dict[str, object]:
    code = "import json, llama_cpp as l; print(json.dumps({k: v for k, v in vars(l).items() "
    code += "if k.isupper()}))"
    found: dict[str, object] = json.loads(ran([str(python), "-c", code], dict(os.environ)))
    return found


def used(address: str, style: str, tmp_path: Path, *more: str) -> str:
    ended = run(
        *("index", "use", address, "--format", style, *more),
        cache=tmp_path.parent / "cache",
        env={"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"},
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


RIGHT = {"VERSION": "0.3.36+cpu.v3.lb00000001", "VARIANT": "cpu.v3"}
SERVERS = pytest.mark.parametrize("server", [served, dumb], ids=["ours", "dumb"])


# --- what is printed installs what is meant ------------------------------------------------------


@SERVERS
def test_the_pip_line_installs_the_right_wheel(top: Path, tmp_path: Path, server: object) -> None:
    with server(top) as running:  # type: ignore[operator]
        line = used(running.address, "pip", tmp_path)
        words = shlex.split(line)
        python = python_of(tmp_path)
        assert words.pop(0) == "pip"
        pip(python, *words, env=environ(tmp_path))
        assert installed(python) == RIGHT
        assert running.asked(".whl") == 1


def test_a_folder_does_without_a_server(top: Path, tmp_path: Path) -> None:
    python = python_of(tmp_path)
    file = tmp_path / "requirements.txt"
    file.write_text(used(str(top), "requirements", tmp_path), encoding="utf-8")
    pip(python, "install", "-r", str(file), env=environ(tmp_path))
    assert installed(python) == RIGHT


@pytest.mark.parametrize("way", ["environment", "configuration", "instead", "no-binary"])
def test_pip_takes_nothing_from_a_hostile_index(
    top: Path, hostile: Running, tmp_path: Path, way: str
) -> None:
    env = environ(tmp_path)
    if way == "environment":
        env["PIP_EXTRA_INDEX_URL"] = env["PIP_FIND_LINKS"] = hostile.address
    elif way == "instead":
        env["PIP_INDEX_URL"] = hostile.address
    elif way == "no-binary":
        env |= {"PIP_NO_BINARY": ":all:", "PIP_INDEX_URL": hostile.address, "PIP_UPGRADE": "1"}
    else:
        config = tmp_path / "pip.conf"
        config.write_text(f"[global]\nextra-index-url = {hostile.address}\n", encoding="utf-8")
        env["PIP_CONFIG_FILE"] = str(config)
    python = python_of(tmp_path)
    with served(top) as running:
        words = shlex.split(used(running.address, "pip", tmp_path))
        pip(python, *words[1:], env=env)
    assert installed(python) == RIGHT


def test_the_hostile_index_wins_where_nobody_takes_care(
    top: Path, hostile: Running, tmp_path: Path
) -> None:
    """That the tests above can fail."""
    python = python_of(tmp_path)
    with served(top) as running:
        env = environ(tmp_path, PIP_EXTRA_INDEX_URL=hostile.address)
        asked = ("install", "--index-url", f"{running.address}cpu.v3/", "--only-binary", ":all:")
        pip(python, *asked, "llama-cpp-python", env=env)
    assert installed(python)["HOSTILE"] is True


def test_pip_refuses_other_bytes(top: Path, tmp_path: Path) -> None:
    python = python_of(tmp_path)
    with served(top) as running:
        words = shlex.split(used(running.address, "pip", tmp_path))
        wheel = next(folder.place(top, "cpu.v3").glob("*.whl"))
        indexed.wheel(wheel.parent, V3, text="HOSTILE = True\n")
        argv = [sys.executable, "-m", "pip", "--python", str(python), *words[1:]]
        ended = subprocess.run(
            argv, env=environ(tmp_path), capture_output=True, text=True, check=False
        )
    assert ended.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in ended.stderr


needs_uv = pytest.mark.skipif(UV is None, reason="there is no uv here: pip install uv")


def project(tmp_path: Path, lines: str) -> Path:
    at = tmp_path / "project"
    at.mkdir()
    head = '[project]\nname = "mine"\nversion = "1"\nrequires-python = ">=3.10"\n'
    head += 'dependencies = ["llama-cpp-python"]\n'
    (at / "pyproject.toml").write_text(f"{head}\n{lines}", encoding="utf-8")
    return at


@needs_uv
@SERVERS
@pytest.mark.parametrize("way", ["alone", "environment", "configuration"])
def test_the_uv_lines_install_the_right_wheel(
    top: Path, hostile: Running, tmp_path: Path, server: object, way: str
) -> None:
    env = environ(tmp_path)
    if way == "environment":
        env["UV_INDEX"] = env["UV_EXTRA_INDEX_URL"] = env["UV_FIND_LINKS"] = hostile.address
        env["UV_DEFAULT_INDEX"] = hostile.address
    if way == "configuration":
        (tmp_path / "home" / ".config" / "uv").mkdir(parents=True)
        text = f'[[index]]\nurl = "{hostile.address}"\n'
        (tmp_path / "home" / ".config" / "uv" / "uv.toml").write_text(text, encoding="utf-8")
    with server(top) as running:  # type: ignore[operator]
        at = project(tmp_path, used(running.address, "uv", tmp_path))
        assert UV
        ran([UV, "sync", "--python", sys.executable], env, cwd=at)
        assert running.asked(".metadata") == 1
        assert running.asked(".whl") == 1
    assert installed(at / ".venv" / "bin" / "python") == RIGHT
    lock = (at / "uv.lock").read_text(encoding="utf-8")
    wheel = next(folder.place(top, "cpu.v3").glob("*.whl"))
    record = json.loads(wheel.with_name(wheel.name + ".llamabuild.json").read_bytes())
    assert f"sha256:{record['sha256']}" in lock


@needs_uv
def test_uv_takes_the_requirement_too(top: Path, hostile: Running, tmp_path: Path) -> None:
    assert UV
    python = python_of(tmp_path)
    env = environ(tmp_path, UV_INDEX=hostile.address)
    with served(top) as running:
        asked = used(running.address, "requirements", tmp_path).strip()
        ran([UV, "pip", "install", "--python", str(python), asked], env)
    assert installed(python) == RIGHT


# --- how pages are used --------------------------------------------------------------------------


@SERVERS
def test_pip_makes_one_page_request_and_reads_metadata_before_the_wheel(
    top: Path, tmp_path: Path, server: object
) -> None:
    more = [
        indexed.wheel(tmp_path / "house", indexed.statement("cpu.v3", release=f"0.2.{number}"))
        for number in range(20)
    ]
    index.publish(top, more, check=index.minimal, now=NOW, emit=silent)
    python = python_of(tmp_path)
    with server(top) as running:  # type: ignore[operator]
        asked = ("--index-url", f"{running.address}cpu.v3/", "llama-cpp-python")
        pip(python, "install", *asked, env=environ(tmp_path, PIP_NO_CACHE_DIR="1"))
        assert running.asked("/llama-cpp-python/") == 1
        assert running.asked(".metadata") == 1
        assert running.asked(".whl") == 1
        assert len(running.log) == 3
    assert installed(python) == RIGHT


def test_what_is_replaced_is_installed_by_its_pin_only(top: Path, tmp_path: Path) -> None:
    new = indexed.wheel(tmp_path / "house", indexed.statement("cpu.v3", "lb00000000"))
    index.publish(top, [new], check=index.minimal, now=NOW, replace=True, emit=silent)
    with served(top) as running:
        env = environ(tmp_path)
        from_here = ("install", "--index-url", f"{running.address}cpu.v3/")
        for name, asked, version in (
            ("free", "llama-cpp-python==0.3.36", "0.3.36+cpu.v3.lb00000000"),
            ("pinned", "llama-cpp-python==0.3.36+cpu.v3.lb00000001", "0.3.36+cpu.v3.lb00000001"),
        ):
            python = python_of(tmp_path, name)
            pip(python, *from_here, asked, env=env)
            assert installed(python)["VERSION"] == version


# --- the server ----------------------------------------------------------------------------------


def ask(
    running: Running, method: str, path: str, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One request on a line of its own; underscores in header names are dashes."""
    line = http.client.HTTPConnection(running.address.split("/")[2], timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        line.request(method, path, headers=named)
        answer = line.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        line.close()


def test_formats_are_negotiated(top: Path) -> None:
    with served(top) as running:
        for path in ("/cpu/", "/cpu/llama-cpp-python/"):
            status, headers, body = ask(running, "GET", path)
            assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
            assert headers["Vary"] == "Accept"
            assert body.startswith(b"<!DOCTYPE html>")
            status, headers, body = ask(running, "GET", path, Accept=negotiation.JSON)
            assert (status, headers["Content-Type"]) == (200, negotiation.JSON)
            assert headers["Vary"] == "Accept"
            assert json.loads(body)["meta"] == {"api-version": "1.1"}
        status, headers, _ = ask(running, "GET", "/cpu/llama-cpp-python/index.json")
        assert headers["Content-Type"] == negotiation.JSON
        status, headers, _ = ask(running, "GET", "/llamabuild-index.json")
        assert headers["Content-Type"] == "application/json"
        assert ask(running, "GET", "/")[1]["Content-Type"] == "text/html; charset=utf-8"


def test_a_directory_without_its_slash_is_redirected(top: Path) -> None:
    with served(top) as running:
        for path, to in (("/cpu", "/cpu/"), ("/cpu/llama-cpp-python", "/cpu/llama-cpp-python/")):
            status, headers, _ = ask(running, "GET", path)
            assert (status, headers["Location"]) == (301, to)


def test_parts_and_conditions(top: Path) -> None:
    wheel = next(folder.place(top, "cpu").glob("*.whl"))
    data = wheel.read_bytes()
    path = f"/cpu/llama-cpp-python/{quote(wheel.name)}"
    record = json.loads(wheel.with_name(wheel.name + ".llamabuild.json").read_bytes())
    with served(top) as running:
        status, whole, body = ask(running, "GET", path)
        assert (status, body) == (200, data)
        assert whole["ETag"] == f'"{record["sha256"]}"'
        assert whole["Accept-Ranges"] == "bytes"
        status, headers, body = ask(running, "HEAD", path)
        assert (status, body, headers["Content-Length"]) == (200, b"", str(len(data)))
        for header, start, end in (("0-9", 0, 10), ("-22", len(data) - 22, len(data))):
            status, headers, body = ask(running, "GET", path, Range=f"bytes={header}")
            assert (status, body) == (206, data[start:end])
            assert headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(data)}"
        status, headers, _ = ask(running, "GET", path, Range=f"bytes={len(data)}-")
        assert (status, headers["Content-Range"]) == (416, f"bytes */{len(data)}")
        assert ask(running, "GET", path, Range="bytes=0-1,4-5")[::2] == (200, data)
        assert ask(running, "GET", path, If_None_Match=whole["ETag"])[0] == 304
        assert ask(running, "GET", path, If_None_Match='"other"')[0] == 200
        assert ask(running, "GET", path, If_Modified_Since=whole["Last-Modified"])[0] == 304
        other = {"Range": "bytes=0-9", "If_Range": '"other"'}
        assert ask(running, "GET", path, **other)[::2] == (200, data)
        same = {"Range": "bytes=0-9", "If_Range": whole["ETag"]}
        assert ask(running, "GET", path, **same)[::2] == (206, data[:10])
        tag = ask(running, "GET", "/cpu/")[1]["ETag"]
        assert ask(running, "GET", "/cpu/", If_None_Match=tag)[0] == 304
        assert ask(running, "GET", "/cpu/", If_None_Match=tag, Accept=negotiation.JSON)[0] == 200


def test_nothing_else_is_given_out(top: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (top / "cpu" / "link").symlink_to(tmp_path / "secret")
    (top / "out").symlink_to(tmp_path)
    (top / "cpu" / "listed").mkdir()
    (top / "cpu" / ".hidden").write_text("secret", encoding="utf-8")
    os.mkfifo(top / "cpu" / "pipe")
    paths = (
        *("/../secret", "/cpu/../../secret", "/%2e%2e/secret", "/cpu/%2e%2e%2f%2e%2e%2fsecret"),
        *("/cpu/link", "/out/secret", "/out/", "/cpu/listed/", "/.llamabuild/lock", "/cpu/.hidden"),
        *(
            "/cpu/pipe",
            "/%00",
            "/cpu//",
            "//cpu//",
            "/cpu/\\..\\secret",
            f"/{'a' * 3000}",
            "/cpu/x",
        ),
    )
    with served(top) as running:
        for path in paths:
            status, _, body = ask(running, "GET", path)
            assert status == 404, path
            assert b"secret" not in body
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert ask(running, method, "/cpu/")[0] == 501


def test_pages_that_are_written_meanwhile_are_never_torn(top: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    path = "/cpu/llama-cpp-python/"

    def work() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            said = indexed.statement(release=f"0.4.{number}")
            made = indexed.wheel(tmp_path / "house", said)
            index.publish(top, [made], check=index.minimal, now=NOW, emit=silent)

    with served(top) as running:
        thread = threading.Thread(target=work)
        thread.start()
        seen = set()
        until = time.monotonic() + 4
        while time.monotonic() < until:
            status, _, body = ask(running, "GET", path, Accept=negotiation.JSON)
            assert status == 200
            files = json.loads(body)["files"]
            seen.add(len(files))
            address = path + files[-1]["url"]
            assert ask(running, "HEAD", address)[0] == 200
            assert ask(running, "HEAD", address + ".metadata")[0] == 200
        stop.set()
        thread.join()
    assert len(seen) > 5


def test_the_command_prints_its_address_and_stops_cleanly(top: Path, tmp_path: Path) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in (one for one in numbers if signal.getsignal(one) != signal.SIG_IGN):
        argv = [sys.executable, "-m", "llamabuild", "index", "serve", str(top)]
        argv += ["--cache", str(tmp_path / "cache")]
        child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert child.stdout
        address = child.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        assert ask(Running(address, []), "GET", "/cpu/")[0] == 200
        child.send_signal(number)
        _, told = child.communicate(timeout=20)
        assert child.returncode == 0
        assert "GET /cpu/ 200" in told
        assert "Traceback" not in told
        assert "everybody" not in told


def test_a_server_for_everybody_says_so(top: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "llamabuild", "index", "serve", str(top), "--host", "0.0.0.0"]
    argv += ["--cache", str(tmp_path / "cache")]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout
    assert child.stdout.readline().startswith("http://0.0.0.0:")
    child.send_signal(signal.SIGTERM)
    assert "everybody who reaches 0.0.0.0 can read" in child.communicate(timeout=20)[1]


def test_a_port_that_is_taken_is_said(top: Path, tmp_path: Path) -> None:
    with served(top) as running:
        port = running.address.rstrip("/").rpartition(":")[2]
        ended = run("index", "serve", str(top), "--port", port, cache=tmp_path / "cache")
        refused(ended, 2, f"cannot listen on 127.0.0.1 port {port}: ")


# --- use: what comes from elsewhere --------------------------------------------------------------


def test_use_says_why_and_why_not(top: Path, tmp_path: Path) -> None:
    ended = run("index", "use", str(top), cache=tmp_path / "cache")
    assert "cpu.v3 0.3.36: the fastest that runs here, with sse4_2" in ended.stderr
    assert "not cpu: slower here: without sse4_2" in ended.stderr
    assert "not cpu.x: no_such_feature missing" in ended.stderr
    said = json.loads(used(str(top), "json", tmp_path))
    assert (said["version"], said["kind"], said["variant"]) == (1, "use", "cpu.v3")
    assert said["install"]["pip"] == ended.stdout.strip()


def test_use_refuses_what_does_not_fit_or_read(top: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    machine = Path(__file__).resolve().parents[1] / "machines" / "graviton3.json"
    ended = run("index", "use", str(top), "--machine", str(machine), cache=cache)
    refused(ended, 3, "cpu: made for x86_64, this is aarch64")
    refused(run("index", "use", str(tmp_path), cache=cache), 5, "cannot be had")
    refused(run("index", "use", str(top), "--variant", "no", cache=cache), 2, "no variant 'no'")
    (top / "llamabuild-index.json").write_text('{"variants": [', encoding="utf-8")
    refused(run("index", "use", str(top), cache=cache), 6, "cannot be read")
    with (top / "llamabuild-index.json").open("wb") as stream:
        stream.truncate(65 << 20)
    refused(run("index", "use", str(top), cache=cache), 5, "more than 64 MiB")
