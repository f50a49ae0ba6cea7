"""Commands that make something: setup, build, upgrade."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from llamabuild.cli.back import advance
from llamabuild.cli.shared import (
    Settings,
    command,
    settings,
    with_compiler_cache,
    with_healing,
    with_llama_cpp,
    with_reuse,
    with_toolchain,
)
from llamabuild.cli.shared import recipe as load_recipe
from llamabuild.cli.stores import policy_of
from llamabuild.errors import ConfigError, ToolMissing, UnsupportedHardware
from llamabuild.events import Noticed

if TYPE_CHECKING:
    from llamabuild.elsewhere import Target
    from llamabuild.model import Artifact
    from llamabuild.remedies import Permitted

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Means(NamedTuple):
    """What to build with, from which llama.cpp, and what may be taken instead, as the options
    say."""

    toolchain: str
    compiler_cache: str
    llama_cpp: str
    reuse: str
    stores: tuple[str, ...]
    unsigned: bool
    permitted: Permitted


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
@with_reuse
@with_healing
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
    reuse: str,
    stores: tuple[str, ...],
    unsigned: bool,
    heal: tuple[str, ...],
    no_heal: bool,
    yes: bool,
    offline: bool,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Make llama.cpp and llama-cpp-python for this machine, proved, and say where they are."""
    from llamabuild import remedies, report, reproving
    from llamabuild.report import pages

    with settings(as_json, cache, progress) as use:
        target = _target(machine, runner)
        if into and target:
            raise ConfigError(
                "--into and --machine do not go together: the environment is this machine's",
                "Install the wheel there: `pip install` with the file in the artifact's wheel/.",
            )
        if not target:
            _check(recipe, into, use)
        permitted = remedies.permitted(heal, none=no_heal)
        means = _Means(toolchain, compiler_cache, llama_cpp, reuse, stores, unsigned, permitted)
        artifact = provision(use, recipe, target, means, yes=yes, offline=offline)
        if into:
            reproving.install(
                artifact, into.absolute(), host=use.host, cache=use.cache, emit=use.reporter
            )
        if not target:  # `run` is for what was made for this machine
            advance(use, artifact, recipe)
        use.reporter.summary(artifact)
        click.echo(report.to_json(artifact) if as_json else pages.artifact_page(artifact))


def _check(recipe: str, into: Path | None, use: Settings) -> None:
    """A wrong --into, or a level that is not for this machine, is said before anything is
    compiled."""
    from llamabuild import pipeline, wheels

    pipeline.check_level(load_recipe(recipe), use.host)
    if into:
        wheels.check_interpreter(wheels.interpreter_of(into.absolute(), use.host), use.host)


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


def provision(
    use: Settings,
    name: str,
    target: Target | None,
    means: _Means,
    *,
    yes: bool,
    offline: bool,
) -> Artifact:
    """The artifact of a recipe; with ``yes`` what is missing is installed and it is tried again."""
    from llamabuild import pins, pipeline, provide

    policy = policy_of(use, means.reuse, means.stores, unsigned=means.unsigned, offline=offline)

    def provided() -> Artifact:
        return pipeline.provision(
            load_recipe(name),
            pins.default_pin(),
            host=use.host,
            cache=use.cache,
            emit=use.reporter,
            offline=offline,
            target=target,
            toolchain=means.toolchain,
            compiler_cache=means.compiler_cache,
            llama_cpp=means.llama_cpp,
            policy=policy,
            permitted=means.permitted,
        )

    try:
        return provided()
    except (ToolMissing, UnsupportedHardware) as error:
        if not yes:
            raise
        bringing = provide.Means(
            asked=means.toolchain, host=use.host, cache=use.cache, emit=use.reporter
        )
        provide.install(error, bringing)
    return provided()


@command("build", "PREFIX=$(llamabuild build cpu-portable)")
@click.argument("recipe", default="auto")
@_for_machine
@with_toolchain
@with_compiler_cache
@with_llama_cpp
@with_reuse
@with_healing
@_yes
@click.option("--offline", is_flag=True, help="Never open the network.")
def build(
    recipe: str,
    machine: Path | None,
    runner: str | None,
    toolchain: str,
    compiler_cache: str,
    llama_cpp: str,
    reuse: str,
    stores: tuple[str, ...],
    unsigned: bool,
    heal: tuple[str, ...],
    no_heal: bool,
    yes: bool,
    offline: bool,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Like setup, but only prints the artifact's path."""
    from llamabuild import remedies, report

    with settings(as_json, cache, progress) as use:
        permitted = remedies.permitted(heal, none=no_heal)
        means = _Means(toolchain, compiler_cache, llama_cpp, reuse, stores, unsigned, permitted)
        target = _target(machine, runner)
        artifact = provision(use, recipe, target, means, yes=yes, offline=offline)
        use.reporter.summary(artifact)
        click.echo(report.to_json(artifact) if as_json else str(artifact.path))


@command("upgrade", "llamabuild upgrade")
@with_toolchain
@with_compiler_cache
@with_llama_cpp
@with_reuse
@with_healing
@click.option("--offline", is_flag=True, help="Never open the network.")
def upgrade(
    toolchain: str,
    compiler_cache: str,
    llama_cpp: str,
    reuse: str,
    stores: tuple[str, ...],
    unsigned: bool,
    heal: tuple[str, ...],
    no_heal: bool,
    offline: bool,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Give this machine what the current recipe makes of the newest pinned source, or of another
    llama.cpp.

    What it has stays current until the new one is proved, and `rollback` goes back to it.
    """
    from llamabuild import generations, remedies, report
    from llamabuild.report import pages

    with settings(as_json, cache, progress) as use:
        before = generations.current(use.cache, use.host)
        permitted = remedies.permitted(heal, none=no_heal)
        means = _Means(toolchain, compiler_cache, llama_cpp, reuse, stores, unsigned, permitted)
        artifact = provision(use, before.recipe, None, means, yes=False, offline=offline)
        now = advance(use, artifact, before.recipe)
        if now.number == before.number:
            use.reporter(Noticed(message="This is the newest already."))
        use.reporter.summary(artifact)
        click.echo(report.to_json(artifact) if as_json else pages.artifact_page(artifact))
