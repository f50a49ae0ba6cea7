"""What is there already for a request: in this cache, in shared stores; exactly that, or something
that does as well.

In this order: the very thing that would be made (one key), here and then in each store; then, as
the policy says, what requires no more than this machine provides, the fastest first. A store that
is down, slow or lying costs time and nothing else.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llamabuild import adoption, store
from llamabuild.errors import ConfigError, FetchError, IntegrityError
from llamabuild.events import Emit, Noticed, Warned
from llamabuild.host import Host
from llamabuild.model import Artifact, Hardware, Plan

if TYPE_CHECKING:
    from llamabuild.matching import Candidate, Provides
    from llamabuild.remotes import Shared
    from llamabuild.store.catalogue import Row

POLICIES: Final = ("auto", "exact", "compatible", "never")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may be taken instead of building. ``reuse`` is "exact" (the same key), "compatible" (all
    that runs here), "auto" (what is expected to be as fast as a build made here, and lacks nothing
    of it) or "never". ``stores`` opens shared stores when they are needed, which are asked in their
    order; None when there are none."""

    reuse: str = "auto"
    stores: Callable[[], Iterable[Shared]] | None = None


def check(word: str) -> str:
    """The policy's word. Raises ConfigError."""
    if word not in POLICIES:
        raise ConfigError(f"there is no policy {word!r}", f"Policies: {', '.join(POLICIES)}.")
    return word


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What is looked for, and where it is to run: ``hardware`` is None for another machine."""

    plan: Plan
    key: str
    hardware: Hardware | None
    host: Host
    cache: Path
    emit: Emit


def offers(want: Want, policy: Policy) -> Iterator[Artifact]:
    """What could be taken, the best first, each complete in this cache when it is offered."""
    if policy.reuse == "never":
        return
    yield from store.found(want.cache, want.key, want.emit)
    shelves = tuple(_shelves(want, policy.stores())) if policy.stores else ()
    for shelf in shelves:
        for row in shelf.rows:
            if row.key == want.key and (pulled := _pulled(shelf.shared, row, want.emit)):
                yield pulled
    if policy.reuse != "exact" and want.hardware:
        yield from _compatible(want, policy, shelves, want.hardware)


@dataclass(frozen=True, slots=True)
class _Shelf:
    """What a store has of the kind that is wanted; this cache has no ``shared``."""

    shared: Shared | None
    rows: tuple[Row, ...]


def _shelves(want: Want, stores: Iterable[Shared]) -> Iterator[_Shelf]:
    from llamabuild import matching, remotes

    group = matching.group(want.plan)
    now = dt.datetime.now(tz=dt.timezone.utc)
    for shared in stores:
        try:
            state = remotes.latest(shared, now=now)
            yield _Shelf(shared, remotes.rows(shared, state, group) if state else ())
        except (FetchError, IntegrityError) as error:
            want.emit(Warned(message=f"{error.message}. It goes on without it.", hint=error.hint))


def _pulled(shared: Shared | None, row: Row, emit: Emit) -> Artifact | None:
    """An artifact of a store, here; None when it cannot be had, or is not to be believed."""
    from llamabuild import remotes

    assert shared is not None
    try:
        return remotes.pull(shared, row, emit)
    except (FetchError, IntegrityError) as error:
        emit(Warned(message=f"{error.message}. It is not used.", hint=error.hint))
        return None


# --- something else that does as well ------------------------------------------------------------


def _compatible(
    want: Want, policy: Policy, shelves: Iterable[_Shelf], hardware: Hardware
) -> Iterator[Artifact]:
    """What runs here, the fastest first; for "auto" as long as it is as fast as a new build."""
    from llamabuild import matching
    from llamabuild.store import catalogue

    here = _Shelf(None, catalogue.rows(want.cache, matching.group(want.plan)))
    known: dict[str, tuple[Row, Shared | None]] = {}
    for shelf in (here, *shelves):
        for row in shelf.rows:
            if row.key != want.key:
                known.setdefault(row.id, (row, shelf.shared))
    if not known:
        return
    provides = matching.probe(want.host, hardware)
    failed = adoption.failed(want.cache, want.host)
    hopeful = [row for row, _ in known.values() if row.id not in failed]
    fitting = [_candidate(row) for row in hopeful if _fits(want, row, provides)]
    for one in matching.rank(fitting, provides):
        row, shared = known[one.id]
        if policy.reuse == "auto" and matching.slower(one, want.plan, provides):
            _mention(want, row)
            return
        found = _taken(want, row, shared, strict=policy.reuse == "auto")
        if found:
            yield found


def _candidate(row: Row) -> Candidate:
    from llamabuild.matching import Candidate

    return Candidate(id=row.id, created=row.created, requires=row.requires, features=row.features)


def _fits(want: Want, row: Row, provides: Provides) -> bool:
    """True when it is meant for such a machine and runs on this one."""
    meant = want.plan.cpu in ("native", row.cpu)
    return meant and not lacking(row, provides, want.cache)


def lacking(row: Row, provides: Provides, cache: Path) -> tuple[str, ...]:
    """What a machine lacks for an artifact, were it in this cache."""
    from llamabuild import matching

    def exists(path: str) -> bool:
        library = cache / "artifacts" / row.fingerprint / row.id / "lib"
        return os.path.exists(os.path.normpath(library / path))

    return matching.missing(row.requires, provides, exists)


def _mention(want: Want, row: Row) -> None:
    want.emit(
        Noticed(
            message=f"{row.id[:12]} ({row.recipe}) would run here, slower than what is built now; "
            "--reuse compatible takes it."
        )
    )


def _taken(want: Want, row: Row, shared: Shared | None, *, strict: bool) -> Artifact | None:
    """The artifact of a row, if it is what was meant; ``strict``: if nothing is lost with it."""
    from llamabuild import matching

    if shared is None:
        found = store.by_id(want.cache, row.key, row.id, want.emit)
    else:
        found = _pulled(shared, row, want.emit)
    if found is None or matching.differs(want.plan, found.manifest.plan):
        return None
    lost = matching.losses(want.plan, found.manifest.plan)
    if lost and strict:
        return None
    said = f", without {', '.join(lost)}" if lost else ""
    want.emit(Noticed(message=f"{row.id[:12]} ({row.recipe}) fits this machine{said}."))
    return found
