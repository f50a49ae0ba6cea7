"""Write the pages of an index from its records, and say what in it is not as it was published."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import msgspec

from llamabuild import digest
from llamabuild.errors import StoreError
from llamabuild.events import Emit, Warned, silent
from llamabuild.index import entries as records
from llamabuild.index import folder, offers, pages, people
from llamabuild.index.entries import Entry
from llamabuild.index.folder import Shelf, Stamp
from llamabuild.index.names import METADATA, RECORD, ROOT
from llamabuild.store import files

HTML: Final = "index.html"
JSON: Final = "index.json"
_TURNS: Final = 50
"""How often others may publish meanwhile before it is given up."""
_REPAIR: Final = "`llamabuild index check FOLDER` says more, --repair mends it."


def write(
    top: Path,
    shelves: Mapping[str, Shelf],
    touched: Collection[str],
    emit: Emit,
    *,
    since: Stamp,
    own: Collection[str],
) -> None:
    """Write the pages of the variants that were touched, and those at the top. ``shelves`` are what
    the disk had at ``since``, and the wheels ``own``. Who publishes without a lock meanwhile is
    seen, and the pages are written again."""
    known = _known(top, shelves, touched, emit, own)
    for _ in range(_TURNS):
        for name in sorted(touched):
            variant(top, name, known[name])
        root(top, known)
        now = folder.stamp(top)
        if not [one for one in now ^ since if one[1].removesuffix(RECORD) not in own]:
            return
        since, own = now, ()
        known = _known(top, folder.shelves(top), touched, silent, own)
    raise StoreError(f"others publish in {top} all the time", "Run it again.")


def _known(
    top: Path,
    shelves: Mapping[str, Shelf],
    touched: Collection[str],
    emit: Emit,
    own: Collection[str],
) -> dict[str, Mapping[str, Entry]]:
    """The wheels that can be listed, by variant and name."""
    return {
        name: _looked(top, name, one, emit, own) if name in touched else one.entries
        for name, one in shelves.items()
    }


def variant(top: Path, name: str, entries: Mapping[str, Entry]) -> None:
    """Write the pages of a variant; one that says the same already is left."""
    listed = pages.listing(entries)
    at = folder.place(top, name)
    _update(at / JSON, pages.project_json(entries, listed))
    _update(at / HTML, pages.project_html(entries, listed))
    _update(at.parent / JSON, pages.projects_json())
    _update(at.parent / HTML, pages.projects_html())


def root(top: Path, known: Mapping[str, Mapping[str, Entry]]) -> None:
    """Write the pages at the top."""
    offered = offers.root(known)
    _update(top / ROOT, offers.encode(offered))
    _update(top / HTML, people.page(offered))


def _update(path: Path, data: bytes) -> None:
    if content(path) != data:
        files.write(path, data)


def record(at: Path, entry: Entry) -> None:
    """Write what is known of a wheel beside it."""
    files.write(at / (entry.file + RECORD), records.encode(entry))


def content(path: Path) -> bytes | None:
    """A page; None where there is none."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def on_page(at: Path) -> frozenset[str]:
    """The names of the wheels that the pages in a directory list."""
    found: set[str] = set()
    for name, listed in ((JSON, pages.listed_in_json), (HTML, pages.listed_in_html)):
        found |= (listed(content(at / name) or b"") or {}).keys()
    return frozenset(found)


# --- what is not as it was published -------------------------------------------------------------


def unchanged(path: Path, entry: Entry) -> bool:
    """True when a wheel is what its record says. It is hashed only when its size or time is another
    than when it was hashed last."""
    found = path.stat()
    if (found.st_size, found.st_mtime_ns) == (entry.size, entry.modified):
        return True
    if found.st_size != entry.size or digest.of_file(path) != entry.sha256:
        return False
    again = msgspec.structs.replace(entry, modified=found.st_mtime_ns)
    record(path.parent, again)
    return True


def _looked(
    top: Path, name: str, shelf: Shelf, emit: Emit, own: Collection[str]
) -> dict[str, Entry]:
    """The wheels of a variant that can be listed; what is wrong with others is said."""
    at = folder.place(top, name)
    good = {one: entry for one, entry in shelf.entries.items() if unchanged(at / one, entry)}
    bare = [one for one in good if one + METADATA not in shelf.files]
    said = [f"{one} was changed: it is taken off the page" for one in shelf.entries.keys() - good]
    said += [f"{one}{METADATA} is missing: it is taken off the page" for one in bare]
    said += [f"{one} is missing" for one in sorted(_gone(shelf, at))]
    said += [f"{one} was not published: it stays off the page" for one in shelf.extra]
    said += shelf.broken.values()
    for page, as_json in ((JSON, True), (HTML, False)):
        data = content(at / page)
        if data is not None and not _recognised(data, shelf, own, as_json=as_json):
            said.append(f"{page} was changed: it is written again")
    for one in sorted(said):
        emit(Warned(message=f"{at}: {one}", hint=_REPAIR))
    return {one: entry for one, entry in good.items() if one not in bare}


def _gone(shelf: Shelf, at: Path) -> frozenset[str]:
    """Wheels that the page lists and that are not there."""
    return on_page(at) & shelf.begun.keys() if shelf.begun else frozenset()


def _recognised(page: bytes, shelf: Shelf, own: Collection[str], *, as_json: bool) -> bool:
    """True for a page that was made of the records: most often of all but the newest, which is
    seen without reading it."""
    before = {name: one for name, one in shelf.entries.items() if name not in own}
    if pages.project_page(before, pages.listing(before), as_json=as_json) == page:
        return True
    known = {**shelf.begun, **shelf.entries}
    return pages.as_listed(page, known, as_json=as_json) is not None
