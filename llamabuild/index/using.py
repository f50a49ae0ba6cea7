"""Choose from an index what is for a machine, and say why. Pure but for :func:`read`.

What a wheel requires was measured in its bytes; here it is held against what the machine provides,
as for artifacts of a store. Of what runs, the fastest is taken, and of that the newest release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from packaging.version import Version

from llamabuild import choice, matching
from llamabuild.backends import BACKENDS
from llamabuild.errors import ConfigError, UnsupportedHardware
from llamabuild.events import Emit
from llamabuild.fetch import document
from llamabuild.fetch.address import local_path
from llamabuild.index import offers
from llamabuild.index.names import ROOT
from llamabuild.index.offers import Offer, Root
from llamabuild.matching import Provides
from llamabuild.matching.rank import Candidate, expected_speed
from llamabuild.model import Device, Hardware

_HINT: Final = "Give the address or the folder of an index: llamabuild index publish makes one."
_IDLE: Final = frozenset({"weak", "software", "library", "network"})
"""Kinds of devices that make nothing faster, see choice.py."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Who is to use it: what it has, what it provides, and whether a file is there."""

    hardware: Hardware
    provides: Provides
    exists: Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A variant's wheel and what is to be said of it: what is ``missing``, or that it is chosen, or
    ``why`` another one is. ``variant`` names it."""

    variant: str
    offer: Offer
    missing: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The wheel for a machine, and the others. ``notes`` are what could not be known."""

    judged: Judged
    others: tuple[Judged, ...]
    notes: tuple[str, ...] = ()


def base(where: str) -> str:
    """The address of an index, as pip and uv are told it: without user and password, which they
    read themselves (~/.netrc, keyring).

    >>> base("https://me:secret@host.invalid/team/?x#y"), base("/srv/a b")
    ('https://host.invalid/team', 'file:///srv/a%20b')
    """
    path = local_path(where)
    if path is not None:
        return path.absolute().as_uri().rstrip("/")
    parts = urlsplit(where)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{where!r} is no address of an index", _HINT)
    netloc = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=netloc, query="", fragment="").geturl().rstrip("/")


def read(where: str, emit: Emit) -> Root:
    """What an index offers. Raises FetchError, IntegrityError, ConfigError."""
    shown = base(where)
    path = local_path(where)
    place = str(path) if path is not None else where.partition("?")[0].partition("#")[0]
    data = document.read(f"{place.rstrip('/')}/{ROOT}", limit=offers.LARGEST, emit=emit, hint=_HINT)
    return offers.decode(data, shown)


def choose(found: Root, machine: Machine, variant: str = "") -> Chosen:
    """The wheel for a machine, or that of a variant, if it runs there.

    Raises UnsupportedHardware, saying what each lacks, ConfigError for a variant that is not there.
    """
    known = [one.name for one in found.variants]
    if variant and variant not in known:
        raise ConfigError(
            f"the index has no variant {variant!r}", f"It has: {', '.join(known) or 'none'}."
        )
    judged = [
        Judged(variant=shelf.name, offer=one, missing=_missing(one, machine))
        for shelf in found.variants
        for one in shelf.wheels
        if not one.yanked
    ]
    asked = [one for one in judged if one.variant == variant] if variant else judged
    fitting = sorted(
        (one for one in asked if not one.missing), key=lambda one: _worth(one, machine)
    )
    if not fitting:
        raise _unsupported(_newest(asked))
    best = fitting[-1]
    others = (one for one in _newest(judged) if one.variant != best.variant)
    reasons = tuple(_compared(one, best, machine, asked=bool(variant)) for one in others)
    notes = (*best.offer.requires.unknown, *machine.provides.unknown)
    why = "asked for" if variant else _why(best, machine)
    return Chosen(judged=replace(best, why=why), others=reasons, notes=notes)


def _missing(offer: Offer, machine: Machine) -> tuple[str, ...]:
    def exists(path: str) -> bool:
        return machine.exists(path) if path.startswith("/") else _brought(path, offer)

    unknown = [one for one in offer.requires.backends if one not in BACKENDS]
    if unknown:
        return (f"{unknown[0]} is unknown to this llamabuild",)
    return matching.missing(offer.requires, machine.provides, exists)


