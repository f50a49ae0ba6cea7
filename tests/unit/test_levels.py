"""Recipes for a microarchitecture level: what is planned, how it is marked, where it is proved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import backends, heal, pipeline, plan, provide, recipes
from llamabuild.audit.planned import marked, needed
from llamabuild.backends import cpu, cpu_features
from llamabuild.dialect.pip import cmake_arguments
from llamabuild.errors import ConfigError, ToolMissing, UnsupportedHardware
from llamabuild.events import silent
from llamabuild.host import RecordedHost
from llamabuild.matching import differs, expected
from llamabuild.model import Compiler, Flag, Plan, Recipe, Toolchain, Verdict
from llamabuild.provide import Means
from llamabuild.request import requested
from llamabuild.toolchains import isa_note
from tests.golden import machines
from tests.unit import planned, values

LEVELS = ("x86-64-v2", "x86-64-v3", "x86-64-v4")
V3 = ("sse4_2", "avx", "f16c", "fma", "avx2", "bmi2")
V4 = (*V3, "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl")
FEATURES = dict(zip(LEVELS, (("sse4_2",), V3, V4), strict=True))
ALL = frozenset(cpu.all_compiler_options("x86_64"))
NAMES = tuple(backends.BACKENDS)


def recipe(level: str, *names: str, **words: object) -> Recipe:
    chosen = names or ("cpu",)
    return Recipe(name="mine", summary="", backends=chosen, cpu=level, **words)  # type: ignore[arg-type]


def made(
    level: str,
    *names: str,
    machine: str = "zen4-vm-gcc12",
    compiler: Compiler | None = None,
    **words: object,
) -> Plan:
    recorded = machines()[machine]
    tools = recorded.toolchain
    tools = replace(tools, compilers=(compiler,)) if compiler else tools
    return plan.plan(recipe(level, *names, **words), values.pin(), recorded.hardware, tools)


def zig() -> Compiler:
    target = "x86_64-linux-gnu.2.28"
    known = values.compiler("clang", "20.1.2", ALL)
    return replace(known, target=target, cc="/kit/bin/zig-cc", cxx="/kit/bin/zig-c++")


def link_flags(of: Plan) -> dict[str, bool | str]:
    return {flag.name: flag.value for flag in of.flags if "LINKER_FLAGS_RELEASE" in flag.name}


# --- what is planned -----------------------------------------------------------------------------


def test_a_recipe_may_be_for_a_level_and_no_other_word(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    for level in LEVELS:
        file.write_text(f'cpu = "{level}"')
        assert recipes.load(str(file), NAMES).cpu == level
    for wrong in ("x86-64", "avx", "avx2", "x86-64-v5", "power9", "armv8-a"):
        file.write_text(f'cpu = "{wrong}"')
        with pytest.raises(ConfigError, match="cpu cannot be") as caught:
            recipes.load(str(file), NAMES)
        assert caught.value.hint.endswith("native, portable, fat, x86-64-v2, x86-64-v3, x86-64-v4.")


@pytest.mark.parametrize("machine", ["zen4-vm-gcc12", "sandy-bridge", "haswell-vm-without-fma"])
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_is_all_of_it_and_nothing_else_whatever_this_machine_has(
    level: str, machine: str
) -> None:
    one = made(level, machine=machine)
    assert one.cpu_features == FEATURES[level]
    assert one.fingerprint == f"linux-x86_64-glibc2.36-{level}"
    flags = {flag.name: flag for flag in one.flags}
    assert flags["GGML_OPENMP"].value is False  # libgomp need not be where it goes
    for row in cpu_features.extensions("x86_64"):
        used = row.name in FEATURES[level]
        why = f"{'part' if used else 'off: no part'} of {level}, which the result is for"
        if row.option and row.option != "GGML_AVX512":
            assert (flags[row.option].value, flags[row.option].why) == (used, why)
    assert flags["GGML_AVX512"].value is (level == "x86-64-v4")


def test_levels_are_different_things_with_different_keys() -> None:
    every = [made(level) for level in LEVELS]
    every += [made("portable"), made("native"), made("fat"), made("x86-64-v3", compiler=zig())]
    assert len({plan.key(one) for one in every}) == len(every)


@pytest.mark.parametrize("level", LEVELS)
def test_where_there_are_no_levels_the_choices_are_said(level: str) -> None:
    others = [name for name, one in machines().items() if one.hardware.arch != "x86_64"]
    assert len(others) > 10
    for machine in others:
        arch = machines()[machine].hardware.arch
        with pytest.raises(
            ConfigError, match=f"{level} is no microarchitecture level of {arch}"
        ) as e:
            made(level, machine=machine, compiler=values.compiler())
        assert e.value.hint == f"Choices of cpu for {arch}: native, portable, fat."


def test_a_compiler_that_does_not_know_all_of_a_level_is_refused() -> None:
    old = values.compiler("gcc", "9.1.0", ALL - {"-mavx512dq", "-mavx512bw"})
    assert made("x86-64-v3", compiler=old).cpu_features == V3
    with pytest.raises(ToolMissing, match=r"gcc 9\.1\.0 cannot compile for x86-64-v4") as caught:
        made("x86-64-v4", compiler=old)
    assert "avx512bw" in caught.value.message
    assert "a lower level" in caught.value.hint


def test_a_compiler_that_gets_amx_wrong_is_good_enough_for_a_level() -> None:
    for mended_by in ((), ("-fno-dse",)):
        bad = Verdict(canary="amx-tile-config", ok=False, mended_by=mended_by, why="byte 16 is 0")
        compiler = replace(values.compiler(accepts=ALL), verdicts=(bad,))
        one = made("x86-64-v4", machine="sapphire-rapids-vm-gcc12", compiler=compiler)
        assert (one.remedies, one.source_options, one.cpu_features) == ((), (), V4)


def test_what_a_recipe_does_without_stays_out_and_the_mark_stays() -> None:
    one = made("x86-64-v4", without=("avx512dq",))
    assert one.cpu_features == V3
    reason = next(flag.why for flag in one.flags if flag.name == "GGML_AVX512")
    assert reason == "off: it needs AVX-512 CD, AVX-512 BW, AVX-512 DQ, AVX-512 VL"
    assert marked(one) == cpu.level("x86-64-v4", "x86_64")
    assert needed(one) == expected(one).features == V4


# --- the mark ------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_gnu_ld_is_told_and_lld_is_given_a_file(level: str) -> None:
    gnu, lld = made(level), made(level, compiler=zig())
    assert link_flags(gnu) == dict.fromkeys(isa_note.FLAGS, f"-Wl,-z,{level}")
    assert isa_note.files(gnu.flags) == {}
    assert link_flags(lld) == dict.fromkeys(isa_note.FLAGS, f"llamabuild-{level}.s")
    ((name, text),) = isa_note.files(lld.flags).items()
    assert name == f"llamabuild-{level}.s"
    bit = {"x86-64-v2": 2, "x86-64-v3": 4, "x86-64-v4": 8}[level]
    assert f".long 0xc0008002, 4, {bit}, 0\n" in text
    for one in (gnu, lld):
        assert all(level in flag.why for flag in one.flags if flag.name in isa_note.FLAGS)


def test_a_file_is_written_too_when_a_recipe_adds_words_of_its_own() -> None:
    words = "llamabuild-x86-64-v3.s -Wl,-O2"
    flag = Flag(name=isa_note.FLAGS[0], value=words, why="mine")
    assert list(isa_note.files((flag,))) == ["llamabuild-x86-64-v3.s"]


@pytest.mark.parametrize("word", ["native", "portable", "fat"])
def test_nothing_else_is_marked(word: str) -> None:
    for compiler in (None, zig()):
        one = made(word, compiler=compiler)
        assert (link_flags(one), isa_note.files(one.flags), marked(one)) == ({}, {}, None)


@pytest.mark.parametrize("machine", ["intel-mac", "windows-11-with-visual-studio"])
def test_elsewhere_than_on_linux_a_level_is_an_instruction_set_only(machine: str) -> None:
    one = made("x86-64-v3", machine=machine)
    assert one.cpu_features == V3
    assert (link_flags(one), marked(one)) == ({}, None)


def test_a_back_end_that_tells_the_linker_something_too_keeps_it() -> None:
    one = made("x86-64-v3", "cuda", machine="gtx-1070-and-rtx-4090-cuda-13")
    told = {flag.name: str(flag.value) for flag in one.flags}
    assert "-rpath," in told["CMAKE_SHARED_LINKER_FLAGS"]
    assert told["CMAKE_SHARED_LINKER_FLAGS_RELEASE"] == "-Wl,-z,x86-64-v3"
    assert one.fingerprint.endswith("-x86-64-v3-cuda61-cuda89") or "cuda" in one.fingerprint


def test_pip_is_told_what_it_can_do() -> None:
    said, notes = cmake_arguments(made("x86-64-v3").flags, "0.3.36", "linux", "x86_64")
    assert "-DCMAKE_SHARED_LINKER_FLAGS_RELEASE=-Wl,-z,x86-64-v3" in said
    assert not [note for note in notes if "LINKER" in note.name]
    flags = made("x86-64-v3", compiler=zig()).flags
    said, notes = cmake_arguments(flags, "0.3.36", "linux", "x86_64")
    assert not [word for word in said if "LINKER" in word]
    assert [note.said for note in notes if "LINKER" in note.name] == ["left out", "left out"]


# --- what answers for it, and where it is proved -------------------------------------------------


def test_a_level_is_answered_by_that_level_only() -> None:
    wanted = made("x86-64-v3")
    kept = [made(one) for one in ("native", "portable", "fat", "x86-64-v2", "x86-64-v4")]
    assert all(differs(wanted, one) for one in kept)
    assert differs(wanted, made("x86-64-v3", machine="sandy-bridge")) == ()
    assert differs(wanted, made("x86-64-v3", compiler=zig())) == ()
    for one in (wanted, *kept):
        assert differs(made("native"), one) == ()
        assert one.cpu == wanted.cpu or differs(one, wanted) or one.cpu == "native"


def test_what_a_machine_lacks_of_a_level() -> None:
    lacks = {
        name: {level: planned_lacking(level, name) for level in LEVELS}
        for name in ("zen4-vm-gcc12", "sandy-bridge", "skylake-x-avx512-masked", "raspberry-pi-5")
    }
    assert lacks["zen4-vm-gcc12"] == dict.fromkeys(LEVELS, ())
    assert lacks["sandy-bridge"]["x86-64-v2"] == ()
    assert lacks["sandy-bridge"]["x86-64-v3"] == ("f16c", "fma", "avx2", "bmi2")
    assert lacks["skylake-x-avx512-masked"]["x86-64-v3"] == ()
    assert lacks["skylake-x-avx512-masked"]["x86-64-v4"] == V4[len(V3) :]
    assert lacks["raspberry-pi-5"] == dict.fromkeys(LEVELS, ())  # planning refuses it


def planned_lacking(level: str, machine: str) -> tuple[str, ...]:
    hardware = machines()[machine].hardware
    return cpu.lacking(level, hardware.arch, hardware.cpu.features)


@pytest.mark.parametrize(
    ("machine", "word", "elsewhere"),
    [
        ("zen4-vm-gcc12", "x86-64-v4", False),
        ("sandy-bridge", "x86-64-v2", False),
        ("sandy-bridge", "x86-64-v3", True),
        ("sandy-bridge", "native", False),
        ("sandy-bridge", "fat", False),
    ],
)
def test_a_level_that_this_machine_lacks_is_built_for_others(
    machine: str, word: str, elsewhere: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is proved only as far as it can be, and not taken for something that ran here."""
    recorded = machines()[machine]
    found = (recorded.hardware, recorded.toolchain)
    monkeypatch.setattr(provide, "look", lambda *_: found)
    host = RecordedHost(recorded.recording.machine)
    means = Means(asked="machine", host=host, cache=tmp_path, emit=silent)
    request = requested(recipe(word), values.pin(), None, means, None)
    assert request.elsewhere is elsewhere
    assert request.decide(heal.Course()).cpu == word


