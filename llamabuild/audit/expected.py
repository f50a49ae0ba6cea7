"""What was built compared with what was planned, in words. Pure: facts in, sentences out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from typing import Final

from llamabuild.audit.inventory import Binary, Inventory
from llamabuild.audit.notes import LEVELS
from llamabuild.audit.planned import (
    KERNELS,
    TABLE,
    VARIANT,
    allowed,
    architecture,
    library,
    marked,
    planned,
    planned_codes,
    variants,
)
from llamabuild.backends import cpu_sets
from llamabuild.model import Plan
from llamabuild.toolchains.zig import RUNTIME

_FEW: Final = 3


def differences(plan: Plan, inventory: Inventory) -> tuple[str, ...]:
    """Everything that is not as planned, one sentence each; none when all is well. What could not
    be looked at is in ``inventory.unread``, and no difference."""
    found = [
        *(line for binary in inventory.binaries for line in _binary(plan, binary, inventory)),
        *_libraries(plan, inventory),
        *_device_code(plan, inventory),
        *_missing(inventory),
        *_packed(inventory),
    ]
    return tuple(dict.fromkeys(found))


def kind(plan: Plan, inventory: Inventory) -> str:
    """The kind of failure that differences are: what they would be for who runs the build all the
    same. A back-end that is not there computes on the CPU; a library that is not there ends it."""
    if any(name != "cpu" for name in _absent(plan, inventory)):
        return "silent-cpu"
    needed = (line for one in inventory.binaries for line in _needed(plan, one, inventory))
    if any(needed) or any(_missing(inventory)):
        return "library-missing"
    return "audit"


def _binary(plan: Plan, binary: Binary, inventory: Inventory) -> Iterator[str]:
    arch = architecture(plan)
    if binary.elf.arch != arch:
        yield f"{binary.path} is for {binary.elf.arch}, not for {arch}"
        return
    if binary.elf.soname not in ("", binary.name):
        yield f"{binary.path} calls itself {binary.elf.soname}"
    known = allowed(plan, binary.name, arch)
    yield from _surplus(binary, known)
    yield from _levels(plan, binary, known)
    yield from _traces(binary, planned(plan, binary.name, arch))
    yield from _needed(plan, binary, inventory)
    yield from _runpath(plan, binary)


# --- instructions --------------------------------------------------------------------------------


def _surplus(binary: Binary, known: frozenset[str]) -> Iterator[str]:
    for use in binary.isa.uses:
        if use.feature not in known:
            times = "once" if use.count == 1 else f"{use.count} times"
            yield (
                f"{binary.path} uses {use.feature} {times}, first in {use.symbol}, "
                f"which was not planned{_chosen(binary)}"
            )


def _chosen(binary: Binary) -> str:
    """That the code may be meant for some processors only: it is for the reader to judge."""
    if names := binary.elf.dispatched:
        return f"; code is chosen at run time there ({', '.join(names[:_FEW])})"
    if names := binary.isa.asks:
        return f"; the file asks the processor what it is ({', '.join(names[:_FEW])})"
    return ""


def _levels(plan: Plan, binary: Binary, known: frozenset[str]) -> Iterator[str]:
    """The loader refuses a file that is marked with a level above the processor's: the libraries of
    a level are, with that one, and nothing is with more than was planned."""
    level = marked(plan)
    library = binary.elf.kind == "shared" and not binary.elf.interpreter
    if level and library and binary.name != RUNTIME:
        yield from _mark(binary, level.name)
        return
    for row in cpu_sets.rows("level", architecture(plan)):
        beyond = sorted(set(row.features) - known)
        if row.name in binary.elf.isa_needed and beyond:
            yield f"{binary.path} is marked as needing {row.name}; not planned: {', '.join(beyond)}"


def _mark(binary: Binary, level: str) -> Iterator[str]:
    found = ("no level", *LEVELS)[binary.elf.isa_level]
    if found != level:
        yield f"{binary.path} is marked as needing {found}, which should be {level}"


def _traces(binary: Binary, wanted: frozenset[str]) -> Iterator[str]:
    if not KERNELS.fullmatch(binary.name) or binary.isa.unread:
        return
    for feature, traces in TABLE["traces"].items():
        if feature in wanted and not binary.isa.features.intersection(traces):
            yield f"{binary.path} was planned with {feature} and has no instruction of it"


# --- libraries -----------------------------------------------------------------------------------


@cache
def _outside(system: str, backends: tuple[str, ...]) -> tuple[str, ...]:
    """Patterns of the libraries that a build may need from outside."""
    names = ("windows" if system == "windows" else "any", *backends)
    return tuple(name for one in names for name in TABLE["system"].get(one, ()))


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _needed(plan: Plan, binary: Binary, inventory: Inventory) -> Iterator[str]:
    own = {one.name for one in inventory.binaries} | {one.elf.soname for one in inventory.binaries}
    for name in binary.elf.needed:
        known = name.lower() if plan.system == "windows" else name
        if name not in own and not _fits(known, _outside(plan.system, plan.backends)):
            yield (
                f"{binary.path} needs {name}, which is neither part of the build nor a library "
                f"that {', '.join(plan.backends)} may need"
            )


def _libraries(plan: Plan, inventory: Inventory) -> Iterator[str]:
    """Each back-end has its library, and Vulkan's holds its kernels: SPIR-V modules."""
    if not inventory.binaries:
        yield from () if inventory.unread else ("there is no library and no program",)
        return
    yield from (f"there is no library libggml-{name}" for name in _absent(plan, inventory))
    for one in inventory.binaries:
        kinds = {code.kind for code in one.device_code}
        if one.name.startswith(library(plan, "ggml-vulkan")) and "spirv" not in kinds:
            yield f"{one.path} has no SPIR-V modules"
    yield from _variants(plan, {one.name for one in inventory.binaries})


