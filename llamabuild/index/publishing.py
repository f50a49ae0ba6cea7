"""Publish: wheels first, pages last, everything by a rename.

Whoever reads the folder at any moment, also after a kill, sees an index that is right, with or
without the new wheels. The lock spares two publishers work; what is right does not depend on it:
each wheel has a record of its own, and who wrote the pages looks again at the records.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from llamabuild import digest
from llamabuild.errors import ConfigError, IntegrityError, LlamabuildError, Refused
from llamabuild.events import Emit, Noticed
from llamabuild.index import entries, folder, inside, writing
from llamabuild.index.entries import Entry
from llamabuild.index.folder import Shelf
from llamabuild.index.inside import File
from llamabuild.index.names import METADATA, RECORD, SIGNED, named
from llamabuild.store import files

Check = Callable[[Path], tuple[str, ...]]
"""Why a wheel may not be published; empty when it may."""
_DAY: Final = 86_400
"""Seconds: nobody works so long on a wheel. What is older was left by a killed run."""
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What came of publishing: names of wheels that are new, that were there already, and that now
    are ``replaced`` by new ones; ``refused`` has the reasons by the path that was given."""

    added: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    refused: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    top: Path
    check: Check
    replace: bool
    published: str


def publish(
    top: Path,
    wheels: Sequence[Path],
    *,
    check: Check,
    now: dt.datetime,
    replace: bool = False,
    emit: Emit,
) -> Published:
    """Add wheels to the index in the folder ``top``, which may begin with that.

    A wheel that ``check`` has something against, or that claims the place of another (with
    ``replace``, the other goes back), is refused; all others are published. Raises ConfigError
    for a folder that is something else, StoreError and DiskFull.
    """
    terms = _Terms(top=top, check=check, replace=replace, published=_words(now))
    with folder.guarded(top), _alone(top):
        since = folder.stamp(top)
        shelves = folder.shelves(top)
        was = {name: _standing(shelf) for name, shelf in shelves.items()}
        done = _all(wheels, shelves, terms, emit)
        own = {*done.added, *done.present}
        touched = {name for name in shelves if own & shelves[name].entries.keys()}
        writing.write(top, shelves, touched, emit, since=since, own=own)
    gone = (one for name in touched for one in was.get(name, set()) - _standing(shelves[name]))
    return dataclasses.replace(done, replaced=tuple(sorted(gone)))


def _all(wheels: Sequence[Path], shelves: dict[str, Shelf], terms: _Terms, emit: Emit) -> Published:
    """Bring in every wheel that can be."""
    added, present = list[str](), list[str]()
    refused: dict[str, tuple[str, ...]] = {}
    for wheel in wheels:
        try:
            entry, new = _one(wheel, shelves, terms)
        except LlamabuildError as error:
            reasons = error.reasons if isinstance(error, Refused) else ()
            refused[str(wheel)] = reasons or (error.message,)
            continue
        (added if new else present).append(entry.file)
        emit(Noticed(message=f"{entry.file}: {'published' if new else 'there already'}"))
    return Published(added=tuple(added), present=tuple(present), refused=refused)


def _standing(shelf: Shelf) -> set[str]:
    return {one.file for one in entries.standing(shelf.entries.values()).values()}


def _words(now: dt.datetime) -> str:
    """A time as PEP 700 wants it."""
    return now.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@contextlib.contextmanager
def _alone(top: Path) -> Iterator[None]:
    folder.check_is_index(top, new=True)
    work = top / folder.WORK
    work.mkdir(parents=True, exist_ok=True)
    with files.alone(work / "lock"):
        folder.sweep(top, before=time.time() - _DAY)
        yield


# --- one wheel -----------------------------------------------------------------------------------


def _one(wheel: Path, shelves: dict[str, Shelf], terms: _Terms) -> tuple[Entry, bool]:
    """Bring a wheel into the index, and whether it was new; ``shelves`` are kept as the disk is.

    What is checked is the copy that is published. Raises Refused, IntegrityError, ConfigError.
    """
    if not wheel.is_file():
        raise ConfigError(f"{wheel} is no file", "Give wheels.")
    known = _known(wheel, shelves)
    if known and _sound(terms.top, known):
        return _again(known, shelves, terms), False
    scratch = files.fresh(terms.top / folder.WORK, "publish-")
    try:
        copy = scratch / wheel.name
        file = _copied(wheel, copy)
        entry = inside.entry(copy, file, published=terms.published, turn=1)
        reasons = terms.check(copy)
        if reasons:
            raise Refused(f"{wheel.name}: {reasons[0]}", reasons=reasons)
        shelf = shelves.get(entry.about.variant, Shelf())
        entry = _claimed(entry, shelf, terms)
        _place(copy, entry, shelf, terms.top)
        _signed(wheel, entry, terms.top)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _kept(entry, shelves), True


