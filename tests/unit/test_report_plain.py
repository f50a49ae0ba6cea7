"""Plain lines: one an event, progress now and then, nothing overwritten."""

from __future__ import annotations

import io

from llamabuild import events
from llamabuild.errors import BuildFailed, ConfigError
from llamabuild.report.plain import Plain, Quiet


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(*told: events.Event) -> list[str]:
    stream = io.StringIO()
    reporter = Plain(stream)
    for event in told:
        reporter(event)
    return stream.getvalue().splitlines()


def test_a_step_in_lines() -> None:
    assert lines(
        events.StepStarted(name="compile", title="Compiling with gcc"),
        events.OutputLine(step="compile", line="noise"),
        events.Healed(remedy="no-dse", why="wrong code"),
        events.Warned(message="slow disk", hint="use another"),
        events.StepEnded(name="compile", seconds=272, detail="136 files"),
        events.StepFailed(name="attempt", seconds=0, why="it crashed"),
    ) == [
        "Compiling with gcc ...",
        "healed: no-dse: wrong code",
        "warning: slow disk",
        "  next: use another",
        "done: Compiling with gcc (4 min 32 s): 136 files",
        "failed: attempt: it crashed",
    ]


def moving(clock: Clock, *steps: tuple[float, int]) -> list[str]:
    stream = io.StringIO()
    reporter = Plain(stream, clock)
    reporter(events.StepStarted(name="x", title="X"))
    for seconds, done in steps:
        clock.now += seconds
        reporter(events.Progress(name="x", done=done, total=100, unit="files"))
    return stream.getvalue().splitlines()[1:]


def test_progress_comes_every_ten_per_cent() -> None:
    told = moving(Clock(), *((0.01, done) for done in range(101)))
    assert told == [f"x: {done} % ({done} of 100 files)" for done in range(10, 101, 10)]


def test_progress_comes_every_half_minute_when_it_is_slow() -> None:
    told = moving(Clock(), (29, 1), (2, 1), (29, 2), (29, 3))
    assert told == ["x: 1 % (1 of 100 files)", "x: 3 % (3 of 100 files)"]


def test_a_step_that_begins_anew_counts_anew() -> None:
    stream = io.StringIO()
    reporter = Plain(stream, Clock())
    for _ in range(2):
        reporter(events.StepStarted(name="x", title="X"))
        reporter(events.Progress(name="x", done=1, total=2, unit="files"))
    assert stream.getvalue().count("50 %") == 2


def test_a_failure_ends_with_the_next_step() -> None:
    stream = io.StringIO()
    tail = "In file a.h\n\x1b[31merror: b\x1b[0m"
    Plain(stream).failed(BuildFailed("compile failed", "Free memory", log="/log", tail=tail))
    assert stream.getvalue().splitlines() == [
        "error: compile failed",
        "    | In file a.h",
        "    | [31merror: b [0m",
        "  log: /log",
        "  next: Free memory",
    ]


def test_quiet_says_only_what_has_to_be_known() -> None:
    stream = io.StringIO()
    reporter = Quiet(stream)
    reporter(events.StepStarted(name="x", title="X"))
    reporter(events.Noticed(message="n"))
    reporter(events.Healed(remedy="r", why="w"))
    assert stream.getvalue() == ""
    reporter(events.Warned(message="w"))
    reporter.failed(ConfigError("m", "h"))
    assert stream.getvalue().splitlines() == ["warning: w", "error: m", "  next: h"]
