"""Downloads from a server that is good, slow or broken."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild.errors import FetchError, IntegrityError
from llamabuild.events import Event, Progress
from llamabuild.fetch import fetch
from llamabuild.host import LocalHost
from llamabuild.model import Pin
from llamabuild.pins import default_pin
from tests.steps.fetch import site as web
from tests.steps.fetch.running import FILE, Making, Run

pytestmark = pytest.mark.steps


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
