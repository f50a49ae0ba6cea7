"""Commands that make cells: one here (`worker run`), all of them here or on a cluster (`matrix
run`)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from llamabuild.cli.lock import with_lock
from llamabuild.cli.matrix import matrix_group
from llamabuild.cli.shared import Settings, main_group, settings, shared, with_compiler_cache
from llamabuild.cli.stores import policy_of
from llamabuild.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llamabuild.ci.cells import Cell
    from llamabuild.ci.child import Contract
    from llamabuild.ci.publishing import Publishing
    from llamabuild.ci.run import Executor, Watcher
    from llamabuild.ci.worker import Stores
    from llamabuild.remotes import Shared

_Command = TypeVar("_Command", bound=Callable[..., Any])


@main_group.group("worker")
def worker_group() -> None:
    """Make one cell of a matrix on this machine."""


def _with_store(command: _Command) -> _Command:
    """``--store``, ``--unsigned`` and ``--push``."""
    command = click.option(
        "--store",
        metavar="ADDRESS",
        default="",
        help="Take what is there, and publish there: a folder, s3://…, gs://…, az://… (else the "
        "first of $LLAMABUILD_STORE).",
    )(command)
    command = click.option(
        "--unsigned", is_flag=True, help="Believe whoever can write to the store, and sign nothing."
    )(command)
    return click.option(
        "--push/--no-push", default=True, show_default=True, help="Publish what is made."
    )(command)


@worker_group.command(
    "run", epilog="Example: llamabuild worker run cell.json --store s3://team/llama"
)
@click.argument("cell", type=click.Path(path_type=Path))
@_with_store
@with_compiler_cache
@click.option("--parent", type=int, default=0, hidden=True)
@shared
def worker_run(
    cell: Path,
    store: str,
    unsigned: bool,
    push: bool,
    compiler_cache: str,
    parent: int,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Make a cell, or find it made, and publish it; the answer is a line of JSON.

    A plan that has another key here than in the lock file is refused (exit code 12). The same cell
    again builds nothing and publishes nothing.
    """
    from llamabuild import host, report
    from llamabuild.ci import outcomes, worker

    del as_json  # it always is
    if parent:
        host.end_with(parent)
    with settings(True, cache, progress) as use:
        wanted = _cell(cell)
        publishing = _publishing(use, store, unsigned=unsigned) if push else None
        stores = _stores(use, store, publishing, unsigned=unsigned)
        outcome = worker.work(
            wanted,
            host=use.host,
            cache=use.cache,
            emit=use.reporter,
            stores=stores,
            to=publishing,
            compiler_cache=compiler_cache,
        )
        click.echo(report.to_json(outcomes.fields(outcome), "cell"))


def _cell(file: Path) -> Cell:
    """The cell in a file. Raises ConfigError."""
    from llamabuild.ci import cells

    try:
        return cells.decode(file.read_bytes(), str(file))
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be read: {error.strerror}", "llamabuild matrix makes cells."
        ) from error


def _publishing(use: Settings, address: str, *, unsigned: bool) -> Publishing | None:
    """Where to publish, if a store is named; signed with the key of this machine."""
    from llamabuild import remotes
    from llamabuild.ci.publishing import Publishing
    from llamabuild.trust import keys

    named = remotes.addresses((address,) if address else (), use.host.environ)
    if not named:
        return None
    signer = None if unsigned else keys.load_signer(keys.where(use.host.environ))
    opened = remotes.opened(named[0], use.cache, unsigned=unsigned, signer=signer, new=True)
    return Publishing(shared=opened, signer=signer)


def _stores(
    use: Settings, address: str, publishing: Publishing | None, *, unsigned: bool
) -> Stores | None:
    """The stores to look into: the one that is published to, as its builder sees it, then the
    others."""
    from llamabuild import remotes

    if publishing is None:
        named = (address,) if address else ()
        return policy_of(use, "exact", named, unsigned=unsigned, offline=False).stores
    others = remotes.addresses((), use.host.environ)[1:] if not address else ()

    def opened() -> Iterable[Shared]:
        yield publishing.shared
        if others:
            found = policy_of(use, "exact", others, unsigned=unsigned, offline=False).stores
            yield from found() if found else ()

    return opened


