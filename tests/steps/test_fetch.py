"""Fetching against a real server on the loopback: good, slow, broken, lying; and with kills."""

from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest

from llamabuild import digest
from llamabuild.errors import DiskFull, FetchError, IntegrityError, StoreError
from llamabuild.events import Event, Noticed, Progress, Warned
from llamabuild.fetch import fetch, index, partial
from llamabuild.fetch.transfer import Patience
from llamabuild.host import LocalHost
from llamabuild.model import Pin, Source
from llamabuild.pins import default_pin
from tests.steps import site as web

pytestmark = pytest.mark.steps

FILE = "mine-1.0.tar.gz"
QUICK = Patience(attempts=3, wait=0.01, connect=2, read=0.3)
OPTION = b'option(GGML_X "x" ON)\n'


Making: TypeAlias = Callable[[bytes], web.Route]


class Here(LocalHost):
    """This machine with an environment of the test's choice."""

    def __init__(self, **variables: str) -> None:
        mine = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_"))}
        self._environ = {**mine, "PIP_CONFIG_FILE": os.devnull, **variables}

    @property
    def environ(self) -> Mapping[str, str]:
        return self._environ


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def site() -> Iterator[web.Site]:
    with web.running() as running:
        yield running


@pytest.fixture(scope="session")
def archive() -> bytes:
    """A source archive of 1.9 MB with 300 files of noise, so that nothing compresses away."""
    noise = random.Random(7)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        files = {f"mine-1.0/src/{n // 20}/{n}.c": noise.randbytes(6400) for n in range(300)}
        for name, content in {"mine-1.0/tree/CMakeLists.txt": OPTION, **files}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def pin(archive: bytes) -> Pin:
    return Pin(
        name="mine",
        version="1.0",
        urls=(f"pypi:Mine_Project/{FILE}",),
        size=len(archive),
        sha256=hashlib.sha256(archive).hexdigest(),
        licence="MIT",
        commit="0c1e57098",
        build_number=0,
        tree="tree",
    )


