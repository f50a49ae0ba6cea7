"""What is wanted, and of which machine: a request becomes a plan. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from llamabuild import heal, plan
from llamabuild.events import Emit
from llamabuild.host import Host
from llamabuild.model import Build, Hardware, Pin, Plan, Proof, Recipe, Tool, Toolchain

if TYPE_CHECKING:
    from llamabuild.trees import Tree

Prove = Callable[[Build, Path, Host, Emit], Proof]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is wanted, and the machine it is wanted on: this one, or another (``elsewhere``), whose
    programs ``runner`` runs here where they would not run by themselves. A recipe for a level that
    this one lacks is for others too. ``compiler_cache`` is used
    if it works. ``tree`` is a llama.cpp of the user's choice. ``prove`` is None for the proof that
    users get."""

    recipe: Recipe
    pin: Pin
    hardware: Hardware
    toolchain: Toolchain
    prove: Prove | None = None
    elsewhere: bool = False
    runner: tuple[str, ...] = ()
    compiler_cache: Tool | None = None
    tree: Tree | None = None

    def decide(self, course: heal.Course) -> Plan:
        """The plan on a course of healing."""
        decided = plan.plan(
            self.recipe,
            self.pin,
            self.hardware,
            self.toolchain,
            without=course.without,
            compiler=course.compiler,
            healed=course.remedies,
        )
        if self.tree:
            decided = self.tree.render(decided, self.hardware.arch)[0]
        return replace(decided, runner=self.runner)
