"""The pages that pip and uv read, in HTML and JSON. Pure.

PEP 503 and 691 (the simple repository API), 592 (yanked), 658 and 714 (METADATA beside the wheel),
700 (versions, size, upload time).
"""

from __future__ import annotations

import html
import html.parser
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec

from llamabuild.index.entries import Entry, replaced
from llamabuild.index.names import PROJECT, age, named

API: Final = "1.1"
Listing = Mapping[str, str]
"""What a page lists: names of wheels, and why each is yanked (empty: it is not)."""


def listing(entries: Mapping[str, Entry]) -> dict[str, str]:
    """What the page of these wheels lists."""
    by = replaced(entries)
    return {one: f"replaced by {by[one]}" if one in by else "" for one in sorted(entries, key=age)}


def project_json(entries: Mapping[str, Entry], listed: Listing) -> bytes:
    """The page of a variant in JSON (PEP 691)."""
    releases = dict.fromkeys(str(age(name)[0]) for name in listed)
    page = {
        "meta": {"api-version": API},
        "name": PROJECT,
        "versions": list(releases),
        "files": [_file(entries[name], why) for name, why in listed.items()],
    }
    return _json(page)


def _file(entry: Entry, yanked: str) -> dict[str, Any]:
    metadata = {"sha256": entry.metadata}
    made: dict[str, Any] = {
        "filename": entry.file,
        "url": quote(entry.file, safe=""),
        "hashes": {"sha256": entry.sha256},
        "size": entry.size,
        "upload-time": entry.published,
        "core-metadata": metadata,
        "dist-info-metadata": metadata,
        "yanked": yanked or False,
    }
    return made | ({"requires-python": entry.requires_python} if entry.requires_python else {})


def project_html(entries: Mapping[str, Entry], listed: Listing) -> bytes:
    """The page of a variant in HTML (PEP 503)."""
    anchors = (_anchor(entries[name], why) for name, why in listed.items())
    return html_page(f"Links for {PROJECT}", anchors)


def _anchor(entry: Entry, yanked: str) -> str:
    attributes = {
        "href": f"{quote(entry.file, safe='')}#sha256={entry.sha256}",
        "data-requires-python": entry.requires_python,
        "data-core-metadata": f"sha256={entry.metadata}",
        "data-dist-info-metadata": f"sha256={entry.metadata}",
        "data-yanked": yanked,
    }
    return anchor(entry.file, attributes)


def anchor(name: str, attributes: Mapping[str, str]) -> str:
    """A link with the attributes that are not empty."""
    said = "".join(f' {key}="{html.escape(one)}"' for key, one in attributes.items() if one)
    return f"<a{said}>{html.escape(name)}</a>"


def projects_json() -> bytes:
    """The list of the projects of a variant in JSON: there is one."""
    return _json({"meta": {"api-version": API}, "projects": [{"name": PROJECT}]})


def projects_html() -> bytes:
    """The same in HTML."""
    return html_page("Simple index", [f'<a href="{PROJECT}/">{PROJECT}</a>'])


def _json(page: object) -> bytes:
    return msgspec.json.encode(page) + b"\n"


def html_page(title: str, anchors: Iterable[str]) -> bytes:
    """A page of links."""
    lines = (
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta name="pypi:repository-version" content="{API}">',
        f"<title>{html.escape(title)}</title>",
        "</head>",
        "<body>",
        f"<h1>{html.escape(title)}</h1>",
        *(f"{anchor}<br>" for anchor in anchors),
        "</body>",
        "</html>",
    )
    return "\n".join(lines).encode() + b"\n"


# --- what a page says, to hold it against the records --------------------------------------------


def listed_in_json(page: bytes) -> dict[str, str] | None:
    """What a page in JSON lists; None when it is none of ours."""
    try:
        found = {one["filename"]: one["yanked"] or "" for one in json.loads(page)["files"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return _sane(found)


def listed_in_html(page: bytes) -> dict[str, str] | None:
    """The same of a page in HTML."""
    anchors = _Anchors()
    anchors.feed(page.decode(errors="replace"))
    return _sane(anchors.found)


def _sane(found: Mapping[Any, Any]) -> dict[str, str] | None:
    names = list(found)
    good = all(isinstance(one, str) and named(one) for one in names)
    return dict(found) if good and all(isinstance(one, str) for one in found.values()) else None


def as_listed(page: bytes, entries: Mapping[str, Entry], *, as_json: bool) -> dict[str, str] | None:
    """What a page lists when it says of each wheel just what its record says, perhaps of fewer
    than there are now: one that was made a moment earlier. None for every other page."""
    found = listed_in_json(page) if as_json else listed_in_html(page)
    if found is None or not entries.keys() >= found.keys():
        return None
    return found if project_page(entries, found, as_json=as_json) == page else None


def project_page(entries: Mapping[str, Entry], listed: Listing, *, as_json: bool) -> bytes:
    """The page of a variant in either format."""
    return (project_json if as_json else project_html)(entries, listed)


class _Anchors(html.parser.HTMLParser):
    """Collects names of files and why they are yanked."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known: Sequence[Any] = attrs
        attributes = dict(known)
        if tag == "a":
            file = unquote((attributes.get("href") or "").partition("#")[0])
            self.found[file] = attributes.get("data-yanked") or ""
