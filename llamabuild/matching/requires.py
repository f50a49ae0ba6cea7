"""What a result asks of the machine that it is to run on. Pure.

Only ggml's files are disassembled (1.0 s for a CPU build on two cores, 4.1 s for all files): the
others are compiled without options for the instruction set, which the audit of the compile
commands holds them to, and eight whole results of three architectures had nothing in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from llamabuild import data
from llamabuild.audit import Binary, Inventory
from llamabuild.audit import planned as planning
from llamabuild.audit.loader import SYSTEM_NAMES
from llamabuild.audit.planned import (
    KERNELS,
    TABLE,
    VARIANT,
    allowed,
    architecture,
    planned,
    planned_codes,
    variants,
)
from llamabuild.audit.versions import highest
from llamabuild.backends import BACKENDS, Driver, cpu, cpu_sets
from llamabuild.backends.cpu_table import names
from llamabuild.model import Plan, Requires, Variant

_TABLE: Final[dict[str, Any]] = data.load(data.package("matching/matching.toml"))
_SEALED: Final = ("offload", "compressed")
_NOT_FOR_ONE: Final = ("spirv", "nvvm", "offload")
"""Code that every device compiles for itself, and what cannot be opened."""
_MACOS: Final = "CMAKE_OSX_DEPLOYMENT_TARGET"
_ORIGIN: Final = ("$ORIGIN", "${ORIGIN}")


def expected(plan: Plan) -> Requires:
    """What the result of a plan will require, before it is built: never less than what is measured
    then, but for libraries, which nobody knows yet."""
    kind, _, version = plan.sysroot.partition(" ")
    known = planned_codes(plan)
    unknown = ["which libraries it needs is known when it is built"]
    unknown += ["which code for devices it has is left to CMake"] if known is None else []
    own = (("GLIBC", version),) if kind == "glibc" and version else ()
    arch, asked = architecture(plan), _drivers((), plan)
    return Requires(
        os=plan.system,
        arch=arch,
        libc=kind,
        versions=(*own, *_system(plan)),
        features=planning.needed(plan),
        variants=tuple(
            Variant(name=name, features=cpu.ordered(planned(plan, file, arch)))
            for name, file in variants(plan)
        ),
        places=_places((), plan),
        backends=plan.backends,
        device_code=tuple(sorted(known or ())),
        drivers=_least_drivers(asked),
        toolkits=_toolkits(asked),
        unknown=tuple(unknown),
    )


def measured(plan: Plan, inventory: Inventory) -> Requires:
    """What a result requires, from the facts about its files. What could not be looked at is as
    planned, and ``unknown`` says so."""
    files = inventory.binaries
    before = expected(plan)
    if not any(KERNELS.fullmatch(one.name) for one in files):
        why = "what its libraries for the CPU are: the plan stands for them"
        return replace(before, unknown=(*inventory.unread, why))
    libraries = outside(files, plan.system)
    asked = _drivers(libraries, plan)
    codes, blind = _codes(files, plan)
    common = [one for one in files if not VARIANT.fullmatch(one.name)]
    return replace(
        before,
        versions=(*versions(files), *_system(plan)),
        features=_ordered(name for one in common for name in _features(one, plan)),
        variants=tuple(_variant(one, plan) for one in files if VARIANT.fullmatch(one.name)),
        libraries=libraries,
        places=_places(files, plan),
        device_code=codes,
        drivers=_least_drivers(asked),
        toolkits=_toolkits(asked),
        unknown=(*inventory.unread, *_unlooked(files, plan), *blind),
    )


def _system(plan: Plan) -> tuple[tuple[str, str], ...]:
    """The least macOS, which a plan for it always says."""
    values = {flag.name: str(flag.value) for flag in plan.flags}
    return (("macOS", values[_MACOS]),) if values.get(_MACOS) else ()


def versions(files: Iterable[Binary]) -> tuple[tuple[str, str], ...]:
    """The highest symbol versions that libraries of the system have to define."""
    own = _own(files)
    families = {family for family, name in _TABLE["defines"].items() if name in own}
    return highest(
        f"{family}_{version}"
        for one in files
        for family, version in one.elf.versions
        if family not in families
    )


def _own(files: Iterable[Binary]) -> frozenset[str]:
    return frozenset(name for one in files for name in (one.name, one.elf.soname))


def outside(files: Sequence[Binary], system: str) -> tuple[str, ...]:
    """The libraries that files need from outside, on an operating system. Windows does not tell
    capital letters from small ones."""
    fold = str.lower if system == "windows" else str
    own = {fold(name) for name in _own(files)}
    found = {fold(name) for one in files for name in one.elf.needed} - own
    return tuple(sorted(name for name in found if not name.startswith(SYSTEM_NAMES)))


def _places(files: Iterable[Binary], plan: Plan) -> tuple[str, ...]:
    """Folders other than the result's own, as its libraries name them and as its tools do."""
    paths = [path for one in files for path in (*one.elf.rpath, *one.elf.runpath)]
    places = (path for path in map(_seen, paths) if path not in ("", "../lib", "../bin"))
    return tuple(dict.fromkeys((*places, *(at for tool in plan.tools for at in tool.places))))


