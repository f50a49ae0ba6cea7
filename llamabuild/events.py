"""What a run can say, as a closed union.

Logic calls ``emit(event)``; reporters decide how an event looks. Events are the log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """A step begins: ``name`` is one word ("build"), ``title`` is for people."""

    name: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded:
    """A step ended well. ``detail`` is a short result."""

    name: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """A step failed; the run may go on with a remedy."""

    name: str
    seconds: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a step is: ``done`` of ``total`` in ``unit`` ("B" for bytes, else things)."""

    name: str
    done: int
    total: int
    unit: str
    remaining: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """A fact worth saying, in one line."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something that the user should know, and what to do about it."""

    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Healed:
    """A remedy was applied: its name and the reason."""

    remedy: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLine:
    """One line of a tool's output (kept in full in the build log)."""

    step: str
    line: str


Event: TypeAlias = (
    StepStarted | StepEnded | StepFailed | Progress | Noticed | Warned | Healed | OutputLine
)
Emit: TypeAlias = Callable[[Event], None]


def silent(event: Event) -> None:
    """An ``emit`` that tells nobody."""
