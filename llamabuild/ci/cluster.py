"""Cells on the machines of a Dask cluster: workers are asked for by what they offer.

A task is the worker contract in a process of its own on the machine of a Dask worker, with that
machine's cache; only JSON goes over the wire. Who may connect is Dask's own configuration (TLS:
``distributed.comm.tls``). How resources decide: https://distributed.dask.org/en/stable/resources.html
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import msgspec

from llamabuild.ci import cells, offers, outcomes
from llamabuild.ci.cells import Cell
from llamabuild.ci.child import Child, Contract
from llamabuild.ci.outcomes import Ended, Failure
from llamabuild.ci.run import Watcher, log_of
from llamabuild.errors import FetchError, ToolMissing
from llamabuild.events import Event, OutputLine, Progress
from llamabuild.report import jsonl

if TYPE_CHECKING:
    from distributed import Client, Future

_LOOK: Final = 0.2
"""Seconds between looks."""
_COUNT: Final = 2.0
"""Seconds between looks at which workers there are."""
_PATIENCE: Final = 60.0
"""Seconds for which a cell waits for a worker of its kind that went away."""
_OFFER: Final = 'Start workers with: dask worker ADDRESS --resources "$(llamabuild worker offer)"'


def execute(
    wanted: Sequence[Cell], watcher: Watcher, *, contract: Contract, address: str, retries: int
) -> Iterator[Ended]:
    """What comes of each cell, as they end. What no worker offers is said first, and is not
    submitted: it would wait for ever. ``retries`` is how often a cell may lose its workers.

    Raises ToolMissing without Dask, FetchError when no scheduler answers.
    """
    with _client(address) as client:
        workers = _offered(client)
        hopeful = []
        for cell in wanted:
            if lacks := offers.unmet(cell.needs, workers):
                yield _unmet(cell, lacks, len(workers))
            else:
                hopeful.append(cell)
        run = _Run(client=client, contract=msgspec.json.encode(contract), retries=retries)
        client.subscribe_topic(run.topic, run.hear)
        try:
            for cell in hopeful:
                run.submit(cell)
            while run.left:
                run.tell(watcher)
                yield from run.ended()
                time.sleep(_LOOK)
        finally:
            run.cancel()


def _client(address: str) -> Client:
    try:
        from distributed import Client
    except ImportError as error:
        raise ToolMissing(
            "cells on a cluster need the package distributed", "pip install 'llamabuild[cluster]'"
        ) from error
    try:
        return Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FetchError(
            f"no Dask scheduler answers at {address}: {said}",
            "Check the address and, for tls://, distributed.comm.tls in Dask's configuration.",
        ) from error


def _offered(client: Client) -> list[Mapping[str, float]]:
    """The resources of each worker that is there now."""
    return [one["resources"] for one in client.scheduler_info(n_workers=-1)["workers"].values()]


def _unmet(cell: Cell, lacks: Sequence[str], count: int) -> Failure:
    if not count:
        why = "the cluster has no worker"
    else:
        why = f"none of {count} workers offers {' and '.join(lacks)}"
    return Failure(name=cell.name, names=cell.names, code=3, message=why, hint=_OFFER)


@dataclass(slots=True)
class _Task:
    """A cell that was submitted; ``stranded`` is since when no worker offers what it needs."""

    cell: Cell
    future: Future[bytes]
    lost: int = 0
    stranded: float = 0.0


@dataclass(slots=True, kw_only=True)
class _Run:
    """The cells that are on their way."""

    client: Client
    contract: bytes
    retries: int
    topic: str = field(default_factory=lambda: f"llamabuild-{secrets.token_hex(8)}")
    left: dict[str, _Task] = field(default_factory=dict)
    _news: SimpleQueue[Mapping[str, str]] = field(default_factory=SimpleQueue)
    _counted: float = 0.0

    def submit(self, cell: Cell, lost: int = 0) -> None:
        """Let a worker that offers what the cell needs make it."""
        future = self.client.submit(
            task,
            cells.encode(cell),
            self.contract,
            self.topic,
            key=f"{self.topic}-{cell.name}-{lost}",
            resources=offers.needed(cell.needs),
            retries=self.retries,
            pure=False,
        )
        self.left[cell.name] = _Task(cell, future, lost)

    def hear(self, event: tuple[float, Mapping[str, str]]) -> None:
        """What a worker reports; Dask calls this on a thread of its own."""
        self._news.put(event[1])

    def tell(self, watcher: Watcher) -> None:
        """Pass on what was heard."""
        with contextlib.suppress(Empty):
            while True:
                said = self._news.get_nowait()
                if said["cell"] not in self.left:
                    continue
                if event := jsonl.parse(said["line"]):
                    watcher.told(said["cell"], event)
                else:
                    watcher.began(said["cell"])

    def ended(self) -> Iterator[Ended]:
        """What has ended since."""
        self._count()
        for name, one in tuple(self.left.items()):
            if one.future.done():
                del self.left[name]
                if ended := self._result(one):
                    yield ended
            elif one.stranded and time.monotonic() - one.stranded > _PATIENCE:
                del self.left[name]
                one.future.cancel()
                yield _unmet(one.cell, offers.unmet(one.cell.needs, _offered(self.client)), 1)

    def _result(self, one: _Task) -> Ended | None:
        """What a task came to; None when it is tried again."""
        from distributed import KilledWorker

        if one.future.status == "finished":
            return outcomes.decode(one.future.result())
        if one.future.status == "error":
            error = one.future.exception()
            if isinstance(error, KilledWorker) and one.lost < self.retries:
                self.submit(one.cell, one.lost + 1)
                return None
            lost = isinstance(error, KilledWorker)
            why = "its workers were lost while they made it" if lost else f"its task: {error}"
        else:
            why = "the cluster lost it"
        return Failure(name=one.cell.name, names=one.cell.names, code=1, message=why)

    def _count(self) -> None:
        """Note which cells have no worker of their kind any more."""
        now = time.monotonic()
        if now - self._counted < _COUNT or self.client.status != "running":
            return
        self._counted = now
        workers = _offered(self.client)
        for one in self.left.values():
            one.stranded = (one.stranded or now) if offers.unmet(one.cell.needs, workers) else 0.0

    def cancel(self) -> None:
        """Nobody waits any longer: workers end what they are making."""
        with contextlib.suppress(Exception):  # the cluster may be gone
            self.client.unsubscribe_topic(self.topic)
            self.client.cancel([one.future for one in self.left.values()], force=True)


# --- on the machine of a worker ------------------------------------------------------------------


def task(cell: bytes, contract: bytes, topic: str) -> bytes:
    """Make a cell on the machine of this Dask worker, in its own cache, and say what came of it.
    Cells and what comes of them are JSON."""
    from distributed import get_worker

    from llamabuild import store
    from llamabuild.host import LocalHost

    worker, host = get_worker(), LocalHost()
    key = worker.get_current_task()
    wanted = cells.decode(cell, "the cell")
    report = _Report(worker, topic, wanted.name)
    root = store.open_root(store.default_root(host.environ))
    with store.workdir(root) as work:
        child = Child(
            wanted,
            msgspec.json.decode(contract, type=Contract),
            host=host,
            cache=root,
            work=work,
            log=log_of(root, wanted),
        )
        with contextlib.closing(child):
            report.began()
            while (ended := child.look(report)) is None:
                if not _wanted(worker, key):
                    raise InterruptedError("nobody waits for it any longer")
                time.sleep(_LOOK)
    if isinstance(ended, Failure):
        ended = msgspec.structs.replace(ended, log=f"{ended.log} on {worker.address}")
    return outcomes.encode(ended)


def _wanted(worker: Any, key: str) -> bool:  # noqa: ANN401 - a Dask worker
    """False when the run was interrupted or its client is gone: nobody ends a thread."""
    known = worker.state.tasks.get(key)
    return known is not None and known.state != "cancelled"


class _Report:
    """Tells the run what happens to a cell; of progress no more than people can read."""

    def __init__(self, worker: Any, topic: str, name: str) -> None:  # noqa: ANN401
        self._worker, self._topic, self._name = worker, topic, name
        self._moved = 0.0

    def began(self) -> None:
        """Its worker has started."""
        self._say("")

    def __call__(self, event: Event) -> None:
        """An event of its worker."""
        if isinstance(event, OutputLine):
            return
        if isinstance(event, Progress) and event.done < event.total:
            if time.monotonic() - self._moved < 1:
                return
            self._moved = time.monotonic()
        self._say(jsonl.line(event))

    def _say(self, line: str) -> None:
        self._worker.log_event(self._topic, {"cell": self._name, "line": line})
