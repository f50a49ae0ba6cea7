"""Commands that say why something that is kept is not used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from llamabuild.cli.keep import store_command
from llamabuild.cli.shared import Settings, settings
from llamabuild.cli.shared import recipe as load_recipe

if TYPE_CHECKING:
    from llamabuild.matching import Provides


@store_command("why-miss", "llamabuild store why-miss auto")
@click.argument("recipe", default="auto")
def store_why_miss(recipe: str, as_json: bool, cache: Path | None, progress: str) -> None:
    """Say why nothing that is kept is exactly what a recipe wants here: field by field, against the
    artifact that comes nearest."""
    from llamabuild import matching, pins, plan, probe, report, store
    from llamabuild.report import stores

    with settings(as_json, cache, progress) as use:
        hardware, toolchain = probe.probe(use.host, cache=use.cache)
        wanted = plan.plan(load_recipe(recipe), pins.default_pin(), hardware, toolchain)
        kept = store.artifacts(use.cache, use.reporter)
        found = matching.nearest(wanted, (one.manifest.plan for one in kept))
        title, reasons = "Nothing is kept.", found[1] if found else ()
        if found:
            near = f"{plan.key(found[0])[:12]} ({found[0].recipe})"
            differing = f"The nearest, {near}, differs in:"
            title = differing if reasons else f"{near} is just that: it is a hit."
        nearest = plan.key(found[0]) if found else None
        said = {"key": plan.key(wanted), "nearest": nearest, "reasons": reasons}
        page = stores.why_page(title, reasons)
        click.echo(report.to_json(said, "why") if as_json else page)


@store_command("why-not", "llamabuild store why-not 3f9a1c2d --machine laptop.json")
@click.argument("artifact")
@click.option("--machine", type=click.Path(path_type=Path), help="A recorded machine, not this.")
def store_why_not(
    artifact: str, machine: Path | None, as_json: bool, cache: Path | None, progress: str
) -> None:
    """Say what this machine, or a recorded one, lacks for an artifact."""
    from llamabuild import report, reuse, store
    from llamabuild.report import stores
    from llamabuild.store import catalogue

    with settings(as_json, cache, progress) as use:
        kept = store.find(use.cache, artifact, use.reporter)
        provides = _provided(use, machine)
        lacking = reuse.lacking(catalogue.row(kept.manifest, kept.id), provides, use.cache)
        unknown = (*kept.manifest.requires.unknown, *provides.unknown)
        which = "the recorded machine" if machine else "this machine"
        title = (
            f"{kept.key[:12]} does not run on {which}:"
            if lacking
            else (f"{kept.key[:12]} fits {which}.")
        )
        notes = [f"(not known: {one})" for one in unknown]
        said = {"missing": lacking, "unknown": unknown}
        page = stores.why_page(title, (*lacking, *notes))
        click.echo(report.to_json(said, "why") if as_json else page)


def _provided(use: Settings, machine: Path | None) -> Provides:
    from llamabuild import matching, probe, recordings
    from llamabuild.host import RecordedHost

    if machine:
        recording = recordings.read(machine)
        return matching.probe(RecordedHost(recording.machine), recordings.replay(recording)[0])
    return matching.probe(use.host, probe.probe(use.host, cache=use.cache)[0])
