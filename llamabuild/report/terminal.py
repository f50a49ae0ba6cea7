"""A terminal: a moving bar for the step that runs, one line for each that ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn, TextIO

from llamabuild.errors import LlamabuildError
from llamabuild.events import (
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
from llamabuild.model import Artifact
from llamabuild.report.words import assert_never, clean, duration, ended, failure

if TYPE_CHECKING:
    from tqdm import tqdm

_WAITING: Final = "{desc} ..."
_MOVING: Final = "{desc}: {percentage:3.0f} % |{bar}| {n_fmt}/{total_fmt}{unit}{postfix}"
_COLOURS: Final = {"done": 32, "healed": 36, "warning": 33, "failed": 31, "error": 31, "next": 1}


class Terminal:
    """Bars by tqdm, which is loaded when the first step starts."""

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._stream = stream
        self._colour = colour
        self._titles: dict[str, str] = {}
        self._bars: dict[str, tqdm[NoReturn]] = {}

    def __call__(self, event: Event) -> None:
        """See :class:`llamabuild.report.Reporter`."""
        match event:
            case StepStarted():
                self._titles[event.name] = clean(event.title)
                self._close(event.name)
                self._bar(event.name).refresh()
            case StepEnded() | StepFailed():
                self._close(event.name)
                label = "done" if isinstance(event, StepEnded) else "failed"
                self._say(label, ended(self._title(event.name), event))
            case Progress():
                self._move(event)
            case Noticed():
                self._say("", event.message)
            case Warned():
                self._say("warning", event.message)
                if event.hint:
                    self._say("next", event.hint)
            case Healed():
                self._say("healed", f"{event.remedy}: {event.why}")
            case OutputLine():
                pass  # the build log has all of it
            case _ as never:
                assert_never(never)

    def failed(self, error: LlamabuildError) -> None:
        """See :class:`llamabuild.report.Reporter`."""
        self.close()
        self._say("error", error.message)
        for line in failure(error):
            label, separator, text = line.partition(": ")
            known = separator and label in _COLOURS
            self._say(label, text) if known else self._write(line)

    def summary(self, artifact: Artifact) -> None:
        """Nothing: the answer is on stdout."""

    def close(self) -> None:
        """See :class:`llamabuild.report.Reporter`."""
        for name in tuple(self._bars):
            self._close(name)
        self._stream.flush()

    def _title(self, name: str) -> str:
        return self._titles.get(name, clean(name))

    def _bar(self, name: str) -> tqdm[NoReturn]:
        """The bar of a step, made when it is first needed."""
        from tqdm import tqdm

        if name not in self._bars:
            self._bars[name] = tqdm(
                desc=self._title(name),
                file=self._stream,
                leave=False,
                dynamic_ncols=True,
                bar_format=_WAITING,
                unit="",
                unit_divisor=1024,
            )
        return self._bars[name]

    def _move(self, event: Progress) -> None:
        bar = self._bar(event.name)
        bar.total = max(event.total, 0)
        bar.bar_format = _MOVING
        bar.unit = "B" if event.unit == "B" else f" {clean(event.unit)}"
        bar.unit_scale = event.unit == "B"
        left = "" if event.remaining is None else f"{duration(event.remaining)} left"
        bar.set_postfix_str(left, refresh=False)
        bar.update(event.done - bar.n)

    def _close(self, name: str) -> None:
        if bar := self._bars.pop(name, None):
            bar.close()

    def _say(self, label: str, text: str) -> None:
        shown = f"{label}:" if label else ""
        if label and self._colour:
            shown = f"\x1b[{_COLOURS[label]}m{shown}\x1b[0m"
        self._write(f"{shown} {clean(text)}".strip())

    def _write(self, line: str) -> None:
        """A line above the bars."""
        for bar in self._bars.values():
            bar.clear()
        print(line, file=self._stream, flush=True)
        for bar in self._bars.values():
            bar.refresh()
