"""Heal: what to try next after a build or a proof failed. Pure; every remedy has a name, is tried
at most once, and stands with its reason in the plan that it changed.

A cause that is understood is answered directly. One that is not is cornered: the CPU features
are narrowed by bisection along a ladder until the largest set that passes is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from llamabuild import remedies
from llamabuild.backends import cpu
from llamabuild.errors import COMPUTED_WRONGLY, BuildFailed, ProofFailed
from llamabuild.model import Compiler, Flag, Plan, Remedy, Toolchain
from llamabuild.remedies import ALL, Permitted

_ABOUT_NUMBERS: Final = frozenset({"other-compiler", "narrowed"})
"""The remedies by which the catalogue says that a compiler did not take the CPU's instructions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A bisection over ``ladder`` (names and feature sets, largest first): ``failing`` and all
    before it fail, ``passing`` (one past the end while none is known) and all after it pass,
    ``trying`` is under test."""

    ladder: tuple[tuple[str, tuple[str, ...]], ...]
    failing: int
    passing: int
    trying: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How the next attempt differs from the first."""

    without: frozenset[str] = frozenset()
    compiler: Compiler | None = None
    jobs: int = 0
    launcher: bool = True
    options: tuple[Flag, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    tried: frozenset[str] = frozenset()
    search: Search | None = field(default=None)


def after_failure(
    course: Course,
    failure: BuildFailed | ProofFailed,
    plan: Plan,
    toolchain: Toolchain,
    permitted: Permitted = ALL,
) -> Course | None:
    """The course to try next, or None when nothing is left that may be tried."""
    if course.search:
        return _searched(course, passed=False)
    for then in _courses(course, failure, plan, toolchain):
        if then and permitted(then.remedies[-1].name):
            return then
    return None


def goes_on(course: Course, failure: Exception, permitted: Permitted = ALL) -> bool:
    """True when what answers a failed build compiles nothing again: its folder is wanted."""
    then = _known(course, failure) if isinstance(failure, BuildFailed) else None
    name = then.remedies[-1].name if then else ""
    return bool(name) and remedies.known()[name].same and permitted(name)


def _courses(
    course: Course, failure: BuildFailed | ProofFailed, plan: Plan, toolchain: Toolchain
) -> Iterator[Course | None]:
    """What could be tried, the mildest first."""
    if isinstance(failure, BuildFailed):
        yield _known(course, failure)
        if failure.step != "compile":
            return
    numbers = _about_numbers(failure)
    if numbers:
        yield _other_compiler(course, failure, plan, toolchain)
    yield _without_backend(course, failure, plan)
    if numbers:
        yield _without_feature(course, failure, plan)
        yield _narrow(course, failure, plan)


def _about_numbers(failure: BuildFailed | ProofFailed) -> bool:
    """True when the code that the compiler makes, or the instructions in it, may be at fault: a
    program that cannot be loaded or a machine that is too slow has another cause."""
    if isinstance(failure, ProofFailed):
        return failure.kind in COMPUTED_WRONGLY
    return failure.remedy in _ABOUT_NUMBERS


def after_success(course: Course) -> Course | None:
    """None when the result is final; a course when a larger feature set may still pass."""
    return _searched(course, passed=True) if course.search else None


def _with(remedy: Remedy, changed: Course) -> Course:
    return replace(
        changed, remedies=(*changed.remedies, remedy), tried=changed.tried | {remedy.name}
    )


def _known(course: Course, failure: BuildFailed) -> Course | None:
    """The remedy that the catalogue has for what the log shows."""
    row = remedies.known().get(failure.remedy)
    if row is None or row.name in course.tried or not (row.same or row.change or row.options):
        return None
    remedy = Remedy(name=row.name, why=f"{row.when}; {row.does}", evidence=failure.message)
    options = tuple(Flag(name=one, value=on, why=row.when) for one, on in row.options.items())
    changed = replace(course, options=(*course.options, *options), **row.change)
    return _with(remedy, changed)


def _other_compiler(
    course: Course, failure: BuildFailed | ProofFailed, plan: Plan, toolchain: Toolchain
) -> Course | None:
    """Another compiler keeps all features, so it comes before going without one."""
    name = "other-compiler"
    others = [one for one in toolchain.compilers if one.digest != plan.compiler.digest]
    if name in course.tried or toolchain.explicit_compiler or not others:
        return None
    first, other = plan.compiler, others[0]
    why = f"what {first.family} {first.version} made failed; {other.family} {other.version} is used"
    remedy = Remedy(name=name, why=why, evidence=failure.message)
    return _with(remedy, replace(course, compiler=other))


def _without_backend(
    course: Course, failure: BuildFailed | ProofFailed, plan: Plan
) -> Course | None:
    """An automatically chosen accelerator may be left out; one asked for may not."""
    name = f"without-{plan.backends[0]}"
    if plan.requested != "auto" or plan.backends[0] == "cpu" or name in course.tried:
        return None
    remedy = Remedy(name=name, why="the build with it failed", evidence=failure.message)
    return _with(remedy, replace(course, without=course.without | {plan.backends[0]}))


def _without_feature(
    course: Course, failure: BuildFailed | ProofFailed, plan: Plan
) -> Course | None:
    """The faulting instruction tells the feature: go without it and what builds on it."""
    crash = failure.crash if isinstance(failure, ProofFailed) else None
    feature = crash.feature if crash else ""
    name = f"without-{feature}"
    if feature not in plan.cpu_features or name in course.tried:
        return None
    why = f"an instruction of {feature} ended the proof with {crash.signal if crash else ''}"
    remedy = Remedy(name=name, why=why, evidence=failure.message)
    lost = frozenset(plan.cpu_features) - frozenset(
        cpu.closed(frozenset(plan.cpu_features) - {feature})
    )
    return _with(remedy, replace(course, without=course.without | lost))


def _narrow(course: Course, failure: BuildFailed | ProofFailed, plan: Plan) -> Course | None:
    """Begin the bisection: rung 0 is what just failed."""
    rungs = cpu.narrower(plan.cpu_features)
    if "narrowed" in course.tried or not rungs:
        return None
    ladder = (("all", plan.cpu_features), *rungs)
    search = Search(
        ladder=ladder,
        failing=0,
        passing=len(ladder),
        trying=len(ladder) // 2,
        why=failure.message,
    )
    return _on_rung(course, search, plan.cpu_features)


def _on_rung(course: Course, search: Search, everything: tuple[str, ...]) -> Course:
    name, features = search.ladder[search.trying]
    why = f"the cause is not understood; trying the CPU features narrowed to {name}"
    remedy = Remedy(name="narrowed", why=why, evidence=search.why)
    kept = tuple(old for old in course.remedies if old.name != "narrowed")
    return replace(
        course,
        remedies=(*kept, remedy),
        tried=course.tried | {"narrowed"},
        without=frozenset(everything) - frozenset(features),
        search=search,
    )


def _searched(course: Course, *, passed: bool) -> Course | None:
    """Halve what lies between failing and passing; None when nothing does."""
    search = course.search
    assert search is not None
    if passed:
        search = replace(search, passing=search.trying)
    else:
        search = replace(search, failing=search.trying)
    if search.passing - search.failing == 1:
        return None
    search = replace(search, trying=(search.failing + search.passing) // 2)
    return _on_rung(course, search, search.ladder[0][1])
