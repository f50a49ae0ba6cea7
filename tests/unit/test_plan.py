from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild import backends, plan, recipes
from llamabuild.backends import cpu, cpu_features
from llamabuild.errors import ConfigError, ToolMissing, UnsupportedHardware
from llamabuild.model import Device, Flag, Hardware, Plan, Recipe, Tool, Toolchain, Verdict
from tests.unit import values

NAMES = tuple(backends.BACKENDS)
X86 = tuple(row.name for row in cpu_features.extensions("x86_64"))
ALL = frozenset(cpu.all_compiler_options("x86_64"))
AMX = ("amx_tile", "amx_int8")
BAD = Verdict(canary="amx-tile-config", ok=False, mended_by=("-fno-dse",), why="byte 16 is 0")


def make(
    recipe: Recipe | str = "auto",
    hardware: Hardware | None = None,
    toolchain: Toolchain | None = None,
    without: frozenset[str] = frozenset(),
) -> Plan:
    wanted = recipes.load(recipe, NAMES) if isinstance(recipe, str) else recipe
    known = toolchain or values.toolchain(values.compiler(accepts=ALL))
    return plan.plan(
        wanted, values.pin(), hardware or values.hardware(*X86), known, without=without
    )


def value(made: Plan, name: str) -> bool | str:
    return next(flag.value for flag in made.flags if flag.name == name)


def test_every_flag_has_a_reason_and_stands_once() -> None:
    for recipe in ("auto", "cpu-native", "cpu-portable", "cpu-fat"):
        flags = make(recipe).flags
        assert all(flag.why.strip() for flag in flags)
        assert len({flag.name for flag in flags}) == len(flags)


def test_native_is_never_left_to_the_compiler() -> None:
    assert value(make(), "GGML_NATIVE") is False


@given(st.sets(st.sampled_from(X86)))
def test_only_usable_features_are_planned(have: set[str]) -> None:
    made = make("cpu-native", values.hardware(*have))
    assert set(made.cpu_features) <= have
    options = {row.option for row in cpu_features.extensions("x86_64") if row.option}
    on = {name for name in options if value(made, name) is True}
    for row in cpu_features.extensions("x86_64"):
        if row.option in on:
            assert row.name in made.cpu_features


def test_what_the_compiler_does_not_know_is_off_and_says_so() -> None:
    old = values.compiler(version="9.4.0", accepts=ALL - {"-mavx512bf16", "-mamx-tile"})
    made = make(toolchain=values.toolchain(old))
    flag = next(flag for flag in made.flags if flag.name == "GGML_AVX512_BF16")
    assert flag.value is False
    assert "9.4.0 cannot compile" in flag.why
    assert not set(AMX) & set(made.cpu_features)


def test_a_miscompiled_file_gets_its_option_and_amx_stays() -> None:
    bad = replace(values.compiler(accepts=ALL), verdicts=(BAD,))
    made = make(toolchain=values.toolchain(bad))
    assert value(made, "GGML_AMX_INT8") is True
    assert [(one.source, one.options) for one in made.source_options] == [
        ("ggml/src/ggml-cpu/amx/mmq.cpp", ("-fno-dse",))
    ]
    assert [remedy.name for remedy in made.remedies] == ["amx-tile-config"]


def test_another_compiler_comes_before_going_without() -> None:
    bad = replace(values.compiler(accepts=ALL), verdicts=(replace(BAD, mended_by=()),))
    good = replace(
        values.compiler("clang", "22.1.0", ALL), verdicts=(Verdict(canary=BAD.canary, ok=True),)
    )
    made = make(toolchain=values.toolchain(bad, good))
    assert made.compiler.family == "clang"
    assert value(made, "GGML_AMX_INT8") is True
    alone = make(toolchain=values.toolchain(bad))
    assert value(alone, "GGML_AMX_INT8") is False
    assert value(alone, "GGML_AVX512_VNNI") is True


