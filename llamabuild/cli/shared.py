"""What every command shares: options, settings, how failures become exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from llamabuild import __version__
from llamabuild.errors import LlamabuildError

if TYPE_CHECKING:
    from llamabuild.host import LocalHost
    from llamabuild.model import Recipe
    from llamabuild.report import Reporter

_Command = TypeVar("_Command", bound=Callable[..., Any])
_EPILOG_CODES = (
    "Exit codes: 0 done, 1 a bug, 2 wrong use or recipe, 3 hardware lacks what was asked for, "
    "4 a tool is missing, 5 fetching failed, 6 wrong hash or unsafe archive, 7 build failed, "
    "8 proof failed, 9 store unusable, 10 disk full, 11 bindings and llama.cpp do not fit, "
    "12 the lock file does not fit, 13 a wheel was refused, 14 some cells failed, "
    "15 a check warns, 16 a check found a problem, 17 a failure that nobody can explain, "
    "130 interrupted."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options that every command shares."""

    host: LocalHost
    cache: Path
    reporter: Reporter
    as_json: bool


def shared(command: _Command) -> _Command:
    """``--json``, ``--cache`` and ``--progress`` for a command."""
    command = click.option("--json", "as_json", is_flag=True, help="Answer as JSON on stdout.")(
        command
    )
    command = click.option(
        "--cache",
        type=click.Path(path_type=Path, readable=False),  # what cannot be read is said by the store
        help="Folder of sources and artifacts (else $LLAMABUILD_CACHE, else the user's cache).",
    )(command)
    return click.option(
        "--progress",
        type=click.Choice(["auto", "terminal", "plain", "json", "github", "quiet"]),
        default="auto",
        help="How the story on stderr looks.",
    )(command)


def with_toolchain(command: _Command) -> _Command:
    """``--toolchain`` for a command."""
    return click.option(
        "--toolchain",
        default="auto",
        show_default=True,
        help="What to build with: auto (this machine's tools; what is missing is fetched), machine "
        "(nothing is fetched), or zig.",
    )(command)


def with_compiler_cache(command: _Command) -> _Command:
    """``--compiler-cache`` for a command."""
    return click.option(
        "--compiler-cache",
        default="auto",
        show_default=True,
        help="What remembers compiled files: auto (ccache or sccache on PATH), none, or sccache, "
        "which is fetched where it is missing. One that does not work is not used.",
    )(command)


def with_reuse(command: _Command) -> _Command:
    """``--reuse``, ``--store`` and ``--unsigned`` for a command."""
    command = click.option(
        "--reuse",
        default="auto",
        show_default=True,
        help="What is taken instead of compiling: auto (what is as fast as a new build), exact "
        "(only the very same), compatible (all that runs here), never.",
    )(command)
    command = click.option(
        "--store",
        "stores",
        multiple=True,
        metavar="ADDRESS",
        help="Look there too: a folder, s3://…, gs://…, az://…, https://… (else "
        "$LLAMABUILD_STORE). May be given several times.",
    )(command)
    return click.option(
        "--unsigned", is_flag=True, help="Believe whoever can write to these stores."
    )(command)


def with_healing(command: _Command) -> _Command:
    """``--heal`` and ``--no-heal`` for a command."""
    command = click.option(
        "--heal",
        multiple=True,
        metavar="NAME",
        help="Of what llamabuild tries by itself after a failure, only this (`llamabuild remedies` "
        "lists them). May be given several times.",
    )(command)
    return click.option(
        "--no-heal",
        is_flag=True,
        help="Try nothing: fail with the first cause, and what mends it.",
    )(command)


def with_llama_cpp(command: _Command) -> _Command:
    """``--llama-cpp`` for a command."""
    return click.option(
        "--llama-cpp",
        metavar="WHERE",
        default="",
        help="Another llama.cpp under the same Python bindings: a folder, an archive or its "
        "address, a tag (b1234) or a commit. Refused (exit code 11) where the two do not fit.",
    )(command)


@contextlib.contextmanager
def settings(
    as_json: bool, cache: Path | None, progress: str, *, opened: bool = True
) -> Iterator[Settings]:
    """Everything a command needs; failures are reported here, once, and become exit codes. The
    cache is not looked at where it need not be ``opened``."""
    from llamabuild import report, store
    from llamabuild.host import LocalHost

    host = LocalHost()
    begun: Path | None = None
    reporter = report.choose(host.environ, sys.stderr, progress)
    try:
        root = cache.absolute() if cache else store.default_root(host.environ)
        if opened and store.shared(store.open_root(root)):
            # what is made here is the group's as well
            os.umask(0o002)
        begun = root if opened else None
        yield Settings(host=host, cache=root, reporter=reporter, as_json=as_json)
    except LlamabuildError as error:
        _remember(begun, error)
        reporter.failed(error)
        if as_json:
            click.echo(report.error_json(error))
        raise click.exceptions.Exit(error.exit_code) from error
    finally:
        reporter.close()


def _remember(root: Path | None, error: LlamabuildError) -> None:
    """What failed, for `diagnose last`, in a cache that could be opened. What only asks has no
    failures worth remembering."""
    name = " ".join(sys.argv[1:2])
    if root is None or name in _ASKING:
        return
    from llamabuild import lastfailure

    lastfailure.keep(root, f"llamabuild {name}", error)


def command(name: str, example: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command whose help ends with an example."""

    def wrap(function: Callable[..., None]) -> click.Command:
        return main_group.command(name, epilog=f"Example: {example}")(shared(function))

    return wrap


_ASKING = frozenset({"diagnose", "doctor", "remedies", "completion"})
_ORDER = (
    *("setup", "build", "plan", "probe", "doctor", "prove", "run"),
    *("diagnose", "remedies"),
    *("upgrade", "generations", "rollback"),
    *("lock", "matrix", "worker", "wheel", "index"),
    *("recipes", "pins", "store", "trust", "completion"),
)


class _InOrder(click.Group):
    """Commands in the order of use, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See click."""
        del ctx
        return sorted(self.commands, key=_ORDER.index)


@click.group(
    cls=_InOrder,
    epilog=_EPILOG_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="llamabuild")
def main_group() -> None:
    """Give this machine the right llama.cpp, proved.

    `llamabuild setup` looks at the machine, decides, fetches, compiles, proves and keeps.
    """


def recipe(name: str) -> Recipe:
    """The recipe of this name, or in this file. Raises ConfigError."""
    from llamabuild import backends, recipes

    return recipes.load(name, tuple(backends.BACKENDS))
