"""Which results answer a request at all, whatever they run on: those that the user could have meant
by it. Pure.

:func:`group` is what has to be equal and can be looked up; :func:`differs` is the rest. The flags
that may differ are data (``reuse.toml``).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from llamabuild import data, digest, pins
from llamabuild.audit.planned import architecture, planned, variants
from llamabuild.backends.cpu_table import extensions, march, never
from llamabuild.model import Plan
from llamabuild.plan import KEY_VERSION

_FLAGS: Final[dict[str, dict[str, Any]]] = {
    row["name"]: row for row in data.load(data.package("matching/reuse.toml"))["flag"]
}


def group(plan: Plan) -> str:
    """A hash of what is equal in all results that may stand for one another: source, system,
    processor architecture, kind of C library, back-ends and targets."""
    return digest.of_value(_sort(plan))


def differs(wanted: Plan, kept: Plan) -> tuple[str, ...]:
    """Why what was made by the plan ``kept`` is no answer to ``wanted``, one sentence each; empty
    when it is one."""
    mine, other = _sort(wanted), _sort(kept)
    return (
        *(f"{name}: {mine[name]} wanted, {other[name]} kept" for name in _unequal(mine, other)),
        *_flags(wanted, kept),
        *_cpu(wanted, kept),
    )


def losses(wanted: Plan, kept: Plan) -> tuple[str, ...]:
    """What one goes without by taking ``kept``, beside speed."""
    mine, other = values(wanted), values(kept)
    rows = ((row, row.get("loss", "")) for row in _FLAGS.values())
    return tuple(
        loss
        for row, loss in rows
        if loss and mine.get(row["name"]) is True and other.get(row["name"]) is False
    )


@cache
def may_differ(arch: str) -> frozenset[str]:
    """The flags that follow from a machine: those of the table, and the instruction set's."""
    taken_together = march(arch)
    return frozenset(
        (
            *_FLAGS,
            *(row.option for row in extensions(arch) if row.option),
            *(taken_together.options if taken_together else ()),
            *(row.option for row in never(arch)),
        )
    )


def values(plan: Plan) -> dict[str, bool | str]:
    """A plan's flags by name."""
    return {flag.name: flag.value for flag in plan.flags}


def word(value: object) -> str:
    """A flag's value as people write it.

    >>> word(True), word("80-real"), word(None), word("")
    ('ON', '80-real', 'not set', 'empty')
    """
    known = {True: "ON", False: "OFF", None: "not set", "": "empty"}
    return known.get(value, str(value)) if isinstance(value, bool | str | None) else str(value)


def _sort(plan: Plan) -> dict[str, str | list[str]]:
    return {
        "way of building": str(KEY_VERSION),
        "source": pins.identity(plan.pin),
        "system": plan.system,
        "architecture": architecture(plan),
        "C library": plan.sysroot.partition(" ")[0],
        "back-ends": sorted(plan.backends),
        "targets": sorted(plan.targets),
    }


def _unequal(mine: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [name for name in mine | other if mine.get(name) != other.get(name)]


def _flags(wanted: Plan, kept: Plan) -> Iterator[str]:
    """Flags that are the user's intention; all that a recipe asked for by name are."""
    free = may_differ(architecture(wanted)) - {*wanted.asked, *kept.asked}
    mine, other = values(wanted), values(kept)
    for name in _unequal(mine, other):
        if name not in free:
            yield f"{name}: {word(mine.get(name))} wanted, {word(other.get(name))} kept"


def _cpu(wanted: Plan, kept: Plan) -> Iterator[str]:
    """A result for many machines is not replaced by one for this machine, nor one of them by the
    other; and what a recipe does without stays out."""
    if wanted.cpu not in ("native", kept.cpu):
        yield f"cpu: {wanted.cpu} wanted, {kept.cpu} kept"
    arch = architecture(kept)
    features = {name for _, file in variants(kept) for name in planned(kept, file, arch)}
    for name in wanted.without:
        if name in features.union(kept.cpu_features):
            yield f"{name}: the recipe does without it, and it is in what is kept"
