"""The command line: parse, call, print, exit code. stdout is the answer, stderr is the story.

Heavy modules are imported inside the commands: ``llamabuild --help`` answers in a quarter second.
"""

from __future__ import annotations

import os
import signal
import sys

import click

from llamabuild.cli import (  # noqa: F401 - each adds its commands
    back,
    choose,
    diagnose,
    doctor,
    index,
    keep,
    lock,
    look,
    make,
    matrix,
    room,
    share,
    trust,
    wheel,
    why,
    work,
    worker,
)
from llamabuild.cli.shared import main_group
from llamabuild.errors import INTERRUPTED

__all__ = ["main", "main_group"]


def main() -> None:
    """The entry point: a user's mistake never shows a traceback."""
    _end_as_by_ctrl_c()
    try:
        code = main_group.main(prog_name="llamabuild", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted; nothing half-made was kept.", err=True)
        code = INTERRUPTED
    except BrokenPipeError:  # `llamabuild store ls | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def _end_as_by_ctrl_c() -> None:
    """A CI system that cancels a job, and a terminal that goes away, do not send Ctrl-C: by default
    compilers would go on alone and half-made files would stay. Who ignores a signal (``nohup``)
    goes on ignoring it."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
