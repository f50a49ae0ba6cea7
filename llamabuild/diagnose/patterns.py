"""Patterns: many expressions over much text, in linear time.

The dialect is RE2's (no look-around, no back-references), so that no line, however hostile, takes
longer than its length. Two things are easier than usual: a blank in a pattern stands for any white
space, line ends included, because CMake and terminals wrap; and all quotes are ``'``, because
:mod:`llamabuild.diagnose.text` makes them so. A dot is any byte but a line end.

google-re2 finds hundreds of expressions in one pass (some 100 MB/s); Python's own ``re`` needs one
each and can be made to take minutes. Where google-re2 has no wheel, ``re`` does the same work,
slower, on lines that are cut.

Two things would make that one pass a thousand times slower, because its states multiply: numbers
of repetitions, so it is asked without them and what it finds is looked at again; and patterns that
were found, so those that are done with are left out (:meth:`Patterns.without`).
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import cache
from typing import Any, Final, Protocol

try:
    import re2
except ImportError:  # pragma: no cover - depends on the platform
    re2 = None

_MEMORY: Final = 24 << 20
"""Bytes that RE2 may use for the states of patterns that are searched together."""
_TOGETHER: Final = 400
"""Patterns that are searched together: the states of more do not fit, and to make them anew for
every byte is a hundred times slower."""
_PIECE: Final = re.compile(
    r"(?P<verbatim>\\[pPx]\{[^}]*\}|\\.|\[\^?\]?(?:\\.|[^\]\\])*\])"
    r"|(?P<blanks> +)(?P<times>[?*]?)|\{(?P<least>\d+)(?:,\d*)?\}",
    re.DOTALL,
)
_LONGEST: Final = 2000
"""Bytes of a line that ``re`` is given: what it does with a line may grow with its square."""


class Found(Protocol):
    """A match of either engine."""

    def start(self) -> int:
        """Where it begins."""

    def end(self) -> int:
        """Where it ends."""

    def groupdict(self) -> Mapping[str, bytes | None]:
        """Its named groups."""


def spaced(pattern: str) -> str:
    r"""A pattern in which blanks outside of brackets stand for any white space, and " ?" and " *"
    for any or none.

    >>> spaced("not found [a b]\\ c ?: d")
    'not\\s+found\\s+[a b]\\ c\\s*:\\s+d'
    """

    def piece(found: re.Match[str]) -> str:
        if not found["blanks"]:
            return found[0]
        return r"\s*" if found["times"] else r"\s+"

    return _PIECE.sub(piece, pattern)


@cache
def wide(pattern: str) -> str:
    r"""A pattern that finds all that this one finds, and more: without numbers of repetitions.

    >>> wide(r"a{2,3}b.{0,80}?c\{1\}[{1}]")
    'a+b.*?c\\{1\\}[{1}]'
    """

    def piece(found: re.Match[str]) -> str:
        if found["least"] is None:
            return found[0]
        return "+" if int(found["least"]) else "*"

    return _PIECE.sub(piece, pattern)


class Patterns:
    """Expressions that are searched together."""

    def __init__(self, patterns: Sequence[str], *, plain: bool = False) -> None:
        """``plain`` does without google-re2.

        Raises ValueError for an expression that the dialect does not have.
        """
        self._plain = plain or re2 is None
        self._sources = [spaced(one) for one in patterns]
        for number in range(len(self._sources)):
            self._one(number)
        self._search(range(len(self._sources)))

    def _search(self, numbers: Iterable[int]) -> None:
        self._numbers = tuple(numbers)
        count = -(-len(self._numbers) // _TOGETHER)  # what one file has in common is spread
        parts = [self._numbers[n::count] for n in range(count)]
        self._sets = [
            (part, _set([wide(self._sources[number]) for number in part]))
            for part in parts
            if not self._plain
        ]

    def without(self, numbers: Container[int]) -> Patterns:
        """The same patterns under the same numbers, of which these are not searched any more."""
        fewer = copy(self)
        fewer._search(number for number in self._numbers if number not in numbers)  # noqa: SLF001
        return fewer

    def present(self, text: bytes) -> list[int]:
        """Numbers of the patterns that are found in the text."""
        if self._plain:
            short = _cut(text)
            return [number for number in self._numbers if self._one(number).search(short)]
        found = (part[place] for part, one in self._sets for place in one.Match(text) or ())
        return sorted(number for number in found if self._sure(number, text))

    def _sure(self, number: int, text: bytes) -> bool:
        source = self._sources[number]
        return wide(source) == source or self._one(number).search(text) is not None

    def finds(self, number: int, text: bytes) -> Iterator[Found]:
        """Matches of one pattern, the first first."""
        yield from self._one(number).finditer(_cut(text) if self._plain else text)

    def _one(self, number: int) -> Any:  # noqa: ANN401 - of either engine
        return _compiled(self._sources[number], self._plain)


def _cut(text: bytes) -> bytes:
    """The text without what is beyond the longest line, if any line is longer."""
    if len(text) <= _LONGEST:
        return text
    lines = text.split(b"\n")
    return b"\n".join(line[:_LONGEST].ljust(len(line)) for line in lines)


@cache
def _compiled(source: str, plain: bool) -> Any:  # noqa: ANN401 - of either engine
    if plain:
        return re.compile(source.encode())
    try:
        return re2.compile(source.encode(), _options())
    except re2.error as error:
        raise ValueError(f"{source}: {error}") from error


def _set(sources: Sequence[str]) -> Any:  # noqa: ANN401 - google-re2 has no types
    found = re2.Set.SearchSet(_options())
    for source in sources:
        found.Add(source.encode())
    found.Compile()
    return found


@cache
def _options() -> Any:  # noqa: ANN401 - google-re2 has no types
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1  # a byte is a character: logs are not all UTF-8
    return options