class Run:
    """Fetches of one cache, with what they told."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.events: list[Event] = []

    def __call__(self, pin: Pin, *urls: str, offline: bool = False, **environ: str) -> Source:
        pin = replace(pin, urls=urls or pin.urls)
        source = fetch(
            pin,
            cache=self.cache,
            host=Here(**environ),
            emit=self.events.append,
            offline=offline,
            patience=QUICK,
        )
        assert (source.tree / "CMakeLists.txt").read_bytes() == OPTION
        assert sum(1 for path in source.root.rglob("*") if path.is_file()) == 301
        assert not list(self.cache.rglob("*.part"))
        return source

    def refused(self, pin: Pin, *urls: str, offline: bool = False, **environ: str) -> str:
        with pytest.raises((FetchError, IntegrityError)) as caught:
            self(pin, *urls, offline=offline, **environ)
        error = caught.value
        assert error.hint
        assert "\n" not in error.message
        assert not list((self.cache / "sources").glob("[0-9a-f]*[0-9a-f]"))
        return f"{type(error).__name__}: {error.message}"

    def part(self, pin: Pin) -> Path:
        return self.cache / "downloads" / f"{pin.sha256[:16]}-{FILE}.part"

    def told(self) -> str:
        return "\n".join(e.message for e in self.events if isinstance(e, Noticed | Warned))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "cache")


# --- downloads -----------------------------------------------------------------------------------


def test_plain_download(run: Run, site: web.Site, pin: Pin, archive: bytes) -> None:
    site.routes[f"/{FILE}"] = web.serve(archive)
    source = run(pin, f"{site.url}/{FILE}")
    assert source.root.name == "mine-1.0"
    done = [e for e in run.events if isinstance(e, Progress) and e.name == "fetch"]
    assert (done[-1].done, done[-1].total, done[-1].unit) == (pin.size, pin.size, "B")
    assert run(pin, f"{site.url}/{FILE}") == replace(source, pin=source.pin)
    assert len(site.log) == 1


@pytest.mark.parametrize("size", [0, 1, 500_000, 1_500_000])
def test_a_line_that_breaks_is_resumed(
    run: Run, site: web.Site, pin: Pin, archive: bytes, size: int
) -> None:
    site.routes[f"/{FILE}"] = web.in_turn(web.cut(archive, size), web.serve(archive))
    run(pin, f"{site.url}/{FILE}")
    first, second = (asked for _, asked in site.log)
    start = int(second.removeprefix("bytes=").removesuffix("-") or 0)
    assert first == ""
    assert size - (1 << 15) < start <= size  # less than one block is lost


def test_many_breaks_are_survived_while_it_gets_on(run: Run, site: web.Site) -> None:
    """Breaks with three attempts allowed: each gave more than a mebibyte."""
    content = random.Random(1).randbytes(6 << 20)
    pin = Pin(
        name="m", version="1", urls=("x",), size=len(content), licence="MIT", commit="0c1e570",
        sha256=hashlib.sha256(content).hexdigest(), build_number=0,
    )  # fmt: skip
    site.routes[f"/{FILE}"] = web.cut(content, (1 << 20) + (1 << 15))
    with pytest.raises(IntegrityError, match="not a readable"):  # it came whole, and is no tar
        run(pin, f"{site.url}/{FILE}")
    assert len(site.log) == 6


def test_a_part_of_an_earlier_run_is_used(
    run: Run, site: web.Site, pin: Pin, archive: bytes
) -> None:
    site.routes[f"/{FILE}"] = web.cut(archive, 300_000)
    assert "the connection broke" in run.refused(pin, f"{site.url}/{FILE}")
    have = run.part(pin).stat().st_size
    assert have > 3 * (300_000 - (1 << 15))
    site.routes[f"/{FILE}"] = web.serve(archive)
    run(pin, f"{site.url}/{FILE}")
    assert site.log[-1][1] == f"bytes={have}-"


def test_a_complete_part_needs_no_server(run: Run, pin: Pin, archive: bytes) -> None:
    run.part(pin).parent.mkdir(parents=True)
    run.part(pin).write_bytes(archive)
    run(pin, f"http://127.0.0.1:9/{FILE}", offline=True)


@pytest.mark.parametrize("length", [1000, 5_000_000], ids=["short", "longer than the file"])
def test_a_damaged_part_is_tried_once_from_the_start(
    run: Run, site: web.Site, pin: Pin, archive: bytes, length: int
) -> None:
    run.part(pin).parent.mkdir(parents=True)
    run.part(pin).write_bytes(bytes(length))
    site.routes[f"/{FILE}"] = web.serve(archive)
    run(pin, f"{site.url}/{FILE}")
    assert site.log[-1][1] == ""


@pytest.mark.parametrize("kind", [web.without_ranges, web.wrong_range])
def test_servers_that_do_not_resume(
    run: Run, site: web.Site, pin: Pin, archive: bytes, kind: Making
) -> None:
    run.part(pin).parent.mkdir(parents=True)
    run.part(pin).write_bytes(archive[:1000])
    site.routes[f"/{FILE}"] = kind(archive)
    run(pin, f"{site.url}/{FILE}")


def test_a_range_beyond_the_end(run: Run, site: web.Site, pin: Pin, archive: bytes) -> None:
    """The server's file is shorter than what is there already: 416, then its own size tells."""
    run.part(pin).parent.mkdir(parents=True)
    run.part(pin).write_bytes(archive[:2000])
    site.routes[f"/{FILE}"] = web.serve(archive[:1500])
    assert "the file has 1500 bytes" in run.refused(pin, f"{site.url}/{FILE}")
    assert [asked for _, asked in site.log] == ["bytes=2000-", ""]


def test_an_archive_called_an_encoding(run: Run, site: web.Site, pin: Pin, archive: bytes) -> None:
    site.routes[f"/{FILE}"] = web.serve(archive, Content_Encoding="gzip")
    run(pin, f"{site.url}/{FILE}")


def test_no_length_is_told(run: Run, site: web.Site, pin: Pin, archive: bytes) -> None:
    site.routes[f"/{FILE}"] = web.chunked(archive)
    run(pin, f"{site.url}/{FILE}")


def test_redirects_are_followed(run: Run, site: web.Site, pin: Pin, archive: bytes) -> None:
    site.routes["/moved"] = web.redirect(f"/{FILE}")
    site.routes[f"/{FILE}"] = web.serve(archive)
    run(pin, f"{site.url}/moved")


