"""The command that looks for what is wrong before anything goes wrong: doctor."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llamabuild.cli.shared import Settings, command, settings
from llamabuild.errors import Ill, LlamabuildError, Unwell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llamabuild.checks import Checked, Situation
    from llamabuild.examination import Examined

_EXIT = {"problem": Ill.exit_code, "warning": Unwell.exit_code}


@command(
    "doctor", "llamabuild doctor; llamabuild doctor cuda environment; llamabuild doctor --deep"
)
@click.argument("checks", nargs=-1, metavar="[CHECK]...")
@click.option(
    "--deep",
    is_flag=True,
    help="Prove every other llama.cpp that is installed here, in full, and measure it beside ours.",
)
def doctor(
    checks: tuple[str, ...], deep: bool, as_json: bool, cache: Path | None, progress: str
) -> None:
    """Say what would make a build fail, or llama.cpp run worse, on this machine, and what to do.

    Exits with 0 when nothing is worse than a note, 15 when a check warns and 16 when one found a
    problem. Give names of checks to do only those. A llama.cpp that is installed and not
    llamabuild's own is run once, in processes with limits, and again when its files change.
    """
    from llamabuild import checks as checking
    from llamabuild import report
    from llamabuild.report import checkup, foreign

    with settings(as_json, cache, progress, opened=False) as use, _situation(use) as situation:
        done = checking.run(situation, checks)
        more = _examined(use, situation) if deep else []
        if as_json:
            said = {"findings": _rows(done), "seconds": _seconds(done), "examined": more}
            click.echo(report.to_json(said, "doctor"))
        else:
            click.echo("\n\n".join((*map(foreign.page, more), checkup.page(done))))
        states = {one.state for each in done for one in each.findings}
        states |= {"problem" for one in more if one.failures}
    code = next((code for state, code in _EXIT.items() if state in states), 0)
    raise click.exceptions.Exit(code)


@contextlib.contextmanager
def _situation(use: Settings) -> Iterator[Situation]:
    """What checks look at. A cache that cannot be used is something to tell, and what is learned on
    the way is then kept elsewhere until the end."""
    from llamabuild import checks, pins, probe, store

    with contextlib.ExitStack() as stack:
        facts = use.cache
        try:
            store.open_root(use.cache)
        except LlamabuildError:
            facts = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llamabuild-")))
        hardware, toolchain = probe.probe(use.host, cache=facts)
        yield checks.Situation(
            hardware=hardware,
            toolchain=toolchain,
            host=use.host,
            cache=use.cache,
            pin=pins.default_pin(),
        )


def _rows(done: Sequence[Checked]) -> list[dict[str, object]]:
    from dataclasses import asdict

    return [asdict(one) for each in done for one in each.findings]


def _seconds(done: Sequence[Checked]) -> dict[str, float]:
    return {each.check.name: round(each.seconds, 4) for each in done}


def _examined(use: Settings, situation: Situation) -> list[Examined]:
    """Every other llama.cpp that is here, examined in full; one that cannot be is told of."""
    from llamabuild import examination
    from llamabuild.checks import installed

    found = []
    for place in installed.places(situation):
        try:
            found.append(
                examination.examine(place.path, host=use.host, cache=use.cache, emit=use.reporter)
            )
        except LlamabuildError as error:
            use.reporter.failed(error)
    return found
