"""Rank: of all that a log shows, what counts."""

from __future__ import annotations

import io
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from llamabuild.diagnose import errors, scanning
from llamabuild.diagnose.catalogue import WRAPPER, Entry
from llamabuild.diagnose.errors import FirstError
from llamabuild.diagnose.scanning import MOST, Sight
from llamabuild.diagnose.text import unwrapped

_UNWRAPPED: Final = 4 << 20
"""Bytes of a log that may have been wrapped by a terminal: nobody copies more from one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """An entry that a log shows, where, and its texts with what the log named put in."""

    entry: Entry
    line: int
    evidence: str
    why: str
    fix: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What a log shows: ``causes``, the likeliest first; what tools said after another one had
    failed (``wrappers``); and where nothing is known, the first real ``error``, if there is one."""

    causes: tuple[Cause, ...] = ()
    wrappers: tuple[Cause, ...] = ()
    error: FirstError | None = None

    @property
    def first(self) -> Cause | None:
        """The likeliest cause, else the wrapper that at least says which tool failed."""
        return next(iter((*self.causes, *self.wrappers)), None)

    @property
    def clean(self) -> bool:
        """True for a log in which nothing looks like a failure."""
        return not (self.causes or self.wrappers or self.error)


def diagnose_text(text: str | bytes, *, system: str = "", plain: bool = False) -> Diagnosis:
    """:func:`diagnose` for a text in memory."""
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    return diagnose(io.BytesIO(data), system=system, plain=plain)


def diagnose(stream: BinaryIO, *, system: str = "", plain: bool = False) -> Diagnosis:
    """What the log in a seekable stream shows. ``system`` (linux, macos, windows) chooses the
    fixes; ``plain`` does without google-re2."""
    start = stream.tell()
    watch = errors.Watch()
    sights = scanning.scan(stream, plain=plain, watch=watch.look)
    if not any(sight.entry.is_cause for sight in sights):
        sights = _wrapped(stream, start, plain=plain) or sights
    ranked = [_cause(sight, system) for sight in ordered(sights)]
    causes = tuple(one for one in ranked if one.entry.rank > WRAPPER)
    wrappers = tuple(one for one in ranked if one.entry.rank <= WRAPPER)
    error = None if causes else watch.error
    return Diagnosis(causes=causes[:MOST], wrappers=wrappers, error=error)


def ordered(sights: Sequence[Sight]) -> list[Sight]:
    """The highest rank first, then the earliest. Classes of failures are told only where no cause
    is, and of what stands on one line only the best."""
    by_rank = sorted(sights, key=lambda sight: (-sight.entry.rank, sight.line))
    known = any(sight.entry.is_cause for sight in by_rank)
    kept: list[Sight] = []
    lines: set[int] = set()
    for sight in by_rank:
        vague = sight.entry.rank > WRAPPER and not sight.entry.is_cause
        if sight.line in lines or (known and vague):
            continue
        lines.add(sight.line)
        kept.append(sight)
    return kept


def _wrapped(stream: BinaryIO, start: int, *, plain: bool) -> list[Sight]:
    """What shows when the lines that a terminal broke are joined, if it is a cause."""
    stream.seek(start)
    text = stream.read(_UNWRAPPED + 1)
    joined = unwrapped(text.replace(b"\r\n", b"\n")) if len(text) <= _UNWRAPPED else None
    if joined is None:
        return []
    sights = scanning.scan(io.BytesIO(joined), plain=plain)
    return sights if any(sight.entry.is_cause for sight in sights) else []


def _cause(sight: Sight, system: str) -> Cause:
    entry = sight.entry
    fix = getattr(entry, f"fix_{entry.where(system)}", ()) or entry.fix
    return Cause(
        entry=entry,
        line=sight.line,
        evidence=sight.evidence,
        why=filled(entry.cause, sight.groups),
        fix=tuple(filled(one, sight.groups) for one in fix),
    )


class _Gaps(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return f"<{name}>"


def filled(text: str, groups: Mapping[str, str]) -> str:
    """A text with the named groups put in; what was not found keeps its name in angle brackets.

    >>> filled("GPU {arch}, nvcc {version}", {"arch": "sm_120"})
    'GPU sm_120, nvcc <version>'
    """
    known = _Gaps({name: value for name, value in groups.items() if value})
    return string.Formatter().vformat(text, (), known)
