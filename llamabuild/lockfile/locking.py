"""Making, renewing and checking a lock file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llamabuild import pins
from llamabuild.errors import ConfigError, LlamabuildError
from llamabuild.lockfile import files, resolve, wanted
from llamabuild.lockfile.entries import Lock, Locked
from llamabuild.model import Pin, Plan
from llamabuild.provide import Means


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A lock file, and the targets that could not be planned here, with the reason."""

    lock: Lock
    unplanned: Mapping[str, LlamabuildError]


def begun() -> Lock:
    """A lock file without targets, for the default pin of this llamabuild."""
    return with_pin(
        Lock(pin="", version="", sha256="", commit="", build_number=0), pins.default_pin()
    )


def with_pin(lock: Lock, pin: Pin) -> Lock:
    """A lock file for another source."""
    return replace(
        lock,
        pin=_name(pin),
        version=pin.version,
        sha256=pin.sha256,
        commit=pin.commit,
        build_number=pin.build_number,
    )


def _name(pin: Pin) -> str:
    return next(name for name, one in pins.load_pins().items() if one.sha256 == pin.sha256)


def with_targets(
    lock: Lock, wants: Sequence[str], toolchain: str, needs: tuple[str, ...] = ()
) -> Lock:
    """A lock file with more targets. One that is there already keeps its place; its toolchain and
    its needs may be others. Raises ConfigError for words that are not understood."""
    targets = {one.name: one for one in lock.targets}
    for want in wants:
        machine = wanted.parse(want).machine
        made = Locked(
            name=wanted.name(want), want=want, toolchain=toolchain, needs=needs, machine=machine
        )
        known = targets.get(made.name)
        if known and known.want != want:
            raise ConfigError(
                f"{want!r} and {known.want!r} would both be called {made.name!r}",
                "Give one of the files another name.",
            )
        same = known and (known.toolchain, known.needs) == (toolchain, needs)
        targets[made.name] = known if known and same else made
    return replace(lock, targets=tuple(targets.values()))


def without_targets(lock: Lock, names: Iterable[str]) -> Lock:
    """A lock file without the targets of these names. Raises ConfigError for an unknown one."""
    gone = set(names)
    if unknown := gone - {one.name for one in lock.targets}:
        known = ", ".join(one.name for one in lock.targets) or "none"
        raise ConfigError(f"there is no target {min(unknown)!r}", f"Targets: {known}.")
    return replace(lock, targets=tuple(one for one in lock.targets if one.name not in gone))


def locked(
    lock: Lock,
    path: Path,
    *,
    means: Callable[[str], Means],
    variant: Callable[[Plan], str],
    anew: bool = False,
) -> Outcome:
    """Plan every target that has no key yet (``anew``: all of them). ``means`` are those of a
    toolchain, ``variant`` names what a plan makes. What cannot be planned here stays as it was.

    Raises LockMismatch for a source that this llamabuild does not have, ConfigError for a recorded
    machine that cannot be read.
    """
    pin = resolve.pin_of(lock.pin, lock.sha256, lock.commit)
    recorded = files.machines(lock, path)
    unplanned: dict[str, LlamabuildError] = {}
    targets = []
    for one in lock.targets:
        decided = one
        if anew or not one.key:
            own = means(one.toolchain)
            try:
                plan = resolve.planned(one.want, recorded.get(one.machine), pin, own)
                decided = resolve.locked(one, plan, variant(plan))
            except LlamabuildError as error:
                unplanned[one.name] = error
        targets.append(decided)
    return Outcome(lock=replace(lock, targets=tuple(targets)), unplanned=unplanned)


def noted(lock: Lock, there: Mapping[str, Sequence[str]]) -> Lock:
    """A lock file with the artifacts that are there, by key, the best first, for targets that have
    none yet."""
    return replace(
        lock,
        targets=tuple(
            one
            if one.artifact or not there.get(one.key)
            else replace(one, artifact=there[one.key][0])
            for one in lock.targets
        ),
    )


def differences(was: Lock, now: Lock) -> tuple[str, ...]:
    """What another machine, or another day, makes of the same targets, a sentence each. Pure."""
    today = {one.name: one for one in now.targets}
    return tuple(
        f"{one.name}: {line}"
        for one in was.targets
        for line in resolve.differences(one, today[one.name])
    )


def missing(lock: Lock, there: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The locked artifacts that are nowhere, a sentence each. Pure."""
    return tuple(
        f"{one.name}: its artifact {one.artifact[:12]} is nowhere"
        for one in lock.targets
        if one.artifact and one.artifact not in there.get(one.key, ())
    )


def renewed(lock: Lock) -> Lock:
    """A lock file for the newest source of this llamabuild."""
    return with_pin(lock, pins.default_pin())


def requirements(lock: Lock) -> tuple[str, ...]:
    """The tools of a lock file that pip can install, as it wants them: those whose versions change
    keys. Pure.

    Raises ConfigError when targets were locked with different ones.
    """
    found: dict[str, str] = {}
    for target in lock.targets:
        for tool in target.tools:
            name, _, rest = tool.partition(" ")
            version = rest.partition(" ")[0]
            if name in ("cmake", "ninja") and found.setdefault(name, version) != version:
                raise ConfigError(
                    f"targets were locked with {name} {found[name]} and {version}",
                    "Lock all of them on one machine: llamabuild lock --upgrade",
                )
    return tuple(f"{name}=={version}" for name, version in sorted(found.items()))
