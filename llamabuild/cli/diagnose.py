"""Commands that explain failures: diagnose, remedies."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from llamabuild.cli.shared import Settings, command, settings
from llamabuild.errors import UNEXPLAINED, ConfigError, LlamabuildError

if TYPE_CHECKING:
    from llamabuild.diagnose import Diagnosis
    from llamabuild.lastfailure import LastFailure
    from llamabuild.report.diagnosis import Told


@command("diagnose", "llamabuild diagnose build.log; make 2>&1 | llamabuild diagnose -")
@click.argument("log", default="last", metavar="[LOG|-|last]")
@click.option(
    "--elsewhere", is_flag=True, help="The log is another machine's: say nothing of this."
)
def diagnose(log: str, elsewhere: bool, as_json: bool, cache: Path | None, progress: str) -> None:
    """Say what a log shows: the cause, the line that shows it, and how to mend it.

    LOG is the output of pip, CMake, a compiler, Docker, Python or llama.cpp's own programs, of any
    length; `-` reads it from a pipe, and `last` (the default) is llamabuild's own last failure.
    Exit code 17: it failed, and nobody knows why; a report without secrets is prepared then.
    """
    from llamabuild import report
    from llamabuild.report import diagnosis

    with settings(as_json, cache, progress) as use:
        last = _last(use, log)
        with _opened(log, last) as stream:
            told = _told(use, stream, last, elsewhere=elsewhere)
        click.echo(
            report.to_json(diagnosis.as_json(told), "diagnosis")
            if as_json
            else diagnosis.page(told)
        )
    if not told.found.causes and not told.found.clean and not last:
        raise click.exceptions.Exit(UNEXPLAINED)


@command("remedies", "llamabuild remedies")
def remedies(as_json: bool, cache: Path | None, progress: str) -> None:
    """List what llamabuild tries by itself after a failure (see `--heal`, `--no-heal`)."""
    from llamabuild import remedies as known
    from llamabuild import report
    from llamabuild.report import diagnosis

    with settings(as_json, cache, progress):
        rows = tuple(known.known().values())
        click.echo(report.to_json(rows, "remedies") if as_json else diagnosis.remedies_page(rows))


def _last(use: Settings, log: str) -> LastFailure | None:
    from llamabuild import lastfailure

    return lastfailure.read(use.cache) if log == "last" and not Path(log).exists() else None


@contextlib.contextmanager
def _opened(log: str, last: LastFailure | None) -> Iterator[BinaryIO]:
    """The log as a stream that can be read twice. Raises ConfigError."""
    with contextlib.ExitStack() as stack:
        if last and not (last.log and Path(last.log).is_file()):
            yield io.BytesIO(f"{last.message}\n{last.hint}\n".encode())
        elif log == "-":
            kept = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(sys.stdin.buffer, kept)
            kept.seek(0)
            yield kept
        else:
            path = last.log if last else log
            try:
                stream = stack.enter_context(Path(path).open("rb"))
            except OSError as error:
                raise ConfigError(
                    f"{path} cannot be read: {error.strerror or error}",
                    "Name a log, `-` for a pipe, or `last`.",
                ) from error
            yield stream


def _told(use: Settings, stream: BinaryIO, last: LastFailure | None, *, elsewhere: bool) -> Told:
    from llamabuild import diagnose as catalogue
    from llamabuild.report.diagnosis import Told

    found = catalogue.diagnose(stream, system="" if elsewhere else use.host.system()[0])
    told = Told(found=found, last=last)
    if not found.causes and not found.clean and not last:
        told = replace(told, report=_report(use, stream, found))
    return told if elsewhere else _with_machine(use, told)


def _with_machine(use: Settings, told: Told) -> Told:
    """With what this machine has of it; a machine that cannot be looked at is told nothing of."""
    from llamabuild import probe
    from llamabuild.diagnose import context

    first = told.found.first
    system = use.host.system()[0]
    if first is None or first.entry.where(system) != system:  # it is not from here
        return told
    entry = first.entry
    facts: tuple[str, ...] = ()
    if entry.context or set(entry.backends) - {"cpu"}:
        with contextlib.suppress(LlamabuildError):
            facts = context.facts(entry, *probe.probe(use.host, cache=use.cache))
    return replace(told, facts=facts, install=context.installs(entry, use.host))


def _report(use: Settings, stream: BinaryIO, found: Diagnosis) -> str:
    """Where the report is; empty when there is no room for one."""
    from llamabuild import probe
    from llamabuild.diagnose import reports, scrub
    from llamabuild.report import machine

    page = "(this machine could not be looked at)"
    with contextlib.suppress(LlamabuildError):
        page = machine.probe_page(*probe.probe(use.host, cache=use.cache))
    stream.seek(0)
    with contextlib.suppress(OSError):
        return str(
            reports.write(use.cache / "reports", stream, found, page, scrub.scrubber(use.host))
        )
    return ""
