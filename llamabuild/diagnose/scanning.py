"""Scan: where the catalogue's patterns stand in a log of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import BinaryIO, Final

from llamabuild.diagnose import text as texts
from llamabuild.diagnose.catalogue import CAUSE, WRAPPER, Entry, benign, entries
from llamabuild.diagnose.patterns import Found, Patterns

MOST: Final = 5
"""Causes that are told."""
_TRIES: Final = 100
"""Places of one pattern in one chunk that are looked at: the rest is more of the same."""
_DONE: Final = 8
"""Patterns that need no more looking for, from which it is worth it to leave them out."""
_EVIDENCE: Final = 400
"""Bytes of a line that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """Where an entry was first found: the line's number (from 1), the line, and the named groups of
    the pattern."""

    entry: Entry
    line: int
    evidence: str
    groups: Mapping[str, str]


@dataclass(slots=True)
class _Seen:
    """What was found up to here. ``done`` are patterns that were found, ``news`` how many of them
    had been when it was last asked what is settled."""

    sights: dict[str, Sight] = field(default_factory=dict)
    needs: set[tuple[str, int]] = field(default_factory=set)
    done: set[int] = field(default_factory=set)
    news: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """All patterns of the catalogue: ``what`` says whose each is, and which (None: a pattern that
    finds the entry; a number: one that it needs), and ``harmless`` whose each benign one is."""

    patterns: Patterns
    what: tuple[tuple[Entry, int | None], ...]
    unless: Mapping[str, Patterns]
    benign: Patterns
    harmless: tuple[str, ...]


@cache
def _index(plain: bool) -> _Index:
    sources: list[str] = []
    what: list[tuple[Entry, int | None]] = []
    for entry in entries():
        for pattern in entry.patterns:
            sources.append(pattern)
            what.append((entry, None))
        for number, pattern in enumerate(entry.needs):
            sources.append(pattern)
            what.append((entry, number))
    return _Index(
        patterns=Patterns(sources, plain=plain),
        what=tuple(what),
        unless={one.id: Patterns(one.unless, plain=plain) for one in entries() if one.unless},
        benign=Patterns([each for one in benign() for each in one.patterns], plain=plain),
        harmless=tuple(one.id for one in benign() for _ in one.patterns),
    )


def scan(
    stream: BinaryIO, *, plain: bool = False, watch: Callable[[int, bytes], None] | None = None
) -> list[Sight]:
    """The first sight of every entry that a log shows, in the log's order. ``plain`` does without
    google-re2; ``watch`` is shown every piece of the log, with the number of its first line."""
    index, seen = _index(plain), _Seen()
    patterns, left_out = index.patterns, 0
    for line, chunk in texts.chunks(stream):
        _look(index, patterns.present(chunk), seen, line, chunk)
        if watch:
            watch(line, chunk)
        if seen.news != (told := len(seen.done)):
            seen.news, settled = told, _settled(index, seen)
            if len(settled) - left_out >= _DONE:
                patterns, left_out = patterns.without(settled), len(settled)
    return sorted(_whole(seen), key=lambda sight: sight.line)


def _whole(seen: _Seen) -> Iterator[Sight]:
    """The sights of entries that lack nothing that they need."""
    for sight in seen.sights.values():
        needs = range(len(sight.entry.needs))
        if all((sight.entry.id, number) in seen.needs for number in needs):
            yield sight


def _settled(index: _Index, seen: _Seen) -> set[int]:
    """Patterns that can change nothing any more: of what was seen already, since only the first
    sight counts, and of what would come after the ``MOST`` causes that are told."""
    if not seen.sights:
        return seen.done
    best = {sight.line: sight.entry.rank for sight in sorted(_whole(seen), key=_rank)}
    ranks = sorted(best.values(), reverse=True)
    known = bool(ranks) and ranks[0] >= CAUSE
    least = ranks[MOST - 1] if len(ranks) >= MOST else CAUSE - 1 if known else 0

    def is_settled(number: int) -> bool:
        entry, need = index.what[number]
        seen_already = need is None and entry.id in seen.sights
        return number in seen.done or seen_already or WRAPPER < entry.rank <= least

    return {number for number in range(len(index.what)) if is_settled(number)}


def _rank(sight: Sight) -> int:
    return sight.entry.rank


def _look(index: _Index, present: Iterable[int], seen: _Seen, first: int, chunk: bytes) -> None:
    for number in present:
        if number in seen.done:
            continue
        entry, need = index.what[number]
        if need is not None:
            seen.needs.add((entry.id, need))
            seen.done.add(number)
        elif sight := _sight(index, number, entry, first, chunk):
            before = seen.sights.get(entry.id)
            if before is None or sight.line < before.line:
                seen.sights[entry.id] = sight
            seen.done.add(number)


def _sight(index: _Index, number: int, entry: Entry, first: int, chunk: bytes) -> Sight | None:
    for found in islice(index.patterns.finds(number, chunk), _TRIES):
        begin, end = _lines(chunk, found)
        line = chunk[begin:end]
        unless = index.unless.get(entry.id)
        harmless = {index.harmless[one] for one in index.benign.present(line)}
        if harmless - set(entry.despite) or (unless and unless.present(line)):
            continue
        groups = {_text(name): _text(value or b"") for name, value in found.groupdict().items()}
        return Sight(
            entry=entry,
            line=first + texts.ends(chunk, begin),
            evidence=_shown(line, found.start() - begin),
            groups=groups,
        )
    return None


def _lines(chunk: bytes, found: Found) -> tuple[int, int]:
    """The whole lines that a match stands on."""
    begin = chunk.rfind(b"\n", 0, found.start()) + 1
    end = chunk.find(b"\n", found.end())
    return begin, len(chunk) if end < 0 else end


def _shown(line: bytes, place: int) -> str:
    """What is shown of a line: the part around the place, if it is long."""
    begin = max(0, place - _EVIDENCE // 4) if len(line) > _EVIDENCE else 0
    part = line[begin : begin + _EVIDENCE]
    shown = _text(part).strip()
    return " ".join(shown.replace("\r", "\n").splitlines()).strip()


def _text(data: bytes | str) -> str:
    return data if isinstance(data, str) else data.decode("utf-8", "replace")


def lines_of(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    """The clean lines of a log with their numbers; of pieces that overlap, once."""
    told = 0
    for first, chunk in texts.chunks(stream):
        number = first
        for line in chunk.split(b"\n"):
            soft = line.endswith(b"\r")
            if number > told:
                yield number, _text(line).rstrip("\r")
                told = told if soft else number
            number += not soft
