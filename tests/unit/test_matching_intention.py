"""Which results answer a request at all, and why one is not exactly what was asked for."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild import plan, recipes
from llamabuild.audit.planned import architecture
from llamabuild.backends.cpu_table import extensions
from llamabuild.matching import differs, group, losses, nearest, why_miss
from llamabuild.matching.intention import may_differ, values
from llamabuild.model import Flag, Patch, Plan, Recipe, SourceOption, Tool, Toolchain
from tests.golden import machines
from tests.unit import planned
from tests.unit.values import compiler, pin

ZEN4 = planned.plans()["zen4-vm-gcc12", "cpu-native"]
AMX = planned.plans()["sapphire-rapids-vm-gcc12", "cpu-native"]
PORTABLE = planned.plans()["zen4-vm-gcc12", "cpu-portable"]
FAT = planned.plans()["zen4-vm-gcc12", "cpu-fat"]
CUDA = planned.plans()["zen4-rtx4090", "cuda-native"]


def with_flag(made: Plan, name: str, value: bool | str) -> Plan:
    kept = tuple(flag for flag in made.flags if flag.name != name)
    return replace(made, flags=(*kept, Flag(name=name, value=value, why="")))


def asked(machine: str, **words: object) -> Plan:
    """A plan by a recipe of the user's own."""
    recorded = machines()[machine]
    recipe = Recipe(name="mine", summary="", **words)  # type: ignore[arg-type]
    return plan.plan(recipe, pin(), recorded.hardware, recorded.toolchain)


# --- which flags may differ ----------------------------------------------------------------------


def otherwise(machine: str) -> Iterator[Toolchain]:
    """The tools of a machine as they might be too: one less, elsewhere, without OpenMP."""
    known = machines()[machine].toolchain
    for tool in known.tools:
        if tool.name not in ("cmake", "ninja"):
            yield replace(known, tools=tuple(one for one in known.tools if one != tool))
    yield replace(known, compilers=tuple(replace(one, openmp=False) for one in known.compilers))


@functools.cache
def alike() -> dict[tuple[str, str], list[Plan]]:
    """Plans of the same recipe and the same group, by those."""
    found: dict[tuple[str, str], list[Plan]] = defaultdict(list)
    for machine in machines():
        for recipe in recipes.names():
            for tools in (None, *otherwise(machine)):
                if one := planned.made(machine, recipe, tools):
                    found[recipe, group(one)].append(one)
    return found


def differing() -> set[tuple[str, str]]:
    """Architectures and flags that differ between plans of the same recipe and group, or between
    those of one machine for one CPU, for several and for a level."""
    pairs = [(some[0], one) for some in alike().values() for one in some[1:]]
    native, made = "cpu-native", planned.plans()
    pairs += [
        (made[name, native], made[name, other])
        for name in machines()
        for other in ("cpu-fat", "cpu-v3")
        if {(name, native), (name, other)} <= made.keys()
    ]
    return {
        (architecture(one), name)
        for one, two in pairs
        for name in values(one).keys() | values(two).keys()
        if values(one).get(name) != values(two).get(name)
    }


def test_flags_that_follow_from_a_machine_are_in_the_table_and_no_others() -> None:
    found = differing()
    assert {(arch, name) for arch, name in found if name not in may_differ(arch)} == set()
    isa = {row.option for row in extensions() if row.option}
    table = may_differ("no such architecture")
    assert {name for name in table if name not in {name for _, name in found}} == set()
    assert not table & isa


def test_plans_of_one_recipe_and_group_answer_for_each_other() -> None:
    for some in alike().values():
        for one in some[1:]:
            assert differs(some[0], one) == ()
            assert differs(one, some[0]) == ()


# --- what has to be equal ------------------------------------------------------------------------


def test_a_group_is_what_was_wanted_not_what_it_is_made_with() -> None:
    assert group(ZEN4) == group(AMX) == group(FAT) == group(PORTABLE)
    other = replace(ZEN4, compiler=compiler("clang", "18.1.0"), sysroot="glibc 2.28", recipe="x")
    assert group(other) == group(ZEN4)
    names = ("alpine-musl", "raspberry-pi-5", "windows-11-with-visual-studio", "apple-m1")
    every = [ZEN4, CUDA, *(planned.plans()[name, "cpu-native"] for name in names)]
    every.append(replace(ZEN4, pin=replace(ZEN4.pin, sha256="1" * 64)))
    every.append(replace(ZEN4, targets=ZEN4.targets[1:]))
    assert len({group(one) for one in every}) == len(every)


def test_a_plan_of_another_group_is_no_answer() -> None:
    (line, *_) = differs(ZEN4, replace(ZEN4, targets=(*ZEN4.targets, "more")))
    assert line.startswith("targets: ")
    assert any(line.startswith("back-ends: ['cpu'] wanted") for line in differs(ZEN4, CUDA))


