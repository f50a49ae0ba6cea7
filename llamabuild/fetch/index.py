"""Where the user's own package index is, and which address it gives a file.

Index, extra indexes and find-links are those that pip would use on this machine; the page formats
are the simple repository API in JSON (PEP 691) and HTML (PEP 503). Whatever an index offers, the
pin's hash decides.
"""

from __future__ import annotations

import ast
import html.parser
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

from llamabuild.fetch.address import local_path
from llamabuild.fetch.transfer import Page, Unavailable
from llamabuild.host import Host, Limits, python

JSON: Final = "application/vnd.pypi.simple.v1+json"
ACCEPT: Final = f"{JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_TRUE: Final = frozenset({"1", "true", "yes", "on", "y", "t"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexes:
    """Places to look for a package, in the order in which they are asked."""

    find_links: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()


def configured(host: Host, folder: Path) -> Indexes:
    """The index settings of this user: environment first, then pip's configuration files.

    ``folder`` is where pip is started: a folder of ours, so that no stray ``pip.py`` is met.
    """
    argv = [python(), "-m", "pip", "config", "list"]
    done = host.run(argv, env=host.environ, cwd=folder, limits=Limits(seconds=60))
    return settings(host.environ, parse_pip_config(done.out) if done.code == 0 else {})


def settings(environ: Mapping[str, str], config: Mapping[str, str]) -> Indexes:
    """Indexes from environment and pip configuration; a variable replaces the file's value."""

    def value(name: str) -> str:
        variable = "PIP_" + name.upper().replace("-", "_")
        return environ.get(variable) or config.get(name, "")

    def pip_only(name: str) -> str:
        return "" if environ.get("PIP_" + name) else environ.get("UV_" + name, "")

    find_links = tuple(value("find-links").split())
    if value("no-index").lower() in _TRUE:
        return Indexes(find_links=find_links)
    uv = pip_only("DEFAULT_INDEX") or pip_only("INDEX_URL")
    main = environ.get("PIP_INDEX_URL") or _unnamed(uv) or config.get("index-url") or _public()
    return Indexes(find_links=find_links, indexes=(main, *value("extra-index-url").split()))


def parse_pip_config(text: str) -> dict[str, str]:
    """The output of ``pip config list`` as settings of ``pip install``; lines of the environment
    (``:env:``) are left out, they are read where they are.

    >>> parse_pip_config("global.index-url='https://a'\\n:env:.index-url='https://b'\\n")
    {'index-url': 'https://a'}
    >>> parse_pip_config("install.find-links='/x\\\\n/y'\\nglobal.find-links='/z'")
    {'find-links': '/x\\n/y'}
    """
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for line in text.splitlines():
        match = re.fullmatch(r"(global|install)\.([a-z-]+)=(['\"].*)", line.strip())
        if match:
            found[match[1]][match[2]] = str(ast.literal_eval(match[3]))
    return {**found["global"], **found["install"]}


def places(address: str, known: Callable[[], Indexes]) -> tuple[str, ...]:
    """The places to look for a ``pypi:PROJECT/FILE`` address: folders and pages, local ones first.

    >>> here = Indexes(find_links=("/wheels",), indexes=("https://index.invalid/simple/",))
    >>> places("pypi:Some_Project/some_project-1.tar.gz", lambda: here)
    ('/wheels', 'https://index.invalid/simple/some-project/')
    """
    from packaging.utils import canonicalize_name

    project = canonicalize_name(address.partition(":")[2].partition("/")[0])
    indexes = known()
    pages = (f"{index.rstrip('/')}/{project}/" for index in indexes.indexes)
    return (*indexes.find_links, *pages)


def find(place: str, file: str, read: Callable[[str], Page]) -> str:
    """The address of ``file`` at ``place``, a folder or a page. Raises Unavailable."""
    folder = local_path(place)
    if folder is not None and folder.is_dir():
        if (folder / file).is_file():
            return str(folder / file)
        place = str(folder / "index.html")
        if not Path(place).is_file():
            raise Unavailable(f"{file} is not there")
    page = read(place)
    for name, address in links(page):
        if name == file:
            return _with_login(address, page.url)
    raise Unavailable(f"it does not list {file}")


def links(page: Page) -> Iterator[tuple[str, str]]:
    """File names and absolute addresses that an index page lists; fragments are dropped.

    >>> text = '<a href="../files/a-1.tar.gz#sha256=00">a-1.tar.gz</a>'
    >>> list(links(Page(url="https://index.invalid/simple/a/", media_type="text/html", text=text)))
    [('a-1.tar.gz', 'https://index.invalid/simple/files/a-1.tar.gz')]
    """
    base, found = page.url, list[str]()
    if page.media_type == JSON:
        try:
            found = [str(file["url"]) for file in json.loads(page.text)["files"]]
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable("it answered with something that is not an index page") from error
    else:
        anchors = _Anchors()
        anchors.feed(page.text)
        base, found = urljoin(base, anchors.base), anchors.found
    for href in found:
        address = urljoin(base, href).partition("#")[0]
        yield unquote(urlsplit(address).path).rpartition("/")[2], address


class _Anchors(html.parser.HTMLParser):
    """Collects the links of a page and its base."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if href and tag == "a":
            self.found.append(href)
        elif href and tag == "base" and not self.base:
            self.base = href


def _with_login(address: str, page: str) -> str:
    """``address`` with the user and password of the page, if it is on the same host: indexes
    that ask for a login often list absolute addresses without it."""
    here, there = urlsplit(page), urlsplit(address)
    user, at, host = here.netloc.rpartition("@")
    if at and there.netloc == host and there.scheme == here.scheme:
        return there._replace(netloc=f"{user}@{host}").geturl()
    return address


def _unnamed(index: str) -> str:
    """An index address without the name that uv lets it have.

    >>> _unnamed("inner=https://index.invalid/simple"), _unnamed("https://index.invalid/?a=b")
    ('https://index.invalid/simple', 'https://index.invalid/?a=b')
    """
    return re.sub(r"^[A-Za-z0-9._-]+=", "", index)


def _public() -> str:
    """The public index, as pip itself names it: the one default that cannot be out of step."""
    from pip._internal.models.index import PyPI

    return str(PyPI.simple_url)