@pytest.mark.parametrize("code", [500, 502, 503])
def test_server_errors_pass(run: Run, site: web.Site, pin: Pin, archive: bytes, code: int) -> None:
    site.routes[f"/{FILE}"] = web.in_turn(web.status(code), web.status(code), web.serve(archive))
    run(pin, f"{site.url}/{FILE}")
    assert f"HTTP {code}" in run.told()


@pytest.mark.parametrize(("code", "asked"), [(500, 3), (404, 1), (403, 1), (410, 1)])
def test_refusals_are_told(run: Run, site: web.Site, pin: Pin, code: int, asked: int) -> None:
    site.routes[f"/{FILE}"] = web.status(code)
    assert f"HTTP {code}" in run.refused(pin, f"{site.url}/{FILE}")
    assert len(site.log) == asked


@pytest.mark.parametrize("size", [None, 0, 70_000])
def test_silence_has_an_end(
    run: Run, site: web.Site, pin: Pin, archive: bytes, size: int | None
) -> None:
    stuck = web.hang() if size is None else web.hang(archive, size)
    site.routes[f"/{FILE}"] = web.in_turn(stuck, web.serve(archive))
    run(pin, f"{site.url}/{FILE}")
    assert len(site.log) == 2


def test_nobody_there(run: Run, pin: Pin) -> None:
    message = run.refused(pin, "http://127.0.0.1:9/a.tar.gz")
    assert "Connection refused" in message
    assert "3 attempts" in message


def test_a_redirect_in_a_circle(run: Run, site: web.Site, pin: Pin) -> None:
    site.routes["/a"] = web.redirect("/a")
    assert "TooManyRedirects" in run.refused(pin, f"{site.url}/a")


# --- wrong bytes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("route", [web.serve, web.chunked, web.without_ranges])
def test_wrong_bytes(run: Run, site: web.Site, pin: Pin, archive: bytes, route: Making) -> None:
    wrong = archive[:-1] + bytes([archive[-1] ^ 1])
    site.routes[f"/{FILE}"] = route(wrong)
    message = run.refused(pin, f"{site.url}/{FILE}")
    assert message.startswith("IntegrityError")
    assert pin.sha256 in message
    assert hashlib.sha256(wrong).hexdigest() in message
    assert not run.part(pin).exists()
    assert len(site.log) == 1


def test_a_wrong_resume_is_tried_once_from_the_start(
    run: Run, site: web.Site, pin: Pin, archive: bytes
) -> None:
    run.part(pin).parent.mkdir(parents=True)
    run.part(pin).write_bytes(bytes(1000))
    site.routes[f"/{FILE}"] = web.serve(bytes(pin.size))
    assert run.refused(pin, f"{site.url}/{FILE}").startswith("IntegrityError")
    assert [asked for _, asked in site.log] == ["bytes=1000-", ""]
    assert not run.part(pin).exists()


@pytest.mark.parametrize("route", [web.serve, web.chunked])
def test_too_many_bytes(run: Run, site: web.Site, pin: Pin, archive: bytes, route: Making) -> None:
    site.routes[f"/{FILE}"] = route(archive + b"x")
    message = run.refused(pin, f"{site.url}/{FILE}")
    told = f"the file has {pin.size + 1} bytes, wanted {pin.size}"
    assert message.endswith(
        told if route is web.serve else f"more than the {pin.size} bytes wanted"
    )
    assert not run.part(pin).exists()


def test_the_next_address_is_asked(run: Run, site: web.Site, pin: Pin, archive: bytes) -> None:
    site.routes["/wrong"] = web.serve(bytes(pin.size))
    site.routes["/good"] = web.serve(archive)
    run(pin, f"{site.url}/gone", f"{site.url}/wrong", f"{site.url}/good")
    assert [path for path, _ in site.log] == ["/gone", "/wrong", "/good"]
    assert "/wrong has another mine" in run.told()


def test_every_address_is_listed(run: Run, site: web.Site, pin: Pin, tmp_path: Path) -> None:
    message = run.refused(pin, f"{site.url}/a", f"{tmp_path}/b.tar.gz", f"{site.url}/c")
    for words in (f"{site.url}/a: HTTP 404", "b.tar.gz: No such file", f"{site.url}/c: HTTP 404"):
        assert words in message
    assert message.startswith("FetchError")


