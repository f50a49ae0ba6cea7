"""Sweeping: what a cache can do without goes, and nothing that somebody counts on.

An artifact goes manifest first, so that nobody finds it any more. A blob is taken out of use before
it goes, and manifests are looked at once more in between: who publishes at this moment, in whatever
process, finds his blob again or puts it anew. Killed at any point, this leaves a store in which
everything that is named is there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from llamabuild.store import blobs, leads, manifests
from llamabuild.store.files import guarded
from llamabuild.store.limits import DAY, Item, Limits, Removal, removals
from llamabuild.store.manifests import Entry
from llamabuild.store.work import discard

_GRACE: Final = DAY
"""Seconds for which a blob that nobody names stays: it may be part of something that is just being
fetched."""
_FOLDERS: Final = (
    ("source", "sources", None, ""),
    ("download", "downloads", 30 * DAY, "an archive that was unpacked or never finished"),
    ("kit", "kits", None, ""),
    ("packages", "requirements", 90 * DAY, "packages for proofs"),
    ("disk", "wine", None, ""),
    ("build", "begun", 3 * DAY, "left by a build that was interrupted"),
    ("log", "logs", 30 * DAY, "a log"),
    ("quarantine", "quarantine", 30 * DAY, "was set aside because it did not verify"),
)
"""What else is in a cache: its kind, its folder, how many seconds it lasts, and what it is then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What is there: items that can go, the bytes of blobs that artifacts name, and the blobs that
    none does."""

    items: tuple[Item, ...]
    sizes: Mapping[str, int]
    unnamed: tuple[Item, ...]


class _Blob(msgspec.Struct, frozen=True, gc=False):
    sha256: str
    size: int


class _Named(msgspec.Struct, frozen=True, gc=False):
    """What a sweep has to know of a manifest."""

    files: dict[str, _Blob]


def survey(root: Path, needed: Mapping[str, str]) -> Survey:
    """Everything in a cache. ``needed`` says of artifacts, by their ids, why they stay."""
    named: dict[str, int] = {}
    found = (_artifact(entry, needed, named) for entry in manifests.everything(root))
    items = [item for item in found if item]
    sizes: dict[str, int] = {}
    unnamed = []
    for entry in _entries(root / "blobs"):
        if entry.name in named:  # its size is known: there may be very many
            sizes[entry.name] = named[entry.name]
        else:
            unnamed.append(_unnamed(Path(entry.path), entry.stat()))
    return Survey(items=(*items, *_others(root)), sizes=sizes, unnamed=tuple(unnamed))


def _artifact(entry: Entry, needed: Mapping[str, str], sizes: dict[str, int]) -> Item | None:
    """The artifact of a manifest, whose blobs' ``sizes`` are added; None for one that cannot be
    read: who looks it up sets it aside.
    Raises OSError where that is the disk's fault: what it names must not go then."""
    try:
        found = msgspec.json.decode(entry.path.read_bytes(), type=_Named)
        used = entry.path.stat().st_mtime
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    own = {file.sha256: file.size for file in found.files.values()}
    sizes.update(own)
    return Item(
        what="artifact",
        name=entry.id,
        path=entry.path,
        used=used,
        blobs=tuple(own),
        needed=needed.get(entry.id, ""),
    )


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The files two levels below a folder."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as outer:
        for one in outer:
            with contextlib.suppress(NotADirectoryError), os.scandir(one.path) as inner:
                yield from inner


def _unnamed(path: Path, state: os.stat_result) -> Item:
    return Item(
        what="file",
        name=path.name,
        path=path,
        used=state.st_mtime,
        size=state.st_size,
        lasts=0.0 if path.name.endswith(blobs.CONDEMNED) else _GRACE,
        stale="no artifact has it",
    )


def _others(root: Path) -> Iterator[Item]:
    for what, folder, lasts, stale in _FOLDERS:
        with contextlib.suppress(FileNotFoundError):
            for path in (root / folder).iterdir():
                if path.suffix != ".lock" and not path.name.startswith("."):
                    yield Item(
                        what=what,
                        name=f"{folder}/{path.name}",
                        path=path,
                        used=path.stat().st_mtime,
                        size=_size(path),
                        lasts=lasts,
                        stale=stale,
                    )


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    found = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sum(os.lstat(name).st_size for name in found)


def decide(seen: Survey, limits: Limits, *, free: int, now: float) -> tuple[Removal, ...]:
    """What is to go, and why. Pure."""
    old = removals(seen.unnamed, {}, Limits(), free=free, now=now)
    free += sum(one.size for one in old)
    return (*old, *removals(seen.items, seen.sizes, limits, free=free, now=now))


def left(seen: Survey, going: Iterable[Removal]) -> int:
    """Bytes that stay when these go."""
    there = (*seen.items, *seen.unnamed)
    total = sum(one.size for one in there) + sum(seen.sizes.values())
    return total - sum(one.size for one in going)


def sweep(root: Path, seen: Survey, going: Iterable[Removal]) -> None:
    """Remove what was decided. Raises StoreError when something cannot be removed; what was removed
    until then is removed whole."""
    items = [removal.item for removal in going]
    gone = [item for item in items if item.what == "artifact"]
    loose = [item.name.removesuffix(blobs.CONDEMNED) for item in items if item.what == "file"]
    with guarded(root):
        _forget(root, gone)
        discard(root, *(one.path for one in items if one.what not in ("artifact", "file")))
        free(root, {*(blob for item in gone for blob in item.blobs), *loose}, seen)


def _forget(root: Path, gone: Iterable[Item]) -> None:
    """Manifests, what leads to them, and their folders."""
    ids = set()
    for item in gone:
        item.path.unlink(missing_ok=True)
        ids.add(item.name)
    if ids:
        leads.prune(root)
        folders = (root / "artifacts").glob("*/*")
        discard(root, *(folder for folder in folders if folder.name in ids))


def free(root: Path, candidates: Iterable[str], seen: Survey | None = None) -> None:
    """Remove those of the blobs that no manifest names. ``seen`` saves reading manifests twice:
    they do not change."""
    wanted = set(candidates)
    known = {item.path: item for item in seen.items} if seen else {}
    wanted -= _named(root, wanted, known)
    paths = {name: blobs.path_of(root, name) for name in wanted}
    for blob in paths.values():
        blobs.condemn(blob)
    again = _named(root, wanted, known)
    for name, blob in paths.items():
        if name in again:
            blobs.pardon(blob)
        else:
            blobs.execute(blob)


def _named(root: Path, candidates: set[str], known: dict[Path, Item]) -> set[str]:
    """Those of the blobs that a manifest names. What had to be read is added to ``known``."""
    found: set[str] = set()
    for entry in manifests.everything(root) if candidates else ():
        item = known.get(entry.path) or _artifact(entry, {}, {})
        if item:
            known[entry.path] = item
            found |= candidates.intersection(item.blobs)
    return found
