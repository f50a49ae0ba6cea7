"""What need not be made: cells whose artifacts are there already, where everybody finds them.

An index is read once for all cells. What it names is looked at as it is before it is pulled: the
manifest, its key, the signature of somebody who is trusted, the wheel. So a cell is dropped for
what `setup --store` would take, and made again where in doubt.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llamabuild.ci.cells import Cell
from llamabuild.errors import FetchError, IntegrityError, LlamabuildError
from llamabuild.events import Emit, Warned
from llamabuild.lockfile.entries import Lock
from llamabuild.store import blobs, manifests
from llamabuild.store.manifests import Entry

if TYPE_CHECKING:
    from llamabuild.remotes import Shared
    from llamabuild.store.catalogue import Row

_Wanted = Mapping[str, frozenset[str]]
"""Artifacts' ids by the key: all of them have to be there, or any, where none is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A cell that need not be made, and where what it would make is."""

    cell: Cell
    where: str


def wanted(lock: Lock) -> dict[str, frozenset[str]]:
    """What the targets of a lock file ask for, by their keys: the ids that were locked."""
    ids: dict[str, set[str]] = {}
    for one in lock.targets:
        if one.key:
            ids.setdefault(one.key, set()).update((one.artifact,) if one.artifact else ())
    return {key: frozenset(named) for key, named in ids.items()}


def here(cache: Path, asked: _Wanted) -> frozenset[str]:
    """The keys of what this cache has. Files are looked at for their sizes, not their hashes: that
    would take half a minute for a thousand artifacts, and who uses one does it."""
    known: dict[str, set[str]] = {}
    for entry in manifests.everything(cache):
        ids = asked.get(entry.key)
        if ids is not None and (not ids or entry.id in ids) and _whole(cache, entry):
            known.setdefault(entry.key, set()).add(entry.id)
    return frozenset(key for key, ids in known.items() if asked[key] <= ids)


def _whole(cache: Path, entry: Entry) -> bool:
    """True when all its files are there, of the right size."""
    try:
        files = manifests.read(entry).files.values()
        sizes = [blobs.path_of(cache, one.sha256).stat().st_size for one in files]
    except (IntegrityError, OSError):
        return False
    return sizes == [one.size for one in files]


def there(shared: Shared, asked: _Wanted, emit: Emit, *, now: dt.datetime) -> frozenset[str]:
    """The keys of what a shared store has, as far as it is to be believed. One that is down or
    lying has nothing, which is said."""
    try:
        rows = _rows(shared, asked, now)
    except (FetchError, IntegrityError) as error:
        emit(Warned(message=f"{error.message}. It goes on without it.", hint=error.hint))
        return frozenset()
    from llamabuild.remotes.objects import together

    doubts: list[LlamabuildError] = []
    taken: set[str] = set()

    def judge(key: str) -> None:
        if _all_there(shared, rows[key], asked[key], doubts):
            taken.add(key)

    together(judge, rows)
    if doubts:
        more = f", and {len(doubts) - 1} more" if len(doubts) > 1 else ""
        emit(Warned(message=f"{doubts[0].message}{more}. It is made again.", hint=doubts[0].hint))
    return frozenset(taken)


def _rows(shared: Shared, asked: _Wanted, now: dt.datetime) -> dict[str, list[Row]]:
    """The rows of an index that are asked for, by their keys, the newest first."""
    from llamabuild import remotes
    from llamabuild.remotes.objects import together

    state = remotes.latest(shared, now=now)
    found: list[Row] = []
    if state:
        together(lambda group: found.extend(remotes.rows(shared, state, group)), state.shards)
    known: dict[str, list[Row]] = {}
    for row in sorted(found, key=lambda one: (one.created, one.id), reverse=True):
        ids = asked.get(row.key)
        if ids is not None and (not ids or row.id in ids):
            known.setdefault(row.key, []).append(row)
    return known


def _all_there(
    shared: Shared, rows: Iterable[Row], ids: Collection[str], doubts: list[LlamabuildError]
) -> bool:
    """True when all that was named is there, or anything, where nothing was."""
    missing = set(ids)
    for row in rows:
        if _believed(shared, row, doubts):
            missing.discard(row.id)
            if not missing:
                return True
    return False


def _believed(shared: Shared, row: Row, doubts: list[LlamabuildError]) -> bool:
    from llamabuild import remotes

    try:
        remotes.believed(shared, row)
    except (FetchError, IntegrityError) as error:
        doubts.append(error)
        return False
    return True


def prune(
    cells: Sequence[Cell], asked: _Wanted, cache: Path, stores: Sequence[Shared], emit: Emit
) -> tuple[tuple[Cell, ...], tuple[Found, ...]]:
    """The cells that are to be made, and those that need not be, in their order.

    Where there are ``stores``, what is in one of them counts: what only this cache has is found by
    nobody else. Without any, this cache counts.
    """
    places: dict[str, str] = {}
    if not stores:
        places = dict.fromkeys(here(cache, asked), str(cache))
    now = dt.datetime.now(tz=dt.timezone.utc)
    for shared in stores:
        left = {key: ids for key, ids in asked.items() if key not in places}
        places |= dict.fromkeys(there(shared, left, emit, now=now), shared.address)
    kept = tuple(cell for cell in cells if cell.key not in places)
    found = (Found(cell=one, where=places[one.key]) for one in cells if one.key in places)
    return kept, tuple(found)
