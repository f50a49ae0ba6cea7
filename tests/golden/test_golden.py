from __future__ import annotations

import pytest

from llamabuild import backends, choice, plan, recipes, recordings
from llamabuild.errors import ToolMissing
from tests.golden import PAGE, PLANS, document, lines, machines, plans
from tests.unit import values


def test_plans_are_as_they_were_reviewed() -> None:
    """`make golden` writes them anew; the diff is what the review reads."""
    made = dict(plans())
    kept = {path.name: path.read_text() for path in PLANS.glob("*.txt")}
    assert made.keys() == kept.keys()
    assert [name for name in made if made[name] != kept[name]] == []


def test_the_page_is_what_is_decided() -> None:
    assert PAGE.read_text() == document(), "run `make golden`"


def test_there_are_enough_machines_and_each_says_what_it_is() -> None:
    assert len(machines()) >= 30
    for name, machine in machines().items():
        assert machine.recording.about, name


@pytest.mark.parametrize("recipe", recipes.names())
def test_no_plan_leaves_a_choice_to_the_compiler(recipe: str) -> None:
    refusals = ("UnsupportedHardware: ", "ToolMissing: ", "ConfigError: x86-64-v")
    for name, machine in machines().items():
        said = lines(machine, recipe)
        assert said[0].startswith(refusals) or any(
            line.startswith("GGML_NATIVE=False  #") for line in said
        ), name


def test_every_device_that_can_be_used_is_used_or_said_to_be_redundant() -> None:
    wanted = recipes.load("auto", tuple(backends.BACKENDS))
    for name, machine in machines().items():
        try:
            made = plan.plan(wanted, values.pin(), machine.hardware, machine.toolchain)
        except ToolMissing:
            continue
        spare = {one.what for one in choice.redundant(machine.hardware)}
        for device in machine.hardware.devices:
            known = {*made.backends, *spare}
            assert device.lacks or device.kind == "network" or device.backend in known, name


def test_auto_uses_nothing_that_has_to_be_asked_for() -> None:
    wanted = recipes.load("auto", tuple(backends.BACKENDS))
    for name, machine in machines().items():
        kinds = {one.backend: one.kind for one in machine.hardware.devices}
        for backend in choice.chosen(wanted, machine.hardware, frozenset()):
            assert kinds[backend] not in ("network", "library", "software", "weak"), name


def test_a_recorded_machine_is_read_back_as_it_was() -> None:
    for name, machine in machines().items():
        again = recordings.decode(recordings.encode(machine.recording), name)
        assert again == machine.recording
        assert recordings.replay(again) == (machine.hardware, machine.toolchain)
