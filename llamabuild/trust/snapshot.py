"""A signed state of a shared store's index, against rollback and freeze.

Where only artifacts are signed, a store can show an old or incomplete list of them for ever. A
snapshot counts (``version``), ends (``expires``) and names every shard of the index by its hash;
what was seen of a store is remembered (:mod:`llamabuild.trust.seen`) and never undone. The ideas
are those of The Update Framework: https://theupdateframework.github.io/specification/latest/
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

import msgspec

from llamabuild import digest
from llamabuild.errors import IntegrityError
from llamabuild.trust import envelope
from llamabuild.trust.keys import Signer
from llamabuild.trust.roster import JANITOR, Roster, Trusted

PAYLOAD_TYPE: Final = "application/vnd.llamabuild.snapshot.v1+json"
LIFETIME: Final = dt.timedelta(days=90)
"""For how long a snapshot is believed unless its maker says something else."""
SKEW: Final = dt.timedelta(days=1)
"""How far two clocks may be apart."""
_HIGHEST: Final = 2**53
_WHAT: Final = "the store's index"
_CLOCK: Final = "Is this machine's clock right? If it is, ask who keeps the store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of a store's index. ``store`` is a random id, made with the first one; ``version``
    counts from 1; ``created`` and ``expires`` are ISO 8601 in UTC with seconds; ``count`` is the
    number of artifacts; ``shards`` are the SHA-256 of the index' files by name."""

    store: str
    version: int
    created: str
    expires: str
    count: int
    shards: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The newest state of a store that was seen here, and when. ``content`` is the SHA-256 of the
    whole snapshot."""

    store: str
    version: int
    count: int
    content: str
    when: str


def following(
    previous: Snapshot | None,
    *,
    count: int,
    shards: Mapping[str, str],
    now: dt.datetime,
    lifetime: dt.timedelta = LIFETIME,
) -> Snapshot:
    """The next state of a store; the first one, with a new id, when there is no ``previous``."""
    return Snapshot(
        store=previous.store if previous else secrets.token_hex(16),
        version=previous.version + 1 if previous else 1,
        created=stamp(now),
        expires=stamp(now + lifetime),
        count=count,
        shards=dict(shards),
    )


def sign(snapshot: Snapshot, signer: Signer) -> bytes:
    """The snapshot in a signed DSSE envelope, as JSON. Raises ToolMissing."""
    return envelope.seal(_payload(snapshot), PAYLOAD_TYPE, signer)


def unsigned(snapshot: Snapshot) -> bytes:
    """The same envelope without a signature, for a store that may be unsigned."""
    return envelope.seal(_payload(snapshot), PAYLOAD_TYPE)


def content(snapshot: Snapshot) -> str:
    """SHA-256 of the whole snapshot: two with the same version and another content are two
    histories."""
    return digest.of_value(asdict(snapshot))


def _payload(snapshot: Snapshot) -> bytes:
    return digest.canonical(asdict(snapshot))


def open_(
    sealed: bytes, roster: Roster, seen: Seen | None, now: dt.datetime, *, what: str = _WHAT
) -> Snapshot:
    """The snapshot in an envelope, when a trusted key signed it, it goes on from what was seen and
    has not expired. ``now`` is aware of its time zone; ``what`` names the index in messages.

    A builder's snapshot may not hold fewer artifacts than were seen; a janitor's may.
    Raises IntegrityError with the reason, and ToolMissing.
    """
    opened = envelope.opened(sealed, PAYLOAD_TYPE, roster, what)
    snapshot = _read(opened.payload, what)
    follow(snapshot, seen, what)
    _allowed(snapshot, seen, opened.signers, what)
    _in_time(snapshot, now, what)
    return snapshot


def open_unsigned(
    sealed: bytes, seen: Seen | None, now: dt.datetime, *, what: str = _WHAT
) -> Snapshot:
    """The snapshot of a store that may be unsigned: whoever signed it, if anybody, it goes on from
    what was seen and has not expired. Raises IntegrityError with the reason."""
    snapshot = _read(envelope.unverified(sealed, PAYLOAD_TYPE, what), what)
    follow(snapshot, seen, what)
    _in_time(snapshot, now, what)
    return snapshot


def _read(payload: bytes, what: str) -> Snapshot:
    try:
        snapshot = msgspec.json.decode(payload, type=Snapshot)
        lasting = _time(snapshot.created) <= _time(snapshot.expires)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _damaged(what, str(error)) from error
    counted = 1 <= snapshot.version <= _HIGHEST and 0 <= snapshot.count <= _HIGHEST
    if not counted or not lasting or not snapshot.store:
        raise _damaged(what, "its store, version, count or times cannot be")
    if _payload(snapshot) != payload:
        raise _damaged(what, "it is not in its canonical form")
    return snapshot


def _damaged(what: str, why: str) -> IntegrityError:
    return IntegrityError(
        f"{what} is not a snapshot that this llamabuild can read: {why}",
        "A newer llamabuild may have written it: upgrade this one, or publish again.",
    )


def follow(snapshot: Snapshot, seen: Seen | None, what: str = _WHAT) -> None:
    """Raise IntegrityError unless a snapshot is what was seen, or comes after it."""
    if seen is None:
        return
    if snapshot.store != seen.store:
        raise IntegrityError(
            f"{what} is that of another store: {snapshot.store[:12]}, and {seen.store[:12]} was "
            f"seen here on {seen.when}",
            "It was copied there from elsewhere, or the store was made anew. If you know that it "
            "was: remove what was seen of it, below trust/seen in the cache.",
        )
    if snapshot.version < seen.version:
        raise IntegrityError(
            f"{what} was rolled back: it has version {snapshot.version}, and {seen.version} was "
            f"seen on {seen.when}",
            "Nothing was used of it. Ask who keeps the store whether a backup was restored.",
        )
    if snapshot.version == seen.version and content(snapshot) != seen.content:
        raise IntegrityError(
            f"{what} has two snapshots with version {seen.version}: another one was seen on "
            f"{seen.when}",
            "Two published at once without seeing each other, or it shows different things to "
            "different people. Ask who keeps the store; the next version settles it.",
        )


def _allowed(
    snapshot: Snapshot, seen: Seen | None, signers: tuple[Trusted, ...], what: str
) -> None:
    """Every role may sign what grows; only a janitor what has become less."""
    janitor = any(JANITOR in one.roles for one in signers)
    if seen and snapshot.count < seen.count and not janitor:
        raise IntegrityError(
            f"{what} lost artifacts: it has {snapshot.count}, and {seen.count} were seen on "
            f"{seen.when}; {', '.join(map(str, signers))} may not remove any",
            "If this key may: llamabuild trust add LINE --role builder --role janitor",
        )


def _in_time(snapshot: Snapshot, now: dt.datetime, what: str) -> None:
    if _time(snapshot.expires) < now - SKEW:
        raise IntegrityError(
            f"{what} expired on {snapshot.expires}; it is {stamp(now)} here",
            f"{_CLOCK} to publish again; somebody may be holding back newer states.",
        )
    if _time(snapshot.created) > now + SKEW:
        raise IntegrityError(
            f"{what} was made on {snapshot.created}, and it is {stamp(now)} here: one of the two "
            "clocks is wrong",
            f"{_CLOCK} about theirs.",
        )


def stamp(time: dt.datetime) -> str:
    """A time as it stands in a snapshot: ISO 8601, UTC, seconds.

    >>> stamp(dt.datetime(2026, 2, 3, 4, 5, 6, tzinfo=dt.timezone.utc))
    '2026-02-03T04:05:06Z'
    """
    return time.astimezone(dt.timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def _time(text: str) -> dt.datetime:
    """Raises ValueError for anything that :func:`stamp` does not write."""
    time = dt.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=dt.timezone.utc)
    if stamp(time) != text:
        raise ValueError(f"{text!r} is not a time")
    return time
