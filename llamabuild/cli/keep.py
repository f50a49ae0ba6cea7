"""Commands about what is kept and known: recipes, pins, store, completion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llamabuild.cli.shared import Settings, command, main_group, settings, shared
from llamabuild.errors import ConfigError

if TYPE_CHECKING:
    from llamabuild.model import Artifact


@command("recipes", "llamabuild recipes")
def recipes(as_json: bool, cache: Path | None, progress: str) -> None:
    """List the recipes."""
    from llamabuild import backends, recipes, report

    with settings(as_json, cache, progress):
        known = [recipes.load(name, tuple(backends.BACKENDS)) for name in recipes.names()]
        if as_json:
            click.echo(report.to_json(known, "recipes"))
        else:
            click.echo("\n".join(f"{one.name:14} {one.summary}" for one in known))


@command("pins", "llamabuild pins --json")
def pins(as_json: bool, cache: Path | None, progress: str) -> None:
    """List the pinned sources."""
    from llamabuild import pins, report

    with settings(as_json, cache, progress):
        known = list(pins.load_pins().values())
        if as_json:
            click.echo(report.to_json(known, "pins"))
        else:
            for pin in known:
                click.echo(f"{pin.name} {pin.version} (llama.cpp {pin.commit})  {pin.licence}")
                click.echo(f"  sha256 {pin.sha256}, {pin.size} bytes")
                for patch in pin.patches:
                    click.echo(f"  patched with {patch.name}: {patch.why}")


@main_group.group("store")
def store_group() -> None:
    """See, share and remove what is kept."""


def store_command(name: str, example: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command of ``store``, whose help ends with an example."""

    def wrap(function: Callable[..., None]) -> click.Command:
        return store_group.command(name, epilog=f"Example: {example}")(shared(function))

    return wrap


def sound(use: Settings, name: str) -> Artifact:
    """The kept artifact of a name, with every file as it was proved. Raises ConfigError."""
    from llamabuild import store

    found = store.find(use.cache, name, use.reporter)
    if not store.ready(use.cache, found, use.reporter):
        raise ConfigError(f"{found.path} is not what was proved", "Run `llamabuild setup` again.")
    return found


@store_command("ls", "llamabuild store ls")
def store_ls(as_json: bool, cache: Path | None, progress: str) -> None:
    """List the kept artifacts, the newest first."""
    from llamabuild import report, store
    from llamabuild.report import pages

    with settings(as_json, cache, progress) as use:
        kept = store.artifacts(use.cache, use.reporter)
        page = pages.store_page(kept, _marks(use))
        click.echo(report.to_json(list(kept), "store") if as_json else page)


def _marks(use: Settings) -> dict[str, str]:
    """What is to be said of artifacts, by their ids: "current", "pinned" or both."""
    from llamabuild import generations
    from llamabuild.store import pinned

    known = generations.listed(use.cache, use.host)
    now = generations.current(use.cache, use.host).id if known else ""
    marks = dict.fromkeys(pinned.reasons(use.cache), "pinned")
    return marks | ({now: "current, pinned" if now in marks else "current"} if now else {})


@store_command("show", "llamabuild store show auto")
@click.argument("artifact")
def store_show(artifact: str, as_json: bool, cache: Path | None, progress: str) -> None:
    """Show one artifact: plan, proof, remedies and files."""
    from llamabuild import report, store
    from llamabuild.report import pages

    with settings(as_json, cache, progress) as use:
        kept = store.find(use.cache, artifact, use.reporter)
        click.echo(report.to_json(kept) if as_json else pages.artifact_page(kept))


@store_command("rm", "llamabuild store rm 3f9a1c2d")
@click.argument("artifact")
def store_rm(artifact: str, as_json: bool, cache: Path | None, progress: str) -> None:
    """Remove one artifact."""
    from llamabuild import report, store

    with settings(as_json, cache, progress) as use:
        kept = store.find(use.cache, artifact, use.reporter)
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
