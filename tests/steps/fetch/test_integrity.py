"""Wrong bytes from servers, folders and the cache; no network, no room."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import digest
from llamabuild.errors import DiskFull, StoreError
from llamabuild.fetch import fetch, partial
from llamabuild.model import Pin
from tests.steps.fetch import site as web
from tests.steps.fetch.running import FILE, Here, Making, Run

pytestmark = pytest.mark.steps


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
