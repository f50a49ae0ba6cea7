"""Commands about stores of others: push, pull, sync."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llamabuild.cli.keep import store_command
from llamabuild.cli.shared import Settings, settings
from llamabuild.errors import ConfigError
from llamabuild.events import Noticed

if TYPE_CHECKING:
    from llamabuild.model import Artifact
    from llamabuild.remotes import Shared
    from llamabuild.store.catalogue import Row
    from llamabuild.trust.keys import Signer


def _untrusted(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--untrusted`` and ``--unsigned``."""
    command = click.option(
        "--untrusted",
        metavar="NAME",
        default="",
        help="The part of the store for builds that nobody vouches for: of a pull request, say.",
    )(command)
    return click.option("--unsigned", is_flag=True, help="Believe whoever can write to the store.")(
        command
    )


@store_command("push", "llamabuild store push s3://team/llama auto")
@click.argument("address")
@click.argument("artifacts", nargs=-1, metavar="[ARTIFACT]...")
@_untrusted
def store_push(
    address: str,
    artifacts: tuple[str, ...],
    unsigned: bool,
    untrusted: str,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Publish artifacts (else all that are kept) in a folder, in s3://…, gs://… or az://….

    They are signed with your key (`llamabuild trust new`).
    """
    from llamabuild import report

    with settings(as_json, cache, progress) as use:
        chosen = _chosen(use, artifacts)
        sent = _push(use, address, chosen, unsigned=unsigned, untrusted=untrusted)
        said = {"pushed": [one.id for one in chosen], "bytes": sent}
        page = "\n".join(f"{one.key[:12]}  {one.manifest.plan.recipe}" for one in chosen)
        click.echo(report.to_json(said, "push") if as_json else page)


def _chosen(use: Settings, names: tuple[str, ...]) -> list[Artifact]:
    """The artifacts of these names, or all, with their folders ready."""
    from llamabuild import store

    known = [store.find(use.cache, name, use.reporter) for name in names]
    known = known or list(store.artifacts(use.cache, use.reporter))
    return [one for one in known if store.ready(use.cache, one, use.reporter)]


def _push(
    use: Settings, address: str, chosen: list[Artifact], *, unsigned: bool, untrusted: str
) -> int:
    from llamabuild import remotes

    signer = None if unsigned or untrusted else _signer(use)
    shared = remotes.opened(
        address, use.cache, unsigned=unsigned, untrusted=untrusted, signer=signer
    )
    now = dt.datetime.now(tz=dt.timezone.utc)
    return remotes.push(shared, chosen, signer, use.reporter, now=now)


def _signer(use: Settings) -> Signer:
    from llamabuild.trust import keys

    return keys.load_signer(keys.where(use.host.environ))


@store_command("pull", "llamabuild store pull s3://team/llama 3f9a1c2d")
@click.argument("address")
@click.argument("artifacts", nargs=-1, metavar="[ARTIFACT]...")
@click.option("--all", "everything", is_flag=True, help="Also what this machine cannot run.")
@_untrusted
def store_pull(
    address: str,
    artifacts: tuple[str, ...],
    everything: bool,
    unsigned: bool,
    untrusted: str,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Bring artifacts (by key or id; else all that fit this machine) into the cache.

    They are proved on this machine before they are first used. Those of an untrusted part go into
    a cache of their own, which is named.
    """
    from llamabuild import report

    with settings(as_json, cache, progress) as use:
        shared = _opened(use, address, unsigned=unsigned, untrusted=untrusted)
        pulled = _pull(use, shared, artifacts, everything=everything)
        if untrusted:
            use.reporter(
                Noticed(message=f"Use them with --cache {shared.cache}: they are not trusted.")
            )
        page = "\n".join(f"{one.key[:12]}  {one.manifest.plan.recipe}" for one in pulled)
        click.echo(report.to_json(pulled, "pull") if as_json else page)


def _opened(use: Settings, address: str, *, unsigned: bool, untrusted: str) -> Shared:
    """A store to pull from; what nobody vouches for does not come into this cache."""
    from llamabuild import remotes, store

    into = use.cache
    if untrusted:
        remotes.opened(address, use.cache, untrusted=untrusted)  # the name is checked
        into = store.open_root(use.cache / "untrusted" / untrusted)
    return remotes.opened(address, into, unsigned=unsigned, untrusted=untrusted)


def _pull(
    use: Settings, shared: Shared, names: tuple[str, ...], *, everything: bool
) -> list[Artifact]:
    from llamabuild import matching, probe, remotes, reuse

    now = dt.datetime.now(tz=dt.timezone.utc)
    state = remotes.latest(shared, now=now)
    rows = remotes.everything(shared, state) if state else []
    if names:
        wanted = [row for row in rows if _named(row, names)]
        for name in names:
            if not any(_named(row, (name,)) for row in rows):
                raise ConfigError(f"{shared.address} has no artifact {name!r}", "Give key or id.")
    elif everything:
        wanted = rows
    else:
        hardware, _ = probe.probe(use.host, cache=use.cache)
        here = matching.probe(use.host, hardware)
        wanted = [row for row in rows if not reuse.lacking(row, here, shared.cache)]
    return [remotes.pull(shared, row, use.reporter) for row in wanted]


def _named(row: Row, names: tuple[str, ...]) -> bool:
    return any(row.key.startswith(name) or row.id.startswith(name) for name in names)


@store_command("sync", "llamabuild store sync /mnt/team/llama")
@click.argument("address")
@_untrusted
def store_sync(
    address: str, unsigned: bool, untrusted: str, as_json: bool, cache: Path | None, progress: str
) -> None:
    """Bring what fits this machine, and publish all that is kept here."""
    from llamabuild import report

    with settings(as_json, cache, progress) as use:
        own = _chosen(use, ())
        shared = _opened(use, address, unsigned=unsigned, untrusted=untrusted)
        pulled = _pull(use, shared, (), everything=False)
        sent = _push(use, address, own, unsigned=unsigned, untrusted=untrusted) if own else 0
        said = {"pulled": [one.id for one in pulled], "pushed": [one.id for one in own]}
        page = f"{len(pulled)} are here, {len(own)} are there; {sent} bytes sent"
        click.echo(report.to_json(said, "sync") if as_json else page)
