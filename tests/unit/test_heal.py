from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild import heal, remedies
from llamabuild.backends import cpu, cpu_features
from llamabuild.errors import BuildFailed, Crash, ProofFailed
from llamabuild.model import Plan
from tests.unit import values

FEATURES = cpu.closed(row.name for row in cpu_features.extensions("x86_64"))
PLAN = replace(values.plan(), cpu_features=FEATURES, requested="cpu")
ONE = values.toolchain()
TWO = values.toolchain(values.compiler(), values.compiler("clang", "22.1.0"))


def crashed(feature: str = "") -> ProofFailed:
    crash = Crash(signal="SIGILL", feature=feature)
    return ProofFailed("it died", kind="illegal-instruction", check="q4_0", crash=crash)


def out_of_memory() -> BuildFailed:
    return BuildFailed("compile failed", step="compile", remedy="fewer-jobs")


def test_a_compiler_out_of_memory_gets_one_job_once() -> None:
    course = heal.after_failure(heal.Course(), out_of_memory(), PLAN, ONE)
    assert course is not None
    assert course.jobs == 1
    assert [remedy.name for remedy in course.remedies] == ["fewer-jobs"]
    again = heal.after_failure(course, out_of_memory(), PLAN, ONE)
    assert again is None or again.remedies[-1].name != "fewer-jobs"


def test_a_broken_ccache_is_left_out() -> None:
    failure = BuildFailed("no", step="compile", remedy="without-ccache")
    course = heal.after_failure(heal.Course(), failure, PLAN, ONE)
    assert course is not None
    assert course.launcher is False


def test_what_need_not_come_again_is_tried_once_more() -> None:
    failure = BuildFailed("no", step="compile", remedy="once-more")
    course = heal.after_failure(heal.Course(), failure, PLAN, ONE)
    assert course is not None
    assert replace(course, remedies=(), tried=frozenset()) == heal.Course()
    assert heal.after_failure(course, failure, PLAN, ONE) is None


def test_a_folder_stays_for_what_compiles_nothing_again_and_only_once() -> None:
    assert heal.goes_on(heal.Course(), out_of_memory())
    assert not heal.goes_on(heal.Course(), out_of_memory(), remedies.permitted((), none=True))
    assert not heal.goes_on(heal.Course(tried=frozenset({"fewer-jobs"})), out_of_memory())
    other = BuildFailed("no", step="compile", remedy="without-ccache")
    assert not heal.goes_on(heal.Course(), other)
    assert not heal.goes_on(heal.Course(), crashed())


def test_a_library_that_does_not_fit_is_left_out() -> None:
    failure = BuildFailed("no", step="configure", remedy="without-openssl")
    course = heal.after_failure(heal.Course(), failure, PLAN, ONE)
    assert course is not None
    assert [(flag.name, flag.value) for flag in course.options] == [("LLAMA_OPENSSL", False)]


@pytest.mark.parametrize("names", [(), ("narrowed",), ("without-ccache", "without-cuda")])
def test_what_is_not_permitted_is_not_tried(names: tuple[str, ...]) -> None:
    permitted = remedies.permitted(names, none=not names)
    assert heal.after_failure(heal.Course(), out_of_memory(), PLAN, ONE, permitted) is None


@pytest.mark.parametrize("name", ["without-avx2", "without-feature", "narrowed"])
def test_of_what_could_be_tried_the_named_one_is(name: str) -> None:
    permitted = remedies.permitted([name], none=False)
    course = heal.after_failure(heal.Course(), crashed("avx2"), PLAN, TWO, permitted)
    assert course is not None
    assert remedies.kind(course.remedies[-1].name) == remedies.kind(name)


def test_a_failed_configure_of_unknown_cause_is_not_retried() -> None:
    failure = BuildFailed("no", step="configure", tail="CMake Error: what")
    assert heal.after_failure(heal.Course(), failure, PLAN, TWO) is None


@pytest.mark.parametrize("kind", ["timeout", "load", "memory"])
def test_what_is_not_about_instructions_narrows_nothing(kind: str) -> None:
    failure = ProofFailed("slow", kind=kind, check="q4_0")
    assert heal.after_failure(heal.Course(), failure, PLAN, TWO) is None


