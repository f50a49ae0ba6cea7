"""A llama.cpp that is here and not llamabuild's own: in the active Python, or as programs on PATH.

What its files say is always told. It is run once, in children with limits: whether it starts and
computes what it should is kept in the cache, and good as long as its files, the processor and the
driver stay the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llamabuild.checks import glance, pythons
from llamabuild.checks.findings import Finding, Situation, absent, note, ok, problem, warning
from llamabuild.checks.glance import Seen

_NAME: Final = "installed"
_PROGRAMS: Final = ("llama-server", "llama-cli", "llama-bench")
_OLD_BUILD: Final = 7736
"""The b-number of llama.cpp in January 2026."""
_BUILD: Final = re.compile(r"\b(?:version: ?|b)?([0-9]{1,6}) \([0-9a-f]{6,}\)")
_VERSION: Final = re.compile(r"([0-9]+)\.([0-9]+)\.([0-9]+)")
_SLOWER: Final = ("avx2", "fma", "dotprod")
"""Without these every model is several times slower."""
_SLOW: Final = ("avx512f", "avx512_vnni", "avx_vnni", "i8mm")
_ENTRIES: Final = {
    "illegal-instruction": ("illegal-instruction",),
    "library-missing": ("own-shared-lib-not-found", "generic-shared-lib-missing"),
    "abi": ("undefined-symbol-mismatch",),
    "wrong-library": ("undefined-symbol-mismatch", "backend-api-mismatch"),
    "segfault": ("segfault-generic",),
    "driver": ("cuda-driver-too-old",),
    "no-kernel-image": ("cuda-no-kernel-image",),
    "device-missing": ("gpu-not-compiled-in",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a llama.cpp is: ``path`` is what `prove` would be given, ``folder`` holds its files,
    ``what`` it is in words, and ``remedy`` puts ours in its place."""

    path: Path
    folder: Path
    what: str
    remedy: str


def places(situation: Situation) -> tuple[Place, ...]:
    """Every llama.cpp that a user would meet here and that is not in the cache. No process is
    started."""
    found = (*_packages(situation), *_programs(situation))
    cache = os.path.realpath(situation.cache)
    return tuple(
        one
        for one in {one.folder: one for one in reversed(found)}.values()
        if not os.path.realpath(one.folder).startswith(f"{cache}{os.sep}")
    )[::-1]


def _packages(situation: Situation) -> Iterator[Place]:
    host = situation.host
    for one in pythons.active(host):
        folders = [site for site in one.sites if host.exists(f"{site}/llama_cpp/__init__.py")]
        for site in folders[:1]:
            yield Place(
                path=Path(one.program),
                folder=Path(site, "llama_cpp"),
                what=f"llama_cpp in {one.root}",
                remedy=_into(one),
            )


def _into(one: pythons.Python) -> str:
    """How ours is installed in its place; a system's own Python is left alone."""
    if one.root in ("/usr", "/usr/local"):
        return "Make an environment for ours: python3 -m venv .venv; llamabuild setup --into .venv"
    return f"Run: llamabuild setup --into {one.root}"


def _programs(situation: Situation) -> Iterator[Place]:
    for name in _PROGRAMS:
        if program := situation.host.which(name):
            real = Path(os.path.realpath(program))
            yield Place(
                path=real,
                folder=real.parent,
                what=program,
                remedy=f"Have one that is proved here: llamabuild setup; llamabuild run {name}",
            )


def look(situation: Situation) -> Iterator[Finding]:
    """What is here, and what is wrong with it."""
    found = places(situation)
    if not found:
        yield absent(_NAME, "no llama_cpp in the active Python, no llama-server on PATH")
    for place in found:
        seen = glance.at(place.path, place.folder, situation)
        yield from told(place, seen, situation)


def told(place: Place, seen: Seen, situation: Situation) -> Iterator[Finding]:
    """The findings about one of them; pure."""
    if seen.ours:
        yield ok(_NAME, f"{place.what} is llamabuild's own")
        return
    if seen.refused:
        yield note(_NAME, f"{place.what} was not asked anything: {seen.refused}")
    worse = list(_worse(place, seen, situation))
    yield from worse
    if not seen.refused and not any(one.state == "problem" for one in worse):
        yield _runs(place, seen)


def _worse(place: Place, seen: Seen, situation: Situation) -> Iterator[Finding]:
    for kind, why, hint in seen.failures[:1]:
        step = " ".join(filter(None, (hint, place.remedy)))
        yield problem(_NAME, f"{place.what}: {why}", step, *_ENTRIES.get(kind, ()))
    if seen.missing:
        why = f"{place.what} needs libraries that are not here: {'; '.join(seen.missing)}"
        say = problem if seen.failures else warning
        yield say(_NAME, why, place.remedy, *_ENTRIES["library-missing"])
    if seen.lacking:
        why = f"{place.what} has code that this CPU lacks {', '.join(seen.lacking)} for"
        yield warning(_NAME, why, place.remedy, "illegal-instruction")
    for line in seen.idle:
        why = f"{place.what}: {line.removeprefix('silent-cpu: ')}"
        yield warning(_NAME, why, place.remedy, "gpu-not-compiled-in")
    yield from _slower(place, seen, situation)
    if old := stale(seen.version or seen.label, situation):
        yield note(_NAME, f"{place.what}: {old}", place.remedy)


def _slower(place: Place, seen: Seen, situation: Situation) -> Iterator[Finding]:
    """Instructions that this CPU has and its code does not use."""
    usable = {one.name for one in situation.hardware.cpu.features if one.usable}
    for names, say in ((_SLOWER, warning), (_SLOW, note)):
        unused = [name for name in names if name in usable and name not in seen.features]
        if unused and seen.features_known:
            why = f"{place.what} does not use {', '.join(unused)} of this CPU and is slower for it"
            yield say(_NAME, why, place.remedy)
            return


def stale(version: str, situation: Situation) -> str:
    """In words how much older something is than the pinned source; empty where it is not, or not
    known."""
    pin = situation.pin
    if packaged := _VERSION.search(version):
        numbers = tuple(map(int, packaged.groups()))
        mine = tuple(map(int, re.findall(r"[0-9]+", pin.version)[:3]))
        if "python" in version and numbers[:2] < mine[:2]:
            return f"it is {packaged[0]}, much older than {pin.version}, which llamabuild makes"
        return ""
    build = _BUILD.search(version)
    if build and 1 < int(build[1]) < _OLD_BUILD:  # shallow clones call themselves 1
        return f"it is build {build[1]} of llama.cpp, from before 2026"
    return ""


def _runs(place: Place, seen: Seen) -> Finding:
    """It works, as far as it was asked."""
    what = " ".join(filter(None, (place.what, _bracketed(seen.label or seen.version))))
    rest = "the other cases and its speed are for `llamabuild doctor --deep`"
    held = f"{seen.held} known answers hold" if seen.held else "it gave no answer to compare"
    return ok(_NAME, f"{what}: {held}; {rest}")


def _bracketed(text: str) -> str:
    return f"({text})" if text else ""
