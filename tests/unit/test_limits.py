"""What goes, in which order and why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from llamabuild.store.limits import DAY, RECENT, Item, Limits, Removal, removals

NOW = 1000 * DAY


def item(
    name: str, days: float, *blobs: str, size: int = 0, needed: str = "", lasts: float | None = None
) -> Item:
    return Item(
        what="artifact" if blobs else "source",
        name=name,
        path=Path(name),
        used=NOW - days * DAY,
        size=size,
        blobs=blobs,
        needed=needed,
        lasts=lasts,
        stale="left over",
    )


def names(found: tuple[Removal, ...]) -> list[str]:
    return [one.item.name for one in found]


def decide(
    *items: Item, limits: Limits, sizes: Mapping[str, int] | None = None, free: int = 0
) -> tuple[Removal, ...]:
    return removals(items, sizes or {}, limits, free=free, now=NOW)


def test_without_limits_only_what_is_of_no_use_goes() -> None:
    old, left = item("old", 900, size=5), item("left", 4, size=7, lasts=3 * DAY)
    found = decide(old, left, item("new", 2, lasts=3 * DAY), limits=Limits())
    assert names(found) == ["left"]
    assert found[0].why == "left over, 4 days"
    assert found[0].size == 7


def test_age_counts_from_the_last_use() -> None:
    found = decide(item("a", 91), item("b", 89), limits=Limits(age=90 * DAY))
    assert names(found) == ["a"]
    assert found[0].why == "not used for 91 days (at most 90 days)"


def test_the_least_recently_used_go_until_it_fits() -> None:
    items = (item("c", 3, size=10), item("a", 5, size=10), item("b", 4, size=10))
    assert names(decide(*items, limits=Limits(size=15))) == ["a", "b"]
    assert names(decide(*items, limits=Limits(size=30))) == []
    assert names(decide(*items, limits=Limits(free=25), free=10)) == ["a", "b"]


def test_what_is_shared_counts_once_and_goes_with_the_last() -> None:
    items = (item("a", 5, "x", "y"), item("b", 4, "x", "z"), item("c", 3, "w"))
    sizes = {"x": 100, "y": 1, "z": 2, "w": 3}
    found = decide(*items, limits=Limits(size=50), sizes=sizes)
    assert [(one.item.name, one.size) for one in found] == [("a", 1), ("b", 102)]


def test_what_is_needed_or_in_use_stays_whatever_the_limits() -> None:
    items = (item("pinned", 500, size=10, needed="pinned"), item("new", 0.1, size=10))
    assert decide(*items, limits=Limits(size=0, age=0, free=10**9)) == ()


ITEMS = st.lists(
    st.tuples(
        st.floats(0, 400),
        st.sets(st.sampled_from("pqrstuvw"), max_size=4),
        st.integers(0, 50),
        st.booleans(),
    ),
    max_size=12,
)


@given(ITEMS, st.integers(0, 300), st.floats(0, 400), st.integers(0, 300))
def test_laws(
    made: list[tuple[float, set[str], int, bool]], most: int, days: float, free: int
) -> None:
    items = [
        item(str(n), age, *sorted(blobs), size=0 if blobs else size, needed="pin" if pin else "")
        for n, (age, blobs, size, pin) in enumerate(made)
    ]
    sizes = {blob: n * 7 for n, blob in enumerate("pqrstuvw")}
    limits = Limits(size=most, age=days * DAY, free=free)
    found = decide(*items, limits=limits, sizes=sizes, free=10)
    gone = {one.item.name for one in found}
    assert len(gone) == len(found)
    kept = [one for one in items if one.name not in gone]
    assert not any(one.item.needed or NOW - one.item.used <= RECENT for one in found)

    def total(left: list[Item]) -> int:
        return sum(one.size for one in left) + sum(
            sizes[blob] for blob in {blob for one in left for blob in one.blobs}
        )

    assert total(items) - total(kept) == sum(one.size for one in found)
    could = [one for one in kept if not one.needed and NOW - one.used > RECENT]
    if could:  # something that could go stays only when all limits are met
        assert total(kept) <= most
        assert 10 + sum(one.size for one in found) >= free
        assert all(NOW - one.used <= days * DAY for one in could)