def _absent(plan: Plan, inventory: Inventory) -> list[str]:
    """The back-ends without a library of their own."""
    names = [one.name for one in inventory.binaries]
    return [
        backend
        for backend in plan.backends
        if not any(name.startswith(library(plan, f"ggml-{backend}")) for name in names)
    ]


def _variants(plan: Plan, names: set[str]) -> Iterator[str]:
    """A fat build has each CPU variant that was not left out, and no other."""
    wanted = {file for _, file in variants(plan)}
    if not wanted:
        return
    made = {name for name in names if VARIANT.fullmatch(name)}
    yield from (f"there is no library {name}" for name in sorted(wanted - made))
    yield from (f"{name} was built, which was not planned" for name in sorted(made - wanted))


def _missing(inventory: Inventory) -> Iterator[str]:
    for one in inventory.missing:
        if not _fits(one.needed, TABLE["system"]["driver"]):
            yield f"{one.path} needs {one.needed}, which the loader does not find"


def _runpath(plan: Plan, binary: Binary) -> Iterator[str]:
    tools = (tool.path.rpartition("/bin/")[0] for tool in plan.tools if tool.backend)
    roots = [*TABLE["toolkits"]["folders"], *filter(None, tools)]
    patterns = [pattern for root in roots for pattern in (root, f"{root}/*")]
    for folder in (*binary.elf.rpath, *binary.elf.runpath):
        if not folder:
            yield f"{binary.path} looks for libraries in whatever folder is the current one"
        elif not folder.startswith(("$ORIGIN", "${ORIGIN}")) and not _fits(folder, patterns):
            yield f"{binary.path} looks for libraries in {folder}, which is not part of the build"


def _packed(inventory: Inventory) -> Iterator[str]:
    """The wheel's libraries are those of the build, byte for byte."""
    built = {one.name: one.sha256 for one in inventory.binaries}
    for one in inventory.packed:
        if one.name not in built:
            yield f"{one.wheel} holds {one.name}, which the build does not have"
        elif built[one.name] != one.sha256:
            yield f"{one.name} in {one.wheel} is not the one that was built"


# --- code for devices ----------------------------------------------------------------------------


def _device_code(plan: Plan, inventory: Inventory) -> Iterator[str]:
    asked = planned_codes(plan)
    if asked is None:
        return  # nothing can be compared
    there = {
        (one.kind, one.architecture)
        for binary in inventory.binaries
        for one in binary.device_code
        if one.kind != "spirv"
    }
    sealed = ("offload", "compressed") in there
    for kind, name in sorted(asked - there):
        if not (sealed and kind == "gfx"):
            yield f"no {kind} for {name} was built, which was planned"
    for kind, name in sorted(there - asked - {("offload", "compressed")}):
        yield f"{kind} for {name} was built, which was not planned"
