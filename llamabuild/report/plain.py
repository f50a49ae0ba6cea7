"""Plain lines for CI logs and files: nothing is ever overwritten, progress comes now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TextIO

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
from llamabuild.report.words import assert_never, clean, ended, failure, moved, percent

_STEP_PERCENT: Final = 10
_STEP_SECONDS: Final = 30.0


class Plain:
    """One line an event; progress at most every 10 per cent or 30 seconds."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._titles: dict[str, str] = {}
        self._told: dict[str, tuple[int, float]] = {}

    def __call__(self, event: Event) -> None:
        """See :class:`llamabuild.report.Reporter`."""
        match event:
            case StepStarted():
                self._titles[event.name] = clean(event.title)
                self._told[event.name] = (0, self._clock())
                self.say(f"{self.title(event.name)} ...")
            case StepEnded():
                self.say(f"done: {ended(self.title(event.name), event)}")
            case StepFailed():
                self.say(f"failed: {ended(self.title(event.name), event)}")
            case Progress():
                self._move(event)
            case Noticed():
                self.say(event.message)
            case Warned():
                self._warn(event)
            case Healed():
                self.say(f"healed: {event.remedy}: {event.why}")
            case OutputLine():
                pass  # the build log has all of it
            case _ as never:
                assert_never(never)

    def failed(self, error: LlamabuildError) -> None:
        """See :class:`llamabuild.report.Reporter`."""
        self.say(f"error: {error.message}")
        for line in failure(error):
            self.say(line, indent="  ")

    def summary(self, artifact: Artifact) -> None:
        """Nothing: the answer is on stdout."""

    def close(self) -> None:
        """See :class:`llamabuild.report.Reporter`."""
        self._stream.flush()

    def say(self, line: str, indent: str = "") -> None:
        """One line, now."""
        indent += line[: len(line) - len(line.lstrip(" "))]
        print(indent + clean(line), file=self._stream, flush=True)

    def title(self, name: str) -> str:
        """The title of a step that was started, else its name."""
        return self._titles.get(name, clean(name))

    def _move(self, event: Progress) -> None:
        if self._due(event):
            self.say(f"{event.name}: {moved(event)}")

    def _warn(self, event: Warned) -> None:
        self.say(f"warning: {event.message}")
        if event.hint:
            self.say(f"next: {event.hint}", indent="  ")

    def _due(self, event: Progress) -> bool:
        """True when enough happened since the last line about this step."""
        now, here = self._clock(), percent(event)
        before, then = self._told.setdefault(event.name, (0, now))
        due = abs(here - before) >= _STEP_PERCENT or now - then >= _STEP_SECONDS
        if due:
            self._told[event.name] = (here, now)
        return due


class Quiet(Plain):
    """Only what the user has to know: warnings and the reason of a failure."""

    def __call__(self, event: Event) -> None:
        """See :class:`llamabuild.report.Reporter`."""
        if isinstance(event, Warned):
            super().__call__(event)
