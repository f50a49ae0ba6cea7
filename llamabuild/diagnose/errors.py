"""The first real error of a log that nothing in the catalogue explains."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO, Final

from llamabuild import data
from llamabuild.diagnose import scanning
from llamabuild.diagnose.catalogue import benign
from llamabuild.diagnose.patterns import Patterns

_BEFORE: Final = 2
_AFTER: Final = 8
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
    telling = Patterns([*_TABLE["telling"], *_TABLE["after"]])
    first_after = len(_TABLE["telling"])
    quiet = Patterns([*_TABLE["quiet"], *(each for one in benign() for each in one.patterns)])
    before: deque[str] = deque(maxlen=_BEFORE)
    second: FirstError | None = None
    for number, line in (lines := scanning.lines_of(stream)):
        found = telling.present(line.encode()) if line else ()
        if found and not quiet.present(line.encode()):
            if min(found) < first_after:
                return _around(number, line, before, lines)
            second = second or FirstError(
                line=number, text=line.strip(), first=number, around=(line.rstrip(),)
            )
        before.append(line.rstrip())
    return second


def _around(
    number: int, line: str, before: Iterable[str], lines: Iterable[tuple[int, str]]
) -> FirstError:
    above = tuple(before)
    below = []
    for _, text in lines:
        below.append(text.rstrip())
        if len(below) == _AFTER:
            break
    return FirstError(
        line=number,
        text=line.strip(),
        first=number - len(above),
        around=(*above, line.rstrip(), *below),
    )
