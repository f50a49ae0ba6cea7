"""The compile commands of a configured tree compared with the plan, before anything is compiled.

A fat build compiles one file once for each of its CPU variants, so a command is told by file *and*
target; CMake names both in ``compile_commands.json``.
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from llamabuild import cmake
from llamabuild.audit.planned import TABLE, architecture
from llamabuild.backends import BACKENDS, cpu, cpu_sets
from llamabuild.backends.cpu_table import extensions
from llamabuild.errors import IntegrityError
from llamabuild.model import Plan

_TARGET: Final = re.compile(r"CMakeFiles[/\\]([^/\\]+)\.dir[/\\]")
_LEVEL: Final = re.compile(r"-O\w*|/O\w+")
_GLSLC: Final = re.compile(r"-D(GGML_VULKAN_\w+_GLSLC_SUPPORT)(?:=.*)?")
_SOURCES: Final = (".c", ".cc", ".cpp", ".cxx", ".cu", ".m", ".mm")
_LIBRARIES: Final = ("SHARED_LIBRARY", "MODULE_LIBRARY", "STATIC_LIBRARY")
_SEVERAL: Final = 3


class _Entry(msgspec.Struct, frozen=True):
    """An element of ``compile_commands.json``; the rest of it is of no interest."""

    file: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One file compiled for one target: ``file`` is absolute, ``words`` the whole command."""

    file: str
    target: str
    words: tuple[str, ...]


def units(folder: Path) -> tuple[Unit, ...]:
    """Every compile command of a configured build folder. Raises IntegrityError when they are not
    there or not as CMake writes them."""
    path = folder / "compile_commands.json"
    try:
        entries = msgspec.json.decode(path.read_bytes(), type=tuple[_Entry, ...])
        return tuple(_unit(entry.file, shlex.split(entry.command)) for entry in entries)
    except (OSError, ValueError, msgspec.MsgspecError) as error:  # ValueError: an open quote
        hint = "Configure with CMAKE_EXPORT_COMPILE_COMMANDS=ON."
        raise IntegrityError(f"{path}: no compile commands: {error}", hint) from error


def _unit(file: str, words: Sequence[str]) -> Unit:
    found = next(filter(None, map(_TARGET.search, words)), None)
    return Unit(file=file, target=found[1] if found else "", words=tuple(words))


def facts(compiled: Iterable[Unit]) -> tuple[str, ...]:
    """What is worth knowing and was not planned: extensions that the shader compiler knows."""
    words = (word for unit in compiled if unit.target == "ggml-vulkan" for word in unit.words)
    return tuple(sorted({found[1] for found in map(_GLSLC.fullmatch, words) if found}))


def differences(
    plan: Plan, compiled: Iterable[Unit], targets: Mapping[str, cmake.Target], tree: Path
) -> tuple[str, ...]:
    """Where the commands and targets of a build folder are not what the plan says, in words.
    ``tree`` is the source tree that the plan's source options are relative to."""
    mine = tuple(unit for unit in compiled if unit.file.endswith(_SOURCES))
    troubles: dict[str, list[str]] = defaultdict(list)
    for unit in mine:
        for trouble in _unit_troubles(plan, unit, _extra(plan, unit, tree)):
            troubles[trouble].append(f"{Path(unit.file).name} ({unit.target})")
    return (
        *(f"{trouble}: {_some(where)}" for trouble, where in troubles.items()),
        *_source_options(plan, mine, tree),
        *_macros(plan, mine),
        *_variants(plan, targets),
        *_targets(plan, targets),
    )


def _some(where: Sequence[str]) -> str:
    more = len(where) - _SEVERAL
    return ", ".join(where[:_SEVERAL]) + (f" and {more} more" if more > 0 else "")


def _extra(plan: Plan, unit: Unit, tree: Path) -> frozenset[str]:
    """Options that the plan gives to this file alone."""
    return frozenset(
        word
        for option in plan.source_options
        if Path(unit.file) == tree / option.source
        for word in option.options
    )


def _unit_troubles(plan: Plan, unit: Unit, extra: frozenset[str]) -> Iterator[str]:
    yield from _optimisation(plan, unit, extra)
    values = {flag.name: flag.value for flag in plan.flags}
    for word in TABLE["forbidden"]["words"]:
        excused = unit.target in TABLE["forbidden"]["fast_math_targets"]
        native = values.get("GGML_NATIVE") is True and "native" in word
        if word in unit.words and not (word in extra or native or excused):
            yield f"compiled with {word}"
    if unit.target == "ggml-cpu" or unit.target.startswith("ggml-cpu-"):
        yield from _machine(plan, unit, extra)


