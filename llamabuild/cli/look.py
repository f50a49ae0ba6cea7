"""Commands that look and decide, and change nothing: plan, probe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llamabuild.cli.shared import Settings, command, settings, with_llama_cpp, with_toolchain
from llamabuild.cli.shared import recipe as load_recipe
from llamabuild.errors import ConfigError

if TYPE_CHECKING:
    from llamabuild.checks import Finding
    from llamabuild.dialect import Note
    from llamabuild.model import Hardware, Pin, Toolchain
    from llamabuild.options import Options

_FILE = click.Path(path_type=Path)
_STYLES = ("page", "markdown", "cmake", "pip")


@command("plan", "llamabuild plan --explain vulkan; llamabuild plan --machine laptop.json")
@click.argument("recipe", default="auto")
@click.option("--machine", type=_FILE, help="Plan for a recorded machine (`probe --record`).")
@click.option(
    "--target",
    type=_FILE,
    multiple=True,
    help="A recorded machine to serve; give several: the fewest builds that serve them all.",
)
@click.option("--explain", metavar="NAME", help="Why this option, back-end or CPU feature, or not.")
@click.option("--diff", type=_FILE, nargs=2, help="Two recorded machines (`.` is this one).")
@click.option("--pin", metavar="NAME", help="Another pinned source (`llamabuild pins`).")
@click.option("--tree", type=_FILE, help="A llama.cpp folder to write the options for.")
@with_llama_cpp
@click.option("--as", "style", type=click.Choice(_STYLES), default="page", help="What to print.")
@with_toolchain
@click.option("--offline", is_flag=True, help="Never open the network.")
def plan(
    recipe: str,
    machine: Path | None,
    target: tuple[Path, ...],
    explain: str | None,
    diff: tuple[Path, Path] | None,
    pin: str | None,
    tree: Path | None,
    llama_cpp: str,
    style: str,
    toolchain: str,
    offline: bool,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Say what would be built: every option with its value and its reason."""
    with settings(as_json, cache, progress) as use:
        _only_one({"--target": target, "--explain": explain, "--diff": diff})
        _only_one({"--tree": tree, "--llama-cpp": llama_cpp})
        source = _pin(pin)
        if llama_cpp:
            source, tree = _replaced(use, llama_cpp, source, offline)
        if diff:
            click.echo(_difference(use, recipe, source, diff))
        elif target:
            click.echo(_fleet(use, source, machine, target))
        else:
            words = None if tree is None and not pin else _options(use, source, tree, offline)
            known = _look(use, machine, toolchain, recipe)
            here = not machine or str(machine) == "."
            click.echo(_planned(use, recipe, source, known, words, explain, style, here=here))


@command("probe", "llamabuild probe; llamabuild probe --record laptop.json")
@click.option(
    "--record", type=_FILE, help="Write this machine into FILE, without what is personal."
)
@click.option("--machine", type=_FILE, help="Show a recorded machine instead of this one.")
def probe(
    record: Path | None, machine: Path | None, as_json: bool, cache: Path | None, progress: str
) -> None:
    """Say what this machine has, what llama.cpp will use of it, and what is missing and why."""
    from llamabuild import choice, recordings, report
    from llamabuild.report import machine as page

    with settings(as_json, cache, progress) as use:
        _only_one({"--record": record, "--machine": machine})
        if record:
            made = recordings.record(use.host, cache=use.cache)
            recordings.write(record, made)
            hardware, toolchain = recordings.replay(made)
        else:
            hardware, toolchain = _look(use, machine)
        if as_json:
            click.echo(report.to_json({"hardware": hardware, "toolchain": toolchain}, "probe"))
        else:
            click.echo(page.probe_page(hardware, toolchain, choice.redundant(hardware)))


def _only_one(options: dict[str, object]) -> None:
    given = [name for name, value in options.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} do not go together", f"Give {given[0]} alone.")


def _pin(name: str | None) -> Pin:
    from llamabuild import pins

    return pins.pin(name) if name else pins.default_pin()


def _replaced(use: Settings, where: str, source: Pin, offline: bool) -> tuple[Pin, Path]:
    """The pin with another llama.cpp in its source, and where that is."""
    from llamabuild import trees

    taken = trees.take(
        where, source, host=use.host, cache=use.cache, emit=use.reporter, offline=offline
    )
    return taken.pin, taken.source.tree


