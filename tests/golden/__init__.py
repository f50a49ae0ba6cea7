"""Golden plans: recorded machines × recipes, as text that a review can read.

A machine has one file: the whole plan of recipe ``auto``, then for every other recipe what is
different from it, or why there is none.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llamabuild import backends, choice, plan, recipes, recordings
from llamabuild.errors import LlamabuildError
from llamabuild.model import Hardware, Toolchain
from tests.golden import page
from tests.unit import values

MACHINES = Path(__file__).resolve().parent.parent / "machines"
PLANS = Path(__file__).resolve().parent / "plans"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "machines.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A recorded machine, and what a probe of it gives today."""

    recording: recordings.Recording
    hardware: Hardware
    toolchain: Toolchain


@functools.cache
def machines() -> dict[str, Machine]:
    """Every recorded machine by name."""
    found = {}
    for path in sorted(MACHINES.glob("*.json")):
        recording = recordings.read(path)
        hardware, toolchain = recordings.replay(recording)
        found[path.stem] = Machine(recording=recording, hardware=hardware, toolchain=toolchain)
    return found


def plans() -> Iterator[tuple[str, str]]:
    """File name and text of every golden file."""
    for name, machine in machines().items():
        yield f"{name}.txt", text(machine)


def text(machine: Machine) -> str:
    """All plans of a machine."""
    first = lines(machine, "auto")
    parts = ["== auto", *first]
    for recipe in recipes.names():
        if recipe != "auto":
            mine = lines(machine, recipe)
            parts += ["", f"== {recipe}"]
            parts += [f"- {line}" for line in first if line not in mine]
            parts += [f"+ {line}" for line in mine if line not in first]
    return "\n".join(parts) + "\n"


def lines(machine: Machine, recipe: str) -> list[str]:
    """A plan, or why there is none, in lines."""
    wanted = recipes.load(recipe, tuple(backends.BACKENDS))
    try:
        made = plan.plan(wanted, values.pin(), machine.hardware, machine.toolchain)
    except LlamabuildError as error:
        return [f"{type(error).__name__}: {error.message}", f"  {error.hint}"]
    return [
        made.fingerprint,
        f"compiler: {made.compiler.family} {made.compiler.version}",
        *(f"remedy: {remedy.name}: {remedy.why}" for remedy in made.remedies),
        *(f"{one.source}: {' '.join(one.options)}" for one in made.source_options),
        *(f"left out: {name}" for name in made.left_out),
        *(f"not used: {one.what}: {one.why}" for one in made.absent if one.seen),
        *(f"{flag.name}={flag.value}  # {flag.why}" for flag in made.flags),
    ]


def document() -> str:
    """``docs/machines.md``."""
    return page.page({name: _entry(one) for name, one in machines().items()})


def _entry(machine: Machine) -> page.Entry:
    wanted = recipes.load("auto", tuple(backends.BACKENDS))
    try:
        made = plan.plan(wanted, values.pin(), machine.hardware, machine.toolchain)
        why = ""
    except LlamabuildError as error:
        made, why = None, f"{error.message}. {error.hint}"
    return page.Entry(
        about=machine.recording.about,
        sources=machine.recording.sources,
        hardware=machine.hardware,
        plan=made,
        why_not=why,
        redundant=choice.redundant(machine.hardware),
    )
