"""The first real error of a log that nothing in the catalogue explains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import BinaryIO, Final

from llamabuild import data
from llamabuild.diagnose import text as texts
from llamabuild.diagnose.catalogue import benign
from llamabuild.diagnose.patterns import Patterns

_BEFORE: Final = 2
_AFTER: Final = 8
_TRIES: Final = 200
"""Lines of one chunk that are looked at."""
_TABLE: Final = data.load(data.package("diagnose/errors.toml"))


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstError:
    """The number of the line (from 1), the line, and lines around it (``first`` is the number of
    the first of them)."""

    line: int
    text: str
    first: int
    around: tuple[str, ...]


def first(stream: BinaryIO) -> FirstError | None:
    """The first line that says what went wrong; else the first that says that something did; None
    where no line does."""
    telling, after, quiet = _patterns()
    second: FirstError | None = None
    for line, chunk in texts.chunks(stream):
        found = next(_loud(chunk, telling, quiet), None)
        if found is not None:
            return _error(line, chunk, found)
        if second is None and (found := next(_loud(chunk, after, quiet), None)) is not None:
            second = _error(line, chunk, found)
    return second


@cache
def _patterns() -> tuple[Patterns, Patterns, Patterns]:
    quiet = [*_TABLE["quiet"], *(each for one in benign() for each in one.patterns)]
    return _any(_TABLE["telling"]), _any(_TABLE["after"]), Patterns(quiet)


def _any(sources: list[str]) -> Patterns:
    """One pattern that finds what any of these does; each may begin with its flags."""
    parts = []
    for source in sources:
        flags = source[2] if source.startswith("(?") and source[3] == ")" else ""
        parts.append(f"(?{flags}:{source[4:] if flags else source})")
    return Patterns(["|".join(parts)])


def _loud(chunk: bytes, patterns: Patterns, quiet: Patterns) -> Iterator[int]:
    """Where the lines begin that have one of the patterns and are not quiet."""
    known = -1
    for found in islice(patterns.finds(0, chunk), _TRIES):
        begin = chunk.rfind(b"\n", 0, found.end()) + 1
        if begin != known and not quiet.present(chunk[begin : _end(chunk, begin)]):
            yield begin
        known = begin


def _end(chunk: bytes, begin: int) -> int:
    end = chunk.find(b"\n", begin)
    return len(chunk) if end < 0 else end


def _error(first_line: int, chunk: bytes, begin: int) -> FirstError:
    above = chunk[max(0, begin - 2000) : begin].split(b"\n")[:-1][-_BEFORE:]
    below = chunk[begin : begin + 8000].split(b"\n")[: _AFTER + 1]
    number = first_line + texts.ends(chunk, begin)
    around = tuple(line.decode("utf-8", "replace").rstrip() for line in (*above, *below))
    return FirstError(
        line=number,
        text=around[len(above)].strip(),
        first=number - len(above),
        around=around,
    )