def test_a_compiler_of_the_users_choice_is_not_replaced() -> None:
    bad = replace(values.compiler(accepts=ALL), verdicts=(replace(BAD, mended_by=()),))
    good = replace(
        values.compiler("clang", "22.1.0", ALL), verdicts=(Verdict(canary=BAD.canary, ok=True),)
    )
    chosen = replace(values.toolchain(bad, good), explicit_compiler=True)
    assert make(toolchain=chosen).compiler.family == "gcc"


def test_a_verdict_that_does_not_concern_the_machine_changes_nothing() -> None:
    bad = replace(values.compiler(accepts=ALL), verdicts=(BAD,))
    made = make("cpu-native", values.hardware("sse4_2", "avx"), values.toolchain(bad))
    assert made.remedies == ()


def test_an_absent_back_end_asked_for_is_an_error_with_its_reason() -> None:
    for recipe in ("cuda-native", "vulkan"):
        with pytest.raises(UnsupportedHardware, match="needs") as caught:
            make(recipe)
        assert caught.value.hint


def test_auto_takes_a_back_end_that_is_there() -> None:
    gpu = Device(backend="cuda", name="NVIDIA H200", architecture="90")
    hardware = replace(values.hardware(*X86), devices=(gpu,))
    tools = (*values.toolchain().tools, Tool(name="nvcc", version="13.0"))
    known = replace(values.toolchain(values.compiler(accepts=ALL)), tools=tools)
    made = make("auto", hardware, known)
    assert made.backends == ("cuda", "cpu")
    assert value(made, "GGML_CUDA") is True
    assert "cuda90" in made.fingerprint
    assert make("auto", hardware, known, without=frozenset({"cuda"})).backends == ("cpu",)


def test_no_compiler_is_an_error_with_the_package() -> None:
    from llamabuild.model import Absence

    nothing = Toolchain(absent=(Absence(what="compiler", why="none", hint="apt install g++"),))
    with pytest.raises(ToolMissing, match="none"):
        make(toolchain=nothing)


def test_what_the_recipe_asks_for_replaces_what_was_decided() -> None:
    own = Flag(name="LLAMA_OPENSSL", value=False, why="air-gapped")
    recipe = Recipe(name="mine", summary="", flags=(own,))
    assert own in make(recipe).flags


def test_two_back_ends_that_disagree_are_an_error() -> None:
    with pytest.raises(ConfigError, match="is wanted as"):
        plan._merge(
            (Flag(name="X", value=True, why="a"),),
            (Flag(name="X", value=False, why="b"),),
            usual=(),
            asked=(),
        )


def test_a_recipe_may_do_without_a_feature_and_what_needs_it() -> None:
    made = make(Recipe(name="avx2", summary="", without=("avx512f",)))
    assert not any(name.startswith(("avx512", "amx")) for name in made.cpu_features)
    assert "avx2" in made.cpu_features


def test_the_key_changes_with_what_can_change_bytes_and_with_nothing_else() -> None:
    made = make()
    compiler = replace(made.compiler, digest="other")
    changed = (
        replace(made, pin=replace(made.pin, sha256="1" * 64)),
        replace(made, flags=(*made.flags, Flag(name="NEW", value=True, why=""))),
        replace(made, flags=made.flags[1:]),
        replace(made, compiler=compiler),
        replace(made, tools=(Tool(name="cmake", version="9"),)),
        replace(made, sysroot="glibc 9"),
        replace(made, targets=("llama",)),
        replace(made, left_out=("x",)),
    )
    keys = {plan.key(one) for one in (made, *changed)}
    assert len(keys) == len(changed) + 1
    same = (
        replace(made, flags=tuple(reversed(made.flags))),
        replace(made, flags=tuple(replace(flag, why="else") for flag in made.flags)),
        replace(made, recipe="other", requested="other", absent=()),
        replace(made, compiler=replace(made.compiler, cc="/elsewhere/gcc")),
        make(hardware=replace(values.hardware(*X86), memory=1, cores=99, os_version="7")),
    )
    assert {plan.key(one) for one in same} == {plan.key(made)}


def test_equal_flags_have_equal_keys_in_any_order() -> None:
    made = make("cpu-portable")
    for flags in itertools.islice(itertools.permutations(made.flags), 5):
        assert plan.key(replace(made, flags=flags)) == plan.key(made)
