"""Checks: what would make a build fail, or llama.cpp run worse, seen before it does.

Each check looks at one thing and answers with findings; what is known of failures (their causes and
remedies) is in the catalogue of :mod:`llamabuild.diagnose`, whose entries name the check that
prevents them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from llamabuild.checks.findings import BUILD, STATES, Check, Finding, Situation, gravest, ok
from llamabuild.checks.table import CHECKS
from llamabuild.errors import ConfigError
from llamabuild.events import Emit, Warned

__all__ = [
    "BUILD",
    "CHECKS",
    "STATES",
    "Check",
    "Checked",
    "Finding",
    "Situation",
    "before_build",
    "for_build",
    "gravest",
    "run",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A check, what it found, and how long it took in seconds."""

    check: Check
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def state(self) -> str:
        """The gravest of its findings' states."""
        return gravest(self.findings)


def run(situation: Situation, names: Sequence[str] = ()) -> tuple[Checked, ...]:
    """What the checks of these names (all, where none is given) find, in their order. Those that
    wait for a child run at the same time.

    Raises ConfigError for a name that is no check's.
    """
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        raise ConfigError(f"there is no check {unknown[0]!r}", f"Checks: {', '.join(CHECKS)}.")
    chosen = [one for one in CHECKS.values() if not names or one.name in names]
    slow = [one for one in chosen if not one.quick]
    with ThreadPoolExecutor(max_workers=len(slow) or 1) as pool:
        waiting = {one.name: pool.submit(_checked, one, situation) for one in slow}
        quick = {one.name: _checked(one, situation) for one in chosen if one.quick}
        done = {**quick, **{name: one.result() for name, one in waiting.items()}}
    return tuple(done[one.name] for one in chosen)


def _checked(check: Check, situation: Situation) -> Checked:
    started = time.monotonic()
    found = tuple(check.look(situation)) or (ok(check.name, check.fine),)
    return Checked(check=check, findings=found, seconds=time.monotonic() - started)


def for_build(situation: Situation, backends: Sequence[str]) -> tuple[Finding, ...]:
    """The problems and warnings that concern a build with these back-ends, without a process: of
    back-ends that it does not have nothing is told."""
    concerned = {BUILD, *backends}
    found = (one for check in CHECKS.values() if check.quick for one in check.look(situation))
    return tuple(
        one
        for one in found
        if one.state in ("problem", "warning") and concerned & {*(one.blocks or concerned)}
    )


def before_build(situation: Situation, backends: Sequence[str], emit: Emit) -> None:
    """Stop before a build that cannot end well, and warn of what may spoil it.

    Raises the error that the build would have ended with, with its reason and the next step.
    """
    for one in for_build(situation, backends):
        if one.state == "problem" and one.blocks:
            raise CHECKS[one.check].error(one.why, one.next)
        emit(Warned(message=f"{one.check}: {one.why}", hint=one.next))