def test_setup_for_a_level_that_this_machine_lacks_is_refused_before_anything_is_done() -> None:
    def check(machine: str, word: str) -> None:
        pipeline.check_level(recipe(word), RecordedHost(machines()[machine].recording.machine))

    for word in ("native", "portable", "fat", "x86-64-v2"):
        check("sandy-bridge", word)
    check("zen4-vm-gcc12", "x86-64-v4")
    check("raspberry-pi-5", "x86-64-v3")  # planning refuses it, with the choices
    with pytest.raises(UnsupportedHardware, match="no f16c, fma, avx2, bmi2: x86-64-v3") as caught:
        check("sandy-bridge", "x86-64-v3")
    assert "`llamabuild build mine`" in caught.value.hint


def test_the_shipped_recipes_are_for_the_levels_that_they_name() -> None:
    for name in ("cpu-v3", "cpu-v4"):
        shipped = recipes.load(name, NAMES)
        assert (shipped.cpu, shipped.backends) == (f"x86-64-{name[-2:]}", ("cpu",))
        assert planned.made("zen4-vm-gcc12", name)


def test_no_compiler_is_said_as_for_any_other_recipe() -> None:
    hardware = machines()["zen4-vm-gcc12"].hardware
    with pytest.raises(ToolMissing):
        plan.plan(recipe("x86-64-v3"), values.pin(), hardware, Toolchain())
