"""What a check is asked about, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llamabuild.errors import LlamabuildError, ToolMissing
from llamabuild.host import Host
from llamabuild.model import Hardware, Pin, Toolchain

STATES: Final = ("problem", "warning", "note", "ok", "absent")
"""The gravest first. A problem keeps something from working, a warning makes it slower, less or
wrong in some cases, a note is worth knowing, and what is absent asks for nothing."""
BUILD: Final = "build"
"""The word in ``blocks`` for every build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found: one of :data:`STATES`, ``why`` in one line, and what to do ``next``.

    ``entries`` are the failures of the catalogue that are to be expected from it, and ``blocks``
    what cannot work because of it: names of back-ends, or :data:`BUILD`.
    """

    check: str
    state: str
    why: str
    next: str = ""
    entries: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything that a check may look at."""

    hardware: Hardware
    toolchain: Toolchain
    host: Host
    cache: Path
    pin: Pin

    @property
    def system(self) -> str:
        """The operating system: "linux", "macos" or "windows"."""
        return self.hardware.os


Look = Callable[[Situation], Iterable[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing to look at. ``look`` gives what is not as it should be, or not here; where it gives
    nothing, all is well and ``fine`` is said. ``quick`` is True when no process is started, so that
    it can be done before every build; ``error`` is what a build ends with that it blocks."""

    name: str
    title: str
    fine: str
    look: Look
    quick: bool = True
    error: type[LlamabuildError] = ToolMissing


def gravest(findings: Iterable[Finding]) -> str:
    """The state that counts of several findings.

    >>> gravest([Finding(check="a", state="ok", why=""), Finding(check="b", state="note", why="")])
    'note'
    """
    return min((one.state for one in findings), key=STATES.index, default="ok")


def problem(check: str, why: str, step: str, *entries: str, blocks: Iterable[str] = ()) -> Finding:
    """Something does not work because of this."""
    return Finding(
        check=check, state="problem", why=why, next=step, entries=entries, blocks=tuple(blocks)
    )


def warning(check: str, why: str, step: str, *entries: str, blocks: Iterable[str] = ()) -> Finding:
    """Something is slower, less, or wrong in some cases."""
    return Finding(
        check=check, state="warning", why=why, next=step, entries=entries, blocks=tuple(blocks)
    )


def note(check: str, why: str, step: str = "", *entries: str) -> Finding:
    """Worth knowing."""
    return Finding(check=check, state="note", why=why, next=step, entries=entries)


def absent(check: str, why: str, step: str = "") -> Finding:
    """Not here, and nothing to do."""
    return Finding(check=check, state="absent", why=why, next=step)


def ok(check: str, why: str) -> Finding:
    """As it should be."""
    return Finding(check=check, state="ok", why=why)