@pytest.mark.parametrize(
    ("name", "value"),
    [("GGML_CUDA_FA_QUANTS", "all"), ("GGML_LTO", True), ("GGML_LLAMAFILE", False)],
)
def test_every_flag_that_no_machine_decides_has_to_be_equal(name: str, value: bool | str) -> None:
    changed = with_flag(ZEN4, name, value)
    words = {True: "ON", False: "OFF"}.get(value, value)  # type: ignore[call-overload]
    (line,) = differs(ZEN4, changed)
    assert line.startswith(f"{name}: ")
    assert line.endswith(f"{words} kept")
    assert len(differs(changed, ZEN4)) == 1


def test_what_a_recipe_asks_for_by_name_has_to_be_equal_although_machines_decide_it_too() -> None:
    off = (Flag(name="LLAMA_OPENSSL", value=False, why="no network"),)
    wanted = asked("zen4-rtx4090", backends=("cpu",), flags=off)
    kept = planned.plans()["zen4-rtx4090", "cpu-native"]
    assert differs(wanted, kept) == ("LLAMA_OPENSSL: OFF wanted, ON kept",)
    assert differs(kept, wanted) == ("LLAMA_OPENSSL: ON wanted, OFF kept",)
    assert differs(wanted, wanted) == ()


def test_a_result_for_many_machines_is_not_replaced_by_one_for_this() -> None:
    assert differs(PORTABLE, ZEN4) == ("cpu: portable wanted, native kept",)
    assert differs(FAT, ZEN4) == ("cpu: fat wanted, native kept",)
    assert differs(FAT, PORTABLE) == ("cpu: fat wanted, portable kept",)
    assert differs(ZEN4, FAT) == differs(ZEN4, PORTABLE) == ()


def test_what_a_recipe_does_without_stays_out() -> None:
    wanted = asked("zen4-vm-gcc12", backends=("cpu",), without=("avx512_bf16",))
    said = "avx512_bf16: the recipe does without it, and it is in what is kept"
    assert differs(wanted, ZEN4) == (said,)
    assert differs(wanted, FAT) == (said,)
    assert differs(wanted, planned.plans()["alder-lake", "cpu-native"]) == ()
    assert differs(ZEN4, wanted) == ()


def test_what_is_lost_is_said() -> None:
    ssl = planned.plans()["zen4-rtx4090", "cpu-native"]
    assert losses(ssl, PORTABLE) == ("downloads of models by llama-server (`-hf`)",)
    assert losses(PORTABLE, ssl) == ()


# --- why not -------------------------------------------------------------------------------------


def test_equal_plans_have_nothing_to_explain() -> None:
    for one in (ZEN4, FAT, CUDA):
        assert why_miss(one, replace(one, recipe="other", absent=())) == ()


def test_another_processor_is_told_flag_by_flag() -> None:
    lines = why_miss(AMX, ZEN4)
    assert "flag GGML_AMX_INT8: ON wanted, OFF kept" in lines
    assert "features: amx_int8 wanted, not kept" in lines
    assert not [line for line in lines if "AVX2" in line]


