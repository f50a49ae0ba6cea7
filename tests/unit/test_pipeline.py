from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import backends, elsewhere, heal, kits, plan, provide, recipes, recordings
from llamabuild.attempts import Request
from llamabuild.errors import ToolMissing, UnsupportedHardware
from llamabuild.events import Event, Warned
from llamabuild.host import Finished
from llamabuild.model import Kit, Plan, Recipe
from llamabuild.provide import Means
from llamabuild.proving import prove_in
from llamabuild.request import requested
from tests.unit import values
from tests.unit.recorded import RecordedHost
from tests.unit.test_cross import BINARIES, DEBIAN, SAID

MACHINES = Path(__file__).resolve().parents[1] / "machines"
QEMU = "/usr/bin/qemu-aarch64-static"
EMULATED = ("-L", "/usr/aarch64-linux-gnu", "-cpu", "max")


def host() -> RecordedHost:
    """An x86-64 machine with a cross compiler and an emulator for AArch64."""
    programs = {name: f"/usr/bin/{name}" for name in (*BINARIES, "qemu-aarch64-static")}
    said: dict[str, Finished | str] = {
        QEMU: Finished(code=7, out="", err=""),
        "program.c": "",
        "-print-sysroot": "/\n",
        **SAID,
    }
    files = {**DEBIAN, "/usr/aarch64-linux-gnu/lib/libc.so.6": ""}
    return RecordedHost(programs=programs, files=files, answers=said)


def target(name: str, runner: str = "") -> elsewhere.Target:
    return elsewhere.Target(machine=recordings.read(MACHINES / f"{name}.json"), runner=runner)


def recipe(name: str = "cpu-native") -> Recipe:
    return recipes.load(name, tuple(backends.BACKENDS))


def request(
    machine: str, cache: Path, told: list[Event], *, wanted: str = "cpu-native", runner: str = ""
) -> Request:
    means = Means(asked="auto", host=host(), cache=cache, emit=told.append)
    return requested(recipe(wanted), values.pin(), target(machine, runner), means, prove_in)


def decided(machine: str, cache: Path, wanted: str = "cpu-native", runner: str = "") -> Plan:
    return request(machine, cache, [], wanted=wanted, runner=runner).decide(heal.Course())


def values_of(made: Plan, names: Sequence[str]) -> list[bool | str]:
    flags = {flag.name: flag.value for flag in made.flags}
    return [flags[name] for name in names]


def test_a_foreign_machine_is_planned_for_with_the_tools_that_are_here(tmp_path: Path) -> None:
    made = decided("qemu-aarch64-max", tmp_path)
    assert made.fingerprint == "linux-aarch64-glibc2.36-armv8-a-dotprod-fp16-sve-i8mm-sve2"
    assert made.compiler.cxx == "/usr/bin/aarch64-linux-gnu-g++"
    assert made.runner == (QEMU, *EMULATED)
    names = ("CMAKE_SYSTEM_NAME", "CMAKE_SYSTEM_PROCESSOR", "LLAMA_OPENSSL", "GGML_NATIVE")
    assert values_of(made, names) == ["Linux", "aarch64", False, False]
    assert values_of(made, ["GGML_CPU_ARM_ARCH"]) == ["armv8.6-a+dotprod+fp16+sve+i8mm+sve2"]


def test_what_runs_it_here_is_no_part_of_what_it_is(tmp_path: Path) -> None:
    usual = decided("qemu-aarch64-max", tmp_path)
    asked = decided("qemu-aarch64-max", tmp_path, runner=f"{QEMU} -cpu max,sve=off")
    assert asked.runner == (QEMU, "-cpu", "max,sve=off")
    assert plan.key(asked) == plan.key(usual)


def test_a_plan_on_a_course_of_healing_keeps_its_runner(tmp_path: Path) -> None:
    course = heal.Course(without=frozenset({"sve"}))
    made = request("qemu-aarch64-max", tmp_path, []).decide(course)
    assert made.runner == (QEMU, *EMULATED)
    assert not {"sve", "sve2"} & set(made.cpu_features)


def test_gpus_of_a_foreign_machine_need_a_toolkit_that_is_not_here(tmp_path: Path) -> None:
    assert decided("dgx-spark", tmp_path, "auto").backends == ("cpu",)
    assert any(one.what == "cuda" for one in decided("dgx-spark", tmp_path, "auto").absent)
    with pytest.raises(UnsupportedHardware, match="toolkit that runs on x86_64") as caught:
        decided("dgx-spark", tmp_path, "cuda-native")
    assert "cpu-native" in caught.value.hint


def test_an_older_c_library_there_is_said(tmp_path: Path) -> None:
    told: list[Event] = []
    made = request("graviton3", tmp_path, told).decide(heal.Course())
    assert made.sysroot == "glibc 2.36"
    (warning,) = told
    assert isinstance(warning, Warned)
    assert "glibc 2.34" in warning.message


def test_without_a_compiler_for_it_nothing_is_planned(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="s390x"):
        decided("z15", tmp_path)


def test_a_system_that_nothing_can_be_built_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedHardware, match="macos"):
        decided("apple-m2-max", tmp_path)


def test_a_windows_machine_is_planned_for_on_linux(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its GPU needs a toolkit for Windows; its processor is used to the full."""
    kit = kits.folder(kits.kits("linux-x86_64")["zig-windows"], tmp_path)
    said: dict[str, Finished | str] = {**SAID, "-dumpmachine": "x86_64-windows-gnu\n", "-m": ""}
    here = RecordedHost(
        programs={name: f"/usr/bin/{name}" for name in BINARIES},
        files={**DEBIAN, str(kit / "bin" / "zig-c++"): ""},
        answers=said,
    )
    fetched: list[Kit] = []

    def fetch(one: Kit, _: Means) -> bool:
        fetched.append(one)
        return True

    monkeypatch.setattr(provide, "_fetch", fetch)
    means = Means(asked="auto", host=here, cache=tmp_path, emit=lambda _: None)
    wanted = target("windows-11-with-visual-studio")
    request = requested(recipe("auto"), values.pin(), wanted, means, prove_in)
    made = request.decide(heal.Course())
    assert [one.name for one in fetched] == ["zig-windows"]
    assert (made.system, made.backends, made.runner) == ("windows", ("cpu",), ())
    assert made.program("llama-cli") == "llama-cli.exe"
    assert {"avx2", "avx_vnni"} <= set(made.cpu_features)
    assert any(one.what == "cuda" and "linux" in one.why for one in made.absent)


def test_a_musl_system_is_refused(tmp_path: Path) -> None:
    native: dict[str, Finished | str] = {**SAID, "-dumpmachine": "x86_64-linux-gnu\n"}
    here = RecordedHost(
        programs={name: f"/usr/bin/{name}" for name in (*BINARIES, "gcc", "g++")},
        files=DEBIAN,
        answers=native,
    )
    with pytest.raises(UnsupportedHardware, match="musl"):
        elsewhere.look(target("alpine-musl"), host=here, cache=tmp_path)


def test_the_recipes_own_flags_win(tmp_path: Path) -> None:
    made = request("qemu-aarch64-max", tmp_path, [])
    own = replace(made.recipe.flags[0], name="CMAKE_FIND_ROOT_PATH", value="/mine")
    mine = replace(made, recipe=replace(made.recipe, flags=(*made.recipe.flags, own)))
    assert values_of(mine.decide(heal.Course()), ["CMAKE_FIND_ROOT_PATH"]) == ["/mine"]
