"""Progress events at a rate that people can read."""

from __future__ import annotations

import time
from typing import Final

from llamabuild.events import Emit, Progress

_INTERVAL: Final = 0.1  # seconds between two events


class Meter:
    """Tells how many bytes of ``total`` are done, with an estimate of the seconds that remain."""

    def __init__(self, emit: Emit, name: str, total: int) -> None:
        self._emit, self._name, self._total = emit, name, total
        self._began, self._from, self._told = time.monotonic(), 0, 0.0

    def start(self, done: int) -> None:
        """The work begins with ``done`` bytes there already: they say nothing about the speed."""
        self._began, self._from = time.monotonic(), done

    def at(self, done: int) -> None:
        """``done`` bytes are there. The last byte is always told."""
        now = time.monotonic()
        if done < self._total and now - self._told < _INTERVAL:
            return
        self._told = now
        fresh = done - self._from
        left = (now - self._began) / fresh * (self._total - done) if fresh > 0 else None
        self._emit(
            Progress(name=self._name, done=done, total=self._total, unit="B", remaining=left)
        )
