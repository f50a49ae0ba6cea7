"""Which keys there is an artifact for: in this cache, and in shared stores. One look at each; what
an artifact is worth is seen when it is taken."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from pathlib import Path

from llamabuild import remotes
from llamabuild.errors import FetchError, IntegrityError
from llamabuild.events import Emit, Warned
from llamabuild.remotes import Shared
from llamabuild.store import manifests

Present = Mapping[str, tuple[str, ...]]
"""Ids of artifacts by key, the newest first."""


def here(cache: Path) -> Present:
    """The artifacts of this cache."""
    found: dict[str, list[tuple[float, str]]] = {}
    for entry in manifests.everything(cache):
        found.setdefault(entry.key, []).append((_time(entry.path), entry.id))
    return {key: tuple(id_ for _, id_ in sorted(ids, reverse=True)) for key, ids in found.items()}


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed just now
        return 0.0


def there(stores: Iterable[Shared], emit: Emit, *, now: dt.datetime) -> Present:
    """The artifacts that shared stores say they have, as far as they are believed. A store that is
    down or lying has none, which is said."""
    found: dict[str, list[tuple[str, str]]] = {}
    for shared in stores:
        try:
            state = remotes.latest(shared, now=now)
            for row in remotes.everything(shared, state) if state else ():
                found.setdefault(row.key, []).append((row.created, row.id))
        except (FetchError, IntegrityError) as error:
            emit(Warned(message=f"{error.message}. It goes on without it.", hint=error.hint))
    return {key: tuple(id_ for _, id_ in sorted(ids, reverse=True)) for key, ids in found.items()}


def joined(*several: Present) -> Present:
    """All of them, the first ones first."""
    found: dict[str, tuple[str, ...]] = {}
    for one in several:
        for key, ids in one.items():
            found[key] = tuple(dict.fromkeys((*found.get(key, ()), *ids)))
    return found