CHANGES: dict[str, tuple[Plan, str]] = {
    "source": (
        replace(ZEN4, pin=replace(ZEN4.pin, sha256="1" * 64)),
        f"source: {'0' * 64} wanted, {'1' * 64} kept",
    ),
    "patch": (
        replace(
            ZEN4,
            pin=replace(
                ZEN4.pin,
                patches=(Patch(name="p", sha256="2" * 64, text="-a\n+b\n", why="w", until="u"),),
            ),
        ),
        f"source: {'0' * 64} wanted, ",
    ),
    "commit": (
        replace(ZEN4, pin=replace(ZEN4.pin, commit="bcdef01")),
        "commit: abcdef0 wanted, bcdef01 kept",
    ),
    "build number": (
        replace(ZEN4, pin=replace(ZEN4.pin, build_number=7)),
        "build: 0 wanted, 7 kept",
    ),
    "flag": (with_flag(ZEN4, "GGML_AVX512", False), "flag GGML_AVX512: ON wanted, OFF kept"),
    "new flag": (with_flag(ZEN4, "NEW", "x"), "flag NEW: not set wanted, x kept"),
    "options": (
        replace(ZEN4, source_options=(SourceOption(source="a.cpp", options=("-O1",), why="w"),)),
        "options of a.cpp: not set wanted, -O1 kept",
    ),
    "targets": (
        replace(ZEN4, targets=(*ZEN4.targets, "more")),
        "targets: more kept, not wanted",
    ),
    "left out": (replace(ZEN4, left_out=("x",)), "left out: x kept, not wanted"),
    "compiler": (
        replace(ZEN4, compiler=compiler("clang", "22.1.0")),
        "compiler: gcc 12.2.0 wanted, clang 22.1.0 kept",
    ),
    "bytes of the compiler": (
        replace(ZEN4, compiler=replace(ZEN4.compiler, digest="other")),
        "compiler: gcc 12.2.0 of other bytes is kept",
    ),
    "target": (
        replace(ZEN4, compiler=replace(ZEN4.compiler, target="x86_64-other")),
        f"compiler for: {ZEN4.compiler.target} wanted, x86_64-other kept",
    ),
    "tool": (
        replace(ZEN4, tools=(*ZEN4.tools, Tool(name="nvcc", version="13.0"))),
        "nvcc: not set wanted, 13.0 kept",
    ),
    "version of a tool": (
        replace(ZEN4, tools=tuple(replace(one, version="0.1") for one in ZEN4.tools[:1])),
        f"{ZEN4.tools[0].name}: {ZEN4.tools[0].version} wanted, 0.1 kept",
    ),
    "bytes of a tool": (
        replace(ZEN4, tools=(replace(ZEN4.tools[0], digest="other"), *ZEN4.tools[1:])),
        f"{ZEN4.tools[0].name}: {ZEN4.tools[0].version} of other bytes is kept",
    ),
    "order of tools": (replace(ZEN4, tools=ZEN4.tools[::-1]), "tools: in another order"),
    "sysroot": (
        replace(ZEN4, sysroot="glibc 2.28"),
        "sysroot: glibc 2.36 wanted, glibc 2.28 kept",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_each_thing_that_changes_the_key_is_told(what: str) -> None:
    kept, said = CHANGES[what]
    assert plan.key(kept) != plan.key(ZEN4)
    assert any(line.startswith(said) for line in why_miss(ZEN4, kept)), why_miss(ZEN4, kept)
    assert why_miss(kept, ZEN4)


EVERY = list(planned.plans().values())
PLACES = st.integers(0, len(EVERY) - 1)


@given(PLACES, PLACES)
def test_plans_have_one_key_when_nothing_is_to_be_explained(one: int, two: int) -> None:
    first, second = EVERY[one], EVERY[two]
    assert (plan.key(first) == plan.key(second)) == (why_miss(first, second) == ())
    said = why_miss(first, second)
    assert len(set(said)) == len(said) == len(why_miss(second, first))


def test_no_two_changes_have_one_key() -> None:
    assert len({plan.key(kept) for kept, _ in CHANGES.values()}) == len(CHANGES)


@given(st.permutations(ZEN4.flags), st.text(max_size=9), st.integers(1, 99), st.booleans())
def test_what_no_compiler_sees_changes_no_key(
    flags: list[Flag], word: str, number: int, more: bool
) -> None:
    """Order, reasons, paths, the recipe's own words; memory, cores and the machine's name."""
    other = replace(
        ZEN4,
        flags=tuple(replace(flag, why=word) for flag in flags),
        compiler=replace(ZEN4.compiler, cc=word, cxx=word, openmp=more),
        tools=tuple(replace(tool, path=word) for tool in ZEN4.tools),
        recipe=word,
        requested=word,
        cpu=word,
        without=(word,),
        asked=(word,),
    )
    assert plan.key(other) == plan.key(ZEN4)
    assert why_miss(ZEN4, other) == ()
    recorded = machines()["zen4-vm-gcc12"]
    hardware = replace(
        recorded.hardware,
        memory=number << 30,
        cores=number,
        disk_free=number,
        os_version=word,
        container=word,
        cpu=replace(recorded.hardware.cpu, name=word, physical_cores=number),
    )
    recipe = recipes.load("cpu-native", planned.NAMES)
    again = plan.plan(recipe, ZEN4.pin, hardware, recorded.toolchain)
    assert plan.key(again) == plan.key(ZEN4)


def test_keys_are_what_they_were() -> None:
    """An artifact that is kept is found again."""
    made = replace(
        ZEN4,
        flags=(Flag(name="A", value=True, why=""),),
        tools=(Tool(name="cmake", version="3.28.0", digest="d"),),
        compiler=compiler(),
        cpu_features=("avx",),
        targets=("llama",),
    )
    assert plan.key(made) == "9626c9ebddb5bc8943806e8b4d6f45366ca0b89d541a5b1efd571a7c6b340ccc"


def test_the_nearest_is_the_one_with_the_fewest_differences() -> None:
    near = with_flag(AMX, "GGML_LTO", True)
    assert nearest(AMX, [ZEN4, near, FAT]) == (near, ("flag GGML_LTO: OFF wanted, ON kept",))
    assert nearest(AMX, []) is None
