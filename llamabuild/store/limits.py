"""What a cache may keep: by size, age and free space. Pure: facts in, removals out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

DAY: Final = 86400.0
RECENT: Final = DAY / 4
"""Seconds since its last use in which nothing goes to make room: the longest builds take hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most bytes in all, the most seconds since the last use, the least bytes free on the disk;
    None is no limit."""

    size: int | None = None
    age: float | None = None
    free: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something that can go on its own. ``what`` it is, in a word; ``used`` is when that was last
    (seconds since the epoch); ``needed`` says why it stays whatever the limits (empty: it may go);
    after ``lasts`` seconds it is of no use to anybody, being ``stale``. An artifact has ``blobs``,
    which may be others' too, a hash each; everything else has a ``size`` in bytes of its own."""

    what: str
    name: str
    path: Path
    used: float
    size: int = 0
    blobs: tuple[str, ...] = ()
    needed: str = ""
    lasts: float | None = None
    stale: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Something that goes, the bytes that this frees, and why."""

    item: Item
    size: int
    why: str


@dataclass(slots=True)
class _Count:
    """How many artifacts name each blob, and what is left of the whole."""

    sizes: Mapping[str, int]
    names: Counter[str] = field(default_factory=Counter)
    total: int = 0

    def drop(self, item: Item) -> int:
        """Bytes that become free without an item."""
        freed = item.size
        for blob in item.blobs:
            self.names[blob] -= 1
            freed += self.sizes.get(blob, 0) if self.names[blob] == 0 else 0
        self.total -= freed
        return freed


def removals(
    items: Iterable[Item], sizes: Mapping[str, int], limits: Limits, *, free: int, now: float
) -> tuple[Removal, ...]:
    """What has to go, in this order: what is of no use any more, what is too old, then what was not
    used for longest until the limits are met. ``sizes`` are the bytes of blobs that are named, and
    ``free`` those that the disk has.

    Sizes add up: a blob counts when the last that names it goes.
    """
    known = sorted(items, key=lambda item: (item.used, item.name))
    count = _Count(sizes)
    count.names.update(blob for item in known for blob in item.blobs)
    count.total = sum(item.size for item in known) + sum(sizes.get(blob, 0) for blob in count.names)
    aged = ((item, _aged(item, limits, now)) for item in known)
    old = [Removal(item=item, size=count.drop(item), why=why) for item, why in aged if why]
    free += sum(one.size for one in old)
    gone = {one.item.path for one in old}
    idle = (
        item
        for item in known
        if not item.needed and item.path not in gone and now - item.used > RECENT
    )
    return (*old, *_for_room(idle, count, limits, free, now))


def _aged(item: Item, limits: Limits, now: float) -> str:
    if item.needed:
        return ""
    age = now - item.used
    if item.lasts is not None and age > item.lasts:
        return f"{item.stale}, {_days(age)}"
    if limits.age is not None and age > limits.age and age > RECENT:
        return f"not used for {_days(age)} (at most {_days(limits.age)})"
    return ""


def _for_room(
    idle: Iterable[Item], count: _Count, limits: Limits, free: int, now: float
) -> Iterator[Removal]:
    """The least recently used, until everything fits."""
    for item in idle:
        if limits.size is not None and count.total > limits.size:
            why = f"to get down to {_bytes(limits.size)}"
        elif limits.free is not None and free < limits.free:
            why = f"to have {_bytes(limits.free)} free"
        else:
            return
        freed = count.drop(item)
        free += freed
        yield Removal(item=item, size=freed, why=f"{why}; used {_days(now - item.used)} ago")


def _days(seconds: float) -> str:
    """An age in words.

    >>> _days(86400 * 3.2), _days(7200), _days(86400)
    ('3 days', '2 hours', '24 hours')
    """
    days = seconds / DAY
    return f"{days:.0f} days" if days >= 1.5 else f"{max(0.0, seconds / 3600):.0f} hours"


def _bytes(count: int) -> str:
    """A size in words.

    >>> _bytes(20_000_000_000), _bytes(1500)
    ('20.0 GB', '1500 bytes')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
