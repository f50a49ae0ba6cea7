"""Commands about indexes of wheels: publish, check, serve, use."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from llamabuild.cli.lock import with_stores
from llamabuild.cli.shared import Settings, main_group, settings, shared
from llamabuild.cli.stores import opened
from llamabuild.cli.wheel import signer_of
from llamabuild.errors import ConfigError, Refused
from llamabuild.events import Noticed, Warned

if TYPE_CHECKING:
    from llamabuild.ci.releasing import Released
    from llamabuild.index import Published
    from llamabuild.index.checking import Found
    from llamabuild.remotes import Shared

_PATH: Final = click.Path(path_type=Path)
_COMMAND = Callable[..., None]


@main_group.group("index")
def index_group() -> None:
    """A folder of wheels that pip and uv install from: one index for each variant."""


def index_command(name: str, example: str) -> Callable[[_COMMAND], click.Command]:
    """A command of ``index``, whose help ends with an example."""

    def wrap(function: _COMMAND) -> click.Command:
        return index_group.command(name, epilog=f"Example: {example}")(shared(function))

    return wrap


@index_command("publish", "llamabuild index publish /srv/wheels --lock llamabuild.lock")
@click.argument("folder", type=_PATH)
@click.argument("wheels", type=_PATH, nargs=-1, metavar="[WHEEL]...")
@click.option("--lock", type=_PATH, help="Make the wheels of a lock file, of what was built.")
@with_stores
@click.option("--bundle-runtime", is_flag=True, help="With --lock: put libraries inside.")
@click.option("--replace", is_flag=True, help="Let a wheel stand for the one that has its place.")
@click.option(
    "--variants", is_flag=True, help="Also make variant wheels (PEP 825, a draft) in /variants/."
)
@click.option("--variant-schema", metavar="URL", help="The schema of variant wheels.")
def index_publish(
    folder: Path,
    wheels: tuple[Path, ...],
    lock: Path | None,
    stores: tuple[str, ...],
    unsigned: bool,
    bundle_runtime: bool,
    replace: bool,
    variants: bool,
    variant_schema: str | None,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Add released wheels to an index, or begin one; any web server can hand out the folder.

    A wheel that does not pass is refused (exit code 13), all others are published. With --replace,
    the older wheel stays for those who have pinned its version. With --lock the wheels are made of
    the artifacts of its targets, here or in a store, and written down in it.
    """
    from llamabuild import report
    from llamabuild.store.work import workdir

    with settings(as_json, cache, progress) as use, workdir(use.cache) as work:
        if not wheels and not lock:
            raise ConfigError("there is nothing to publish", "Name wheels, or a --lock file.")
        shelves = opened(use, stores, unsigned=unsigned)
        released = _released(use, lock, shelves, work, bundle=bundle_runtime) if lock else None
        made = released.wheels if released else ()
        done = _published(use, folder.absolute(), wheels, made, replace=replace)
        also = _variants(use, folder.absolute(), variant_schema) if variants else ()
        said = {"folder": folder, "added": done.added, "present": done.present}
        more = {"replaced": done.replaced, "variants": also}
        if error := _refused(done, released):
            raise error
        lines = "\n".join((*done.added, *done.present))
        click.echo(report.to_json(said | more, "publish") if as_json else lines)


def _released(
    use: Settings, lock: Path, shelves: Sequence[Shared], out: Path, *, bundle: bool
) -> Released:
    """The wheels of a lock file, which are written down in it."""
    from llamabuild.ci import releasing
    from llamabuild.lockfile import files

    terms = releasing.Terms(
        host=use.host,
        cache=use.cache,
        emit=use.reporter,
        stores=shelves,
        signer=signer_of(use),
        bundle=bundle,
    )
    known = files.read(lock)
    released = releasing.make(known, out, terms)
    if released.lock != known:
        files.write(lock, released.lock)
    for name, error in released.failed.items():
        said = error.message.removeprefix(f"{name}: ")
        use.reporter(Warned(message=f"{name}: {said}", hint=error.hint))
    return released