def _optimisation(plan: Plan, unit: Unit, extra: frozenset[str]) -> Iterator[str]:
    """A release is optimised and has no assertions."""
    if {flag.name: flag.value for flag in plan.flags}.get("CMAKE_BUILD_TYPE") != "Release":
        return
    level = next((word for word in reversed(unit.words) if _LEVEL.fullmatch(word)), "")
    if level not in TABLE["release"]["optimised"] and level not in extra:
        yield f"compiled with {level or 'no optimisation'}"
    switches = [word for word in unit.words if word[2:] == "NDEBUG"]
    if not switches or switches[-1][1] == "U":
        yield "compiled without -DNDEBUG"


def _machine(plan: Plan, unit: Unit, extra: frozenset[str]) -> Iterator[str]:
    """The ``-m…`` options of ggml's CPU code; each variant of a fat build has its own."""
    machine = [w for w in unit.words if w.startswith(("-m", "/arch")) and w not in extra]
    if unit.target == "ggml-cpu":
        wrong = cpu.disagreement(machine, plan.flags, plan.cpu_features)
        if wrong:
            yield f"instruction set not as planned ({wrong})"
        return
    wanted = _variant_options(architecture(plan), unit.target.removeprefix("ggml-cpu-"))
    if wanted is not None and set(machine) != wanted:
        odd = " ".join(sorted(wanted.symmetric_difference(machine)))
        yield f"{unit.target} is compiled with {odd} too much or too little"


def _variant_options(arch: str, name: str) -> set[str] | None:
    """The options of a variant, None where they are not known: but on x86-64 ggml puts one text
    together. What asks the processor which variant it can run must itself run on any."""
    row = next((row for row in cpu_sets.rows("variant", arch) if row.name == name), None)
    if arch == "x86_64" and name.endswith("-feats"):
        return set()
    if arch != "x86_64" or row is None:
        return None
    features = [one.name for one in extensions(arch) if one.upstream in row.has]
    return set(cpu_sets.compiler_options(features))


def _source_options(plan: Plan, compiled: Sequence[Unit], tree: Path) -> Iterator[str]:
    """Options for single files must have reached every command for the file."""
    for option in plan.source_options:
        mine = [unit for unit in compiled if Path(unit.file) == tree / option.source]
        if not mine:
            yield f"{option.source} is not compiled at all"
        for unit in mine:
            if missing := [word for word in option.options if word not in unit.words]:
                yield f"{option.source} ({unit.target}) is compiled without {' '.join(missing)}"


def _macros(plan: Plan, compiled: Sequence[Unit]) -> Iterator[str]:
    """The registry of ggml knows a back-end by a macro, unless it loads them at run time."""
    words = {word for unit in compiled if unit.target == "ggml" for word in unit.words}
    values = {flag.name: flag.value for flag in plan.flags}
    if values.get("GGML_BACKEND_DL") is True:
        if "-DGGML_BACKEND_DL" not in words:
            yield "ggml is not compiled to load its back-ends (GGML_BACKEND_DL)"
        return
    wanted = {macro for backend in plan.backends for macro in _own_macros(backend)}
    known = {macro for backend in BACKENDS for macro in _own_macros(backend)}
    got = {word[2:].partition("=")[0] for word in words if word.startswith("-D")} & known
    yield from (f"ggml is compiled without {macro}" for macro in sorted(wanted - got))
    yield from (f"ggml is compiled with {macro}" for macro in sorted(got - wanted))


def _own_macros(backend: str) -> list[str]:
    return list(TABLE["defines"].get(backend, [f"GGML_USE_{backend.upper()}"]))


def _variants(plan: Plan, targets: Mapping[str, cmake.Target]) -> Iterator[str]:
    """A fat build has every variant that ggml makes for the architecture."""
    values = {flag.name: flag.value for flag in plan.flags}
    if values.get("GGML_CPU_ALL_VARIANTS") is not True:
        return
    rows = cpu_sets.rows("variant", architecture(plan))
    made = (name for name, target in targets.items() if target.kind in _LIBRARIES)
    got = {name.removeprefix("ggml-cpu-") for name in made if name.startswith("ggml-cpu-")}
    for name in sorted(got - {row.name for row in rows}):
        yield f"CPU variant {name} is not one that llamabuild knows"
    expected = [{row.name for row in rows if row.os == os} for os in {row.os for row in rows}]
    if expected and plan.compiler.family != "msvc":  # which makes fewer
        lacking = min((names - got for names in expected), key=len)
        yield from (f"CPU variant {name} is not made" for name in sorted(lacking))


def _targets(plan: Plan, targets: Mapping[str, cmake.Target]) -> Iterator[str]:
    """The tools that were asked for, and one library for each back-end and no other."""
    yield from (f"there is no target {name}" for name in plan.targets if name not in targets)
    for backend in BACKENDS:
        name = f"ggml-{backend}"
        made = any(
            (one == name or one.startswith(f"{name}-")) and target.kind in _LIBRARIES
            for one, target in targets.items()
        )
        if made != (backend in plan.backends):
            yield f"{'unplanned' if made else 'no'} library {name}"
