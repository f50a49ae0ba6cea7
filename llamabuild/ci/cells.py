"""Cells: the work of a lock file in pieces that any machine can do by itself. Pure.

A cell is complete: with it, this program and a store, a worker needs nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from llamabuild.errors import ConfigError
from llamabuild.lockfile.entries import Lock, Locked
from llamabuild.recordings import Recording

VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One build. ``names`` are the targets of the lock file that it serves: all of one key.

    ``want`` and ``toolchain`` are the words of the first of them, ``machine`` is its recorded
    machine. ``pin``, ``sha256`` and ``commit`` are the source. ``key`` is what has to come out,
    empty where the lock could not say; ``compiler``, ``sysroot`` and ``tools`` are what it was
    planned with. ``needs`` are what a worker has to offer: "linux", "x86_64", "cuda", ….
    """

    version: int = VERSION
    names: tuple[str, ...]
    want: str
    toolchain: str
    pin: str
    sha256: str
    commit: str
    key: str
    os: str
    arch: str
    variant: str
    compiler: str
    sysroot: str
    tools: tuple[str, ...]
    needs: tuple[str, ...]
    machine: Recording | None = None

    @property
    def name(self) -> str:
        """What people read: the first of its names."""
        return self.names[0]


def encode(cell: Cell) -> bytes:
    """A cell as JSON."""
    return msgspec.json.encode(cell)


def decode(data: bytes, where: str) -> Cell:
    """A cell from JSON. Raises ConfigError naming ``where``."""
    try:
        found = msgspec.json.decode(data, type=Cell)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{where} is no cell: {error}", "llamabuild matrix makes them."
        ) from error
    if found.version != VERSION:
        raise ConfigError(
            f"{where} is a cell of version {found.version}; this llamabuild reads {VERSION}",
            "Make it and run it with the same version of llamabuild.",
        )
    return found


def cells(lock: Lock, machines: dict[str, Recording]) -> tuple[Cell, ...]:
    """The cells of a lock file: one for each key, and one for each target without a key.
    ``machines`` are the recorded machines by the lock file's name for them."""
    homes: dict[str, list[Locked]] = {}
    for one in lock.targets:
        homes.setdefault(one.key or f"unplanned {one.name}", []).append(one)
    return tuple(_cell(lock, targets, machines) for targets in homes.values())


def _cell(lock: Lock, targets: list[Locked], machines: dict[str, Recording]) -> Cell:
    first = targets[0]
    return Cell(
        names=tuple(one.name for one in targets),
        want=first.want,
        toolchain=first.toolchain,
        pin=lock.pin,
        sha256=lock.sha256,
        commit=lock.commit,
        key=first.key,
        os=first.os,
        arch=first.arch,
        variant=first.variant,
        compiler=first.compiler,
        sysroot=first.sysroot,
        tools=first.tools,
        needs=tuple(dict.fromkeys(word for one in targets for word in needs(one))),
        machine=machines.get(first.machine),
    )


def needs(target: Locked) -> tuple[str, ...]:
    """What a worker has to offer to build a target: its system, its architecture, and what the lock
    file says."""
    return tuple(dict.fromkeys(word for word in (target.os, target.arch, *target.needs) if word))
