"""The rows of ``cpu_features.toml``: each instruction-set extension that ggml has an option for."""

from __future__ import annotations

from functools import cache
from typing import Final

import msgspec

from llamabuild import data

TABLE: Final = "backends/cpu_features.toml"
MSVC: Final = "msvc"
"""The family of compilers with Microsoft's command line, which ggml gives other options."""


class Location(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where CPUID advertises an extension."""

    leaf: int
    subleaf: int
    register: str
    bit: int


class Msvc(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is different with Visual C++."""

    declared: bool = True
    requires: tuple[str, ...] = ()
    never: str = ""


class Extension(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row of ``cpu_features.toml``, where the fields are explained."""

    arch: str
    name: str
    title: str
    words: tuple[str, ...] = ()
    cpuid: Location | None = None
    xcr0: int = 0
    permission: bool = False
    sysctl: str = ""
    pf: int = 0
    requires: tuple[str, ...] = ()
    upstream: str
    option: str = ""
    compiler: tuple[str, ...]
    since: dict[str, int] = {}
    msvc: Msvc = Msvc()
    march: str = ""
    tag: str = ""
    suffix: str = ""
    assembly: str
    argument: bool = False
    code: str

    def needs(self, family: str) -> frozenset[str]:
        """The extensions without which this one is not used with a family of compilers."""
        return frozenset(self.requires + (self.msvc.requires if family == MSVC else ()))


class March(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options that take one text for all extensions of an architecture."""

    arch: str
    options: tuple[str, ...]
    bases: tuple[str, ...]
    msvc: str = ""
    implies: dict[str, tuple[str, ...]] = {}


class Never(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An option that is always off, and why."""

    arch: str
    option: str
    why: str


@cache
def extensions(arch: str = "") -> tuple[Extension, ...]:
    """The extensions of an architecture (empty: of all), in the table's order."""
    rows = msgspec.convert(data.load(data.package(TABLE))["feature"], tuple[Extension, ...])
    return tuple(row for row in rows if arch in ("", row.arch))


def names() -> tuple[str, ...]:
    """All extensions that there is a table for, of every architecture."""
    return tuple(row.name for row in extensions())


@cache
def march(arch: str) -> March | None:
    """How ggml takes all extensions of an architecture in one text, where it does."""
    found = msgspec.convert(data.load(data.package(TABLE))["march"], tuple[March, ...])
    return next((row for row in found if row.arch == arch), None)


@cache
def never(arch: str) -> tuple[Never, ...]:
    """Options of an architecture that are always off."""
    found = msgspec.convert(data.load(data.package(TABLE))["never"], tuple[Never, ...])
    return tuple(row for row in found if row.arch == arch)