def _known(wheel: Path, shelves: dict[str, Shelf]) -> Entry | None:
    """The record of a wheel that was published with these bytes. Raises Refused when there are
    others under its name: what somebody has pinned stays what it is."""
    for shelf in shelves.values():
        entry = shelf.entries.get(wheel.name)
        if entry and entry.sha256 == digest.of_file(wheel):
            return entry
        if entry:
            raise _other_bytes(wheel.name, entry.sha256)
    return None


def _other_bytes(name: str, sha256: str) -> Refused:
    why = f"{name} is there with other bytes (sha256 {sha256[:16]}…)"
    return Refused(why, "Give the build a label of its own.", reasons=(why,))


def _sound(top: Path, entry: Entry) -> bool:
    """True when the files of a wheel in the index are as its record says."""
    path = folder.place(top, entry.about.variant, entry.file)
    beside = path.with_name(entry.file + METADATA)
    return (
        writing.unchanged(path, entry)
        and beside.is_file()
        and digest.of_file(beside) == entry.metadata
    )


def _again(entry: Entry, shelves: dict[str, Shelf], terms: _Terms) -> Entry:
    """A wheel that is there: it takes its place again, if that is meant."""
    shelf = shelves[entry.about.variant]
    turned = _claimed(entry, shelf, terms)
    if turned != entry:
        writing.record(folder.place(terms.top, turned.about.variant), turned)
    return _kept(turned, shelves)


def _kept(entry: Entry, shelves: dict[str, Shelf]) -> Entry:
    shelf = shelves.get(entry.about.variant, Shelf())
    added = {entry.file, entry.file + METADATA, entry.file + RECORD}
    shelves[entry.about.variant] = dataclasses.replace(
        shelf,
        entries={**shelf.entries, entry.file: entry},
        begun={name: one for name, one in shelf.begun.items() if name != entry.file},
        broken={name: why for name, why in shelf.broken.items() if name != entry.file + RECORD},
        extra=tuple(one for one in shelf.extra if one != entry.file),
        files=shelf.files | added,
    )
    return entry


def _claimed(entry: Entry, shelf: Shelf, terms: _Terms) -> Entry:
    """The record with the turn that it has to have. Raises Refused when another wheel stands in
    its place and may not be replaced."""
    place = entries.place(entry)
    rivals = (one for one in shelf.entries.values() if entries.place(one) == place)
    stands = entries.standing(rivals).get(place)
    if stands is None or stands.file == entry.file:
        own = shelf.entries.get(entry.file)
        return msgspec.structs.replace(entry, turn=own.turn if own else 1)
    if not terms.replace:
        known = named(entry.file)
        assert known is not None
        why = (
            f"{stands.file} has its place (release {known.release}, variant "
            f"{entry.about.variant}, {known.tags}); both cannot stand there: {entry.file}"
        )
        raise Refused(why, "--replace lets the new one stand for the old one.", reasons=(why,))
    return msgspec.structs.replace(entry, turn=stands.turn + 1)


def _copied(wheel: Path, target: Path) -> File:
    """Copy a file, hashing what is written, down to the disk."""
    hasher, size = hashlib.sha256(), 0
    with wheel.open("rb") as source, target.open("xb") as out:
        while block := source.read(_BLOCK):
            hasher.update(block)
            size += len(block)
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    return File(sha256=hasher.hexdigest(), size=size, modified=target.stat().st_mtime_ns)


def _place(copy: Path, entry: Entry, shelf: Shelf, top: Path) -> None:
    """Record, METADATA, wheel, in this order. Raises Refused when another wheel of the name is
    there, or on the page."""
    path = folder.place(top, entry.about.variant, entry.file)
    begun = shelf.begun.get(entry.file)
    if begun and begun.sha256 != entry.sha256 and entry.file in writing.on_page(path.parent):
        raise _other_bytes(entry.file, begun.sha256)
    if entry.file not in shelf.entries and path.exists() and digest.of_file(path) != entry.sha256:
        raise _other_bytes(entry.file, digest.of_file(path))
    writing.record(path.parent, entry)
    files.write(path.with_name(entry.file + METADATA), inside.metadata(copy))
    if entry.file in shelf.entries:  # it is damaged there
        os.replace(copy, path)
    else:
        files.place(copy, path)
        if digest.of_file(path) != entry.sha256:
            raise IntegrityError(f"{path} was written by somebody else meanwhile", "Run it again.")
    files.flush_one(path.parent)


def _signed(wheel: Path, entry: Entry, top: Path) -> None:
    """Bring along what was signed about a wheel; who uses it checks it."""
    beside = wheel.with_name(wheel.name + SIGNED)
    if beside.is_file():
        files.write(folder.place(top, entry.about.variant, beside.name), beside.read_bytes())