def test_a_damaged_archive_in_the_cache_is_fetched_again(
    run: Run, site: web.Site, pin: Pin, archive: bytes
) -> None:
    target = run.part(pin).with_suffix("")
    target.parent.mkdir(parents=True)
    target.write_bytes(bytes(pin.size))
    site.routes[f"/{FILE}"] = web.serve(archive)
    run(pin, f"{site.url}/{FILE}")
    assert "is damaged" in run.told()


def test_a_warm_archive_is_hashed_only_when_it_changed(
    tmp_path: Path, pin: Pin, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []

    real = digest.of_file

    def of_file(path: Path) -> str:
        hashed.append(path)
        return real(path)

    monkeypatch.setattr(digest, "of_file", of_file)
    target = tmp_path / FILE
    assert not partial.verified(target, pin)
    target.write_bytes(archive)
    assert partial.verified(target, pin)
    assert partial.verified(target, pin)
    assert hashed == [target]
    target.write_bytes(bytes(pin.size))
    os.utime(target, (1, 1))
    assert not partial.verified(target, pin)
    assert not partial.verified(target, replace(pin, sha256="b" * 64))


# --- local files, cache, disk --------------------------------------------------------------------


@pytest.mark.parametrize("form", ["path", "url"])
def test_local_files_even_offline(
    run: Run, tmp_path: Path, pin: Pin, archive: bytes, form: str
) -> None:
    file = tmp_path / "a file.tar.gz"
    file.write_bytes(archive)
    run(pin, str(file) if form == "path" else file.as_uri(), offline=True)


def test_local_files_are_checked_too(run: Run, tmp_path: Path, pin: Pin, archive: bytes) -> None:
    (tmp_path / "short.tar.gz").write_bytes(archive[:-1])
    (tmp_path / "wrong.tar.gz").write_bytes(bytes(pin.size))
    message = run.refused(pin, *(str(tmp_path / f"{n}.tar.gz") for n in ("short", "wrong")))
    assert f"the file has {pin.size - 1} bytes" in message
    assert f"wanted sha256 {pin.sha256}" in message
    assert "Is a directory" in run.refused(pin, str(tmp_path))


def test_offline_opens_nothing(run: Run, site: web.Site, pin: Pin) -> None:
    index_url = f"{site.url}/simple"
    for urls in ((f"{site.url}/{FILE}",), pin.urls):
        message = run.refused(pin, *urls, offline=True, PIP_INDEX_URL=index_url)
        assert "the network is off" in message
    assert site.log == []


def test_no_room(tmp_path: Path, pin: Pin) -> None:
    class Full(Here):
        def disk_free(self, path: Path) -> int:
            return 1_000_000

    with pytest.raises(DiskFull, match="1 MB free, 2 MB are needed"):
        fetch(pin, cache=tmp_path, host=Full(), emit=lambda _: None)


def test_a_cache_that_cannot_be(tmp_path: Path, pin: Pin) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        fetch(pin, cache=tmp_path / "file", host=Here(), emit=lambda _: None)


def test_left_overs_of_dead_runs_go(run: Run, tmp_path: Path, pin: Pin, archive: bytes) -> None:
    for name in (pin.sha256[:16], "0" * 16):
        left = run.cache / "sources" / f"{name}.part" / "top"
        left.mkdir(parents=True)
        (left / "file").write_text("x")
    (tmp_path / FILE).write_bytes(archive)
    run(pin, str(tmp_path / FILE))


# --- the package index ---------------------------------------------------------------------------

LINK = f'<a href="../../files/{FILE}#sha256=00" data-requires-python="&gt;=3.8">x</a>'


@pytest.fixture
def listed(site: web.Site, archive: bytes) -> web.Site:
    site.routes["/simple/mine-project/"] = web.page(f"<html><a href='other-1.zip'>o</a>{LINK}")
    site.routes[f"/files/{FILE}"] = web.serve(archive)
    return site


@pytest.mark.parametrize("variable", ["PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_html_index(run: Run, listed: web.Site, pin: Pin, variable: str) -> None:
    environ = {variable: f"{listed.url}/simple/"}
    run(pin, offline=False, **environ)
    assert [path for path, _ in listed.log] == ["/simple/mine-project/", f"/files/{FILE}"]


def test_json_index(run: Run, listed: web.Site, pin: Pin) -> None:
    text = f'{{"meta": {{}}, "files": [{{"filename": "{FILE}", "url": "../../files/{FILE}"}}]}}'
    listed.routes["/simple/mine-project/"] = web.page(text, f"{index.JSON}; charset=utf-8")
    run(pin, PIP_INDEX_URL=f"{listed.url}/simple")


def test_index_that_moved_and_has_a_base(run: Run, listed: web.Site, pin: Pin) -> None:
    listed.routes["/old/mine-project/"] = web.redirect("/new/deep/page")
    text = f'<head><base href="/files/"></head><a href="{FILE}">x</a>'
    listed.routes["/new/deep/page"] = web.page(text)
    run(pin, PIP_INDEX_URL=f"{listed.url}/old")


def test_index_in_pips_configuration(run: Run, tmp_path: Path, listed: web.Site, pin: Pin) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nindex-url = {listed.url}/empty\n[install]\nindex-url = "
                      f"{listed.url}/gone\nextra-index-url =\n  {listed.url}/none\n"
                      f"  {listed.url}/simple\n")  # fmt: skip
    run(pin, PIP_CONFIG_FILE=str(config))
    asked = [path.split("/")[1] for path, _ in listed.log]
    assert asked == ["gone", "none", "simple", "files"]


def test_find_links_come_first(
    run: Run, tmp_path: Path, listed: web.Site, pin: Pin, archive: bytes
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / FILE).write_bytes(archive)
    places = f"{tmp_path}/empty {(tmp_path / 'wheels').as_uri()}"
    run(pin, PIP_FIND_LINKS=places, PIP_INDEX_URL=f"{listed.url}/simple", offline=True)
    assert listed.log == []


def test_an_index_of_files(run: Run, tmp_path: Path, pin: Pin, archive: bytes) -> None:
    (tmp_path / "simple" / "mine-project").mkdir(parents=True)
    (tmp_path / "simple" / "mine-project" / "index.html").write_text(LINK)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / FILE).write_bytes(archive)
    run(pin, PIP_INDEX_URL=(tmp_path / "simple").as_uri(), offline=True)


def test_no_index(run: Run, listed: web.Site, pin: Pin) -> None:
    message = run.refused(pin, PIP_NO_INDEX="1", PIP_INDEX_URL=f"{listed.url}/simple")
    assert "no index" in message
    assert listed.log == []


@pytest.mark.parametrize(
    ("route", "words"),
    [
        (web.page("<a href='other.zip'>x</a>"), f"does not list {FILE}"),
        (web.page("not json", index.JSON), "not an index page"),
        (web.page('{"files": [1]}', index.JSON), "not an index page"),
        (web.page("[]", index.JSON), "not an index page"),
        (web.page("\x00\xff<a <a href=>"), f"does not list {FILE}"),
        (web.status(404), "HTTP 404"),
        (web.status(500), "HTTP 500"),
        (web.chunked(bytes(33 << 20)), "too long"),
    ],
)
def test_bad_index_pages(run: Run, site: web.Site, pin: Pin, route: web.Route, words: str) -> None:
    site.routes["/simple/mine-project/"] = route
    assert words in run.refused(pin, PIP_INDEX_URL=f"{site.url}/simple")


def test_logins_work_and_are_never_shown(
    run: Run, site: web.Site, pin: Pin, archive: bytes
) -> None:
    secret = "Basic " + b64encode(b"me:s3cret").decode()
    absolute = f'<a href="{site.url}/files/{FILE}?token=t0ken#sha256=0">x</a>'
    site.routes["/simple/mine-project/"] = web.login(secret, web.page(absolute))
    path = f"/files/{FILE}?token=t0ken"
    site.routes[path] = web.login(secret, web.status(500))
    url = site.url.replace("://", "://me:s3cret@")
    message = run.refused(pin, f"{url}/a?token=t0ken", *pin.urls, PIP_INDEX_URL=f"{url}/simple")
    assert "***@127.0.0.1" in message
    assert "HTTP 500" in message  # so the login reached the file too
    site.routes[path] = web.login(secret, web.serve(archive))
    run(pin, PIP_INDEX_URL=f"{url}/simple")
    assert not {word for word in ("s3cret", "t0ken") if word in message + str(run.events)}


def test_the_public_index_is_pips_own() -> None:
    from pip._internal.models.index import PyPI

    assert index.settings({}, {}) == index.Indexes(indexes=(PyPI.simple_url,))


# --- other processes -----------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
import msgspec
from llamabuild.fetch import fetch, transfer, download
from llamabuild.host import LocalHost
from llamabuild.model import Pin
pin = msgspec.json.decode(sys.argv[1], type=Pin)
print("ready", flush=True)
source = fetch(pin, cache=Path(sys.argv[2]), host=LocalHost(), emit=lambda _: None)
print(source.root, flush=True)
"""


def child(pin: Pin, cache: Path) -> subprocess.Popen[str]:
    import msgspec

    argv = [sys.executable, "-c", CHILD, msgspec.json.encode(pin).decode(), str(cache)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> None:
    with process:
        process.communicate(timeout=20)
    assert process.returncode == 0


def complete_or_absent(cache: Path, pin: Pin) -> bool:
    """Assert the promise about a cache at any moment; True when the source is there."""
    archive = cache / "downloads" / f"{pin.sha256[:16]}-{FILE}"
    assert not archive.exists() or digest.of_file(archive) == pin.sha256
    source = cache / "sources" / pin.sha256[:16]
    assert not source.exists() or sum(path.is_file() for path in source.rglob("*")) == 301
    return source.exists()


def test_two_runs_at_once_share_one_download(
    run: Run, site: web.Site, pin: Pin, archive: bytes
) -> None:
    site.routes[f"/{FILE}"] = web.serve(archive, pace=0.01)
    pin = replace(pin, urls=(f"{site.url}/{FILE}",))
    both = [child(pin, run.cache) for _ in range(2)]
    for process in both:
        finish(process)
    run(pin)
    assert len(site.log) == 1


def killed_again_and_again(pin: Pin, cache: Path, times: int, longest: float) -> int:
    """Kill runs at random moments; how many of them were killed before they were done."""
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)  # shown when the test fails
    moments = random.Random(seed)
    killed = 0
    for _ in range(times):
        process = child(pin, cache)
        with process:
            time.sleep(moments.uniform(0, longest))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        killed += process.returncode == -signal.SIGKILL
        if complete_or_absent(cache, pin):
            (cache / "sources" / pin.sha256[:16]).rename(cache / f"done-{killed}-{time.time_ns()}")
    return killed


def timed(pin: Pin, cache: Path) -> float:
    process = child(pin, cache)
    began = time.monotonic()
    finish(process)
    return time.monotonic() - began


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_kills_while_downloading(run: Run, site: web.Site, pin: Pin, archive: bytes) -> None:
    site.routes[f"/{FILE}"] = web.serve(archive, pace=0.02)
    pin = replace(pin, urls=(f"{site.url}/{FILE}",))
    alone = timed(pin, run.cache / "other")
    assert killed_again_and_again(pin, run.cache, 8, alone / 3) >= 4
    assert any(asked for _, asked in site.log)  # some run went on where another was killed
    run(pin)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_kills_while_unpacking(run: Run, tmp_path: Path, pin: Pin, archive: bytes) -> None:
    (tmp_path / FILE).write_bytes(archive)
    pin = replace(pin, urls=(str(tmp_path / FILE),))
    timed(pin, run.cache)
    (run.cache / "sources" / pin.sha256[:16]).rename(tmp_path / "first")
    alone = timed(pin, run.cache)
    (run.cache / "sources" / pin.sha256[:16]).rename(tmp_path / "second")
    assert killed_again_and_again(pin, run.cache, 12, 0.8 * alone) >= 3
    run(pin)


@pytest.mark.llama
def test_the_shipped_pin_from_the_users_index(tmp_path: Path) -> None:
    events: list[Event] = []
    try:
        source = fetch(default_pin(), cache=tmp_path, host=LocalHost(), emit=events.append)
    except FetchError as error:
        pytest.skip(error.message)
    assert (source.tree / "ggml" / "CMakeLists.txt").is_file()
    assert (source.root / "llama_cpp" / "__init__.py").is_file()
    assert not list(source.root.rglob(".git"))
    assert isinstance(events[-1], Progress)