def _published(
    use: Settings, top: Path, given: Sequence[Path], made: Sequence[Path], *, replace: bool
) -> Published:
    """Publish wheels; those that were ``made`` here have passed every gate."""
    from llamabuild import index, release

    passed = {one.name for one in made}

    def check(wheel: Path) -> tuple[str, ...]:
        return () if wheel.name in passed else release.check(wheel, use.host)

    done = index.publish(
        top,
        (*made, *given),
        check=check,
        now=dt.datetime.now(tz=dt.timezone.utc),
        replace=replace,
        emit=use.reporter,
    )
    for one in done.replaced:
        use.reporter(Noticed(message=f"{one}: replaced, for pins of its version only"))
    return done


def _variants(use: Settings, folder: Path, schema: str | None) -> tuple[str, ...]:
    from llamabuild.index import properties, variants

    return variants.write(folder, schema=schema or properties.SCHEMA, emit=use.reporter)


def _refused(done: Published, released: Released | None) -> Refused | None:
    """The error for what is not published; None when everything is."""
    failed = released.failed if released else {}
    reasons = [
        *(f"{name}: {one}" for name, found in done.refused.items() for one in found),
        *(f"{name}: {one.message.removeprefix(f'{name}: ')}" for name, one in failed.items()),
    ]
    if not reasons:
        return None
    count = len(done.refused) + len(failed)
    total = count + len(done.added) + len(done.present)
    return Refused(
        f"{count} of {total} are not published: {'; '.join(reasons)}",
        "llamabuild wheel makes wheels that pass; --replace lets one stand for another.",
        reasons=tuple(reasons),
    )


@index_command("check", "llamabuild index check /srv/wheels --repair")
@click.argument("folder", type=_PATH)
@click.option("--repair", is_flag=True, help="Take off what is not sound; write the pages again.")
def index_check(
    folder: Path, repair: bool, as_json: bool, cache: Path | None, progress: str
) -> None:
    """Hash every wheel of an index and hold every page against it (exit code 13: not sound)."""
    from llamabuild import report
    from llamabuild.index import checking

    with settings(as_json, cache, progress) as use:
        top = folder.absolute()
        found = checking.check(top)
        for one in found.unfinished:
            use.reporter(Noticed(message=one))
        if repair and (found.unsound or found.unfinished):
            found = _repaired(use, top, found)
        if found.unsound:
            raise Refused(
                f"{folder} is not sound: {'; '.join(found.unsound)}",
                "`llamabuild index check FOLDER --repair` takes off what is not sound.",
                reasons=found.unsound,
            )
        line = f"{found.wheels} wheels, all sound."
        click.echo(report.to_json(found, "check") if as_json else line)


def _repaired(use: Settings, top: Path, found: Found) -> Found:
    from llamabuild.index import checking

    for one in found.unsound:
        use.reporter(Warned(message=one))
    checking.repair(top)
    return checking.check(top)


@index_command("serve", "llamabuild index serve /srv/wheels --port 8000")
@click.argument("folder", type=_PATH)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="0: any that is free.",
)
def index_serve(
    folder: Path, host: str, port: int, as_json: bool, cache: Path | None, progress: str
) -> None:
    """Serve an index until Ctrl-C or SIGTERM; the first line on stdout is its address."""
    from llamabuild import report
    from llamabuild.index import serving

    def ready(address: str) -> None:
        click.echo(report.to_json({"address": address}, "serve") if as_json else address)

    with settings(as_json, cache, progress) as use:
        if not serving.loopback(host):
            said = f"everybody who reaches {host} can read {folder}, without a password"
            use.reporter(Warned(message=said, hint="--host 127.0.0.1 is for this machine only."))
        try:
            serving.serve(folder.absolute(), host, port, emit=use.reporter, ready=ready)
        except KeyboardInterrupt:
            use.reporter(Noticed(message="stopped"))
