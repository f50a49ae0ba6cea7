"""What is missing: what is there in part first, with the step that would change it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llamabuild import backends
from llamabuild.model import Absence
from llamabuild.report.table import table
from llamabuild.report.words import clean


def not_here(far: Iterable[Absence]) -> str:
    """What is simply not there, in one line."""
    return f"Not here: {', '.join(dict.fromkeys(one.what for one in far))}"


def near_and_far(absences: Iterable[Absence]) -> tuple[list[Absence], list[Absence]]:
    """What is there in part, or is no accelerator, and what is simply not there."""
    near: list[Absence] = []
    far: list[Absence] = []
    for one in absences:
        (near if one.seen or one.what not in backends.BACKENDS else far).append(one)
    return near, far


def listed(title: str, absences: Sequence[Absence]) -> list[str]:
    """Absences below a title, each with its reason and the next step; nothing for none."""
    if not absences:
        return []
    rows = []
    for one in absences:
        rows.append((one.what, clean(one.why)))
        if one.hint:
            rows.append(("", f"next: {clean(one.hint)}"))
    return ["", f"{title}:", table(rows)]
