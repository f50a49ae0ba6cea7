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
from typing import TYPE_CHECKING, Protocol

from llamabuild import provide
from llamabuild.ci import differences, offers
from llamabuild.ci.cells import Cell
from llamabuild.ci.outcomes import ADOPTED, BUILT, THERE, Hits, Outcome, Word
from llamabuild.ci.publishing import Publishing, check, publish
from llamabuild.errors import LockMismatch, UnsupportedHardware
from llamabuild.events import Emit, Event, StepStarted
from llamabuild.host import Host
from llamabuild.lockfile import resolve
from llamabuild.model import Artifact
from llamabuild.toolchains import sccache

if TYPE_CHECKING:
    from llamabuild.remotes import Shared

Stores = Callable[[], Iterable["Shared"]]


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
    resolve.pin_of(cell.pin, cell.sha256, cell.commit)
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
    """The artifact of a cell, for the machine that its words name."""
    from llamabuild import pipeline
    from llamabuild.reuse import Policy

    recipe, target = resolve.parts(cell.want, cell.machine, host)
    return pipeline.provision(
        recipe,
        resolve.pin_of(cell.pin, cell.sha256, cell.commit),
        host=host,
        cache=cache,
        emit=emit,
        target=target,
        toolchain=cell.toolchain,
        compiler_cache=compiler_cache,
        policy=Policy(reuse="exact", stores=stores),
        agreed=partial(differences.check, cell),
    )


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
