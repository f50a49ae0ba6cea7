from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import heal, lastfailure, recipes, remedies
from llamabuild.diagnose import context, entries
from llamabuild.diagnose.explaining import explained
from llamabuild.errors import BuildFailed, ConfigError, ToolMissing
from llamabuild.request import Request
from llamabuild.toolchains import canary
from tests.unit import values

OUT_OF_MEMORY = "c++: fatal error: Killed signal terminated program cc1plus\n"


def test_every_remedy_of_the_catalogue_is_known_and_every_known_one_is_used() -> None:
    named = {entry.remedy for entry in entries() if entry.remedy}
    assert named <= set(remedies.known())
    answers_a_build = {
        row.name for row in remedies.known().values() if row.same or row.change or row.options
    }
    assert answers_a_build <= named


def test_a_change_is_one_of_a_course() -> None:
    for row in remedies.known().values():
        replace(heal.Course(), **row.change)


def test_names_that_nobody_knows_are_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError) as told:
        remedies.permitted(["pray"], none=False)
    assert "'pray'" in told.value.message
    assert "fewer-jobs" in told.value.hint
    with pytest.raises(ConfigError):
        remedies.permitted(["narrowed"], none=True)


@pytest.mark.parametrize("name", [*canary.canaries(), "source-options"])
def test_a_canary_is_mended_if_that_is_permitted(name: str) -> None:
    assert remedies.permitted([name], none=False)(next(iter(canary.canaries())))
    assert not remedies.permitted([], none=True)(next(iter(canary.canaries())))
    assert remedies.ALL("anything")


def test_options_of_a_remedy_yield_to_the_recipe() -> None:
    course = heal.after_failure(
        heal.Course(),
        BuildFailed("no", step="configure", remedy="without-openmp"),
        values.plan(),
        values.toolchain(),
    )
    assert course is not None

    def decided(*flags: str) -> object:
        own = tuple(replace(course.options[0], name=one, value=True) for one in flags)
        request = Request(
            recipe=replace(recipes.load("cpu-native", ("cpu",)), flags=own),
            pin=values.pin(),
            hardware=values.hardware(),
            toolchain=values.toolchain(),
        )
        found = {flag.name: flag.value for flag in request.decide(course).flags}
        return found["GGML_OPENMP"]

    assert decided() is False
    assert decided("GGML_OPENMP") is True


def test_a_failed_build_says_why_and_what_answers_it(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    log.write_text(f"[1/9] c++ -c a.cpp\n{OUT_OF_MEMORY}ninja: build stopped\n")
    plain = BuildFailed("compile failed: x", "The full log is here", step="compile", tail="x")
    told = explained(plain, log, "linux")
    assert told.entry == "oom-compiler-killed"
    assert told.remedy == "fewer-jobs"
    assert "memory" in told.cause
    assert told.fix
    assert (told.hint, told.tail, told.step) == (plain.hint, plain.tail, plain.step)
    assert "Killed signal" in told.message


def test_a_log_that_says_nothing_changes_nothing(tmp_path: Path) -> None:
    failure = BuildFailed("compile failed: x", step="compile")
    assert explained(failure, tmp_path / "none", "linux") is failure
    (tmp_path / "log").write_text("hello\n")
    assert explained(failure, tmp_path / "log", "linux") is failure


def test_the_last_failure_is_remembered(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        lastfailure.read(tmp_path)
    lastfailure.keep(tmp_path, "llamabuild setup", ToolMissing("no compiler", "Install one."))
    last = lastfailure.read(tmp_path)
    assert (last.command, last.kind, last.exit_code) == ("llamabuild setup", "ToolMissing", 4)
    assert (last.message, last.hint, last.log) == ("no compiler", "Install one.", "")
    (tmp_path / "logs" / "last-failure.json").write_text("{")
    with pytest.raises(ConfigError, match="last-failure"):
        lastfailure.read(tmp_path)


def test_a_cache_that_cannot_be_written_does_not_hide_the_failure(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    lastfailure.keep(tmp_path, "llamabuild setup", ToolMissing("no compiler"))


def test_this_machine_is_told_of_what_an_entry_is_about() -> None:
    for entry in entries():
        found = context.facts(entry, values.hardware(), values.toolchain())
        assert all(found)
        assert len(set(found)) == len(found)
