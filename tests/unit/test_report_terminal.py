"""The terminal: bars that move and go, lines that stay."""

from __future__ import annotations

import io
import re

import pytest

from llamabuild import events
from llamabuild.errors import BuildFailed
from llamabuild.report import choose
from llamabuild.report.terminal import Terminal

_TOKEN = re.compile(r"\x1b\[A|\x1b\[[0-9;]*m|\r|\n|[^\r\n\x1b]+")


def screen(text: str) -> list[str]:
    """The lines that a terminal shows in the end: it knows line feeds, carriage returns and
    "one line up", which is all that bars need."""
    rows: list[list[str]] = [[]]
    row = column = 0
    for token in _TOKEN.findall(text):
        if token == "\n":
            row, column = row + 1, 0
            if row == len(rows):
                rows.append([])
        elif token == "\r":
            column = 0
        elif token == "\x1b[A":
            row = max(0, row - 1)
        elif not token.startswith("\x1b"):
            line = rows[row]
            line += [" "] * (column - len(line))
            line[column : column + len(token)] = token
            column += len(token)
    return ["".join(line).rstrip() for line in rows]


def run(reporter: Terminal) -> None:
    reporter(events.StepStarted(name="fetch", title="Fetching"))
    for done in (0, 1 << 20, 2 << 20):
        reporter(events.Progress(name="fetch", done=done, total=2 << 20, unit="B", remaining=1))


def test_bars_go_and_results_stay() -> None:
    stream = io.StringIO()
    reporter = Terminal(stream, colour=False)
    run(reporter)
    reporter(events.Healed(remedy="mirror", why="the first address is down"))
    reporter(events.StepEnded(name="fetch", seconds=2.1, detail="2.0 MiB"))
    reporter.close()
    left = [line for line in screen(stream.getvalue()) if line]
    assert left == ["healed: mirror: the first address is down", "done: Fetching (2.1 s): 2.0 MiB"]
    assert "100 % |" in stream.getvalue()
    assert "2.00M" in stream.getvalue()


def test_a_failure_closes_the_bars_first() -> None:
    stream = io.StringIO()
    reporter = Terminal(stream, colour=False)
    run(reporter)
    reporter.failed(BuildFailed("it broke", "Do that", log="/log", tail="error: x"))
    assert [line for line in screen(stream.getvalue()) if line] == [
        "error: it broke",
        "  | error: x",
        "log: /log",
        "next: Do that",
    ]
    before = stream.getvalue()
    reporter.close()
    assert stream.getvalue() == before


def test_a_step_that_starts_again_or_ends_unknown_is_no_trouble() -> None:
    stream = io.StringIO()
    reporter = Terminal(stream, colour=False)
    run(reporter)
    run(reporter)
    reporter(events.Progress(name="other", done=3, total=0, unit="files"))
    reporter(events.Progress(name="other", done=9, total=4, unit="files"))
    reporter(events.Progress(name="other", done=1, total=4, unit="files"))
    reporter(events.StepEnded(name="never-started", seconds=0))
    reporter.close()
    assert [line for line in screen(stream.getvalue()) if line] == ["done: never-started"]


@pytest.mark.parametrize(
    ("tty", "environ", "coloured"),
    [(True, {}, True), (True, {"NO_COLOR": "1"}, False), (False, {}, False)],
)
def test_colours_only_where_they_are_wanted(
    tty: bool, environ: dict[str, str], coloured: bool
) -> None:
    stream = io.StringIO()
    stream.isatty = lambda: tty  # type: ignore[method-assign]
    reporter = choose(environ, stream, "terminal")
    reporter(events.Warned(message="careful"))
    reporter.close()
    assert ("\x1b[" in stream.getvalue()) == coloured
    assert screen(stream.getvalue())[0] == "warning: careful"
