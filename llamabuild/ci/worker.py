"""One cell, made on this machine: the same cell twice is the same as once.

What a store or this cache has is taken, if its key is exactly that of the cell; else it is built
and proved, and published once.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from llamabuild import provide
from llamabuild.ci import differences, offers
from llamabuild.ci.cells import Cell
from llamabuild.ci.outcomes import ADOPTED, BUILT, THERE, Hits, Outcome, Word
from llamabuild.errors import ConfigError, LockMismatch, UnsupportedHardware
from llamabuild.events import Emit, Event, Noticed, StepStarted
from llamabuild.host import Host
from llamabuild.lockfile import resolve
from llamabuild.model import Artifact
from llamabuild.toolchains import sccache

if TYPE_CHECKING:
    from llamabuild.remotes import Shared
    from llamabuild.trust.keys import Signer

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    """Where artifacts are published, and who signs them (None: nobody)."""

    shared: Shared
    signer: Signer | None


def work(
    cell: Cell,
    *,
    host: Host,
    cache: Path,
    emit: Emit,
    stores: Stores | None = None,
    publishing: Publishing | None = None,
    compiler_cache: str = "auto",
    make: Make | None = None,
) -> Outcome:
    """Make a cell here, or find it made, and publish it if nobody has. ``compiler_cache`` is as for
    :func:`llamabuild.pipeline.provision`.

    Raises UnsupportedHardware when this machine does not offer what the cell needs, LockMismatch
    for another source, key or plan than the lock file's, and the errors of
    :func:`llamabuild.pipeline.provision` and :func:`llamabuild.remotes.push`.
    """
    started = time.monotonic()
    if lacks := offers.lacking(cell.needs, host, cache):
        raise UnsupportedHardware(
            f"{cell.name} needs a machine with {', '.join(lacks)}; this one has none",
            "`llamabuild worker offer` says what a machine offers.",
        )
    resolve.pin_of(cell.pin, cell.sha256)
    if publishing:
        _reachable(publishing)
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
    published = _published(publishing, artifact, emit) if publishing else ""
    return Outcome(
        name=cell.name,
        names=cell.names,
        key=artifact.key,
        id=artifact.id,
        outcome=steps.outcome,
        wheel=str(artifact.wheel),
        seconds=round(time.monotonic() - started, 1),
        published=published,
        compiler_cache={
            name: Hits(hits=hits, misses=misses) for name, (hits, misses) in cached.known.items()
        },
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
        resolve.pin_of(cell.pin, cell.sha256),
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


# --- where it is published -----------------------------------------------------------------------


def _reachable(publishing: Publishing) -> None:
    """What could not be published in the end is said before an hour of compiling. Raises
    ConfigError, FetchError, IntegrityError."""
    from llamabuild import remotes

    shared = publishing.shared
    if not shared.objects.writable:
        raise ConfigError(
            f"{shared.address} can only be read",
            "Name the folder or bucket that it hands out; or publish nothing: --no-push",
        )
    remotes.latest(shared, now=_now())


def _published(publishing: Publishing, artifact: Artifact, emit: Emit) -> str:
    """The id of what the store has for the key of an artifact, which is pushed when it has none.
    Of several that push at once one is first, and the others' are not listed."""
    from llamabuild import remotes

    shared = publishing.shared
    if not (known := _listed(shared, artifact)):
        remotes.push(shared, (artifact,), publishing.signer, emit, now=_now(), once=True)
        known = _listed(shared, artifact)
    if known and known != artifact.id:
        emit(Noticed(message=f"{shared.address} has {known[:12]} for this key already."))
    return known


def _listed(shared: Shared, artifact: Artifact) -> str:
    from llamabuild import matching, remotes

    state = remotes.latest(shared, now=_now())
    group = matching.group(artifact.manifest.plan)
    rows = remotes.rows(shared, state, group) if state else ()
    ids = [row.id for row in rows if row.key == artifact.key]
    return artifact.id if artifact.id in ids else next(iter(ids), "")


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.timezone.utc)
