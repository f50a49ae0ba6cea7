"""A cell in a process of its own, by the contract of ``llamabuild worker run``: whatever happens to
it happens to no other.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from llamabuild.ci import cells
from llamabuild.ci.cells import Cell
from llamabuild.ci.outcomes import Answer, Ended, Failure, Outcome, understood
from llamabuild.events import Event
from llamabuild.host import Host, Limits, python, signal_name
from llamabuild.remotes.opening import VARIABLE
from llamabuild.report import jsonl

_LIMITS: Final = Limits(seconds=math.inf, grace=20)
"""A cell takes as long as it takes; one that is ended has to end its compilers first."""

Told = Callable[[Event], None]


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """How every cell of a run is made: the options of ``llamabuild worker run``. Without a
    ``store`` it is the one that the worker's own machine names, if it does."""

    store: str = ""
    unsigned: bool = False
    push: bool = True
    compiler_cache: str = "auto"

    def argv(self, file: Path, cache: Path) -> list[str]:
        """The worker for the cell in a file, which ends when this process does. The address of the
        store is not among the words, which everybody on a machine can see: it may hold a secret."""
        return [
            *(python(), "-m", "llamabuild", "worker", "run", str(file)),
            *("--cache", str(cache), "--compiler-cache", self.compiler_cache),
            *("--progress", "json", "--parent", str(os.getpid())),
            *(["--unsigned"] if self.unsigned else []),
            *([] if self.push else ["--no-push"]),
        ]


class Child:
    """A cell that is being made. What is printed is kept in ``log``, and left there when it
    fails."""

    def __init__(
        self, cell: Cell, contract: Contract, *, host: Host, cache: Path, work: Path, log: Path
    ) -> None:
        self.cell = cell
        self._log = log
        self._started = time.monotonic()
        self._answer: Answer | Outcome | None = None
        self._last = ""
        file = work / f"{log.stem}.json"
        file.write_bytes(cells.encode(cell))
        env = dict(host.environ) | ({VARIABLE: contract.store} if contract.store else {})
        log.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            self._lines = stack.enter_context(log.open("w", encoding="utf-8", errors="replace"))
            argv = contract.argv(file, cache)
            self._service = stack.enter_context(host.serve(argv, env=env, limits=_LIMITS))
            self._open = stack.pop_all()

    def close(self) -> None:
        """End it, if it has not ended, with all its children."""
        self._open.close()

    def look(self, told: Told) -> Ended | None:
        """What came of it, or None while it goes on; ``told`` is given the events since then."""
        code = self._service.code()
        for line in self._service.news():
            self._lines.write(f"{line}\n")
            self._heard(line, told)
        if code is None:
            return None
        self.close()
        return self._ended(code)

    def _heard(self, line: str, told: Told) -> None:
        if event := jsonl.parse(line):
            told(event)
        elif answer := understood(line):
            self._answer = answer
        elif line.strip() and not line.startswith('{"v":'):
            self._last = line.strip()

    def _ended(self, code: int) -> Ended:
        if code == 0 and isinstance(self._answer, Outcome):
            self._log.unlink(missing_ok=True)
            return self._answer
        known = self._answer.error if isinstance(self._answer, Answer) else {}
        return Failure(
            name=self.cell.name,
            names=self.cell.names,
            code=code,
            message=str(known.get("message") or self._end_in_words(code)),
            hint=str(known.get("hint") or ""),
            log=str(known.get("log") or self._log),
            seconds=round(time.monotonic() - self._started, 1),
        )

    def _end_in_words(self, code: int) -> str:
        how = f"was ended by {signal_name(code)}" if code < 0 else f"ended with exit code {code}"
        return f"its worker {how}" + (f": {self._last}" if self._last else "")
