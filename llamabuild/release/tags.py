"""The platform tag of a released wheel: measured, not believed.

On Linux auditwheel looks at what the libraries need (PEP 600, PEP 656); elsewhere the tag follows
from the operating system. auditwheel sees only files that RECORD lists.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import msgspec

from llamabuild import data
from llamabuild.audit.planned import TABLE as AUDIT
from llamabuild.errors import IntegrityError, ToolMissing
from llamabuild.host import Host, Limits, python
from llamabuild.model import Plan, Requires
from llamabuild.release.labels import TABLE

_ARCHES: Final = {"windows": {"x86_64": "amd64"}, "macos": {"aarch64": "arm64"}}
"""Where a platform tag spells an architecture otherwise than the rest."""
_LIMITS: Final = Limits(seconds=600)
_NO_PACKAGE: Final = "No module named 'auditwheel'"
_EXTRA: Final = "pip install 'llamabuild[team]'"


class _Told(msgspec.Struct, frozen=True):
    """What the child says: names of policies, and libraries that no policy allows."""

    policy: str
    symbols: str
    linux: str
    beyond: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A platform tag; ``why`` it is for this machine only, empty when it is for others as well."""

    platform: str
    why: str = ""


def never_inside() -> tuple[str, ...]:
    """Patterns of libraries that come with a device's driver: no wheel holds one."""
    return (*AUDIT["system"]["driver"], *TABLE["outside"]["never"])


def is_drivers(name: str) -> bool:
    """True for a library that comes with a device's driver. Capitals do not count, for Windows."""
    return any(fnmatchcase(name.lower(), one.lower()) for one in never_inside())


def expected_outside(backends: Iterable[str], declared: Iterable[str]) -> tuple[str, ...]:
    """Patterns of libraries that a wheel may need from outside: those of drivers, those that people
    install with a device, and those of the back-ends whose runtime the wheel ``declared`` as a
    dependency."""
    known = set(TABLE["outside"]["backends"]) | set(declared)
    mine = (name for one in backends if one in known for name in AUDIT["system"].get(one, ()))
    return tuple(dict.fromkeys((*never_inside(), *mine)))


def declared(plan: Plan) -> tuple[str, ...]:
    """The back-ends whose runtime the wheel brings by a dependency."""
    return tuple(dict.fromkeys(tool.backend for tool in plan.tools if tool.requires))


def measured(wheel: Path, requires: Requires, outside: Iterable[str], host: Host) -> Measured:
    """The platform tag of a wheel with its RECORD; ``outside`` are patterns of libraries that may
    be missing. Raises ToolMissing without auditwheel, IntegrityError when it finds no library."""
    if requires.os == "linux":
        return _linux(wheel, requires.arch, outside, host)
    arch = spelled(requires.os, requires.arch)
    if requires.os == "windows":
        return Measured(platform=f"win_{arch}")
    least = dict(requires.versions).get("macOS", "")
    major, _, minor = least.partition(".")
    if not major:
        return Measured(platform=f"macosx_{arch}", why="its least version of macOS is not known")
    return Measured(platform=f"macosx_{major}_{minor.partition('.')[0] or 0}_{arch}")


def spelled(os: str, arch: str) -> str:
    """An architecture as the platform tags of an operating system spell it.

    >>> spelled("windows", "x86_64"), spelled("linux", "aarch64")
    ('amd64', 'aarch64')
    """
    return _ARCHES.get(os, {}).get(arch, arch)


def _linux(wheel: Path, arch: str, outside: Iterable[str], host: Host) -> Measured:
    """Measured by auditwheel, in a process of its own, for it works in the current folder."""
    script = data.package("release/auditwheel_child.py")
    argv = [python(), "-I", str(script), str(wheel.absolute()), *outside]
    said = host.run(argv, limits=_LIMITS)
    if said.code != 0:
        last = (said.err.strip().splitlines() or [f"exit code {said.code}"])[-1]
        if _NO_PACKAGE in said.err:
            raise ToolMissing(f"platform tags need auditwheel: {last}", _EXTRA)
        raise IntegrityError(f"{wheel.name}: {last}", "Is it for Linux, with libraries in it?")
    told = msgspec.json.decode(said.out, type=_Told)
    if told.policy != told.linux:
        return Measured(platform=told.policy)
    return Measured(platform=f"linux_{arch}", why=_why(told))


def _why(told: _Told) -> str:
    if told.symbols == told.linux:
        return "its libraries need newer ones of the system than any manylinux tag allows"
    return f"it needs {', '.join(told.beyond)} from outside, which a manylinux machine may not have"
