"""The command line: parse, call, print, exit code. stdout is the answer, stderr is the story.

Heavy modules are imported inside the commands: ``llamabuild --help`` answers in a quarter second.
"""

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
from llamabuild.errors import INTERRUPTED, ConfigError, LlamabuildError

if TYPE_CHECKING:
    from llamabuild.host import LocalHost
    from llamabuild.model import Artifact, Recipe
    from llamabuild.report import Reporter

_Command = TypeVar("_Command", bound=Callable[..., Any])
_EPILOG_CODES = (
    "Exit codes: 0 done, 1 a bug, 2 wrong use or recipe, 3 hardware lacks what was asked for, "
    "4 a tool is missing, 5 fetching failed, 6 wrong hash or unsafe archive, 7 build failed, "
    "8 proof failed, 9 store unusable, 10 disk full, 130 interrupted."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options that every command shares."""

    host: LocalHost
    cache: Path
    reporter: Reporter
    as_json: bool


def _shared(command: _Command) -> _Command:
    """``--json``, ``--cache`` and ``--progress`` for a command."""
    command = click.option("--json", "as_json", is_flag=True, help="Answer as JSON on stdout.")(
        command
    )
    command = click.option(
        "--cache",
        type=click.Path(path_type=Path),
        help="Folder of sources and artifacts (else $LLAMABUILD_CACHE, else the user's cache).",
    )(command)
    return click.option(
        "--progress",
        type=click.Choice(["auto", "terminal", "plain", "json", "github", "quiet"]),
        default="auto",
        help="How the story on stderr looks.",
    )(command)


@contextlib.contextmanager
def _settings(as_json: bool, cache: Path | None, progress: str) -> Iterator[Settings]:
    """Everything a command needs; failures are reported here, once, and become exit codes."""
    from llamabuild import report, store
    from llamabuild.host import LocalHost

    host = LocalHost()
    reporter = report.choose(host.environ, sys.stderr, progress)
    try:
        root = store.open_root(cache.absolute() if cache else store.default_root(host.environ))
        yield Settings(host=host, cache=root, reporter=reporter, as_json=as_json)
    except LlamabuildError as error:
        reporter.failed(error)
        if as_json:
            click.echo(report.error_json(error))
        raise click.exceptions.Exit(error.exit_code) from error
    finally:
        reporter.close()


def _command(name: str, example: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command whose help ends with an example."""

    def wrap(function: Callable[..., None]) -> click.Command:
        return main_group.command(name, epilog=f"Example: {example}")(_shared(function))

    return wrap


class _InOrder(click.Group):
    """Commands in the order of use, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See click."""
        del ctx
        return list(self.commands)


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


@_command("setup", "llamabuild setup; llamabuild setup cpu-portable --into .venv")
@click.argument("recipe", default="auto")
@click.option("--into", type=click.Path(path_type=Path), help="Install the wheel into this venv.")
@click.option("--offline", is_flag=True, help="Never open the network.")
def setup(
    recipe: str,
    into: Path | None,
    offline: bool,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Make llama.cpp and llama-cpp-python for this machine, proved, and say where they are."""
    from llamabuild import pipeline, report, store
    from llamabuild.report import pages

    with _settings(as_json, cache, progress) as use:
        if into:
            _check_environment(into, use)
        artifact = _provision(use, recipe, offline=offline)
        if into:
            pipeline.install(
                artifact, into.absolute(), host=use.host, cache=use.cache, emit=use.reporter
            )
        store.make_current(use.cache, artifact)
        use.reporter.summary(artifact)
        click.echo(report.to_json(artifact) if as_json else pages.artifact_page(artifact))


def _check_environment(folder: Path, use: Settings) -> None:
    """A wrong --into is said before anything is compiled."""
    from llamabuild import wheels

    wheels.interpreter_of(folder.absolute(), use.host)


def _provision(use: Settings, name: str, *, offline: bool) -> Artifact:
    from llamabuild import pins, pipeline

    return pipeline.provision(
        _recipe(name),
        pins.default_pin(),
        host=use.host,
        cache=use.cache,
        emit=use.reporter,
        offline=offline,
    )


def _recipe(name: str) -> Recipe:
    from llamabuild import backends, recipes

    return recipes.load(name, tuple(backends.BACKENDS))


@_command("build", "PREFIX=$(llamabuild build cpu-portable)")
@click.argument("recipe", default="auto")
@click.option("--offline", is_flag=True, help="Never open the network.")
def build(recipe: str, offline: bool, as_json: bool, cache: Path | None, progress: str) -> None:
    """Like setup, but only prints the artifact's path."""
    from llamabuild import report

    with _settings(as_json, cache, progress) as use:
        artifact = _provision(use, recipe, offline=offline)
        use.reporter.summary(artifact)
        click.echo(report.to_json(artifact) if as_json else str(artifact.path))


@_command("plan", "llamabuild plan cpu-portable")
@click.argument("recipe", default="auto")
@click.option("--markdown", is_flag=True, help="A Markdown table.")
@click.option("--offline", is_flag=True, help="Never open the network.")
def plan(
    recipe: str,
    markdown: bool,
    offline: bool,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Say what would be built: every option with its value and its reason."""
    from llamabuild import fetch, options, pins, plan, probe, report
    from llamabuild.report import pages

    with _settings(as_json, cache, progress) as use:
        pin = pins.default_pin()
        hardware, toolchain = probe.probe(use.host, cache=use.cache)
        decided = plan.plan(_recipe(recipe), pin, hardware, toolchain)
        source = fetch.fetch(
            pin, cache=use.cache, host=use.host, emit=use.reporter, offline=offline
        )
        options.check(decided.flags, options.declared(source.tree))
        if as_json:
            click.echo(report.to_json(decided))
        else:
            show = pages.plan_markdown(decided) if markdown else None
            click.echo(show or pages.plan_page(decided, plan.key(decided)))


@_command("probe", "llamabuild probe --json")
def probe(as_json: bool, cache: Path | None, progress: str) -> None:
    """Say what this machine has, what can be used, and what is missing and why."""
    from llamabuild import probe, report
    from llamabuild.report import pages

    with _settings(as_json, cache, progress) as use:
        hardware, toolchain = probe.probe(use.host, cache=use.cache)
        if as_json:
            click.echo(report.to_json({"hardware": hardware, "toolchain": toolchain}, "probe"))
        else:
            click.echo(pages.probe_page(hardware, toolchain))


@_command("prove", "llamabuild prove 3f9a1c2d")
@click.argument("artifact", required=False)
def prove(artifact: str | None, as_json: bool, cache: Path | None, progress: str) -> None:
    """Prove a kept artifact again (ARTIFACT: recipe, path or the beginning of a key)."""
    from llamabuild import pipeline, report, store
    from llamabuild.report import pages

    with _settings(as_json, cache, progress) as use:
        kept = store.find(use.cache, artifact) if artifact else store.current(use.cache)
        proof = pipeline.reprove(kept, host=use.host, cache=use.cache, emit=use.reporter)
        click.echo(report.to_json(proof) if as_json else pages.proof_page(proof))


@main_group.command(
    "run",
    context_settings={"ignore_unknown_options": True},
    epilog="Example: llamabuild run llama-server -- -m model.gguf --port 8080",
)
@click.argument("tool")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--artifact", help="Recipe, path or beginning of a key; else what was set up last.")
@click.option("--cache", type=click.Path(path_type=Path), help="See `setup`.")
def run(tool: str, arguments: tuple[str, ...], artifact: str | None, cache: Path | None) -> None:
    """Run a tool of the current artifact (what `setup` gave last)."""
    from llamabuild import store

    with _settings(False, cache, "plain") as use:
        kept = store.find(use.cache, artifact) if artifact else store.current(use.cache)
        if wrong := store.damaged(kept):
            raise ConfigError(
                f"{kept.path / wrong} is not what was proved", "Run `llamabuild setup` again."
            )
        tools = sorted(path.name for path in (kept.path / "bin").glob("llama-*"))
        if tool not in tools:
            raise ConfigError(f"there is no tool {tool!r}", f"Tools: {', '.join(tools)}")
        sys.exit(use.host.become([str(kept.path / "bin" / tool), *arguments]))


@_command("recipes", "llamabuild recipes")
def recipes(as_json: bool, cache: Path | None, progress: str) -> None:
    """List the recipes."""
    from llamabuild import backends, recipes, report

    with _settings(as_json, cache, progress):
        known = [recipes.load(name, tuple(backends.BACKENDS)) for name in recipes.names()]
        if as_json:
            click.echo(report.to_json(known, "recipes"))
        else:
            click.echo("\n".join(f"{one.name:14} {one.summary}" for one in known))


@_command("pins", "llamabuild pins --json")
def pins(as_json: bool, cache: Path | None, progress: str) -> None:
    """List the pinned sources."""
    from llamabuild import pins, report

    with _settings(as_json, cache, progress):
        known = list(pins.load_pins().values())
        if as_json:
            click.echo(report.to_json(known, "pins"))
        else:
            for pin in known:
                click.echo(f"{pin.name} {pin.version} (llama.cpp {pin.commit})  {pin.licence}")
                click.echo(f"  sha256 {pin.sha256}, {pin.size} bytes")


@main_group.group("store")
def store_group() -> None:
    """See, show and remove what is kept."""


def _store_command(name: str, example: str) -> Callable[[Callable[..., None]], click.Command]:
    def wrap(function: Callable[..., None]) -> click.Command:
        return store_group.command(name, epilog=f"Example: {example}")(_shared(function))

    return wrap


@_store_command("ls", "llamabuild store ls")
def store_ls(as_json: bool, cache: Path | None, progress: str) -> None:
    """List the kept artifacts, the newest first."""
    from llamabuild import report, store
    from llamabuild.report import pages

    with _settings(as_json, cache, progress) as use:
        kept = store.artifacts(use.cache)
        click.echo(report.to_json(list(kept), "store") if as_json else pages.store_page(kept))


@_store_command("show", "llamabuild store show auto")
@click.argument("artifact")
def store_show(artifact: str, as_json: bool, cache: Path | None, progress: str) -> None:
    """Show one artifact: plan, proof, remedies and files."""
    from llamabuild import report, store
    from llamabuild.report import pages

    with _settings(as_json, cache, progress) as use:
        kept = store.find(use.cache, artifact)
        click.echo(report.to_json(kept) if as_json else pages.artifact_page(kept))


@_store_command("rm", "llamabuild store rm 3f9a1c2d")
@click.argument("artifact")
def store_rm(artifact: str, as_json: bool, cache: Path | None, progress: str) -> None:
    """Remove one artifact."""
    from llamabuild import report, store

    with _settings(as_json, cache, progress) as use:
        kept = store.find(use.cache, artifact)
        store.remove(use.cache, kept)
        click.echo(report.to_json(kept) if as_json else str(kept.path))


@main_group.command("completion", epilog='Example: eval "$(llamabuild completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the shell's completion script."""
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(main_group, {}, "llamabuild", "_LLAMABUILD_COMPLETE").source())


def main() -> None:
    """The entry point: a user's mistake never shows a traceback."""
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
