"""What a log shows, as a page and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llamabuild.diagnose import Cause, Diagnosis
from llamabuild.lastfailure import LastFailure
from llamabuild.remedies import Known
from llamabuild.report.table import table
from llamabuild.report.words import clean

_CHECK = "check: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A diagnosis, with what this machine has of what the first cause is about (``facts``), the
    command that installs what it lacks, the failure that was asked about, and the report that was
    prepared."""

    found: Diagnosis
    facts: tuple[str, ...] = ()
    install: str = ""
    last: LastFailure | None = None
    report: str = ""


def page(told: Told) -> str:
    """The likeliest cause first and whole, the others in a line each."""
    parts = []
    if told.last:
        parts += [f"`{told.last.command}` ended with: {clean(told.last.message)}", ""]
    found = told.found
    if found.first:
        parts += _cause(found.first, told)
        parts += _others([one for one in (*found.causes, *found.wrappers) if one != found.first])
    elif told.last:
        parts += [f"next: {clean(told.last.hint)}"] if told.last.hint else []
    if found.error and not told.last:
        parts += ["", *_unknown(told)] if found.first else _unknown(told)
    return "\n".join(parts) or "Nothing in this log looks like a failure."


def _cause(first: Cause, told: Told) -> list[str]:
    entry = first.entry
    rows = [
        (f"line {first.line}", clean(first.evidence)),
        ("why", clean(first.why)),
        *(("here", clean(one)) for one in told.facts),
        *(("mend" if n == 0 else "", clean(one)) for n, one in enumerate(_fixes(first, told))),
        *([("llamabuild", clean(entry.ours))] if entry.ours else []),
        *_before(first),
    ]
    return [f"{clean(entry.title)} ({entry.id})", table(rows)]


def _fixes(first: Cause, told: Told) -> Iterator[str]:
    if told.install:
        yield told.install
    yield from first.fix


def _before(first: Cause) -> Iterator[tuple[str, str]]:
    entry = first.entry
    if entry.remedy:
        yield "by itself", f"`llamabuild setup` answers this with the remedy {entry.remedy}"
    if entry.prevented.startswith(_CHECK):
        name = entry.prevented.removeprefix(_CHECK)
        yield "before", f"`llamabuild doctor {name}` looks for this"


def _others(causes: Sequence[Cause]) -> list[str]:
    if not causes:
        return []
    rows = [(f"line {one.line}", f"{clean(one.entry.title)} ({one.entry.id})") for one in causes]
    return ["", "Also seen:", table(rows)]


def _unknown(told: Told) -> list[str]:
    error = told.found.error
    assert error is not None
    lines = [f"{error.first + n:>8}  {clean(line)}" for n, line in enumerate(error.around)]
    why = "It failed, and the catalogue does not know why. The first real error is in line"
    parts = [f"{why} {error.line}:", "", *lines]
    if told.report:
        parts += ["", f"A report without secrets and personal paths: {told.report}"]
        parts += ["Read it before you send it to anybody."]
    return parts


def as_json(told: Told) -> dict[str, Any]:
    """The same for programs: ``verdict`` is "cause", "class" (what kind of failure it is),
    "wrapper" (another tool failed before), "unknown" or "none"."""
    found = told.found
    return {
        "verdict": _verdict(found),
        "causes": [_cause_json(one) for one in found.causes],
        "wrappers": [_cause_json(one) for one in found.wrappers],
        "error": found.error,
        "here": told.facts,
        "install": told.install,
        "last": told.last,
        "report": told.report,
    }


def _verdict(found: Diagnosis) -> str:
    if found.causes:
        return "cause" if found.causes[0].entry.is_cause else "class"
    if found.wrappers:
        return "wrapper"
    return "unknown" if found.error else "none"


def _cause_json(one: Cause) -> dict[str, Any]:
    entry = one.entry
    return {
        "id": entry.id,
        "title": entry.title,
        "stage": entry.stage,
        "backends": entry.backends,
        "rank": entry.rank,
        "line": one.line,
        "evidence": one.evidence,
        "cause": one.why,
        "fix": one.fix,
        "ours": entry.ours,
        "prevented": entry.prevented,
        "remedy": entry.remedy,
        "source": entry.source,
    }


def remedies_page(rows: Sequence[Known]) -> str:
    """What llamabuild tries by itself: the name, when, and what it does."""
    return table([(one.name, f"{one.when}: {one.does}") for one in rows])
