"""Commands about what this machine was given: generations, the way back, the way on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from llamabuild.cli.shared import Settings, command, settings
from llamabuild.events import Noticed, Warned

if TYPE_CHECKING:
    from llamabuild.generations import Generation
    from llamabuild.model import Artifact


@command("generations", "llamabuild generations")
def generations(as_json: bool, cache: Path | None, progress: str) -> None:
    """List what `setup` and `upgrade` gave to this machine; `run` uses the current one."""
    from llamabuild import generations, report
    from llamabuild.report import stores

    with settings(as_json, cache, progress) as use:
        known = generations.listed(use.cache, use.host)
        now = generations.current(use.cache, use.host).number if known else 0
        if as_json:
            click.echo(report.to_json({"current": now, "items": known}, "generations"))
        else:
            click.echo(stores.generations_page(known, now))


@command("rollback", "llamabuild rollback; llamabuild rollback 3")
@click.argument("number", type=int, required=False)
def rollback(number: int | None, as_json: bool, cache: Path | None, progress: str) -> None:
    """Go back to the generation before the current one, or to NUMBER. Compiles nothing."""
    from llamabuild import generations, report
    from llamabuild.report import stores

    with settings(as_json, cache, progress) as use:
        now = generations.roll_back(use.cache, use.host, number, use.reporter)
        page = stores.generation_line(now)
        click.echo(report.to_json(now, "generation") if as_json else page)


def advance(use: Settings, artifact: Artifact, recipe: str) -> Generation:
    """Make what a recipe (its name, or its file) gave what this machine has; when it is slower than
    what it had by the same recipe, say so and how to go back."""
    from llamabuild import generations

    known = generations.listed(use.cache, use.host)
    before = generations.current(use.cache, use.host) if known else None
    asked = str(Path(recipe).absolute()) if recipe.endswith(".toml") else recipe
    now = generations.advance(use.cache, use.host, artifact, asked)
    if before and before.id != now.id and before.recipe == now.recipe:
        _compare(use, before, artifact)
    return now


def _compare(use: Settings, before: Generation, artifact: Artifact) -> None:
    from llamabuild import regression, store

    old = store.by_id(use.cache, before.key, before.id, use.reporter)
    turns = old and regression.measure(old, artifact, host=use.host, cache=use.cache)
    if not turns:
        return
    prompt, rest = (f"{ratio:.2f}" for ratio in turns.ratios)
    said = f"{prompt} × the speed of generation {before.number} for prompts, {rest} × for the rest"
    if turns.slower:
        use.reporter(
            Warned(message=f"It is slower: {said}.", hint=f"llamabuild rollback {before.number}")
        )
    else:
        use.reporter(Noticed(message=f"It has {said}."))
