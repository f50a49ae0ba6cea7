"""The index of a shared store: which artifacts it has, in shards that a signed snapshot names.

::

    index/latest.json                 the snapshot: a version, and the hash of every shard
    index/history/<version>.json      the same, written once each: who is second, starts again
    index/shards/<sha256>.json        the artifacts of one group

A lookup takes two requests, the snapshot and one shard; one, when the shard is known from before.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from llamabuild.errors import FetchError, IntegrityError
from llamabuild.remotes.objects import Objects
from llamabuild.store import files
from llamabuild.store.catalogue import Row
from llamabuild.trust import seen, snapshot
from llamabuild.trust.envelope import LIMIT
from llamabuild.trust.keys import Signer
from llamabuild.trust.roster import Roster
from llamabuild.trust.snapshot import Seen, Snapshot

LATEST: Final = "index/latest.json"
_VERSION: Final = 1
_LARGEST: Final = 256 << 20
"""Bytes of a shard. A row has some 700."""
_TURNS: Final = 50
"""How often others may be first before it is given up."""


class _Shard(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    group: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A shared store as one machine sees it: its objects, the cache that remembers what was seen of
    it, the keys that are trusted, and whether it may be ``unsigned`` all the same. ``prefix`` is
    the part of it that is meant: empty, or ``untrusted/<name>/``."""

    objects: Objects
    cache: Path
    roster: Roster
    unsigned: bool = False
    prefix: str = ""

    @property
    def address(self) -> str:
        """Its address, as it may be shown."""
        return (
            f"{self.objects.address.rstrip('/')}/{self.prefix}"
            if self.prefix
            else (self.objects.address)
        )

    def name(self, name: str) -> str:
        """The name of an object of this part."""
        return f"{self.prefix}{name}"


def latest(shared: Shared, *, now: dt.datetime) -> Snapshot | None:
    """The state of the store; None when nothing was ever pushed to it.

    Raises FetchError when it cannot be had, IntegrityError when it is not to be believed.
    """
    known = seen.recall(shared.cache, shared.address)  # before: others go on at the same time
    data = shared.objects.read(shared.name(LATEST), LIMIT)
    if known and (data is None or _version(shared, data, now) < known.version):
        # somebody who was slower has written over it: the history says what came then
        later = shared.objects.read(_history(shared, known.version), LIMIT)
        data = data if later is None else _last(shared, later, now)
    if known and data is None:
        raise IntegrityError(
            f"{shared.address} has no index, and version {known.version} was seen on {known.when}",
            "It was emptied, or this is another place. Ask who keeps it.",
        )
    return None if data is None else _remembered(shared, data, known, now)


def _remembered(shared: Shared, data: bytes, known: Seen | None, now: dt.datetime) -> Snapshot:
    found = _opened(shared, data, known, now)
    seen.remember(shared.cache, shared.address, found, now=now)
    return found


def _opened(shared: Shared, data: bytes, known: Seen | None, now: dt.datetime) -> Snapshot:
    what = f"the index of {shared.address}"
    if shared.unsigned:
        return snapshot.open_unsigned(data, known, now, what=what)
    return snapshot.open_(data, shared.roster, known, now, what=what)


def _version(shared: Shared, data: bytes, now: dt.datetime) -> int:
    return _opened(shared, data, None, now).version


def _last(shared: Shared, data: bytes, now: dt.datetime) -> bytes:
    """The last version that was written, from one on: who wrote it may not have come to say that
    it is."""
    version = _version(shared, data, now)
    while following := shared.objects.read(_history(shared, version + 1), LIMIT):
        data, version = following, version + 1
    return data


def rows(shared: Shared, state: Snapshot, group: str) -> tuple[Row, ...]:
    """The artifacts of a group. Raises FetchError, IntegrityError."""
    name = state.shards.get(group)
    if name is None:
        return ()
    data = _shard(shared, name)
    try:
        shard = msgspec.json.decode(data, type=_Shard)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _damaged(shared, name, str(error)) from error
    if (shard.version, shard.group) != (_VERSION, group):
        raise _damaged(shared, name, f"it is version {shard.version} of group {shard.group[:16]!r}")
    return shard.rows


def everything(shared: Shared, state: Snapshot) -> list[Row]:
    """The artifacts of all groups. Raises FetchError, IntegrityError."""
    return [row for group in state.shards for row in rows(shared, state, group)]


def _damaged(shared: Shared, name: str, why: str) -> IntegrityError:
    return IntegrityError(
        f"{shared.address}: the shard {name[:12]} of the index cannot be used: {why}",
        "Nothing was used of it. A newer llamabuild may have written it.",
    )


