"""Look at everything in an index again, byte by byte, and mend it.

``unsound`` is what a client could stumble over, or what nobody published; ``unfinished`` is what a
killed run left, which no client sees: publishing again completes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llamabuild import digest
from llamabuild.errors import LlamabuildError
from llamabuild.events import silent
from llamabuild.index import folder, inside, offers, pages, people, variants, writing
from llamabuild.index.entries import Entry
from llamabuild.index.folder import Shelf
from llamabuild.index.inside import File
from llamabuild.index.names import METADATA, PROJECT, RECORD, ROOT, SIGNED, VARIANTS
from llamabuild.store import files

_PAGES: Final = ((writing.JSON, True), (writing.HTML, False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is wrong with an index, a sentence each, and how many ``wheels`` are sound."""

    unsound: tuple[str, ...]
    unfinished: tuple[str, ...]
    wheels: int


def check(top: Path) -> Found:
    """Hash everything, and hold every page against the records. Changes nothing.

    Raises ConfigError for a folder that is no index, StoreError for one that cannot be read.
    """
    with folder.guarded(top):
        folder.check_is_index(top)
        shelves = folder.shelves(top)
        good = {name: _sound(top, name, shelf) for name, shelf in shelves.items()}
        unsound = [one for name, shelf in shelves.items() for one in _damage(top, name, shelf)]
        unsound += [one for name, shelf in shelves.items() for one in _pages(top, name, shelf)]
        unsound += [*_strangers(top), *variants.damage(top)]
        unfinished = [one for name, shelf in shelves.items() for one in _begun(top, name, shelf)]
        at_top, late = _at_top(top, shelves)
        return Found(
            unsound=(*unsound, *at_top),
            unfinished=(*unfinished, *late),
            wheels=sum(map(len, good.values())),
        )


# --- wheels --------------------------------------------------------------------------------------


def _sound(top: Path, variant: str, shelf: Shelf) -> dict[str, Entry]:
    """The wheels that are just what their records say."""
    at = folder.place(top, variant)
    return {name: one for name, one in shelf.entries.items() if not _wrong(at, one)}


def _wrong(at: Path, entry: Entry) -> str:
    """What is wrong with a wheel or with what is beside it; empty when nothing is."""
    path, beside = at / entry.file, at / (entry.file + METADATA)
    if path.stat().st_size != entry.size or digest.of_file(path) != entry.sha256:
        return f"{path} is not the wheel that was published: its bytes are others"
    if not beside.is_file():
        return f"{beside} is missing"
    if digest.of_file(beside) != entry.metadata:
        return f"{beside} is not the METADATA of its wheel"
    file = File(sha256=entry.sha256, size=entry.size, modified=entry.modified)
    try:
        again = inside.entry(path, file, published=entry.published, turn=entry.turn)
    except LlamabuildError as error:
        return f"{path}: {error.message}"
    same = again == entry
    return "" if same else f"{path}{RECORD} says something else than its wheel"


def _damage(top: Path, variant: str, shelf: Shelf) -> Iterator[str]:
    at = folder.place(top, variant)
    yield from filter(None, (_wrong(at, one) for one in shelf.entries.values()))
    yield from (f"{at / name}: {why}" for name, why in shelf.broken.items())
    listed = writing.on_page(at)
    yield from (
        f"{at / name} is missing, and on the page" for name in sorted(listed - shelf.entries.keys())
    )
    yield from (f"{at / name} was not published" for name in shelf.extra if name not in listed)
    yield from (f"{at / name} belongs to nothing" for name in _orphans(shelf))


def _orphans(shelf: Shelf) -> Iterator[str]:
    """Files that nothing accounts for."""
    known = {writing.HTML, writing.JSON, *shelf.extra, *shelf.broken}
    for one in (*shelf.entries, *shelf.begun, *(n.removesuffix(RECORD) for n in shelf.broken)):
        known |= {one, one + METADATA, one + RECORD, one + SIGNED}
    yield from sorted(shelf.files - known)


def _begun(top: Path, variant: str, shelf: Shelf) -> Iterator[str]:
    """What a killed run left of a variant."""
    at = folder.place(top, variant)
    listed = writing.on_page(at)
    for name in sorted(shelf.begun.keys() - listed):
        yield f"{at / name} was not finished"
    current = pages.listing(shelf.entries)
    for page, as_json in _PAGES:
        data = writing.content(at / page)
        if data is None:
            if shelf.entries:
                yield f"{at / page} is not there yet"
        elif pages.project_page(shelf.entries, current, as_json=as_json) != data:
            yield f"{at / page} does not say what is there now"


# --- pages ---------------------------------------------------------------------------------------


