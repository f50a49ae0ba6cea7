"""The folder of an index: what is where, and what is read from it.

::

    index.html                              for people
    llamabuild-index.json                   for `llamabuild index use`
    <variant>/index.html, index.json        the projects of a variant: one
    <variant>/llama-cpp-python/
        index.html, index.json              the page that pip and uv read
        <wheel>, <wheel>.metadata           the files
        <wheel>.llamabuild.json             what is known of the wheel
    .llamabuild/                            work in progress, not served

A record is written before its wheel, and what has no wheel yet is on no page: so a wheel without a
record was put there by somebody else, and a record without a wheel, on no page, is what a killed
run began.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from llamabuild.errors import ConfigError, DiskFull, IntegrityError, LlamabuildError, StoreError
from llamabuild.index import entries as records
from llamabuild.index.entries import Entry
from llamabuild.index.names import PROJECT, RECORD, ROOT, is_variant
from llamabuild.store import files

WORK: Final = ".llamabuild"
_LEFT: Final = re.compile(r"\..+-[0-9a-f]{16}")
"""What a file is called while it is written (store.files)."""
Stamp = frozenset[tuple[str, str, int, int]]
"""Variant, name, time and inode of every record and wheel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """A variant as it is on the disk. ``entries`` are the wheels that are there and have a record;
    ``begun`` the records without a wheel; ``broken`` says what is wrong with other records;
    ``extra`` are wheels without one, and ``files`` is everything that is there."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    begun: Mapping[str, Entry] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    files: frozenset[str] = frozenset()


def place(folder: Path, variant: str, name: str = "") -> Path:
    """The directory of a variant's wheels, or a file in it."""
    directory = folder / variant / PROJECT
    return directory / name if name else directory


def variants(folder: Path) -> tuple[str, ...]:
    """The variants that have a directory."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as found:
        return tuple(sorted(one.name for one in found if is_variant(one.name) and one.is_dir()))
    return ()


def shelf(folder: Path, variant: str) -> Shelf:
    """What there is of a variant."""
    names = _names(place(folder, variant))
    found, begun = dict[str, Entry](), dict[str, Entry]()
    broken: dict[str, str] = {}
    for name in sorted(one for one in names if one.endswith(RECORD)):
        try:
            entry = _record(place(folder, variant, name), variant)
        except FileNotFoundError:
            continue
        except IntegrityError as error:
            broken[name] = error.message
            continue
        (found if entry.file in names else begun)[entry.file] = entry
    known = {name.removesuffix(RECORD) for name in broken} | found.keys()
    extra = sorted(one for one in names if one.endswith(".whl") and one not in known)
    return Shelf(
        entries=found, begun=begun, broken=broken, extra=tuple(extra), files=frozenset(names)
    )


def _names(directory: Path) -> frozenset[str]:
    """The regular files of a directory that are not in the making."""
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as found:
        return frozenset(
            one.name
            for one in found
            if not one.name.startswith(".") and one.is_file(follow_symlinks=False)
        )
    return frozenset()


def _record(path: Path, variant: str) -> Entry:
    with path.open("rb") as stream:
        data = stream.read(records.LARGEST + 1)
    if len(data) > records.LARGEST:
        raise IntegrityError(f"{path.name} is too large for a record")
    found = records.decode(data, path.name)
    if found.about.variant != variant:
        raise IntegrityError(f"{path.name} is about {found.about.variant}, not {variant}")
    return found


def shelves(folder: Path) -> dict[str, Shelf]:
    """Everything, by variant."""
    return {name: shelf(folder, name) for name in variants(folder)}


def stamp(folder: Path) -> Stamp:
    """A value that changes with any record or wheel that comes, goes or is written again."""
    return frozenset(
        (name, one.name, one.stat().st_mtime_ns, one.inode())
        for name in variants(folder)
        for one in _records(place(folder, name))
    )


def _records(directory: Path) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as found:
        yield from (one for one in found if one.name.endswith((RECORD, ".whl")))


def sweep(folder: Path, *, before: float) -> None:
    """Remove what killed runs left in the making, where nothing was done since ``before``."""
    places = (folder, *(place(folder, name) for name in variants(folder)))
    beside = (one for at in (*places, *(at.parent for at in places[1:])) for one in at.glob(".*-*"))
    for left in (*(folder / WORK).glob("publish-*"), *(one for one in beside if one.is_file())):
        with contextlib.suppress(OSError):
            if left.stat().st_mtime >= before:
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            elif _LEFT.fullmatch(left.name):
                left.unlink()


def check_is_index(folder: Path, *, new: bool = False) -> None:
    """Raises ConfigError when a folder is no index; with ``new``, unless it may become one."""
    if (folder / ROOT).is_file() or (folder / WORK).is_dir():
        return
    if new and (not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))):
        return
    raise ConfigError(
        f"{folder} is no index" + (" and not empty" if new else ""),
        "Give an empty folder to begin one."
        if new
        else "`llamabuild index publish FOLDER WHEEL` makes one.",
    )


@contextlib.contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals inside into errors of ours."""
    try:
        yield
    except OSError as error:
        raise _refusal(error, folder) from error


def _refusal(error: OSError, folder: Path) -> LlamabuildError:
    refused = files.refusal(error, folder)
    if isinstance(refused, DiskFull):
        return refused
    return StoreError(refused.message, f"Make {folder} writable; run it again, nothing is lost.")
