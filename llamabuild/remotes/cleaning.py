"""A shared store made smaller, by a janitor: artifacts leave the index first, so that nobody looks
for them any more; then goes what nothing names.

Objects that are younger than :data:`GRACE` stay: somebody may be pushing what needs them. And who
pushes looks once more, when his artifacts are listed, whether all of their files are there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from llamabuild.errors import ConfigError, IntegrityError
from llamabuild.model import File
from llamabuild.remotes import index
from llamabuild.remotes.index import Shared
from llamabuild.remotes.objects import Listed, together
from llamabuild.store.catalogue import Row
from llamabuild.store.limits import DAY
from llamabuild.store.manifests import LARGEST
from llamabuild.trust.keys import Signer
from llamabuild.trust.roster import JANITOR

GRACE: Final = 7 * DAY
"""Seconds."""
_HISTORY: Final = 100
"""Versions of the index that stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaning:
    """What goes: artifacts, by a limit, and objects that nothing names."""

    rows: tuple[Row, ...]
    objects: tuple[Listed, ...]

    @property
    def size(self) -> int:
        """Bytes of the objects."""
        return sum(one.size for one in self.objects)


class _Named(msgspec.Struct, frozen=True):
    files: dict[str, File]


def too_old_or_many(
    rows: Iterable[Row], *, age: float | None, size: int | None, now: dt.datetime
) -> tuple[Row, ...]:
    """The artifacts that are older than ``age`` seconds, and the oldest until all files together
    are no larger than ``size`` bytes. Pure."""
    known = sorted(rows, key=lambda row: (row.created, row.id))
    total = sum(row.size for row in known)
    going = []
    for row in known:
        old = age is not None and _age(row, now) > age
        large = size is not None and total > size
        if old or large:
            going.append(row)
            total -= row.size
    return tuple(going)


def _age(row: Row, now: dt.datetime) -> float:
    """Seconds since an artifact was made; 0 where it does not say."""
    try:
        made = dt.datetime.fromisoformat(row.created)
    except ValueError:
        return 0.0
    made = made if made.tzinfo else made.replace(tzinfo=dt.timezone.utc)
    return (now - made).total_seconds()


def decide(shared: Shared, *, age: float | None, size: int | None, now: dt.datetime) -> Cleaning:
    """What would go. Raises FetchError, IntegrityError."""
    state = index.latest(shared, now=now)
    rows = index.everything(shared, state) if state else []
    going = too_old_or_many(rows, age=age, size=size, now=now)
    kept = {row.id for row in rows} - {row.id for row in going}
    named = set(state.shards.values()) if state else set()
    last = state.version - _HISTORY if state else 0
    history = shared.objects.listed(shared.name("index/history/"))
    objects = [
        *_unnamed(shared, "manifests/", kept, {row.id for row in going}),
        *_unnamed(shared, "signatures/", kept, {row.id for row in going}),
        *_unnamed(shared, "blobs/", _files(shared), set()),
        *_unnamed(shared, "index/shards/", named, set()),
        *(one for one in history if _before(one, last)),
    ]
    return Cleaning(rows=going, objects=tuple(objects))


def _before(one: Listed, version: int) -> bool:
    name = one.name.rpartition("/")[2].removesuffix(".json")
    return name.isdigit() and int(name) <= version


def _unnamed(shared: Shared, folder: str, named: set[str], at_once: set[str]) -> Iterator[Listed]:
    """Objects of a folder whose names have nothing that is named, and are old enough; without
    waiting those that have something of ``at_once``."""
    for one in shared.objects.listed(shared.name(folder)):
        words = set(one.name.removesuffix(".json").split("/"))
        if words & at_once or (one.age > GRACE and not words & named):
            yield one


def _files(shared: Shared) -> set[str]:
    """The files of all manifests that are there, also of those that nobody listed yet."""
    found: set[str] = set()

    def read(one: Listed) -> None:
        data = shared.objects.read(one.name, LARGEST)
        try:
            files = msgspec.json.decode(data or b"", type=_Named).files
        except msgspec.DecodeError as error:
            raise IntegrityError(
                f"{shared.address}: {one.name} cannot be read, so nothing is removed",
                "Remove it if nobody needs it.",
            ) from error
        found.update(file.sha256 for file in files.values())

    together(read, shared.objects.listed(shared.name("manifests/")))
    return found


def clean(shared: Shared, going: Cleaning, signer: Signer | None, *, now: dt.datetime) -> None:
    """Remove what was decided; the files of artifacts that go now go with a later cleaning.

    Raises ConfigError when the key is not a janitor's here, FetchError, IntegrityError.
    """
    mine = [one for one in shared.roster if signer and one.public.keyid == signer.keyid]
    if signer and not any(JANITOR in one.roles for one in mine):
        raise ConfigError(
            "your key is not a janitor's here, so that others would not believe the result",
            f"llamabuild trust add {signer.public.line} --role builder --role janitor; they too",
        )
    if going.rows:
        index.drop(shared, frozenset(row.id for row in going.rows), signer, now=now)
    together(lambda one: shared.objects.remove(one.name), going.objects)
