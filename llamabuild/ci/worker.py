"""One cell, made on this machine: the same cell twice is the same as once.

What a store or this cache has is taken, if its key is exactly that of the cell; else it is built
and proved, and published once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from llamabuild import provide
from llamabuild.ci import differences, offers
from llamabuild.ci.cells import Cell
from llamabuild.ci.outcomes import ADOPTED, BUILT, THERE, Hits, Outcome, Word
from llamabuild.ci.publishing import Publishing, check, publish
from llamabuild.errors import LockMismatch, UnsupportedHardware
from llamabuild.events import Emit, Event, StepStarted
from llamabuild.host import Host
from llamabuild.model import Artifact, Pin, Recipe
from llamabuild.toolchains import sccache

if TYPE_CHECKING:
    from llamabuild.elsewhere import Target
    from llamabuild.remotes import Shared

Stores = Callable[[], Iterable["Shared"]]
_AGAIN: Final = "Lock again (`llamabuild lock`), or use the llamabuild that locked it."


class Make(Protocol):
    """How the artifact of a cell is come by. Raises LockMismatch before anything is made when this
    machine would make another one."""

    def __call__(
        self,
        cell: Cell,
        *,
        host: Host,
        cache: Path,
        emit: Emit,
        stores: Stores | None,
        compiler_cache: str,
    ) -> Artifact:
        """A proved artifact."""


def work(
    cell: Cell,
    *,
    host: Host,
    cache: Path,
    emit: Emit,
    stores: Stores | None = None,
    to: Publishing | None = None,
    compiler_cache: str = "auto",
    make: Make | None = None,
) -> Outcome:
    """Make a cell here, or find it made, and publish it ``to`` a store if nobody has.
    ``compiler_cache`` is as for :func:`llamabuild.pipeline.provision`.

    Raises UnsupportedHardware when this machine does not offer what the cell needs, LockMismatch
    for another source, key or plan than the lock file's, and the errors of
    :func:`llamabuild.pipeline.provision` and :func:`llamabuild.remotes.push`.
    """
    started = time.monotonic()
    _able(cell, host, cache)
    pin_of(cell)
    if to:
        check(to)
    steps = _Steps(emit)
    with _compiler_cache(compiler_cache, host, cache, emit) as cached:
        artifact = (make or made)(
            cell,
            host=cached.host,
            cache=cache,
            emit=steps,
            stores=stores,
            compiler_cache=compiler_cache,
        )
    _same(cell, artifact)
    published = publish(to, artifact, emit) if to else ""
    return Outcome(
        name=cell.name,
        names=cell.names,
        key=artifact.key,
        id=artifact.id,
        outcome=steps.outcome,
        wheel=str(artifact.wheel),
        seconds=round(time.monotonic() - started, 1),
        published=published,
        compiler_cache={name: Hits(hits=h, misses=m) for name, (h, m) in cached.known.items()},
    )


def _able(cell: Cell, host: Host, cache: Path) -> None:
    """Raises UnsupportedHardware when this machine does not offer what a cell needs."""
    if lacks := offers.lacking(cell.needs, host, cache):
        raise UnsupportedHardware(
            f"{cell.name} needs a machine with {', '.join(lacks)}; this one has none",
            "`llamabuild worker offer` says what a machine offers.",
        )


def _compiler_cache(
    asked: str, host: Host, cache: Path, emit: Emit
) -> contextlib.AbstractContextManager[sccache.Served]:
    """A server of its own for sccache, where that is what remembers compiled files."""
    tool = provide.compiler_cache(
        asked, provide.Means(asked="auto", host=host, cache=cache, emit=emit)
    )
    if tool and tool.name == sccache.KIT:
        return sccache.served(tool.path, host, cache)
    return contextlib.nullcontext(sccache.Served(host))


class _Steps:
    """Tells what it is told, and knows by the steps what was done."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.outcome: Word = THERE

    def __call__(self, event: Event) -> None:
        """Tell an event."""
        if isinstance(event, StepStarted):
            if event.name in ("configure", "compile"):  # one that goes on begins with the second
                self.outcome = BUILT
            elif event.name == "pull":
                self.outcome = ADOPTED
        self._emit(event)


# --- how it is come by ---------------------------------------------------------------------------


def made(
    cell: Cell,
    *,
    host: Host,
    cache: Path,
    emit: Emit,
    stores: Stores | None,
    compiler_cache: str,
) -> Artifact:
    """The artifact of a cell whose ``want`` is a recipe, for this machine or a recorded one."""
    from llamabuild import pipeline
    from llamabuild.reuse import Policy

    recipe, target = _wanted(cell)
    return pipeline.provision(
        recipe,
        pin_of(cell),
        host=host,
        cache=cache,
        emit=emit,
        target=target,
        toolchain=cell.toolchain,
        compiler_cache=compiler_cache,
        policy=Policy(reuse="exact", stores=stores),
        agreed=partial(differences.check, cell),
    )


def _wanted(cell: Cell) -> tuple[Recipe, Target | None]:
    from llamabuild import backends, elsewhere, recipes

    recipe = recipes.load(cell.want, tuple(backends.BACKENDS))
    return recipe, elsewhere.Target(machine=cell.machine) if cell.machine else None


def pin_of(cell: Cell) -> Pin:
    """The source of a cell. Raises LockMismatch when this llamabuild has another one by that name,
    or none."""
    from llamabuild import pins

    known = pins.load_pins().get(cell.pin)
    if known is None:
        said = f"this llamabuild has no pin {cell.pin!r}"
    elif known.sha256 != cell.sha256:
        said = f"the archive of {cell.pin} is {known.sha256[:12]} here, {cell.sha256[:12]} there"
    elif known.commit != cell.commit:
        said = f"llama.cpp of {cell.pin} is {known.commit} here, {cell.commit} there"
    else:
        return known
    raise LockMismatch(f"{cell.name}: {said}", _AGAIN, differences=(said,))


def _same(cell: Cell, artifact: Artifact) -> None:
    """What was healed on its way may have another key than what was locked."""
    if cell.key and artifact.key != cell.key:
        said = tuple(f"{one.name}: {one.why}" for one in artifact.healed) or (
            f"its key is {artifact.key[:12]}, and {cell.key[:12]} was locked",
        )
        raise LockMismatch(
            f"{cell.name}: what works here is not what was locked: {'; '.join(said)}",
            "It is kept here under its own key. Lock what it takes, or use another machine.",
            differences=said,
        )