def _shard(shared: Shared, name: str) -> bytes:
    """The bytes of a shard, from what is remembered or from the store; its name is its hash."""
    home = hashlib.sha256(shared.address.encode()).hexdigest()[:16]
    kept = shared.cache / "remotes" / home / f"{name}.json"
    if kept.exists() and _is(data := kept.read_bytes(), name):
        return data
    fetched = shared.objects.read(shared.name(f"index/shards/{name}.json"), _LARGEST)
    if fetched is None:
        raise FetchError(f"{shared.address} lacks the shard {name[:12]} of its index", "Try again.")
    if not _is(fetched, name):
        raise _damaged(shared, name, "its contents are not what its name says")
    files.write(kept, fetched)
    return fetched


def _is(data: bytes, name: str) -> bool:
    return hashlib.sha256(data).hexdigest() == name


def add(
    shared: Shared,
    rows_by_group: Mapping[str, Iterable[Row]],
    signer: Signer | None,
    *,
    now: dt.datetime,
    once: bool = False,
) -> Snapshot:
    """Make artifacts known that are there already; with ``once`` none whose key another artifact
    has already. Others may do the same at the same time: each
    version is written once, and who comes second goes on from it. Without a ``signer`` the store
    stays unsigned.

    Raises FetchError, and IntegrityError when what is there is not to be believed.
    """

    def grown(state: Snapshot | None) -> tuple[dict[str, str], int]:
        shards, count = (dict(state.shards), state.count) if state else ({}, 0)
        for group, new in rows_by_group.items():
            known = {row.id: row for row in (rows(shared, state, group) if state else ())}
            wanted = _first(new, known) if once else new
            merged = known | {row.id: _joined(row, known.get(row.id)) for row in wanted}
            shards[group] = _put(shared, group, merged.values())
            count += len(merged) - len(known)
        return shards, count

    return _changed(shared, grown, signer, now)


def drop(
    shared: Shared, ids: frozenset[str], signer: Signer | None, *, now: dt.datetime
) -> Snapshot:
    """Make artifacts unknown, which a janitor may. Raises as :func:`add`."""

    def shrunk(state: Snapshot | None) -> tuple[dict[str, str], int]:
        shards: dict[str, str] = {}
        count = 0
        for group in state.shards if state else ():
            assert state is not None
            known = rows(shared, state, group)
            kept = [row for row in known if row.id not in ids]
            count += len(kept)
            if kept:
                same = len(kept) == len(known)
                shards[group] = state.shards[group] if same else _put(shared, group, kept)
        return shards, count

    return _changed(shared, shrunk, signer, now)


def _first(new: Iterable[Row], known: Mapping[str, Row]) -> Iterator[Row]:
    """Those that are known by their id, or whose key nobody has."""
    taken = {row.key for row in known.values()}
    return (row for row in new if row.id in known or row.key not in taken)


def _joined(row: Row, known: Row | None) -> Row:
    """One artifact may be signed by several."""
    signers = (*row.signers, *(known.signers if known else ()))
    return msgspec.structs.replace(row, signers=tuple(dict.fromkeys(signers)))


def _put(shared: Shared, group: str, new: Iterable[Row]) -> str:
    """Write a shard; returns its name."""
    ordered = tuple(sorted(new, key=lambda row: row.id))
    data = msgspec.json.encode(_Shard(version=_VERSION, group=group, rows=ordered))
    name = hashlib.sha256(data).hexdigest()
    if shared.objects.has(shared.name(f"index/shards/{name}.json")) != len(data):
        shared.objects.put(shared.name(f"index/shards/{name}.json"), data)
    return name


_Change = Callable[[Snapshot | None], tuple[dict[str, str], int]]


def _changed(shared: Shared, change: _Change, signer: Signer | None, now: dt.datetime) -> Snapshot:
    """Write the next version; another one is made when somebody else was first with it."""
    state = latest(shared, now=now)
    for _ in range(_TURNS):
        known = seen.recall(shared.cache, shared.address)
        version = state.version if state else 0
        if (data := shared.objects.read(_history(shared, version + 1), LIMIT)) is not None:
            state = _remembered(shared, _last(shared, data, now), known, now)
        shards, count = change(state)
        following = snapshot.following(state, count=count, shards=shards, now=now)
        sealed = snapshot.sign(following, signer) if signer else snapshot.unsigned(following)
        if shared.objects.create(_history(shared, following.version), sealed):
            shared.objects.put(shared.name(LATEST), sealed)
            _repair(shared, following)
            seen.remember(shared.cache, shared.address, following, now=now)
            return following
    raise FetchError(f"{shared.address}: others publish all the time", "Try again.")


def _history(shared: Shared, version: int) -> str:
    return shared.name(f"index/history/{version:010d}.json")


def _repair(shared: Shared, mine: Snapshot) -> None:
    """Somebody slower may have written over a later version than his."""
    version = mine.version
    while data := shared.objects.read(_history(shared, version + 1), LIMIT):
        shared.objects.put(shared.name(LATEST), data)
        version += 1
