"""Commands that make something: setup, build, prove, run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from llamabuild.cli.shared import (
    Settings,
    command,
    main_group,
    settings,
    with_compiler_cache,
    with_llama_cpp,
    with_toolchain,
)
from llamabuild.cli.shared import recipe as load_recipe
from llamabuild.errors import ConfigError, ToolMissing, UnsupportedHardware

if TYPE_CHECKING:
    from llamabuild.elsewhere import Target
    from llamabuild.model import Artifact

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Tools(NamedTuple):
    """What to build with, and from which llama.cpp, as the options say."""

    toolchain: str
    compiler_cache: str
    llama_cpp: str


def _for_machine(command: _Command) -> _Command:
    """``--machine`` and ``--runner``: what to build for when it is not this machine."""
    command = click.option(
        "--runner",
        metavar="COMMAND",
        help="What runs that machine's programs here, with arguments, to prove them; "
        "else QEMU's emulation where its architecture is another one.",
    )(command)
    return click.option(
        "--machine",
        type=click.Path(path_type=Path),
        help="Make it for a recorded machine (`probe --record`), with the tools of this one.",
    )(command)


def _yes(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--yes",
        is_flag=True,
        help="Run the command that installs what is missing, where one is shown. It may need root.",
    )(command)


@command("setup", "llamabuild setup; llamabuild setup cpu-portable --into .venv")
@click.argument("recipe", default="auto")
@click.option("--into", type=click.Path(path_type=Path), help="Install the wheel into this venv.")
@_for_machine
@with_toolchain
@with_compiler_cache
@with_llama_cpp
@_yes
@click.option("--offline", is_flag=True, help="Never open the network.")
def setup(
    recipe: str,
    into: Path | None,
    machine: Path | None,
    runner: str | None,
    toolchain: str,
    compiler_cache: str,
    llama_cpp: str,
    yes: bool,
    offline: bool,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Make llama.cpp and llama-cpp-python for this machine, proved, and say where they are."""
    from llamabuild import pipeline, report, store
    from llamabuild.report import pages

    with settings(as_json, cache, progress) as use:
        target = _target(machine, runner)
        if into and target:
            raise ConfigError(
                "--into and --machine do not go together: the environment is this machine's",
                "Install the wheel there: `pip install` with the file in the artifact's wheel/.",
            )
        if into:
            _check_environment(into, use)
        tools = _Tools(toolchain, compiler_cache, llama_cpp)
        artifact = _provision(use, recipe, target, tools, yes=yes, offline=offline)
        if into:
            pipeline.install(
                artifact, into.absolute(), host=use.host, cache=use.cache, emit=use.reporter
            )
        if not target:  # `run` is for what was made for this machine
            store.make_current(use.cache, artifact)
        use.reporter.summary(artifact)
        click.echo(report.to_json(artifact) if as_json else pages.artifact_page(artifact))


def _check_environment(folder: Path, use: Settings) -> None:
    """A wrong --into is said before anything is compiled."""
    from llamabuild import wheels

    wheels.interpreter_of(folder.absolute(), use.host)


def _target(machine: Path | None, runner: str | None) -> Target | None:
    """The recorded machine to build for; None (also for ``.``) is this one."""
    if not machine or str(machine) == ".":
        if runner:
            raise ConfigError(
                "--runner runs what is made for another machine", "Give --machine FILE with it."
            )
        return None
    from llamabuild import elsewhere, recordings

    return elsewhere.Target(machine=recordings.read(machine), runner=runner or "")


def _provision(
    use: Settings,
    name: str,
    target: Target | None,
    tools: _Tools,
    *,
    yes: bool,
    offline: bool,
) -> Artifact:
    from llamabuild import pins, pipeline, provide

    def provided() -> Artifact:
        return pipeline.provision(
            load_recipe(name),
            pins.default_pin(),
            host=use.host,
            cache=use.cache,
            emit=use.reporter,
            offline=offline,
            target=target,
            toolchain=tools.toolchain,
            compiler_cache=tools.compiler_cache,
            llama_cpp=tools.llama_cpp,
        )

    try:
        return provided()
    except (ToolMissing, UnsupportedHardware) as error:
        if not yes:
            raise
        means = provide.Means(
            asked=tools.toolchain, host=use.host, cache=use.cache, emit=use.reporter
        )
        provide.install(error, means)
    return provided()


