"""What the catalogue knows of a build that failed, put into its error."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from llamabuild.diagnose.ranking import Cause, Diagnosis, diagnose, diagnose_text
from llamabuild.errors import BuildFailed

_SHOWN: Final = 200
"""Characters of the evidence that a message shows."""


def explained(failure: BuildFailed, log: Path, system: str) -> BuildFailed:
    """The same failure with its cause, ways out and remedy, as far as its log tells them.
    ``system`` is the operating system that the ways out are for."""
    found = Diagnosis()
    with contextlib.suppress(OSError), log.open("rb") as stream:
        found = diagnose(stream, system=system)
    if not found.causes:
        return failure
    first = found.causes[0]
    return BuildFailed(
        _message(failure, first),
        failure.hint,
        step=failure.step,
        log=failure.log,
        tail=failure.tail,
        entry=first.entry.id,
        cause=first.why,
        fix=first.fix,
        remedy=next((one.entry.remedy for one in found.causes if one.entry.remedy), ""),
    )


def way_out(words: str) -> str:
    """Why, and the best way out, in one text; empty where the catalogue knows no cause of these
    words."""
    first = diagnose_text(words).first
    if first is None or not first.entry.is_cause:
        return ""
    return " ".join((first.why, *first.fix[:1]))


def _message(failure: BuildFailed, first: Cause) -> str:
    evidence = first.evidence[:_SHOWN]
    if not first.entry.is_cause:
        return f"{failure.step} failed: {evidence}"
    return f"{failure.step} failed: {first.entry.title}: {evidence}"
