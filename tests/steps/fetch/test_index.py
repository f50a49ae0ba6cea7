"""The package index of the user: settings, page formats, logins."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from llamabuild.fetch import index
from llamabuild.model import Pin
from tests.steps.fetch import site as web
from tests.steps.fetch.running import FILE, Run

pytestmark = pytest.mark.steps

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