@command("build", "PREFIX=$(llamabuild build cpu-portable)")
@click.argument("recipe", default="auto")
@_for_machine
@with_toolchain
@with_compiler_cache
@with_llama_cpp
@_yes
@click.option("--offline", is_flag=True, help="Never open the network.")
def build(
    recipe: str,
    machine: Path | None,
    runner: str | None,
    toolchain: str,
    compiler_cache: str,
    llama_cpp: str,
    yes: bool,
    offline: bool,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Like setup, but only prints the artifact's path."""
    from llamabuild import report

    with settings(as_json, cache, progress) as use:
        tools = _Tools(toolchain, compiler_cache, llama_cpp)
        target = _target(machine, runner)
        artifact = _provision(use, recipe, target, tools, yes=yes, offline=offline)
        use.reporter.summary(artifact)
        click.echo(report.to_json(artifact) if as_json else str(artifact.path))


@command("prove", "llamabuild prove 3f9a1c2d; llamabuild prove /opt/llama.cpp/build")
@click.argument("artifact", metavar="[ARTIFACT|PATH]", required=False)
def prove(artifact: str | None, as_json: bool, cache: Path | None, progress: str) -> None:
    """Prove a kept artifact again (ARTIFACT: recipe, path or the beginning of a key), or prove a
    llama.cpp that was made elsewhere.

    PATH is a folder with libllama or llama-server (a CMake build's, or one with bin/ and lib/), one
    of these files, a wheel, or a Python environment with llama_cpp. Its code is run, in processes
    with limits of time and memory; nothing is written there. Exit code 8: something is wrong.
    """
    from llamabuild import pipeline, report, store
    from llamabuild.report import pages

    with settings(as_json, cache, progress) as use:
        if artifact and _made_elsewhere(artifact, use):
            _prove_elsewhere(Path(artifact), use)
            return
        kept = store.find(use.cache, artifact) if artifact else store.current(use.cache)
        proof = pipeline.reprove(kept, host=use.host, cache=use.cache, emit=use.reporter)
        click.echo(report.to_json(proof) if as_json else pages.proof_page(proof))


def _made_elsewhere(name: str, use: Settings) -> bool:
    """True for what is on disk and not in the store; of two meanings the store's counts."""
    from llamabuild import store

    try:
        store.find(use.cache, name)
    except ConfigError:
        return Path(name).exists() or os.sep in name
    return False


def _prove_elsewhere(path: Path, use: Settings) -> None:
    """The page is printed whatever comes out; what fails is the exit code's."""
    from llamabuild import examination
    from llamabuild.report import foreign

    found = examination.examine(path, host=use.host, cache=use.cache, emit=use.reporter)
    click.echo(foreign.as_json(found) if use.as_json else foreign.page(found))
    if failure := found.failure:
        use.reporter.failed(failure)
        raise click.exceptions.Exit(failure.exit_code)


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

    with settings(False, cache, "plain") as use:
        kept = store.find(use.cache, artifact) if artifact else store.current(use.cache)
        if wrong := store.damaged(kept):
            raise ConfigError(
                f"{kept.path / wrong} is not what was proved", "Run `llamabuild setup` again."
            )
        _prove_first(kept, use)
        made = kept.manifest.plan.targets
        tools = sorted(path.stem for path in (kept.path / "bin").iterdir() if path.stem in made)
        if tool not in tools:
            raise ConfigError(f"there is no tool {tool!r}", f"Tools: {', '.join(tools)}")
        program = kept.path / "bin" / kept.manifest.plan.program(tool)
        sys.exit(use.host.become([str(program), *arguments]))


def _prove_first(kept: Artifact, use: Settings) -> None:
    """What was not proved on this machine is not run on it. Most of the time the verdict is kept,
    and nothing else has to be imported."""
    from llamabuild import adoption

    known = adoption.verdict(use.cache, kept.key, use.host)
    if known is None or known.kind or known.unrun:
        from llamabuild import pipeline

        pipeline.adopt(kept, host=use.host, cache=use.cache, emit=use.reporter)