def _look(
    use: Settings, machine: Path | None, asked: str = "machine", recipe: str = "auto"
) -> tuple[Hardware, Toolchain]:
    """A recorded machine, else (or for ``.``) this one, with the tools that were brought along to
    build a recipe."""
    if machine and str(machine) != ".":
        from llamabuild import recordings

        return recordings.replay(recordings.read(machine))
    if asked != "machine":
        from llamabuild import provide

        provide.check(asked)
        means = provide.Means(
            asked=asked, host=use.host, cache=use.cache, emit=use.reporter, only_look=True
        )
        return provide.look(load_recipe(recipe), means)
    from llamabuild import probe

    return probe.probe(use.host, cache=use.cache)


def _options(use: Settings, source: Pin, tree: Path | None, offline: bool) -> tuple[Options, Path]:
    """What the tree knows that the plan is written for, and where it is."""
    from llamabuild import fetch, options, pins

    if tree:
        return options.declared(tree), tree
    got = fetch.fetch(source, cache=use.cache, host=use.host, emit=use.reporter, offline=offline)
    return options.declared(got.tree, cache=use.cache, sha256=pins.identity(source)), got.tree


def _planned(
    use: Settings,
    recipe: str,
    source: Pin,
    known: tuple[Hardware, Toolchain],
    words: tuple[Options, Path] | None,
    explain: str | None,
    style: str,
    *,
    here: bool,
) -> str:
    from llamabuild import estimate, plan, report, store
    from llamabuild.report import pages

    hardware, toolchain = known
    decided = plan.plan(load_recipe(recipe), source, hardware, toolchain)
    key = plan.key(decided)
    notes: tuple[Note, ...] = ()
    options, tree = words or (None, None)
    if options and tree:
        decided, notes = plan.in_words_of(
            options, decided, hardware.arch, lambda name: (tree / name).is_file()
        )
    if explain:
        from llamabuild.report import explanation

        return explanation.explain(explain, decided, hardware, toolchain, options)
    found = _expected(use, source, known, decided.backends) if here else ()
    if use.as_json:
        return report.to_json({"plan": decided, "notes": notes, "findings": found}, "plan")
    if style == "pip":
        return pages.plan_pip(decided, hardware, notes)
    kept = (one.manifest for one in store.artifacts(use.cache, use.reporter))
    takes = estimate.seconds(decided, kept)
    page = pages.plan_as(style, decided, key, estimate.minutes(takes) if takes else "")
    return "\n".join((page, *pages.notes(notes, style), *_foreseen(found, style)))


def _expected(
    use: Settings, source: Pin, known: tuple[Hardware, Toolchain], backends: Sequence[str]
) -> tuple[Finding, ...]:
    """What checks foresee of a build of the plan here."""
    from llamabuild import checks

    situation = checks.Situation(
        hardware=known[0], toolchain=known[1], host=use.host, cache=use.cache, pin=source
    )
    return checks.for_build(situation, backends)


def _foreseen(found: Sequence[Finding], style: str) -> list[str]:
    from llamabuild.report import checkup

    return checkup.foreseen(found) if style == "page" else []


def _difference(use: Settings, recipe: str, source: Pin, both: tuple[Path, Path]) -> str:
    from llamabuild import plan
    from llamabuild.report import comparison

    wanted = load_recipe(recipe)
    sides = []
    for path in both:
        hardware, toolchain = _look(use, path)
        decided = plan.plan(wanted, source, hardware, toolchain)
        sides.append(comparison.Side(name=_name(path), hardware=hardware, plan=decided))
    return comparison.compare(*sides)


def _fleet(use: Settings, source: Pin, builder: Path | None, targets: tuple[Path, ...]) -> str:
    from llamabuild import fleet, report
    from llamabuild.report import fleets

    machines = {_name(path): _look(use, path)[0] for path in targets}
    if len(machines) < len(targets):
        raise ConfigError("two targets have the same name", "Give every file a name of its own.")
    hardware, toolchain = _look(use, builder)
    jobs = fleet.jobs(fleet.groups(machines), source, hardware, toolchain)
    if use.as_json:
        return report.to_json(list(jobs), "fleet")
    return fleets.page(jobs, fleet.separate(machines))


def _name(path: Path) -> str:
    return "this machine" if str(path) == "." else path.stem
