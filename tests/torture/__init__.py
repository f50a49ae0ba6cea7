"""A store under torture: many processes, kills at random moments, a full disk, failing I/O."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from llamabuild import store
from llamabuild.events import Event
from llamabuild.store import blobs
from tests.torture.worker import LASTING, Worker, contents, key

SOURCE = Path(__file__).with_name("eio.c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was done, and what went wrong: the last three are to be zero."""

    kills: int
    deeds: Counter[str]
    kept: int
    lasting: int
    wrong: int
    partial: int
    lost: int
    broken: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """True when nothing went wrong."""
        return not (self.wrong or self.partial or self.lost or self.broken)

    def __str__(self) -> str:
        done = ", ".join(f"{self.deeds[one]} {one}" for one in sorted(self.deeds))
        return (
            f"{self.kills} kills; {done}; {self.kept} artifacts kept, "
            f"{self.lasting} of them for good\n"
            f"wrong reads {self.wrong}, partial entries {self.partial}, "
            f"lost artifacts {self.lost}, unexpected errors {len(self.broken)}"
            + "".join(f"\n  {line}" for line in self.broken[:10])
        )


def run(
    folder: Path,
    root: Path,
    *,
    workers: int,
    kills: int,
    seed: int,
    lasting: bool,
    one_in: int = 0,
) -> Outcome:
    """Let processes use a store, kill one after the other and start another in its place. With
    ``one_in`` every so manieth operation on the disk fails (:data:`SOURCE` has to be preloaded)."""
    rng = random.Random(seed)
    journal = folder / "journal"
    living: dict[int, float] = {}
    done = 0
    while living or done < kills:
        while done + len(living) < kills and len(living) < workers:
            child = _started(root, journal, rng.randrange(1 << 30), lasting, one_in)
            living[child] = time.monotonic() + rng.uniform(0.05, 3.0)
        child = min(living, key=lambda one: living[one])
        time.sleep(max(0.0, living.pop(child) - time.monotonic()))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        done += 1
    return _judged(root, journal, done)


def _started(root: Path, journal: Path, seed: int, lasting: bool, one_in: int) -> int:
    """A process of its own that has everything imported already."""
    if child := os.fork():
        return child
    os.setpgrp()
    try:
        if one_in:
            ctypes.CDLL(None).eio_arm(str(root).encode(), one_in, seed)
        Worker(root, journal, seed, lasting=lasting).work()
    finally:
        os._exit(1)


def _judged(root: Path, journal: Path, kills: int) -> Outcome:
    """Hold what is there against what the processes were told."""
    lines = journal.read_text(errors="replace").splitlines()
    deeds = Counter(line.partition(" ")[0] for line in lines)
    published = {int(line.split()[1]) for line in lines if line.startswith("published ")}
    lasting = {number for number in published if number >= LASTING}
    lost = sum(not _right(root, number) for number in lasting)
    return Outcome(
        kills=kills,
        deeds=Counter({name: count for name, count in deeds.items() if name.islower()}),
        kept=len(store.artifacts(root, print)),
        lasting=len(lasting),
        wrong=deeds["WRONG"],
        partial=_partial(root),
        lost=lost,
        broken=tuple(line for line in lines if line.startswith("BROKEN")),
    )


def _right(root: Path, number: int) -> bool:
    found = store.lookup(root, key(number), print)
    return found is not None and all(
        (found.path / name).read_bytes() == data for name, data in contents(number).items()
    )


def _partial(root: Path) -> int:
    """Entries that are not whole: manifests that name what is not there, folders and blobs that are
    not what they should be, small files that were never finished outside of ``work``."""
    told: list[Event] = []
    wrong = 0
    for artifact in store.artifacts(root, told.append):
        for file in artifact.manifest.files.values():
            blob = blobs.path_of(root, file.sha256)
            blobs.pardon(blob)
            wrong += not (blob.exists() and blobs.sound(blob, file))
        if artifact.path.exists():
            wrong += store.damaged(artifact) is not None
    with contextlib.suppress(FileNotFoundError):
        wrong += sum(1 for path in (root / "manifests").rglob(".*"))
    return wrong + len(told)


__all__ = ["SOURCE", "Outcome", "run"]