def _brought(path: str, offer: Offer) -> bool:
    """True for a place beside the package that pip fills with what the wheel depends on:
    ``../../nvidia/cu13/lib/…`` comes with ``nvidia-cublas``."""
    names = [part for part in path.split("/") if part != ".."]
    return any(one.lower().startswith(f"{names[0]}-") for one in offer.dependencies)


def _newest(judged: Iterable[Judged]) -> list[Judged]:
    """Of each variant one wheel: one that runs before one that does not, then the newest."""
    best: dict[str, Judged] = {}
    for one in sorted(judged, key=lambda one: (not one.missing, _age(one.offer))):
        best[one.variant] = one
    return [best[name] for name in sorted(best)]


def _age(offer: Offer) -> tuple[Version, str, str]:
    return Version(offer.release), offer.created, offer.file


# --- what is fastest -----------------------------------------------------------------------------

Speed = tuple[int, int, int, tuple[tuple[int, ...], int]]


def _worth(one: Judged, machine: Machine) -> tuple[Speed, tuple[Version, str, str]]:
    return _speed(one.offer, machine), _age(one.offer)


def _speed(offer: Offer, machine: Machine) -> Speed:
    """A value that is greater for what is faster: devices that a build made here would use, other
    devices that help, none that do not, then how each is served, and the CPU."""
    ideal = _ideal(machine.hardware)
    useful = {one.backend for one in _useful(machine.hardware)}
    own = {one for one in offer.requires.backends if one != "cpu"}
    candidate = Candidate(requires=offer.requires, features=offer.features)
    speed = expected_speed(candidate, machine.provides)
    return len(own & ideal), len(own & useful), -len(own - useful), speed


def _useful(hardware: Hardware) -> list[Device]:
    return [one for one in hardware.devices if one.backend != "cpu" and one.kind not in _IDLE]


def _ideal(hardware: Hardware) -> set[str]:
    """The back-ends that a build made for the machine would have, were every tool for it here."""
    able = replace(hardware, devices=tuple(replace(one, lacks="") for one in hardware.devices))
    spare = {one.what for one in choice.redundant(able)}
    return {one.backend for one in _useful(able)} - spare


def _why(one: Judged, machine: Machine) -> str:
    names = [name for name in one.offer.requires.backends if name != "cpu"]
    devices = [device.name for device in machine.provides.devices if device.backend in names]
    if devices:
        return f"the fastest that runs here: {', '.join(dict.fromkeys(devices))}"
    variants = one.offer.requires.variants
    if variants:
        return "the fastest that runs here: it chooses its code for this CPU when it starts"
    return "the fastest that runs here" + (
        f", with {', '.join(one.offer.features)}" if one.offer.features else ""
    )


def _compared(one: Judged, best: Judged, machine: Machine, *, asked: bool) -> Judged:
    """Another variant, with the reason why it is not the one."""
    if one.missing:
        return replace(one, why="; ".join(one.missing))
    mine, its = _speed(best.offer, machine), _speed(one.offer, machine)
    if its > mine:
        return replace(one, why="faster here" if asked else "")
    if its == mine:
        return replace(one, why="no faster here, and not newer")
    return replace(one, why=_slower(one.offer, best.offer, mine, its))


def _slower(one: Offer, best: Offer, mine: Speed, its: Speed) -> str:
    left = [name for name in best.requires.backends if name not in one.requires.backends]
    if left and mine[:2] > its[:2]:
        return f"slower here: without {', '.join(BACKENDS[name].TITLE for name in left)}"
    if mine[2] > its[2]:
        return "slower here: it has a back-end that makes nothing faster"
    unused = [name for name in best.features if name not in one.features]
    if mine[3][0] == its[3][0] and unused and not one.requires.variants:
        return f"slower here: without {', '.join(unused)}"
    return "slower here"


def _unsupported(judged: list[Judged]) -> UnsupportedHardware:
    said = "; ".join(f"{one.variant}: {', '.join(one.missing)}" for one in judged)
    return UnsupportedHardware(
        f"nothing in the index runs on this machine: {said or 'it has no wheels'}",
        "`llamabuild setup` builds for this machine; publish what it made.",
    )