def _seen(path: str) -> str:
    """A folder of a RUNPATH, seen from the library.

    >>> _seen("$ORIGIN/../lib"), _seen("$ORIGIN"), _seen("/opt/rocm/lib")
    ('../lib', '', '/opt/rocm/lib')
    """
    origin = next((one for one in _ORIGIN if path.startswith(one)), "")
    return path[len(origin) :].lstrip("/") if origin else path


def _drivers(libraries: tuple[str, ...], plan: Plan) -> dict[str, Driver]:
    """What each back-end asks of its driver."""
    return {name: BACKENDS[name].driver(libraries, plan.tools) for name in plan.backends}


def _least_drivers(asked: Mapping[str, Driver]) -> tuple[tuple[str, str], ...]:
    return tuple((name, one.least) for name, one in asked.items() if one.least)


def _toolkits(asked: Mapping[str, Driver]) -> tuple[tuple[str, str], ...]:
    return tuple((name, one.toolkit) for name, one in asked.items() if one.toolkit)


# --- instructions --------------------------------------------------------------------------------


def _looked(binary: Binary) -> bool:
    """True when a file's code was taken apart."""
    return bool(binary.isa.instructions or binary.isa.uses)


def _features(binary: Binary, plan: Plan) -> frozenset[str]:
    """The features that a file needs: those that it uses, and those of the levels that it is marked
    with, for the loader refuses it below them. Where code is chosen at run time, only what was
    planned counts: the rest is for other processors."""
    arch = architecture(plan)
    mine = planned(plan, binary.name, arch)
    levels = {
        name
        for row in cpu_sets.rows("level", arch)
        if row.name in binary.elf.isa_needed
        for name in row.features
    }
    if KERNELS.fullmatch(binary.name) and not _looked(binary):
        return mine | levels
    used = binary.isa.features
    if binary.isa.asks or binary.elf.dispatched:
        used &= allowed(plan, binary.name, arch)
    hidden = {name for name, shown in _TABLE["counted"].items() if name in mine and shown in used}
    return _least(used | hidden) | levels


def _least(features: frozenset[str]) -> frozenset[str]:
    """Features without those that come along with another of them and that no probe asks for.

    >>> sorted(_least(frozenset(["sse4_2", "sse4_1", "avx"]))), sorted(_least(frozenset(["ssse3"])))
    (['avx', 'sse4_2'], ['ssse3'])
    >>> sorted(_least(frozenset(["sme", "sve2", "bf16"])))
    ['sme', 'sve2']
    """
    along = {also for one in features for also in TABLE["implies"].get(one, ())}
    return features - along.difference(names())


def _ordered(features: Iterable[str]) -> tuple[str, ...]:
    """In the table's order, then the others."""
    wanted = frozenset(features)
    known = cpu.ordered(wanted)
    return (*known, *sorted(wanted.difference(known)))


def _variant(binary: Binary, plan: Plan) -> Variant:
    found = VARIANT.fullmatch(binary.name)
    name = found[1] if found else binary.name
    return Variant(name=name, features=_ordered(_features(binary, plan)))


def _unlooked(files: Iterable[Binary], plan: Plan) -> Iterator[str]:
    """What is as planned because nobody saw it, and what was seen and does not count."""
    arch = architecture(plan)
    for one in files:
        if KERNELS.fullmatch(one.name) and not _looked(one):
            yield f"the instructions of {one.path}: the plan's CPU features stand for them"
        elif one.isa.asks or one.elf.dispatched:
            beyond = one.isa.features - allowed(plan, one.name, arch)
            if beyond:
                chosen = ", ".join(sorted(beyond))
                yield f"whether {one.path} runs {chosen} only where it is: it chooses at run time"


# --- code for devices ----------------------------------------------------------------------------


def _codes(
    files: Sequence[Binary], plan: Plan
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """The code for devices, and what stands for code that could not be looked at: in a compressed
    bundle, or in a file whose sections are not known (Windows')."""
    found = {(code.kind, code.architecture) for one in files for code in one.device_code}
    codes = {pair for pair in found if pair[0] not in _NOT_FOR_ONE}
    wanted = planned_codes(plan)
    if wanted and (_SEALED in found or not any(one.elf.sections for one in files)):
        why = "which code for devices it has: the plan's stands for it"
        return tuple(sorted(codes | wanted)), (why,)
    return tuple(sorted(codes)), ()