def test_a_compile_error_is_about_instructions_only_if_the_log_says_so() -> None:
    plain = BuildFailed("no", step="compile", tail="a.c:1: error: 'x' undeclared")
    assert heal.after_failure(heal.Course(), plain, PLAN, TWO) is None
    failure = BuildFailed("no", step="compile", remedy="other-compiler")
    course = heal.after_failure(heal.Course(), failure, PLAN, ONE)
    assert course is not None
    assert course.search is not None


def test_another_compiler_comes_first_then_the_feature_goes_then_the_search() -> None:
    first = heal.after_failure(heal.Course(), crashed("avx512_bf16"), PLAN, TWO)
    assert first is not None
    assert first.compiler is not None
    assert first.compiler.family == "clang"
    second = heal.after_failure(first, crashed("avx512_bf16"), PLAN, TWO)
    assert second is not None
    assert second.without == {"avx512_bf16"}
    smaller = replace(PLAN, cpu_features=cpu.closed(set(FEATURES) - second.without))
    third = heal.after_failure(second, crashed(), smaller, TWO)
    assert third is not None
    assert third.search is not None


def test_what_needs_the_feature_goes_with_it() -> None:
    course = heal.after_failure(heal.Course(), crashed("avx512_vnni"), PLAN, ONE)
    assert course is not None
    assert {"avx512_vnni", "amx_int8"} <= course.without


def test_the_users_compiler_is_not_replaced() -> None:
    chosen = replace(TWO, explicit_compiler=True)
    course = heal.after_failure(heal.Course(), crashed("avx2"), PLAN, chosen)
    assert course is not None
    assert course.compiler is None


def test_an_automatic_back_end_may_go_and_one_asked_for_may_not() -> None:
    auto = replace(PLAN, backends=("cuda", "cpu"), requested="auto", cpu_features=())
    failure = ProofFailed("on the CPU", kind="silent-cpu", check="q4_0")
    course = heal.after_failure(heal.Course(), failure, auto, ONE)
    assert course is not None
    assert course.without == {"cuda"}
    asked = replace(auto, requested="cuda")
    assert heal.after_failure(heal.Course(), failure, asked, ONE) is None


def test_portable_has_nothing_left_to_try() -> None:
    bare = replace(PLAN, cpu_features=())
    assert heal.after_failure(heal.Course(), crashed(), bare, ONE) is None


def search(passes_from: int) -> tuple[tuple[str, ...] | None, int]:
    """Run a whole search on a machine where rung ``passes_from`` and all below it pass; returns
    the features of the last passing attempt and the number of attempts."""
    ladder = [FEATURES, *(features for _, features in cpu.narrower(FEATURES))]
    good = {ladder[n] for n in range(passes_from, len(ladder))}
    course: heal.Course | None = heal.Course()
    best, attempts = None, 0
    while course:
        features = cpu.closed(set(FEATURES) - course.without)
        plan: Plan = replace(PLAN, cpu_features=features)
        attempts += 1
        if features in good:
            best = features
            course = heal.after_success(course)
        else:
            course = heal.after_failure(course, crashed(), plan, ONE)
    return best, attempts


@given(st.integers(0, 30))
def test_the_search_finds_the_largest_set_that_passes(passes_from: int) -> None:
    ladder = [FEATURES, *(features for _, features in cpu.narrower(FEATURES))]
    best, attempts = search(passes_from)
    assert best == (ladder[passes_from] if passes_from < len(ladder) else None)
    assert attempts <= 2 + len(ladder).bit_length()


@pytest.mark.parametrize("failure", [out_of_memory(), crashed(), crashed("avx2")])
def test_healing_always_ends(failure: BuildFailed | ProofFailed) -> None:
    course: heal.Course | None = heal.Course()
    for _ in range(50):
        assert course is not None
        features = cpu.closed(set(FEATURES) - course.without)
        course = heal.after_failure(course, failure, replace(PLAN, cpu_features=features), TWO)
        if course is None:
            return
    pytest.fail("the remedies never ended")
