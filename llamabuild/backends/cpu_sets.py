"""Sets of CPU features: closed under what each requires, named, ordered, made smaller. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import msgspec

from llamabuild import data
from llamabuild.backends.cpu_table import MSVC, extensions
from llamabuild.model import Feature

_VARIANTS = "backends/cpu_variants.toml"


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A level or a variant of ``cpu_variants.toml``."""

    arch: str
    name: str
    os: str = ""
    label: str = ""
    portable: bool = False
    note: int = 0
    features: tuple[str, ...] = ()
    has: tuple[str, ...] = ()
    compiler: tuple[str, ...] = ()
    msvc: bool = True


class _Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step down."""

    name: str
    drops: tuple[str, ...]


@cache
def rows(kind: str, arch: str) -> tuple[Row, ...]:
    """The rows of the table ``level`` or ``variant`` for an architecture."""
    found = msgspec.convert(data.load(data.package(_VARIANTS))[kind], tuple[Row, ...])
    return tuple(row for row in found if row.arch == arch)


def variant_rows(arch: str, os: str, family: str = "") -> tuple[Row, ...]:
    """The CPU variants that ggml makes on an operating system with a family of compilers.

    >>> [row.name for row in variant_rows("aarch64", "macos")]
    ['apple_m1', 'apple_m2_m3', 'apple_m4']
    >>> variant_rows("aarch64", "windows")
    ()
    """
    found = rows("variant", arch)
    without = data.load(data.package(_VARIANTS))["no_variants"]
    if {"arch": arch, "os": os} in without:
        return ()
    own = os if any(row.os == os for row in found) else ""
    return tuple(row for row in found if row.os == own and (row.msvc or family != MSVC))


@cache
def _steps() -> tuple[_Step, ...]:
    return msgspec.convert(data.load(data.package(_VARIANTS))["step"], tuple[_Step, ...])


def ordered(features: Iterable[str]) -> tuple[str, ...]:
    """The features in the table's order, each once. Those that ggml has no option for are left
    out."""
    wanted = frozenset(features)
    return tuple(row.name for row in extensions() if row.name in wanted)


def closed(features: Iterable[str], family: str = "") -> tuple[str, ...]:
    """The largest subset in which everything has what it requires, also with a family of
    compilers that switches some on together ("msvc").

    >>> closed(["sse4_2", "avx2", "avx512f"]), closed(["avx", "sse4_2", "fma"])
    (('sse4_2',), ('sse4_2', 'avx', 'fma'))
    >>> closed(["avx", "sse4_2", "fma"], "msvc")
    ('sse4_2', 'avx')
    """
    kept = frozenset(ordered(features))
    while True:
        sound = frozenset(
            row.name
            for row in extensions()
            if row.name in kept
            and kept.issuperset(row.needs(family))
            and not (row.msvc.never and family == MSVC)
        )
        if sound == kept:
            return ordered(kept)
        kept = sound


def native_features(features: Iterable[Feature]) -> tuple[str, ...]:
    """The usable features that ggml has an option for, closed under their dependencies."""
    return closed(feature.name for feature in features if feature.usable)


def portable_features(arch: str) -> tuple[str, ...]:
    """What any machine of this architecture that is worth supporting has.

    >>> portable_features("x86_64"), portable_features("aarch64")
    (('sse4_2',), ())
    """
    return next((row.features for row in rows("level", arch) if row.portable), ())


def levels(arch: str = "") -> tuple[Row, ...]:
    """The microarchitecture levels that a recipe can be for and that libraries can be marked with
    (empty: of all architectures), the lowest first.

    >>> [row.name for row in levels("x86_64")], levels("aarch64")
    (['x86-64-v2', 'x86-64-v3', 'x86-64-v4'], ())
    """
    return tuple(row for row in _levels() if row.note and arch in ("", row.arch))


def level(name: str, arch: str) -> Row | None:
    """The level of that name, where the architecture has it; None for a recipe's other words.

    >>> level("native", "x86_64"), level("x86-64-v3", "aarch64")
    (None, None)
    """
    return next((row for row in levels(arch) if row.name == name), None)


def lacking(name: str, arch: str, features: Iterable[Feature]) -> tuple[str, ...]:
    """What a machine with ``features`` lacks of a level; nothing for a recipe's other words.

    >>> has = Feature(name="sse4_2", advertised=True, enabled=True, executed=True)
    >>> lacking("x86-64-v3", "x86_64", [has]), lacking("native", "x86_64", [])
    (('avx', 'f16c', 'fma', 'avx2', 'bmi2'), ())
    """
    row = level(name, arch)
    usable = {one.name for one in features if one.usable}
    return tuple(one for one in row.features if one not in usable) if row else ()


@cache
def _levels() -> tuple[Row, ...]:
    return msgspec.convert(data.load(data.package(_VARIANTS))["level"], tuple[Row, ...])


def compiler_options(features: Iterable[str]) -> tuple[str, ...]:
    """The GCC and Clang options for the features, one by one: what a compiler must accept.

    >>> compiler_options(["avx512f", "amx_int8"])
    ('-mavx512f', '-mamx-int8')
    """
    wanted = frozenset(features)
    return tuple(option for row in extensions() if row.name in wanted for option in row.compiler)


def all_compiler_options(arch: str) -> tuple[str, ...]:
    """Everything that a compiler may be asked for on this architecture."""
    own = (option for row in rows("variant", arch) for option in row.compiler)
    return tuple(dict.fromkeys((*compiler_options(row.name for row in extensions(arch)), *own)))


def expected_options(family: str, version: str, arch: str) -> tuple[str, ...]:
    """What a compiler of this version should accept, by the table of first versions. Apple's
    numbers are its own; every Xcode that can build llama.cpp knows what Apple's CPUs have. The
    options of Visual C++ have other names; these stand for what it can do.

    >>> "-mavxvnni" in expected_options("gcc", "10.2.1", "x86_64")
    False
    >>> "-mamx-int8" in expected_options("msvc", "19.41", "x86_64")
    False
    """
    mine = extensions(arch)
    if family == MSVC:
        return compiler_options(row.name for row in mine if not row.msvc.never)
    if family not in ("gcc", "clang"):
        return all_compiler_options(arch)
    major = int(version.partition(".")[0])
    unknown = {row.name for row in mine if row.since.get(family, 0) > major}
    beyond = set(compiler_options(unknown)) - set(
        compiler_options(row.name for row in mine if row.name not in unknown)
    )
    return tuple(option for option in all_compiler_options(arch) if option not in beyond)


def newer_compilers(feature: str) -> str:
    """The first compilers that know a feature, in words; empty where all do.

    >>> newer_compilers("amx_int8"), newer_compilers("avx2")
    ('gcc 11 or clang 12', '')
    """
    row = next(row for row in extensions() if row.name == feature)
    return " or ".join(f"{family} {major}" for family, major in row.since.items())


def level_name(arch: str, features: Iterable[str]) -> str:
    """A short label: the highest level that is inside, then what is beyond it.

    >>> level_name("x86_64", ["sse4_2"]), level_name("x86_64", ["sse4_2", "avx", "f16c"])
    ('x86-64-v2', 'avx-f16c')
    >>> level_name("aarch64", ["asimddp", "fp16", "i8mm"])
    'armv8-a-dotprod-fp16-i8mm'
    """
    wanted = frozenset(features)
    inside = [row for row in rows("level", arch) if wanted.issuperset(row.features)]
    level = inside[-1] if inside else Row(arch=arch, name="baseline")
    beyond = (row for row in extensions(arch) if row.name in wanted - frozenset(level.features))
    words = dict.fromkeys(row.suffix or row.name for row in beyond)
    return "-".join((level.label or level.name, *(word for word in words if word != "-")))


def narrower(features: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Ever smaller sets, named, down to what every machine has: where to look for a feature that
    a build goes wrong with."""
    current = closed(features)
    ladder = []
    for step in _steps():
        smaller = closed(frozenset(current) - frozenset(step.drops))
        if smaller != current:
            ladder.append((step.name, smaller))
            current = smaller
    return tuple(ladder)
