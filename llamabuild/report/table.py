"""Columns of text without lines, so that they can be copied.

``rich`` could do it, and does on a terminal's progress; loading and laying out takes it 70 ms,
and `plan` and `probe` have 200 ms in all.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from unicodedata import combining, east_asian_width

_WIDTH = 100
_NARROWEST = 80
_MIDDLE = 20
_GAP = "  "


def table(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Columns without lines: the first is never wrapped, the last takes what is left. Two columns
    without a head are names and values.

    >>> print(table([("GGML_CUDA", "ON", "an H200 is here")], ("flag", "value", "why")))
    flag       value  why
    GGML_CUDA  ON     an H200 is here
    """
    everything = [*([head] if head else []), *rows]
    columns = len(everything[0])
    widths = [max(map(cells, column)) for column in zip(*everything, strict=True)]
    widths[1:-1] = [min(width, _MIDDLE) for width in widths[1:-1]]
    total = max(_NARROWEST, shutil.get_terminal_size((_WIDTH, 24)).columns)
    before = sum(widths[: columns - 1]) + len(_GAP) * (columns - 1)
    widths[-1] = max(1, total - before)
    return "\n".join(line for row in everything for line in _lines(row, widths))


def _lines(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    wrapped = [[row[0]], *(_wrapped(*pair) for pair in zip(row[1:], widths[1:], strict=True))]
    for parts in zip_longest(*wrapped, fillvalue=""):
        padded = (
            part + " " * (width - cells(part)) for part, width in zip(parts, widths, strict=True)
        )
        yield _GAP.join(padded).rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    if cells(text) <= width:
        return [text]
    narrow = width if cells(text) == len(text) else max(1, width // 2)
    return textwrap.wrap(text, narrow, break_on_hyphens=False) or [""]


def cells(text: str) -> int:
    """How many columns of a terminal a text takes.

    >>> cells("abc"), cells("日本")
    (3, 4)
    """
    if text.isascii():
        return len(text)
    wide = sum(east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(combining(letter) != 0 for letter in text)
