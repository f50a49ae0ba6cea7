"""How a run of many cells looks: a table that moves on a terminal, events for everything else."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TextIO

from llamabuild.ci.cells import Cell
from llamabuild.ci.outcomes import Ended, Failure
from llamabuild.events import (
    Emit,
    Event,
    Healed,
    Noticed,
    OutputLine,
    Progress,
    StepEnded,
    StepFailed,
    StepStarted,
    Warned,
)
from llamabuild.report.words import clean, duration, percent

if TYPE_CHECKING:
    from rich.table import Table as RichTable

_COLOURS: Final = {"failed": "red", "waiting": "dim", "building": "yellow"}


class Story:
    """A cell is a step: its events are told with its name. GitHub folds it, programs read it."""

    def __init__(self, cells: Sequence[Cell], emit: Emit) -> None:
        self._cells = {cell.name: cell for cell in cells}
        self._emit = emit

    def began(self, name: str) -> None:
        """See :class:`llamabuild.ci.run.Watcher`."""
        self._emit(StepStarted(name=name, title=f"{name} ({self._cells[name].want})"))

    def told(self, name: str, event: Event) -> None:
        """See :class:`llamabuild.ci.run.Watcher`."""
        match event:
            case StepStarted():
                self._emit(Noticed(message=f"{name}: {event.title}"))
            case StepFailed():
                self._emit(Noticed(message=f"{name}: {event.name} failed: {event.why}"))
            case Warned():
                self._emit(Warned(message=f"{name}: {event.message}", hint=event.hint))
            case Noticed():
                self._emit(Noticed(message=f"{name}: {event.message}"))
            case Healed():
                self._emit(Healed(remedy=event.remedy, why=f"{name}: {event.why}"))
            case OutputLine():
                self._emit(OutputLine(step=name, line=event.line))
            case Progress() if event.name == "compile":
                self._emit(
                    Progress(
                        name=name,
                        done=event.done,
                        total=event.total,
                        unit=event.unit,
                        remaining=event.remaining,
                    )
                )
            case Progress() | StepEnded():
                pass

    def ended(self, ended: Ended) -> None:
        """See :class:`llamabuild.ci.run.Watcher`."""
        if isinstance(ended, Failure):
            self._emit(StepFailed(name=ended.name, seconds=ended.seconds, why=ended.message))
            if ended.log:
                self._emit(Noticed(message=f"{ended.name}: the log is {ended.log}"))
        else:
            said = f"{ended.outcome} {ended.key[:12]}"
            self._emit(StepEnded(name=ended.name, seconds=ended.seconds, detail=said))

    def close(self) -> None:
        """See :class:`llamabuild.ci.run.Watcher`."""


@dataclass(slots=True)
class _Row:
    """A cell in the table."""

    name: str
    key: str
    state: str = "waiting"
    step: str = ""
    began: float = 0.0
    took: float = 0.0


class Table:
    """One row for each cell; ``clock`` counts seconds."""

    def __init__(
        self, cells: Sequence[Cell], stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        from rich.console import Console
        from rich.live import Live

        self._rows = {cell.name: _Row(cell.name, cell.key[:12]) for cell in cells}
        self._clock = clock
        console = Console(file=stream)
        self._live = Live(console=console, get_renderable=self.drawn, refresh_per_second=4)
        self._live.start()

    def began(self, name: str) -> None:
        """See :class:`llamabuild.ci.run.Watcher`."""
        row = self._rows[name]
        row.state, row.began = "building", self._clock()

    def told(self, name: str, event: Event) -> None:
        """See :class:`llamabuild.ci.run.Watcher`."""
        row = self._rows[name]
        match event:
            case StepStarted():
                row.step = clean(event.title)
            case Progress() if event.total:
                row.step = f"{row.step.split(':')[0]}: {percent(event)} %"
            case Warned():
                self._live.console.print(f"{name}: {clean(event.message)}", markup=False)
            case _:
                pass

    def ended(self, ended: Ended) -> None:
        """See :class:`llamabuild.ci.run.Watcher`."""
        row = self._rows[ended.name]
        row.took = ended.seconds
        if isinstance(ended, Failure):
            row.state, row.step = "failed", clean(ended.message)
        else:
            row.state, row.step, row.key = ended.outcome, "", ended.key[:12]

    def close(self) -> None:
        """See :class:`llamabuild.ci.run.Watcher`."""
        self._live.stop()

    def drawn(self) -> RichTable:
        """The table as it is now."""
        from rich.table import Table as RichTable
        from rich.text import Text

        drawn = RichTable(box=None, pad_edge=False)
        for head in ("cell", "state", "", "time", "key"):
            drawn.add_column(
                head, no_wrap=head != "", justify="right" if head == "time" else "left"
            )
        for row in self._rows.values():
            took = self._clock() - row.began if row.state == "building" else row.took
            state = Text(row.state, style=_COLOURS.get(row.state, "green"))
            time_ = duration(took) if took else ""
            drawn.add_row(Text(row.name), state, Text(row.step), time_, row.key)
        return drawn
