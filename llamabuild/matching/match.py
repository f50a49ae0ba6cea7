"""What a machine lacks for a result, in words: one sentence for each thing. Pure.

What is not known of the result or of the machine is never a reason to refuse: the result is proved
on the machine before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase

from llamabuild import packages
from llamabuild.audit.planned import TABLE as AUDIT
from llamabuild.audit.versions import numbers
from llamabuild.backends import BACKENDS
from llamabuild.matching.provides import TABLE, Provides
from llamabuild.model import Device, Requires

_WORDS = {"GLIBC": "glibc"}


def _nowhere(path: str) -> bool:  # noqa: ARG001 - nothing is there
    return False


def missing(
    requires: Requires, provides: Provides, exists: Callable[[str], bool] = _nowhere
) -> tuple[str, ...]:
    """What is missing for a result to run, empty when nothing is. ``exists`` tells whether there is
    a file at a path, absolute or seen from the result's ``lib/``: its own places are looked at with
    it."""
    if (requires.os, requires.arch) != (provides.os, provides.arch):
        made = _names(requires.os, requires.arch, requires.os != provides.os)
        here = _names(provides.os, provides.arch, requires.os != provides.os)
        return (f"made for {made}, this is {here}",)
    found = (
        *_libc(requires, provides),
        *_versions(requires, provides),
        *(f"{name} missing" for name in requires.features if name not in provides.features),
        *_variants(requires, provides),
        *_libraries(requires, provides, exists),
        *_devices(requires, provides),
    )
    return tuple(dict.fromkeys(found))


def served(backend: str, provides: Provides) -> tuple[Device, ...]:
    """The devices of a back-end that a result has to run on: those that a build made here would,
    and where none can be made here, all. On others a build would not run either."""
    mine = tuple(one for one in provides.devices if one.backend == backend)
    return tuple(one for one in mine if not one.lacks) or mine


def _names(os: str, arch: str, different: bool) -> str:
    return f"{os} on {arch}" if different else arch


def _libc(requires: Requires, provides: Provides) -> Iterator[str]:
    if requires.libc and provides.libc and requires.libc != provides.libc:
        yield f"made for {requires.libc}, this is {provides.libc}"


def _versions(requires: Requires, provides: Provides) -> Iterator[str]:
    known = dict(provides.versions)
    for family, version in requires.versions:
        here = known.get(family)
        if here and numbers(here) < numbers(version):
            yield f"{_WORDS.get(family, family)} {version} needed, {here} is here"


def _variants(requires: Requires, provides: Provides) -> Iterator[str]:
    """One of them has to fit; the one that lacks least is told."""
    lacking = {one.name: set(one.features) - provides.features for one in requires.variants}
    if lacking and all(lacking.values()):
        name = min(lacking, key=lambda one: len(lacking[one]))
        yield f"no CPU variant fits: {name} needs {', '.join(sorted(lacking[name]))}"


def _libraries(
    requires: Requires, provides: Provides, exists: Callable[[str], bool]
) -> Iterator[str]:
    if provides.libraries is None:
        return
    always = AUDIT["system"]["windows"] if provides.os == "windows" else ()
    for name in requires.libraries:
        there = name in provides.libraries or any(fnmatchcase(name, one) for one in always)
        if not there and not any(exists(f"{place}/{name}") for place in requires.places):
            yield f"{name} missing{_package(name, provides.manager)}"


def _package(library: str, manager: str) -> str:
    """How to get a library, in brackets; empty where that is not known."""
    for row in TABLE["package"]:
        if any(fnmatchcase(library, pattern) for pattern in row["libraries"]):
            names = row["names"]
            if manager in names:
                return f" ({packages.COMMANDS[manager]} {names[manager]})"
            return f" ({names['else']})" if "else" in names else ""
    return ""


def _devices(requires: Requires, provides: Provides) -> Iterator[str]:
    for name in requires.backends:
        devices = served(name, provides)
        if not devices:
            yield f"no device for {BACKENDS[name].TITLE} is here"
        for device in devices:
            yield from BACKENDS[name].fit(requires, device).missing
