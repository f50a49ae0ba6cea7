"""Generations: what ``setup`` gave to this machine, one after the other, and the way back.

``generations/<machine>/<n>.json`` is written once; ``current`` beside them holds a number. A cache
may serve many machines, and each has its own generations. The artifacts of the last few are not
swept (:mod:`llamabuild.store.sweeping`), so that going back compiles nothing.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Final

import msgspec

from llamabuild import digest, store
from llamabuild.errors import ConfigError
from llamabuild.events import Emit
from llamabuild.host import Host
from llamabuild.model import Artifact
from llamabuild.store import files, sealed

_MACHINE: Final = ("/etc/machine-id", "/var/lib/dbus/machine-id")
KEPT: Final = 3
"""Generations before the current one whose artifacts stay."""


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that this machine was given: which artifact, when, and which ``recipe`` was asked
    for, by name or path: what stood in for it may be another's."""

    number: int
    id: str
    key: str
    recipe: str
    created: str


def machine(host: Host) -> str:
    """A name for this machine that says nothing about it, and stays when a driver changes."""
    known = next((text for path in _MACHINE if (text := host.read_text(path))), "")
    return digest.of_value(["machine", known.strip()])[:24]


def _home(cache: Path, host: Host) -> Path:
    return cache / "generations" / machine(host)


def listed(cache: Path, host: Host) -> tuple[Generation, ...]:
    """This machine's generations, the oldest first. One that cannot be read is left out."""
    return _listed(_home(cache, host))


def _listed(home: Path) -> tuple[Generation, ...]:
    found = (_read(path) for path in home.glob("[0-9]*.json"))
    return tuple(sorted((one for one in found if one), key=lambda one: one.number))


def _read(path: Path) -> Generation | None:
    found = sealed.read(path, Generation)
    return found if found and path.stem == str(found.number) else None


def current(cache: Path, host: Host) -> Generation:
    """What this machine has now. Raises ConfigError when nothing was set up yet."""
    if found := _current(_home(cache, host)):
        return found
    raise ConfigError("nothing is set up yet", "Run `llamabuild setup` first.")


def _current(home: Path) -> Generation | None:
    """The one that is pointed at; the last, where the pointer is damaged."""
    number = sealed.read(home / "current", int)
    return _read(home / f"{number}.json") or next(reversed(_listed(home)), None)


def artifact(cache: Path, generation: Generation, emit: Emit) -> Artifact:
    """The artifact of a generation, ready to use. Raises ConfigError when it is gone."""
    found = store.by_id(cache, generation.key, generation.id, emit)
    if found is None:
        raise ConfigError(
            f"generation {generation.number} ({generation.recipe}, {generation.key[:12]}) is gone "
            "or damaged",
            f"Make it again: llamabuild setup {generation.recipe}",
        )
    return found


def advance(cache: Path, host: Host, given: Artifact, recipe: str = "") -> Generation:
    """Make an artifact the current generation: a new one, unless it is what is current already by
    the same ``recipe`` (empty: the one that it was made by)."""
    home = _home(cache, host)
    recipe = recipe or given.manifest.plan.recipe
    with store.guarded(cache):
        now = _current(home)
        if now is None or (now.id, now.recipe) != (given.id, recipe):
            now = _added(cache, home, given, recipe)
        _point(home, now)
    return now


def _added(cache: Path, home: Path, given: Artifact, recipe: str) -> Generation:
    """A new generation, numbered after the last: two processes do not get one number."""
    created = dt.datetime.now(tz=dt.timezone.utc).isoformat(timespec="milliseconds")
    number = max((int(path.stem) for path in home.glob("[0-9]*.json")), default=0)
    while True:
        number += 1
        made = Generation(
            number=number,
            id=given.id,
            key=given.key,
            recipe=recipe,
            created=created,
        )
        if files.create(home / f"{number}.json", sealed.encode(made), cache / "work"):
            return made


def _point(home: Path, generation: Generation) -> None:
    sealed.write(home / "current", generation.number)


def roll_back(cache: Path, host: Host, number: int | None, emit: Emit) -> Generation:
    """Make an earlier generation the current one: ``number``, or the one before the current.

    Raises ConfigError when there is none, or when its artifact is gone; nothing changes then.
    """
    known = listed(cache, host)
    now = current(cache, host)
    earlier = [one for one in known if one.number < now.number and one.id != now.id]
    wanted = earlier[-1:] if number is None else [one for one in known if one.number == number]
    if not wanted:
        numbers = ", ".join(str(one.number) for one in known)
        what = "earlier generation" if number is None else f"generation {number}"
        raise ConfigError(f"there is no {what}", f"Generations: {numbers}.")
    artifact(cache, wanted[0], emit)
    with store.guarded(cache):
        _point(_home(cache, host), wanted[0])
    return wanted[0]


def in_use(cache: Path, last: int = KEPT) -> frozenset[str]:
    """The ids of all machines' current generations and of the ``last`` before each."""
    found: set[str] = set()
    for home in (cache / "generations").glob("*"):
        now = _current(home)
        if now is not None:
            before = [one for one in _listed(home) if one.number < now.number]
            found |= {now.id, *(one.id for one in before[-last:])}
    return frozenset(found)
