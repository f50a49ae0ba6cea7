"""Which keys shared stores have an artifact for: one look at each. What an artifact is worth is
seen when it is taken."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

from llamabuild import remotes
from llamabuild.errors import FetchError, IntegrityError
from llamabuild.events import Emit, Warned
from llamabuild.remotes import Shared

Present = Mapping[str, tuple[str, ...]]
"""Ids of artifacts by key, the newest first."""


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
