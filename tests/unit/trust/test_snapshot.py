from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild import digest
from llamabuild.errors import IntegrityError
from llamabuild.trust import envelope, snapshot, statements
from llamabuild.trust.seen import noted
from llamabuild.trust.snapshot import Seen, Snapshot
from tests.unit.trust import making
from tests.unit.trust.making import DAY, NOW

ROSTER = (
    making.trusted("anna"),
    making.trusted("jo", "janitor"),
    making.trusted("ben", "builder", "janitor"),
)
SECOND = dt.timedelta(seconds=1)


def _sealed(value: Any, *names: str) -> bytes:
    """Whatever somebody with these keys can sign."""
    fields = asdict(value) if isinstance(value, Snapshot) else value
    data = fields if isinstance(fields, bytes) else digest.canonical(fields)
    return envelope.seal(data, snapshot.PAYLOAD_TYPE, *map(making.signer, names))


def _open(sealed: bytes, seen: Seen | None = None, now: dt.datetime = NOW) -> Snapshot:
    return snapshot.open_(sealed, ROSTER, seen, now)


def _refused(
    value: Any, said: str, *names: str, seen: Seen | None = None, now: dt.datetime = NOW
) -> None:
    """Refused when signed, and for the same reason when it need not be signed."""
    with pytest.raises(IntegrityError, match=said) as caught:
        _open(_sealed(value, *(names or ("anna",))), seen, now)
    assert caught.value.hint
    with pytest.raises(IntegrityError, match=said):
        snapshot.open_unsigned(_sealed(value), seen, now)


def test_a_signed_snapshot_is_opened() -> None:
    made = making.snapshot()
    assert _open(snapshot.sign(made, making.signer("anna"))) == made
    assert _open(_sealed(made, "jo")) == made
    assert snapshot.open_unsigned(snapshot.unsigned(made), None, NOW) == made
    assert snapshot.open_unsigned(_sealed(made, "eve"), None, NOW) == made


def test_states_follow_each_other() -> None:
    first = snapshot.following(None, count=0, shards={}, now=NOW)
    assert (first.version, len(first.store), first.expires) == (1, 32, "2026-08-30T12:00:00Z")
    other = snapshot.following(None, count=0, shards={}, now=NOW)
    assert other.store != first.store
    later = snapshot.following(first, count=2, shards={"a": "b"}, now=NOW + DAY, lifetime=DAY)
    assert (later.version, later.store, later.created) == (2, first.store, "2026-06-02T12:00:00Z")
    assert later.expires == "2026-06-03T12:00:00Z"
    assert _open(_sealed(later, "anna"), noted(first, NOW), NOW + DAY) == later
    assert _open(_sealed(later, "anna"), noted(later, NOW), NOW + DAY) == later


def test_every_flipped_bit_and_truncation_is_refused() -> None:
    sealed = _sealed(making.snapshot(shards={}), "anna")
    for changed in (*making.flips(sealed), *(sealed[:length] for length in range(len(sealed)))):
        with pytest.raises(IntegrityError):
            _open(changed)


def test_strangers_and_other_payloads_are_refused() -> None:
    made = making.snapshot()
    with pytest.raises(IntegrityError, match=r"the store's index is signed by .* not trusted"):
        _open(_sealed(made, "eve"))
    with pytest.raises(IntegrityError, match="is not signed"):
        _open(snapshot.unsigned(made))
    with pytest.raises(IntegrityError, match="web page"):
        snapshot.open_unsigned(b"<html>", None, NOW)
    with pytest.raises(IntegrityError, match="too large"):
        snapshot.open_unsigned(bytes(1 << 30), None, NOW)
    statement = statements.provenance(making.manifest(), making.ARTIFACT)
    with pytest.raises(IntegrityError, match=r"holds 'application/vnd\.in-toto"):
        _open(statements.sign(statement, making.signer("anna")))
    sealed = making.edited(
        statements.sign(statement, making.signer("anna")), payloadType=snapshot.PAYLOAD_TYPE
    )
    with pytest.raises(IntegrityError, match="does not fit"):
        _open(sealed)


def test_the_index_is_named_as_the_caller_names_it() -> None:
    with pytest.raises(IntegrityError, match=r"^the index of s3://x is not signed"):
        snapshot.open_(_sealed(making.snapshot()), ROSTER, None, NOW, what="the index of s3://x")


def test_a_rollback_is_refused() -> None:
    seen = noted(making.snapshot(version=57), NOW - DAY)
    said = "rolled back: it has version 41, and 57 was seen on 2026-05-31T12:00:00Z"
    _refused(making.snapshot(version=41), said, seen=seen)
    # Neither a janitor nor a lower count makes it something else.
    _refused(making.snapshot(version=41, count=1), said, "jo", seen=seen)
    _refused(making.snapshot(version=41, count=1), said, seen=seen)


@pytest.mark.parametrize(
    "change",
    [
        {"count": 4},
        {"shards": {"00": "e" * 64}},
        {"shards": {"00": "d" * 64, "01": "e" * 64}},
        {"created": "2026-06-01T11:59:59Z"},
        {"expires": "2027-01-01T00:00:00Z"},
    ],
)
def test_two_contents_of_one_version_are_refused(change: dict[str, Any]) -> None:
    seen = noted(making.snapshot(version=57), NOW)
    said = "two snapshots with version 57: another one was seen on 2026-06-01T12:00:00Z"
    _refused(making.snapshot(version=57, **change), said, "ben", seen=seen)


