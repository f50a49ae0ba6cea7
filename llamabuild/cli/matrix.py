"""Commands about the work of a lock file on many machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llamabuild.cli.lock import with_lock
from llamabuild.cli.shared import Settings, main_group, settings, shared
from llamabuild.errors import UnsupportedHardware
from llamabuild.events import Noticed

if TYPE_CHECKING:
    from llamabuild.ci.cells import Cell
    from llamabuild.ci.pruned import Found
    from llamabuild.ci.runners import Runner
    from llamabuild.ci.shards import Shard

FORMATS = ("github", "gitlab", "json")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """A matrix: jobs with their runners (None where whoever reads it chooses), what was dropped,
    and what nobody can make."""

    jobs: tuple[tuple[Shard, Runner | None], ...]
    dropped: tuple[Found, ...]
    unserved: tuple[Cell, ...]


@main_group.group(
    "matrix",
    invoke_without_command=True,
    epilog="Example: llamabuild matrix --format github --store s3://team/llama --output-dir cells",
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="json", show_default=True)
@with_lock
@click.option(
    "--store",
    "stores",
    multiple=True,
    metavar="ADDRESS",
    help="Leave out what is there (else in $LLAMABUILD_STORE, else in this cache). May be given "
    "several times.",
)
@click.option("--unsigned", is_flag=True, help="Believe whoever can write to these stores.")
@click.option(
    "--runner",
    "named",
    multiple=True,
    metavar="NEEDS=LABEL",
    help="What makes cells with these needs: 'linux,x86_64,cuda=[self-hosted, gpu]'. May be given "
    "several times; the host's own runners make the rest.",
)
@click.option(
    "--max-shards",
    type=click.IntRange(min=1),
    help="How many jobs there may be; a job makes several cells then. Never more than the host "
    "allows.",
)
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path),
    help="Write the cells there: DIR/SHARD/CELL.json. It must be new or empty.",
)
@shared
@click.pass_context
def matrix_group(
    ctx: click.Context,
    form: str,
    lock: Path,
    stores: tuple[str, ...],
    unsigned: bool,
    named: tuple[str, ...],
    max_shards: int | None,
    output_dir: Path | None,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Turn a lock file into jobs for a CI system: one for each thing to be built, without what a
    store has already."""
    if ctx.invoked_subcommand:
        return
    from llamabuild.ci import folders

    form = "json" if as_json else form
    with settings(form == "json", cache, progress) as use:
        runners = _runners(form, named)
        planned = _planned(use, lock, stores, runners, _most(form, max_shards), unsigned=unsigned)
        said = _said(form, planned)
        if output_dir:
            folders.write(output_dir, [shard for shard, _ in planned.jobs])
        _tell(use, planned)
        click.echo(said)
        failure = _unserved(planned.unserved)
        if failure:  # not raised: the answer is out, and stands
            use.reporter.failed(failure)
            raise click.exceptions.Exit(failure.exit_code)


def _runners(form: str, named: tuple[str, ...]) -> list[Runner]:
    """Those that the user names come first."""
    from llamabuild.ci import runners

    return [*reversed([runners.parse(one) for one in named]), *runners.of_host(form)]


def _most(form: str, asked: int | None) -> int | None:
    from llamabuild.ci import runners

    known = [limit for limit in (asked, runners.jobs_of(form)) if limit is not None]
    return min(known, default=None)


def _planned(
    use: Settings,
    lock: Path,
    stores: tuple[str, ...],
    able: Sequence[Runner],
    most: int | None,
    *,
    unsigned: bool,
) -> _Planned:
    from llamabuild.ci import cells, pruned, runners, shards
    from llamabuild.cli.stores import opened
    from llamabuild.lockfile import files
    from llamabuild.remotes import addresses

    read = files.read(lock)
    found = cells.cells(read, files.machines(read, lock))
    shelves = opened(use, stores, unsigned=unsigned)
    local = not addresses(stores, use.host.environ)
    if shelves or local:
        asked = pruned.wanted(read)
        found, dropped = pruned.prune(found, asked, use.cache, shelves, use.reporter)
    else:
        dropped = ()
    served, unserved = runners.divided(found, able) if able else (found, ())
    made = shards.sharded(served, most)
    jobs = tuple((one, runners.choose(one.needs, able)) for one in made)
    return _Planned(jobs=jobs, dropped=dropped, unserved=unserved)


def _said(form: str, planned: _Planned) -> str:
    from llamabuild import report
    from llamabuild.ci import github, gitlab, runners

    jobs = [(shard, runner) for shard, runner in planned.jobs if runner]
    if form == "github":
        return github.matrix(jobs, runners.bytes_of(form))
    if form == "gitlab":
        return gitlab.pipeline(jobs, runners.bytes_of(form)).rstrip("\n")
    shown = [
        {
            "name": shard.name,
            "needs": shard.needs,
            "runner": list(runner.labels) if runner else [],
            "cells": shard.cells,
        }
        for shard, runner in planned.jobs
    ]
    dropped = [
        {"names": one.cell.names, "key": one.cell.key, "where": one.where}
        for one in planned.dropped
    ]
    unserved = [{"names": one.names, "needs": one.needs} for one in planned.unserved]
    return report.to_json({"shards": shown, "dropped": dropped, "unserved": unserved}, "matrix")


def _tell(use: Settings, planned: _Planned) -> None:
    """What is dropped has a line each as long as anybody reads them."""
    shown = planned.dropped[:_LINES]
    for one in shown:
        use.reporter(Noticed(message=f"{', '.join(one.cell.names)}: already in {one.where}"))
    if more := len(planned.dropped) - len(shown):
        use.reporter(Noticed(message=f"… and {more} more are there already"))
    count = sum(len(shard.cells) for shard, _ in planned.jobs)
    use.reporter(Noticed(message=f"{count} to be made, in {len(planned.jobs)} jobs"))


_LINES = 20


def _unserved(cells: Sequence[Cell]) -> UnsupportedHardware | None:
    if not cells:
        return None
    needs = dict.fromkeys(", ".join(cell.needs) for cell in cells)
    names = ", ".join(cell.name for cell in cells[:_LINES])
    return UnsupportedHardware(
        f"no runner offers {'; '.join(needs)}: {names}{' …' if len(cells) > _LINES else ''}",
        f"Name one: --runner '{cells[0].needs and ','.join(cells[0].needs)}=LABEL'",
    )
