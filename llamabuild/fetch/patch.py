"""Applies a pin's patches to the source that has just been unpacked: exactly, or not at all.

A patch is a unified diff as git and diff write it, and nothing in it is guessed. Every hunk has
to fit at the very line that it names, byte for byte; only files that are there are changed; what
is not understood is refused. ``patch`` and the libraries like it search for another place, or
ignore blanks and line ends: help for a tree that moved on, while a pinned one never does.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llamabuild.errors import IntegrityError
from llamabuild.fetch.names import safe_name
from llamabuild.model import Patch

_HUNK: Final = re.compile(
    r"@@ -([0-9]{1,9})(?:,([0-9]{1,9}))? \+[0-9]+(?:,([0-9]{1,9}))? @@(?: .*)?"
)
_BETWEEN: Final = ("diff --git ", "index ")
"""What git writes before the two names of a file, beside changes of a kind that is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunk:
    """Lines to find, from line ``start`` (1 is the first) of the old file on, and their
    successors."""

    start: int
    old: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The hunks for one file, which is named relative to the archive's top folder."""

    path: str
    hunks: tuple[Hunk, ...]


def apply(patch: Patch, root: Path) -> None:
    """Change the tree under ``root``, which nobody else uses yet. Raises IntegrityError naming
    patch, file and hunk, and has then changed nothing."""
    try:
        texts = [(root / one.path, _rewritten(root / one.path, one)) for one in parse(patch.text)]
    except ValueError as error:
        raise IntegrityError(
            f"patch {patch.name} cannot be applied: {error}",
            "The patch is for another source. Make it anew for this pin, or remove it from there.",
        ) from error
    for file, content in texts:
        file.write_bytes(content)


def parse(text: str) -> tuple[Change, ...]:
    """The changes in a unified diff. Raises ValueError saying what is wrong and where.

    >>> parse("--- a/x.c\\n+++ b/x.c\\n@@ -3,2 +3,2 @@\\n same\\n-old\\n+new\\n")[0].hunks[0]
    Hunk(start=3, old=('same\\n', 'old\\n'), new=('same\\n', 'new\\n'))
    """
    lines = _lines(text)
    changes: list[Change] = []
    position = 0
    while position < len(lines):
        if lines[position].startswith(_BETWEEN):
            position += 1
            continue
        path, position = _path(lines, position), position + 2
        hunks: list[Hunk] = []
        while position < len(lines) and lines[position].startswith("@@"):
            hunk, position = _hunk(lines, position)
            hunks.append(hunk)
        if not hunks or any(change.path == path for change in changes):
            raise ValueError(f"{path} is there without a hunk, or twice")
        changes.append(Change(path=path, hunks=tuple(hunks)))
    if not changes:
        raise ValueError("it is empty")
    return tuple(changes)


def changed(lines: Sequence[str], hunks: Iterable[Hunk]) -> list[str]:
    """``lines`` after the hunks. Raises ValueError for the first that does not fit."""
    result: list[str] = []
    done = 0
    for number, hunk in enumerate(hunks, 1):
        first = hunk.start - 1 if hunk.old else hunk.start
        if first < done:
            raise ValueError(f"hunk {number} begins before the end of the one before")
        there = tuple(lines[first : first + len(hunk.old)])
        if there != hunk.old or first > len(lines):
            raise ValueError(f"hunk {number} does not fit: {_difference(first, hunk.old, there)}")
        result += [*lines[done:first], *hunk.new]
        done = first + len(hunk.old)
    return [*result, *lines[done:]]


def _rewritten(file: Path, change: Change) -> bytes:
    if not file.is_file():
        raise ValueError(f"there is no file {change.path}")
    content = file.read_bytes().decode("utf-8", "surrogateescape")
    try:
        text = "".join(changed(_lines(content), change.hunks))
    except ValueError as error:
        raise ValueError(f"{change.path}: {error}") from error
    return text.encode("utf-8", "surrogateescape")


def _lines(text: str) -> list[str]:
    """The lines with their ends: a line feed alone. A carriage return before it is part of the
    line, and the last line may have no end."""
    return list(io.StringIO(text, newline="\n"))


def _path(lines: Sequence[str], position: int) -> str:
    """The file that two lines at ``position`` name. New, removed and renamed files are refused."""
    old, new = (*lines[position : position + 2], "")[:2]
    # diff writes the time of the file behind a tab.
    path, other = (line.rstrip("\n").partition("\t")[0][6:] for line in (old, new))
    if not (old.startswith("--- a/") and new.startswith("+++ b/") and path == other):
        raise ValueError(f"line {position + 1} is not understood: {old[:60]!r}")
    try:
        return str(safe_name(path))
    except ValueError as error:
        raise ValueError(f"{path!r} {error}") from error


def _hunk(lines: Sequence[str], position: int) -> tuple[Hunk, int]:
    """The hunk whose head is at ``position``, and where it ends: its head counts its lines."""
    head = _HUNK.fullmatch(lines[position].removesuffix("\n"))
    if not head:
        raise ValueError(f"line {position + 1} is no head of a hunk: {lines[position][:60]!r}")
    wanted = int(head[2] or 1), int(head[3] or 1)
    old: list[str] = []
    new: list[str] = []
    end = position + 1
    while (len(old), len(new)) != wanted:
        mark, line = (lines[end][:1], lines[end][1:]) if end < len(lines) else ("", "")
        if mark not in tuple(" -+") or len(old) > wanted[0] or len(new) > wanted[1]:
            raise ValueError(
                f"the hunk of line {position + 1} has other lines than its head counts"
            )
        old += [line] if mark != "+" else []
        new += [line] if mark != "-" else []
        end += 1
    if old == new:
        raise ValueError(f"the hunk of line {position + 1} changes nothing")
    return Hunk(start=int(head[1]), old=tuple(old), new=tuple(new)), end


def _difference(first: int, wanted: Sequence[str], there: Sequence[str]) -> str:
    """The first line that is another one, in words."""
    for line, (old, found) in enumerate(_pairs(wanted, there), first + 1):
        if old != found:
            is_there = "the file has ended" if found is None else f"there is {found[:60]!r}"
            return f"line {line} should be {old[:60]!r}, {is_there}"
    return f"the file has no line {first + 1}"


def _pairs(wanted: Sequence[str], there: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    return zip(wanted, (*there, *[None] * (len(wanted) - len(there))), strict=True)