def test_the_snapshot_of_another_store_is_refused() -> None:
    seen = noted(making.snapshot(), NOW)
    for version in (1, 99):
        other = making.snapshot(version=version, store="ab" * 16)
        _refused(other, "another store: abababababab, and 575757575757 was seen", seen=seen)


def test_only_a_janitor_may_remove() -> None:
    seen = noted(making.snapshot(), NOW)
    less = making.snapshot(version=2, count=2)
    with pytest.raises(IntegrityError, match=r"has 2, and 3 were seen .*; anna .*may not remove"):
        _open(_sealed(less, "anna"), seen)
    with pytest.raises(IntegrityError, match="lost artifacts"):
        _open(_sealed(less, "anna", "eve"), seen)
    for names in (["jo"], ["ben"], ["anna", "jo"]):
        assert _open(_sealed(less, *names), seen) == less
    for count in (3, 4):
        grown = making.snapshot(version=2, count=count)
        assert _open(_sealed(grown, "anna"), seen) == grown
    # Who has seen nothing cannot know that something is missing.
    assert _open(_sealed(less, "anna")) == less


def test_expiry_with_a_day_for_clocks() -> None:
    made = making.snapshot()
    end = NOW + snapshot.LIFETIME + DAY
    assert _open(_sealed(made, "anna"), now=end) == made
    said = "expired on 2026-08-30T12:00:00Z; it is 2026-08-31T12:00:01Z here"
    _refused(made, said, now=end + SECOND)
    with pytest.raises(IntegrityError, match="expired") as caught:
        _open(_sealed(made, "anna"), noted(made, NOW), end + SECOND)
    assert "this machine's clock" in caught.value.hint


def test_a_snapshot_from_the_future_is_refused() -> None:
    made = making.snapshot()
    assert _open(_sealed(made, "anna"), now=NOW - DAY) == made
    said = "made on 2026-06-01T12:00:00Z, and it is 2026-05-31T11:59:59Z here: one of the two"
    _refused(made, said, now=NOW - DAY - SECOND)


def test_times_of_other_zones_mean_the_same() -> None:
    zone = dt.timezone(dt.timedelta(hours=9))
    made = snapshot.following(None, count=0, shards={}, now=NOW.astimezone(zone))
    assert made.created == "2026-06-01T12:00:00Z"
    assert _open(_sealed(made, "anna"), now=NOW.astimezone(zone)) == made


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"version": -1},
        {"version": 2**53 + 1},
        {"version": 10**400},
        {"version": 1.0},
        {"version": True},
        {"version": "1"},
        {"count": -1},
        {"count": 2**53 + 1},
        {"store": ""},
        {"store": None},
        {"created": "2026-06-01"},
        {"created": "2026-06-01T12:00:00+00:00"},
        {"created": "2026-6-1T12:00:00Z"},
        {"created": "2026-02-30T12:00:00Z"},
        {"created": 7},
        {"expires": "2026-06-01T11:59:59Z"},
        {"expires": ""},
        {"shards": []},
        {"shards": {"00": 1}},
        {"new": "field"},
    ],
)
def test_what_cannot_be_is_refused_though_signed(change: dict[str, Any]) -> None:
    _refused({**asdict(making.snapshot()), **change}, "not a snapshot that this llamabuild")


@pytest.mark.parametrize("gone", ["store", "version", "created", "expires", "count", "shards"])
def test_every_field_is_needed(gone: str) -> None:
    fields = asdict(making.snapshot())
    del fields[gone]
    _refused(fields, "missing required field")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 99_999,
        b'{"a":' * 99_999,
        json.dumps(asdict(making.snapshot())).encode(),  # spaces
        b'{"version":9,' + digest.canonical(asdict(making.snapshot()))[1:],  # twice
    ],
)
def test_payloads_in_another_form_are_refused(data: bytes) -> None:
    _refused(data, "not a snapshot that this llamabuild can read")


def test_the_latest_and_the_earliest_times_do_not_overflow() -> None:
    made = making.snapshot(created="0001-01-01T00:00:00Z", expires="9999-12-31T23:59:59Z")
    assert _open(_sealed(made, "anna")) == made
    _refused(replace(made, created=made.expires), "one of the two clocks")
    _refused(replace(made, expires=made.created), "expired on 0001")


_STATES = st.builds(
    making.snapshot,
    version=st.integers(1, 4),
    count=st.integers(0, 3),
    shards=st.sampled_from([{}, {"00": "d" * 64}]),
    store=st.sampled_from(["57" * 16, "ab" * 16]),
)


@given(_STATES, _STATES, st.sampled_from(["anna", "jo", "ben"]))
def test_what_is_accepted_after_what(before: Snapshot, after: Snapshot, name: str) -> None:
    """The rule in one expression, against every pair of states and every role."""
    forward = after.store == before.store and (after == before or (after.version > before.version))
    allowed = forward and (after.count >= before.count or name != "anna")
    seen = noted(before, NOW)
    for accepted, call in (
        (allowed, lambda: _open(_sealed(after, name), seen)),
        (forward, lambda: snapshot.open_unsigned(_sealed(after), seen, NOW)),
    ):
        if accepted:
            assert call() == after
        else:
            with pytest.raises(IntegrityError):
                call()