@worker_group.command(
    "offer", epilog='Example: dask worker tcp://… --resources "$(llamabuild worker offer)"'
)
@click.option("--slots", type=click.IntRange(1), default=1, help="Builds at the same time.")
@shared
def worker_offer(slots: int, as_json: bool, cache: Path | None, progress: str) -> None:
    """Print what this machine offers to cells, as `dask worker --resources` takes it."""
    from llamabuild import probe, report
    from llamabuild.ci import offers

    with settings(as_json, cache, progress) as use:
        offered = offers.of_hardware(probe.probe(use.host, cache=use.cache)[0])
        said = {"offers": offered, "resources": dict.fromkeys(offered, slots)}
        click.echo(report.to_json(said, "offer") if as_json else offers.resources(offered, slots))


@matrix_group.command(
    "run", epilog="Example: llamabuild matrix run --local --store /mnt/llama --resume"
)
@click.option("--local", is_flag=True, help="Make the cells on this machine, one after another.")
@click.option("--dask", metavar="ADDRESS", default="", help="Make them on a Dask cluster: tcp://…")
@with_lock
@click.option(
    "--cell",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A cell in a file rather than those of the lock file. May be given several times.",
)
@click.option("--only", multiple=True, metavar="NAME", help="These cells only.")
@click.option("--resume", is_flag=True, help="Leave out what the last run has made.")
@click.option("--jobs", type=click.IntRange(1), default=1, help="Cells at once, with --local.")
@click.option(
    "--retries",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="With --dask: how often a cell may lose its worker.",
)
@_with_store
@with_compiler_cache
@shared
def matrix_run(
    local: bool,
    dask: str,
    lock: Path,
    files: tuple[Path, ...],
    only: tuple[str, ...],
    resume: bool,
    jobs: int,
    retries: int,
    store: str,
    unsigned: bool,
    push: bool,
    compiler_cache: str,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Make all cells of a lock file.

    One that fails stops no other (exit code 14 in the end). What is there already is found in
    seconds, so that the same command again goes on.
    """
    from llamabuild import report
    from llamabuild.ci import run
    from llamabuild.ci.child import Contract

    if local == bool(dask):
        raise click.UsageError("Say where: --local, or --dask ADDRESS.")
    with settings(as_json, cache, progress) as use:
        wanted = [_cell(file) for file in files] if files else _locked(lock)
        contract = Contract(
            store=store, unsigned=unsigned, push=push, compiler_cache=compiler_cache
        )
        execute = _dask(dask, contract, retries) if dask else _local(use, contract, jobs)
        watcher = _watcher(use, wanted)
        try:
            ended = run.run(
                wanted, execute, cache=use.cache, watcher=watcher, only=only, resume=resume
            )
        finally:
            watcher.close()
        click.echo(report.to_json(run.summary(ended), "run") if as_json else run.page(ended))
        if error := run.failure(ended):
            use.reporter.failed(error)
            raise click.exceptions.Exit(error.exit_code)


def _local(use: Settings, contract: Contract, jobs: int) -> Executor:
    from llamabuild.ci import local

    return partial(local.execute, contract=contract, host=use.host, cache=use.cache, jobs=jobs)


def _dask(address: str, contract: Contract, retries: int) -> Executor:
    from llamabuild.ci import cluster

    return partial(cluster.execute, contract=contract, address=address, retries=retries)


def _watcher(use: Settings, wanted: Sequence[Cell]) -> Watcher:
    """A table where people look on, else the story."""
    from llamabuild.ci.table import Story, Table
    from llamabuild.report.terminal import Terminal

    if isinstance(use.reporter, Terminal) and sys.stderr.isatty():
        return Table(wanted, sys.stderr)
    return Story(wanted, use.reporter)


def _locked(lock: Path) -> Sequence[Cell]:
    """The cells of a lock file. Raises ConfigError."""
    from llamabuild.ci import cells
    from llamabuild.lockfile import files

    found = files.read(lock)
    return cells.cells(found, files.machines(found, lock))
