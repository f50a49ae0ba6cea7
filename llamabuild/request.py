"""What is wanted, and of which machine: a request becomes a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from llamabuild import elsewhere, heal, plan, provide
from llamabuild.backends import cpu
from llamabuild.elsewhere import Target
from llamabuild.events import Emit
from llamabuild.host import Host
from llamabuild.model import Build, Hardware, Pin, Plan, Proof, Recipe, Tool, Toolchain
from llamabuild.provide import Means
from llamabuild.remedies import ALL, Permitted

if TYPE_CHECKING:
    from llamabuild.trees import Tree

Prove = Callable[[Build, Path, Host, Emit], Proof]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is wanted, and the machine it is wanted on: this one, or another (``elsewhere``), whose
    programs ``runner`` runs here where they would not run by themselves. A recipe for a level that
    this one lacks is for others too. ``compiler_cache`` is used
    if it works. ``tree`` is a llama.cpp of the user's choice. ``prove`` is None for the proof that
    users get. ``permitted`` says which remedies may be tried."""

    recipe: Recipe
    pin: Pin
    hardware: Hardware
    toolchain: Toolchain
    prove: Prove | None = None
    elsewhere: bool = False
    runner: tuple[str, ...] = ()
    compiler_cache: Tool | None = None
    tree: Tree | None = None
    permitted: Permitted = ALL

    def decide(self, course: heal.Course) -> Plan:
        """The plan on a course of healing. What a recipe says itself is not changed by it."""
        own = {flag.name for flag in self.recipe.flags}
        more = tuple(flag for flag in course.options if flag.name not in own)
        decided = plan.plan(
            replace(self.recipe, flags=(*more, *self.recipe.flags)),
            self.pin,
            self.hardware,
            self.toolchain,
            without=course.without,
            compiler=course.compiler,
            healed=course.remedies,
            permitted=self.permitted,
        )
        if self.tree:
            decided = self.tree.render(decided, self.hardware.arch)[0]
        return replace(decided, runner=self.runner)


def requested(
    recipe: Recipe, pin: Pin, target: Target | None, means: Means, proof: Prove | None
) -> Request:
    """What is wanted, with the machine that it is wanted on: this one, or the ``target``. Fetches
    the tools that are missing for it. Raises what looking and fetching raise."""
    if target is None:
        hardware, toolchain = provide.look(recipe, means)
        return Request(
            recipe=recipe,
            pin=pin,
            hardware=hardware,
            toolchain=toolchain,
            prove=proof,
            elsewhere=bool(cpu.lacking(recipe.cpu, hardware.arch, hardware.cpu.features)),
        )
    found = _look_elsewhere(recipe, target, means)
    if found.doubt:
        means.emit(found.doubt)
    return Request(
        recipe=replace(recipe, flags=(*found.flags, *recipe.flags)),
        pin=pin,
        hardware=found.hardware,
        toolchain=found.toolchain,
        prove=proof,
        elsewhere=True,
        runner=found.runner,
    )


def _look_elsewhere(recipe: Recipe, target: Target, means: Means) -> elsewhere.Found:
    """Another machine and the tools of this one, with those that had to be brought along."""
    machine = target.machine.machine
    provide.compiler_for(machine.os, machine.arch, means)
    found = elsewhere.look(target, host=means.host, cache=means.cache, asked=means.asked)
    if better := provide.equip(recipe, found.hardware, found.toolchain, means):
        return elsewhere.look(target, host=better, cache=means.cache, asked=means.asked)
    return found
