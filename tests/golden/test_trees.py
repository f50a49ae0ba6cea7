"""Every flag name for every recorded machine exists in the llama.cpp tree that it is for."""

from __future__ import annotations

import pytest

from llamabuild import backends, plan, recipes
from llamabuild.errors import ConfigError, ToolMissing, UnsupportedHardware
from llamabuild.options import PREFIXES
from tests import trees
from tests.golden import machines
from tests.unit import values


@pytest.mark.parametrize("version", trees.versions())
def test_every_name_exists_in_the_tree_that_it_is_for(version: str) -> None:
    options = trees.options(version)
    rendered = 0
    refusals = []
    levels: set[tuple[str, str]] = set()
    for name, machine in machines().items():
        for recipe in recipes.names():
            wanted = recipes.load(recipe, tuple(backends.BACKENDS))
            try:
                made = plan.plan(wanted, values.pin(), machine.hardware, machine.toolchain)
            except (ToolMissing, UnsupportedHardware):  # the golden plans show the reasons
                continue
            except ConfigError as error:
                levels.add((error.message, machine.hardware.arch))
                continue
            try:
                said, _ = plan.in_words_of(options, made, machine.hardware.arch, lambda _: True)
            except (UnsupportedHardware, ConfigError) as error:
                refusals.append(error.message)
                continue
            rendered += 1
            for flag in said.flags:
                known = options.knows(flag.name) or not flag.name.startswith(PREFIXES)
                assert known, (name, recipe, flag.name)
    assert all(one.endswith(f"no microarchitecture level of {arch}") for one, arch in levels)
    assert rendered > len(machines())
    assert not (refusals and version == trees.NEWEST)
    assert [one for one in refusals if "has no" not in one and "cannot be built" not in one] == []


def test_for_the_newest_tree_nothing_is_changed() -> None:
    options = trees.options(trees.NEWEST)
    wanted = recipes.load("auto", tuple(backends.BACKENDS))
    for machine in machines().values():
        try:
            made = plan.plan(wanted, values.pin(), machine.hardware, machine.toolchain)
        except ToolMissing:
            continue
        assert plan.in_words_of(options, made, machine.hardware.arch, lambda _: True) == (made, ())
