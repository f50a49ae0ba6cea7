"""From a lock file to wheels: the artifacts that were locked, released.

Every target goes its own way: what one of them lacks keeps no other back, and running it again does
only what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llamabuild import digest, release, remotes, store
from llamabuild.errors import LlamabuildError, LockMismatch
from llamabuild.events import Emit
from llamabuild.host import Host
from llamabuild.lockfile import present
from llamabuild.lockfile.entries import Lock, Locked
from llamabuild.model import Artifact

if TYPE_CHECKING:
    from llamabuild.remotes import Shared
    from llamabuild.store.catalogue import Row
    from llamabuild.trust.keys import Signer

_BUILD: Final = "Build what is missing: llamabuild matrix run --local"
_CHANGED: Final = "Something that makes wheels has changed: llamabuild lock --upgrade"


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What came of it: the lock file with the artifacts and the wheels, the wheels themselves, and
    by target what could not be released, with the reason."""

    lock: Lock
    wheels: tuple[Path, ...]
    failed: Mapping[str, LlamabuildError]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How wheels are made: on which ``host``, in which ``cache``, from which shared stores, signed
    by whom (None: nobody), with libraries inside that they could require (``bundle``)."""

    host: Host
    cache: Path
    emit: Emit
    stores: Sequence[Shared] = ()
    signer: Signer | None = None
    bundle: bool = False


def make(lock: Lock, out: Path, terms: Terms) -> Released:
    """Make the wheels of all targets in folders of ``out``. One without an artifact, or whose wheel
    does not pass the gates, is left out."""
    failed: dict[str, LlamabuildError] = {}
    done: dict[str, _Made] = {}
    targets = []
    known = _known(lock, terms)
    for one in lock.targets:
        try:
            made = done.get(one.key) or _wheel(one, known, out, terms)
        except LlamabuildError as error:
            failed[one.name] = error
            targets.append(one)
            continue
        done[one.key] = made
        targets.append(replace(one, artifact=made.artifact, wheel=made.sha256))
    return Released(
        lock=replace(lock, targets=tuple(targets)),
        wheels=tuple(one.wheel for one in done.values()),
        failed=failed,
    )


@dataclass(frozen=True, slots=True)
class _Made:
    artifact: str
    wheel: Path
    sha256: str


def _wheel(one: Locked, known: Mapping[str, Sequence[_Place]], out: Path, terms: Terms) -> _Made:
    """The released wheel of a target, in a folder of its own. Raises LockMismatch when there is no
    artifact, or another wheel comes out than was locked, and what releasing raises."""
    artifact = _artifact(one, known.get(one.key, ()), terms)
    wheel = release.make(
        artifact,
        out=out / artifact.id[:24],
        cache=terms.cache,
        host=terms.host,
        emit=terms.emit,
        bundle=terms.bundle or None,
        signer=terms.signer,
    )
    made = digest.of_file(wheel)
    if one.wheel and one.artifact == artifact.id and one.wheel != made:
        said = f"its wheel was locked with sha256 {one.wheel[:12]}, and is {made[:12]} now"
        raise LockMismatch(f"{one.name}: {said}", _CHANGED, differences=(said,))
    return _Made(artifact.id, wheel, made)


# --- where artifacts are -------------------------------------------------------------------------

_Take = Callable[[], "Artifact | None"]


@dataclass(frozen=True, slots=True)
class _Place:
    """An artifact that is somewhere, and how it is taken."""

    id: str
    take: _Take


def _known(lock: Lock, terms: Terms) -> dict[str, list[_Place]]:
    """The artifacts of shared stores by their keys, the newest first; each index is read once."""
    wanted = {one.key for one in lock.targets if one.key}
    found: dict[str, list[_Place]] = {}
    for shared, row in present.rows(terms.stores, terms.emit):
        if row.key in wanted:
            found.setdefault(row.key, []).append(_Place(row.id, _pulling(shared, row, terms)))
    return found


def _pulling(shared: Shared, row: Row, terms: Terms) -> _Take:
    return lambda: remotes.pull(shared, row, terms.emit)


def _artifact(one: Locked, places: Sequence[_Place], terms: Terms) -> Artifact:
    """The locked artifact, else the newest for the key: from this cache or a store."""
    if not one.key:
        said = "it was never planned: lock it on a machine that can build it"
        raise LockMismatch(f"{one.name}: {said}", "llamabuild lock", differences=(said,))
    cache, emit = terms.cache, terms.emit
    found = store.by_id(cache, one.key, one.artifact, emit) if one.artifact else None
    found = found or (None if one.artifact else store.lookup(cache, one.key, emit))
    for place in places:
        if found is None and one.artifact in ("", place.id):
            found = place.take()
    if found is None or not store.ready(cache, found, emit):
        what = f"the artifact {one.artifact[:12]}" if one.artifact else "an artifact"
        said = f"{what} of {one.key[:12]} is in no store"
        raise LockMismatch(f"{one.name}: {said}", _BUILD, differences=(said,))
    return found
