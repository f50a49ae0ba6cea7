"""What shared stores have, one look at each. What an artifact is worth is seen when it is taken."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from llamabuild import remotes
from llamabuild.errors import FetchError, IntegrityError
from llamabuild.events import Emit, Warned
from llamabuild.remotes import Shared

if TYPE_CHECKING:
    from llamabuild.store.catalogue import Row

Present = Mapping[str, tuple[str, ...]]
"""Ids of artifacts by key, the newest first."""


def rows(stores: Iterable[Shared], emit: Emit) -> tuple[tuple[Shared, Row], ...]:
    """What the stores say they have, as far as they are believed, the newest first. A store that is
    down or lying has nothing, which is said."""
    found: list[tuple[Shared, Row]] = []
    for shared in stores:
        try:
            state = remotes.latest(shared, now=dt.datetime.now(tz=dt.timezone.utc))
            found += ((shared, row) for row in (remotes.everything(shared, state) if state else ()))
        except (FetchError, IntegrityError) as error:
            emit(Warned(message=f"{error.message}. It goes on without it.", hint=error.hint))
    return tuple(sorted(found, key=lambda one: (one[1].created, one[1].id), reverse=True))


def there(stores: Iterable[Shared], emit: Emit) -> Present:
    """The artifacts that the stores have."""
    found: dict[str, dict[str, None]] = {}
    for _, row in rows(stores, emit):
        found.setdefault(row.key, {})[row.id] = None
    return {key: tuple(ids) for key, ids in found.items()}
