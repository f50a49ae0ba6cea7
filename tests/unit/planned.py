"""Every recipe planned on every recorded machine, and what each of these machines provides."""

from __future__ import annotations

import functools

from llamabuild import backends, plan, recipes
from llamabuild.errors import LlamabuildError
from llamabuild.host import RecordedHost
from llamabuild.matching import Provides, probe
from llamabuild.model import Plan, Toolchain
from tests.golden import machines
from tests.unit import values

NAMES = tuple(backends.BACKENDS)


def made(machine: str, recipe: str, toolchain: Toolchain | None = None) -> Plan | None:
    """A plan, or None where the machine cannot have it."""
    recorded = machines()[machine]
    wanted = recipes.load(recipe, NAMES)
    try:
        tools = toolchain or recorded.toolchain
        return plan.plan(wanted, values.pin(), recorded.hardware, tools)
    except LlamabuildError:
        return None


@functools.cache
def plans() -> dict[tuple[str, str], Plan]:
    """All plans by machine and recipe."""
    pairs = ((machine, recipe) for machine in machines() for recipe in recipes.names())
    found = ((pair, made(*pair)) for pair in pairs)
    return {pair: one for pair, one in found if one}


@functools.cache
def provides(machine: str) -> Provides:
    """What a recorded machine provides."""
    recorded = machines()[machine]
    return probe(RecordedHost(recorded.recording.machine), recorded.hardware)
