"""Cells on this machine, each in a process of its own."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from llamabuild import store
from llamabuild.ci.cells import Cell
from llamabuild.ci.child import Child, Contract
from llamabuild.ci.outcomes import Ended, Failure
from llamabuild.ci.run import Watcher, log_of
from llamabuild.host import Host

_LOOK: Final = 0.1
"""Seconds between looks at the children."""


def execute(
    wanted: Sequence[Cell],
    watcher: Watcher,
    *,
    contract: Contract,
    host: Host,
    cache: Path,
    jobs: int,
) -> Iterator[Ended]:
    """What comes of each cell, as they end; ``jobs`` are made at once. When this is closed before
    its end, the children are ended and have nothing half-made."""
    waiting = deque(wanted)
    running: list[Child] = []
    with store.workdir(cache) as work, contextlib.ExitStack() as children:
        while waiting or running:
            while waiting and len(running) < jobs:
                cell = waiting.popleft()
                watcher.began(cell.name)
                log = log_of(cache, cell)
                try:
                    child = Child(cell, contract, host=host, cache=cache, work=work, log=log)
                except OSError as error:
                    yield _unstarted(cell, error)
                    continue
                children.callback(child.close)
                running.append(child)
            for child in tuple(running):
                if ended := child.look(partial(watcher.told, child.cell.name)):
                    running.remove(child)
                    yield ended
            time.sleep(_LOOK)


def _unstarted(cell: Cell, error: OSError) -> Failure:
    why = f"its worker cannot be started: {error.strerror or error}"
    return Failure(name=cell.name, names=cell.names, code=127, message=why)
