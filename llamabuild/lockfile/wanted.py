"""What a target of a lock file is called, and what that means. Pure.

A target is a class ("cuda sm_86+sm_89", "vulkan", "cpu-fat") or a recorded machine ("laptop.json",
and after it a recipe for it). Of a class only what is compiled for it is said; such a build carries
all CPU variants, so that it serves every machine with such a device.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from string import Template

import msgspec

from llamabuild import data, recipes, recordings
from llamabuild.backends import BACKENDS
from llamabuild.errors import ConfigError
from llamabuild.host import Answers, Host
from llamabuild.host.recorded import Said
from llamabuild.model import Recipe
from llamabuild.recordings import Recording

_ELSEWHERE = re.compile(r"(linux|windows|macos)-([a-z0-9_]{3,16})")


class _Class(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of ``classes.toml``, where the fields are explained."""

    words: tuple[str, ...]
    backend: str
    example: str
    command: str
    said: str
    device: str
    between: str
    architecture: str = ""
    system: str = ""
    arch: str = ""
    exist: tuple[str, ...] = ()
    programs: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A target in parts. ``kind`` is the class's word or the recipe's name, empty for a recorded
    machine, whose file is ``machine``. ``architectures`` are as they were written ("sm_86").
    ``system`` and ``arch`` are empty for those of the machine that builds."""

    recipe: str
    kind: str = ""
    architectures: tuple[str, ...] = ()
    cpu: str = "fat"
    machine: str = ""
    system: str = ""
    arch: str = ""


@cache
def _classes() -> dict[str, _Class]:
    rows = data.load(data.package("lockfile/classes.toml"))["class"]
    found = msgspec.convert(rows, tuple[_Class, ...])
    return {word: row for row in found for word in row.words}


def parse(want: str) -> Wanted:
    """A target from its words. Raises ConfigError naming the word that is not understood."""
    first, *rest = want.split() or [""]
    if first.endswith(".json"):
        recipe = rest.pop(0) if rest else "auto"
        _none_left(want, rest)
        return Wanted(recipe=recipe, machine=first)
    system, arch = _elsewhere(rest)
    if row := _classes().get(first):
        cpu = rest.pop() if rest and rest[-1] in recipes.CPU_CHOICES else "fat"
        architectures = _architectures(want, row, rest)
        _none_left(want, rest)
        return Wanted(
            recipe="",
            kind=first,
            architectures=architectures,
            cpu=cpu,
            system=system or row.system,
            arch=arch or row.arch,
        )
    _none_left(want, rest)
    return Wanted(recipe=_processor(first), kind=first, system=system, arch=arch)


def name(want: str) -> str:
    """What a target is called: its words as one.

    >>> name("cuda sm_86+sm_89"), name("machines/laptop.json cuda-native")
    ('cuda-sm_86-sm_89', 'laptop-cuda-native')
    """
    first, *rest = want.split()
    first = first.rpartition("/")[2].removesuffix(".json")
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join((first, *rest)))


def recipe(wanted: Wanted) -> Recipe:
    """The recipe of a target. Raises ConfigError for one that there is not."""
    if wanted.recipe:
        return recipes.load(wanted.recipe, tuple(BACKENDS))
    row = _classes()[wanted.kind]
    label = "-".join((wanted.kind, *wanted.architectures))
    return Recipe(name=label, summary="", backends=(row.backend, "cpu"), cpu=wanted.cpu)


def machine(wanted: Wanted, host: Host) -> Recording:
    """A machine of the class, as a recording: its devices, and nothing of its processor. Linked is
    with the C library of the machine that builds."""
    here, _, own = host.system()
    system, arch = wanted.system or here, wanted.arch or own
    row = _classes().get(wanted.kind)
    native = (system, arch) == (here, own)
    return Recording(
        version=recordings.VERSION,
        about=f"any machine for {' '.join((wanted.kind, *wanted.architectures))}",
        machine=Answers(
            os=system,
            arch=arch,
            libc=host.libc() if native else "",
            exist=row.exist if row else (),
            programs=row.programs if row else {},
            said=(_said(row, wanted.architectures),) if row else (),
        ),
    )


def _said(row: _Class, architectures: tuple[str, ...]) -> Said:
    found = [re.fullmatch(row.architecture, one) for one in architectures]
    groups: list[Mapping[str, str]] = [
        {f"g{n}": text for n, text in enumerate(one.groups(), 1)} for one in found if one
    ]
    each = Template(row.device.replace("$1", "$g1").replace("$2", "$g2"))
    devices = row.between.join(each.substitute(words) for words in groups or [{}])
    text = Template(row.said).substitute(devices=devices)
    return Said(command=row.command, out=tuple(text.splitlines()))


def _elsewhere(words: list[str]) -> tuple[str, str]:
    """Take a system with its architecture ("linux-aarch64") out of the words."""
    for word in words:
        if found := _ELSEWHERE.fullmatch(word):
            words.remove(word)
            return found[1], found[2]
    return "", ""


def _architectures(want: str, row: _Class, rest: list[str]) -> tuple[str, ...]:
    if not row.architecture:
        return ()
    written = tuple(rest.pop(0).split("+")) if rest else ()
    wrong = [one for one in written if not re.fullmatch(row.architecture, one)]
    if wrong or not written:
        what = f"knows no architecture {wrong[0]!r}" if wrong else "names no architecture"
        raise ConfigError(f"target {want!r} {what}", f"Like: {row.example}")
    return tuple(dict.fromkeys(written))


def _processor(word: str) -> str:
    """A recipe that is for processors alone and does not depend on the one that builds."""
    portable = {
        one
        for one in recipes.names()
        if (found := recipes.load(one, tuple(BACKENDS))).backends == ("cpu",)
        and found.cpu != "native"
    }
    if word in portable:
        return word
    if word in recipes.names():
        raise ConfigError(
            f"target {word!r} is another build on every machine",
            "Record the machine that it is for: llamabuild probe --record laptop.json; "
            f"then: llamabuild lock 'laptop.json {word}'",
        )
    raise ConfigError(
        f"there is no target {word!r}",
        f"Targets: {', '.join(sorted(portable))}, "
        f"{', '.join(dict.fromkeys(row.example for row in _classes().values()))}, "
        "or a recorded machine (llamabuild probe --record laptop.json).",
    )


def _none_left(want: str, rest: list[str]) -> None:
    if rest:
        raise ConfigError(
            f"target {want!r}: {rest[0]!r} is not understood",
            "Like: cuda sm_86+sm_89, cpu-fat linux-aarch64, laptop.json cuda-native",
        )