def _pages(top: Path, variant: str, shelf: Shelf) -> Iterator[str]:
    at = folder.place(top, variant)
    known = {**shelf.begun, **shelf.entries}
    for page, as_json in _PAGES:
        data = writing.content(at / page)
        if data is not None and pages.as_listed(data, known, as_json=as_json) is None:
            yield f"{at / page} was changed: it is not made of the records"
    for page, wanted in ((writing.JSON, pages.projects_json), (writing.HTML, pages.projects_html)):
        data = writing.content(at.parent / page)
        if data is not None and data != wanted():
            yield f"{at.parent / page} was changed"


def _at_top(top: Path, shelves: Mapping[str, Shelf]) -> tuple[list[str], list[str]]:
    """What is wrong with the files at the top, and what is only late."""
    wanted = offers.root({name: one.entries for name, one in shelves.items()})
    path, page = top / ROOT, top / writing.HTML
    data = writing.content(path)
    if data is None:
        return [], [f"{path} is not there yet"]
    try:
        said = offers.decode(data, str(top))
    except LlamabuildError as error:
        return [error.message], []
    unsound = (
        [] if _older(said, shelves) else [f"{path} was changed: it is not made of the records"]
    )
    shown = writing.content(page)
    if shown is not None and not people.intact(shown):
        unsound.append(f"{page} was changed")
    late = [] if said == wanted or unsound else [f"{path} does not say what is there now"]
    if shown != people.page(wanted) and not unsound:
        late.append(f"{page} does not say what is there now")
    return unsound, late


def _older(said: offers.Root, shelves: Mapping[str, Shelf]) -> bool:
    """True when it says of each wheel what its record says, but for what replaced it since."""
    for shelf in said.variants:
        known = shelves.get(shelf.name, Shelf())
        entries = {**known.begun, **known.entries}
        for one in shelf.wheels:
            entry = entries.get(one.file)
            if entry is None or offers.offer(entry, one.yanked) != one:
                return False
    return True


def _strangers(top: Path) -> Iterator[str]:
    """Directories and files that are nobody's."""
    known = {ROOT, writing.HTML, folder.WORK, VARIANTS, *folder.variants(top)}
    for path in sorted(top.iterdir()):
        if path.name not in known and not path.name.startswith("."):
            yield f"{path} belongs to nothing"
    for name in folder.variants(top):
        for path in sorted((top / name).iterdir()):
            if path.name not in (PROJECT, writing.HTML, writing.JSON) and path.name[0] != ".":
                yield f"{path} belongs to nothing"


# --- mending -------------------------------------------------------------------------------------


def repair(top: Path) -> Found:
    """Write METADATA and pages again from the wheels that are sound, and take the others off: they
    are kept aside in ``.llamabuild/unsound``. What is not ours is not touched. Returns what had
    been found, see :func:`check`."""
    found = check(top)
    with folder.guarded(top), files.alone(top / folder.WORK / "lock"):
        for name, shelf in folder.shelves(top).items():
            _mend(top, name, shelf)
        shelves = {name: shelf.entries for name, shelf in folder.shelves(top).items()}
        for name, entries in shelves.items():
            writing.variant(top, name, entries)
        writing.root(top, shelves)
    variants.mend(top, emit=silent)
    return found


def _mend(top: Path, variant: str, shelf: Shelf) -> None:
    at = folder.place(top, variant)
    for entry in shelf.entries.values():
        if not _wrong(at, entry):
            continue
        mended = _mended(at, entry)
        if mended is None:
            _aside(top, at, entry.file)
        else:
            writing.record(at, mended)
    for name in (*shelf.begun, *(one.removesuffix(RECORD) for one in shelf.broken)):
        _aside(top, at, name)
    for name in shelf.extra:
        _aside(top, at, name)


def _mended(at: Path, entry: Entry) -> Entry | None:
    """The right record of a wheel whose bytes are right, its METADATA beside it again; None for
    another wheel."""
    path = at / entry.file
    if path.stat().st_size != entry.size or digest.of_file(path) != entry.sha256:
        return None
    file = File(sha256=entry.sha256, size=entry.size, modified=path.stat().st_mtime_ns)
    try:
        again = inside.entry(path, file, published=entry.published, turn=entry.turn)
    except LlamabuildError:
        return None
    files.write(at / (entry.file + METADATA), inside.metadata(path))
    return again


def _aside(top: Path, at: Path, name: str) -> None:
    """A wheel that cannot be had any more, with what is beside it."""
    to = top / folder.WORK / "unsound"
    to.mkdir(parents=True, exist_ok=True)
    for one in (name, name + METADATA, name + RECORD, name + SIGNED):
        if (at / one).exists():
            (at / one).replace(to / one)
