"""The first real error of a log that nothing in the catalogue explains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Final

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


@dataclass(slots=True)
class Watch:
    """Looks at the pieces of a log, in their order, for the first line that says what went wrong
    (``told``), else the first that says that something did (``after``)."""

    told: FirstError | None = None
    after: FirstError | None = None

    @property
    def error(self) -> FirstError | None:
        """What was found; None where no line looks like an error."""
        return self.told or self.after

    def look(self, line: int, chunk: bytes) -> None:
        """Look at a piece whose first line has this number."""
        if self.told is not None:
            return
        telling, after, quiet = _patterns()
        self.told = _first(line, chunk, telling, quiet)
        if self.told is None and self.after is None:
            self.after = _first(line, chunk, after, quiet)


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


def _first(line: int, chunk: bytes, patterns: Patterns, quiet: Patterns) -> FirstError | None:
    """The first line that has one of the patterns and is not quiet."""
    known = -1
    for found in islice(patterns.finds(0, chunk), _TRIES):
        begin = chunk.rfind(b"\n", 0, found.end()) + 1
        if begin != known and not quiet.present(chunk[begin : _end(chunk, begin)]):
            return _error(line, chunk, begin)
        known = begin
    return None


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
