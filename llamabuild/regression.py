"""Whether what is new is slower than what it replaces: both run the proof's benchmark, in turns.

Figures of another day say little: what else a machine does changes them more than a build does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llamabuild import binaries, prove, store
from llamabuild.errors import ProofFailed
from llamabuild.host import Host
from llamabuild.model import Artifact
from llamabuild.prove import pace
from llamabuild.prove.foreign import Subject
from llamabuild.prove.inference import Runner

MARGIN: Final = 0.1
"""A tenth slower is said. Two runs of the same build differ by some hundredths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """Tokens per second (of a prompt, then one by one) of two artifacts that took turns."""

    before: tuple[float, float]
    now: tuple[float, float]

    @property
    def ratios(self) -> tuple[float, float]:
        """How fast the new one is, as a part of the old one."""
        return self.now[0] / self.before[0], self.now[1] / self.before[1]

    def best(self, other: Turns) -> Turns:
        """The better of two measurements, for each figure."""
        return Turns(before=_better(self.before, other.before), now=_better(self.now, other.now))

    @property
    def slower(self) -> bool:
        """True when it is slower by more than the margin, at one of the two."""
        return min(self.ratios) < 1 - MARGIN


def _better(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return max(one[0], other[0]), max(one[1], other[1])


def measure(before: Artifact, now: Artifact, *, host: Host, cache: Path) -> Turns | None:
    """Let both take turns, and once more when the new one seems slower: whatever else the machine
    does only ever makes one of them slower. None where they cannot be measured here."""
    subjects = [
        Subject(name=one.id, library=binaries.library_in(one.path, host)) for one in (before, now)
    ]
    if not all(one.library for one in subjects):
        return None
    try:
        found = _turns(subjects, host, cache)
        return found.best(_turns(subjects, host, cache)) if found.slower else found
    except ProofFailed:
        return None


def _turns(subjects: Sequence[Subject], host: Host, cache: Path) -> Turns:
    most = max(2, min(prove.THREADS_AT_MOST, host.cores()[2]))
    with store.workdir(cache) as work:
        threads = 1 if pace.busy(host) else most
        runner = Runner(host=host, scratch=work, threads=threads, preload=None, memory=0)
        first, second = pace.rates(subjects, runner)
    return Turns(before=first, now=second)
