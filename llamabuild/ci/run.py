"""All cells of a lock file: what is left to do, what came of it, and what is remembered of that.

Which machines do the work is an executor's business (:mod:`llamabuild.ci.local`,
:mod:`llamabuild.ci.cluster`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from llamabuild import digest, store
from llamabuild.ci import outcomes
from llamabuild.ci.cells import Cell
from llamabuild.ci.outcomes import Ended, Failure, Outcome
from llamabuild.errors import CellsFailed, ConfigError
from llamabuild.events import Event
from llamabuild.store import sealed


class Watcher(Protocol):
    """Somebody who watches a run; cells go by their names."""

    def began(self, name: str) -> None:
        """A cell is being made."""

    def told(self, name: str, event: Event) -> None:
        """What its worker tells."""

    def ended(self, ended: Ended) -> None:
        """What came of it."""

    def close(self) -> None:
        """The run is over."""


Executor = Callable[[Sequence[Cell], Watcher], Iterator[Ended]]


class _Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the cells of a lock file, by their digests."""

    ended: Mapping[str, Ended]


def run(
    wanted: Sequence[Cell],
    execute: Executor,
    *,
    cache: Path,
    watcher: Watcher,
    only: Sequence[str] = (),
    resume: bool = False,
) -> tuple[Ended, ...]:
    """What came of each cell, or of those that have one of the names in ``only``. With ``resume``
    what was made in the last run of the same cells is not looked at again. What is known is kept
    after each cell, so that an interrupted run can be resumed too.

    Raises ConfigError for a name that no cell has, or several have.
    """
    memory = _memory_of(cache, wanted)
    chosen = _chosen(wanted, only)
    kept = sealed.read(memory, _Memory)
    known = dict(kept.ended) if kept else {}
    digests = {cell.name: _digest(cell) for cell in chosen}
    found = _made_before(known, digests) if resume else {}
    for one in found.values():
        watcher.ended(one)
    left = [cell for cell in chosen if cell.name not in found]
    ending = cast("Generator[Ended]", execute(left, watcher))
    with contextlib.closing(ending):
        for one in ending:
            found[one.name] = known[digests[one.name]] = one
            with store.guarded(cache):
                sealed.write(memory, _Memory(ended=known))
            watcher.ended(one)
    return tuple(found[cell.name] for cell in chosen if cell.name in found)


def _made_before(known: Mapping[str, Ended], digests: Mapping[str, str]) -> dict[str, Ended]:
    """What was made in the last run, by the names of the cells."""
    before = {name: known.get(digest) for name, digest in digests.items()}
    return {name: one for name, one in before.items() if isinstance(one, Outcome)}


def _chosen(wanted: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    every = [name for cell in wanted for name in cell.names]
    names = set(every)
    if twice := [name for name in sorted(names) if every.count(name) > 1]:
        raise ConfigError(f"two cells have the name {twice[0]}", "Give each its own.")
    if unknown := [name for name in only if name not in names]:
        raise ConfigError(
            f"there is no cell {', '.join(unknown)}", f"Cells: {', '.join(sorted(names))}."
        )
    return [cell for cell in wanted if not only or set(only) & set(cell.names)]


def _digest(cell: Cell) -> str:
    return digest.of_value(msgspec.to_builtins(cell))


def _memory_of(cache: Path, wanted: Iterable[Cell]) -> Path:
    name = digest.of_value([_digest(cell) for cell in wanted])[:24]
    return cache / "runs" / f"{name}.json"


def log_of(cache: Path, cell: Cell) -> Path:
    """Where what the worker of a cell prints is kept."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", cell.name)[:60]
    return cache / "runs" / f"{name}-{_digest(cell)[:12]}.log"


def summary(ended: Iterable[Ended]) -> dict[str, Any]:
    """A run as programs read it, without the version."""
    found = tuple(ended)
    failed = [one for one in found if isinstance(one, Failure)]
    return {
        "counts": outcomes.counts(found),
        "cells": [outcomes.fields(one) for one in found if isinstance(one, Outcome)],
        "failed": failed,
    }


def page(ended: Iterable[Ended]) -> str:
    """A run as people read it: a line for each cell that was made, and how many there are."""
    found = tuple(ended)
    made = [one for one in found if isinstance(one, Outcome)]
    lines = [f"{one.key[:12]}  {one.outcome:7}  {one.name}" for one in made]
    return "\n".join((*lines, outcomes.sentence(outcomes.counts(found))))


def failure(ended: Sequence[Ended]) -> CellsFailed | None:
    """The error that a run ends with, naming each cell that failed with its reason; None when all
    were made."""
    failed = [one for one in ended if isinstance(one, Failure)]
    if not failed:
        return None
    said = "; ".join(f"{one.name}: {one.message}" for one in failed)
    return CellsFailed(
        f"{len(failed)} of {len(ended)} cells failed: {said}",
        "What is right stays. --resume goes on with the others.",
        failed=tuple(one.name for one in failed),
    )
