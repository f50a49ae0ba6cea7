"""Golden plans: recorded machines × recipes, the whole plan as text that a review can read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from llamabuild import backends, plan, recipes
from llamabuild.errors import LlamabuildError
from llamabuild.model import Hardware, Toolchain
from tests.unit import values

MACHINES = Path(__file__).resolve().parent.parent / "machines"
PLANS = Path(__file__).resolve().parent / "plans"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A recorded machine: what the probe of it gave."""

    hardware: Hardware
    toolchain: Toolchain


def machines() -> Iterator[tuple[str, Machine]]:
    """Every recorded machine by name."""
    for path in sorted(MACHINES.glob("*.json")):
        yield path.stem, msgspec.json.decode(path.read_bytes(), type=Machine)


def plans() -> Iterator[tuple[str, str]]:
    """File name and text of every golden plan."""
    for name, machine in machines():
        for recipe in recipes.names():
            yield f"{name}--{recipe}.txt", text(machine, recipe)


def text(machine: Machine, recipe: str) -> str:
    """A plan, or why there is none, in lines."""
    wanted = recipes.load(recipe, tuple(backends.BACKENDS))
    try:
        made = plan.plan(wanted, values.pin(), machine.hardware, machine.toolchain)
    except LlamabuildError as error:
        return f"{type(error).__name__}: {error.message}\n  {error.hint}\n"
    lines = [made.fingerprint, f"compiler: {made.compiler.family} {made.compiler.version}"]
    lines += [f"remedy: {remedy.name}: {remedy.why}" for remedy in made.remedies]
    lines += [f"{one.source}: {' '.join(one.options)}" for one in made.source_options]
    lines += [f"left out: {name}" for name in made.left_out]
    lines += [f"{flag.name}={flag.value}  # {flag.why}" for flag in made.flags]
    return "\n".join(lines) + "\n"
