"""Two machines and their plans, side by side: only what differs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llamabuild.model import Hardware, Plan
from llamabuild.report import words
from llamabuild.report.table import table
from llamabuild.report.words import clean


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A machine and what would be built on it."""

    name: str
    hardware: Hardware
    plan: Plan


def compare(one: Side, other: Side) -> str:
    """What differs between two machines and their plans, and why each is as it is."""
    rows = [row for row in _facts(one, other) if row[1] != row[2]]
    flags = list(_flags(one.plan, other.plan))
    parts = []
    if rows:
        parts.append(table(rows, ("", one.name, other.name)))
    if flags:
        parts.append(table(flags, ("flag", "", "value and why")))
    return "\n\n".join(parts) or f"{one.name} and {other.name} get the same build."


def _facts(one: Side, other: Side) -> Iterable[tuple[str, str, str]]:
    for title, left, right in (
        ("machine", _machine(one.hardware), _machine(other.hardware)),
        ("CPU", one.hardware.cpu.name, other.hardware.cpu.name),
        ("CPU features", *_only(one.plan.cpu_features, other.plan.cpu_features)),
        ("devices", _devices(one.hardware), _devices(other.hardware)),
        ("back-ends", ", ".join(one.plan.backends), ", ".join(other.plan.backends)),
        ("compiler", _compiler(one.plan), _compiler(other.plan)),
        ("made for", one.plan.fingerprint, other.plan.fingerprint),
    ):
        yield title, clean(left), clean(right)


def _machine(hardware: Hardware) -> str:
    return " ".join(filter(None, (hardware.os, hardware.arch, hardware.libc)))


def _only(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, str]:
    """What each has and the other has not."""
    left = [f"+{name}" for name in one if name not in other]
    right = [f"+{name}" for name in other if name not in one]
    return " ".join(left), " ".join(right)


def _devices(hardware: Hardware) -> str:
    named = (
        f"{one.name} ({' '.join(filter(None, (one.backend, one.architecture)))})"
        for one in hardware.devices
        if one.backend != "cpu" and not one.lacks
    )
    return ", ".join(named) or "none"


def _compiler(plan: Plan) -> str:
    return f"{plan.compiler.family} {plan.compiler.version}"


def _flags(one: Plan, other: Plan) -> Iterable[tuple[str, str, str]]:
    """Two lines for each flag that differs: the value here and there, with its reason."""
    left = {flag.name: flag for flag in one.flags}
    right = {flag.name: flag for flag in other.flags}
    for name in dict.fromkeys((*left, *right)):
        mine, theirs = left.get(name), right.get(name)
        if mine and theirs and mine.value == theirs.value:
            continue
        for mark, flag in (("-", mine), ("+", theirs)):
            said = f"{words.setting(flag.value)}  {clean(flag.why)}" if flag else "not set"
            yield (name if mark == "-" else ""), mark, said
