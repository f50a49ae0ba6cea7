"""Commands about stores of others: push, pull, sync."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from llamabuild.cli.keep import sound, store_command
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
    from llamabuild import remotes, report

    with settings(as_json, cache, progress) as use:
        signer = None if unsigned or untrusted else _signer(use)
        chosen = _chosen(use, artifacts)
        if not chosen:
            raise ConfigError("nothing is kept here to publish", "Run `llamabuild setup` first.")
        shared = _to(use, address, signer, unsigned=unsigned, untrusted=untrusted)
        sent = remotes.push(shared, chosen, signer, use.reporter, now=_now())
        said = {"pushed": [one.id for one in chosen], "bytes": sent}
        click.echo(report.to_json(said, "push") if as_json else _lines(chosen))


def _chosen(use: Settings, names: tuple[str, ...]) -> list[Artifact]:
    """The artifacts of these names, or all that are sound, with their folders ready.

    Raises ConfigError when one that was named is unknown or damaged.
    """
    from llamabuild import store

    if not names:
        kept = store.artifacts(use.cache, use.reporter)
        return [one for one in kept if store.ready(use.cache, one, use.reporter)]
    return list({(one := sound(use, name)).id: one for name in names}.values())


def _to(
    use: Settings, address: str, signer: Signer | None, *, unsigned: bool, untrusted: str
) -> Shared:
    """A store to push to, which may begin with that."""
    from llamabuild import remotes

    return remotes.opened(
        address, use.cache, unsigned=unsigned, untrusted=untrusted, signer=signer, new=True
    )


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.timezone.utc)


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
    from llamabuild import remotes, report

    with settings(as_json, cache, progress) as use:
        shared = remotes.opened(address, use.cache, unsigned=unsigned, untrusted=untrusted)
        pulled = _pull(use, _apart(shared, untrusted), artifacts, everything=everything)
        if not pulled:
            use.reporter(Noticed(message=f"{shared.address} has nothing for this machine."))
        if as_json or pulled:
            click.echo(report.to_json(pulled, "pull") if as_json else _lines(pulled))


def _lines(artifacts: Sequence[Artifact]) -> str:
    return "\n".join(f"{one.key[:12]}  {one.manifest.plan.recipe}" for one in artifacts)


def _apart(shared: Shared, untrusted: str) -> Shared:
    """The same store as one to pull from: what nobody vouches for does not come into this cache."""
    from llamabuild import store

    if not untrusted:
        return shared
    return replace(shared, cache=store.open_root(shared.cache / "untrusted" / untrusted))


def _pull(
    use: Settings, shared: Shared, names: tuple[str, ...], *, everything: bool
) -> list[Artifact]:
    """What was named, or all, or what fits this machine, in the cache."""
    from llamabuild import remotes

    state = remotes.latest(shared, now=_now())
    rows = remotes.everything(shared, state) if state else []
    if names:
        wanted = list({(one := _named(shared, rows, name)).id: one for name in names}.values())
    else:
        wanted = rows if everything else _fitting(use, shared, rows)
    pulled = [remotes.pull(shared, row, use.reporter) for row in wanted]
    if pulled and shared.cache != use.cache:
        use.reporter(Noticed(message=f"Nobody vouches for them. Use: --cache {shared.cache}"))
    return pulled


def _fitting(use: Settings, shared: Shared, rows: Sequence[Row]) -> list[Row]:
    from llamabuild import matching, probe, reuse

    hardware, _ = probe.probe(use.host, cache=use.cache)
    here = matching.probe(use.host, hardware)
    return [row for row in rows if not reuse.lacking(row, here, shared.cache)]


def _named(shared: Shared, rows: Sequence[Row], name: str) -> Row:
    """The newest whose key or id begins so. Raises ConfigError when there is none, or the keys of
    several do."""
    known = [row for row in rows if row.key.startswith(name) or row.id.startswith(name)]
    fitting = sorted(known, key=lambda row: row.created) if len(name) >= _SHORTEST else []
    keys = dict.fromkeys(row.key[:12] for row in fitting)
    if len(keys) > 1:
        raise ConfigError(f"{name!r} fits several artifacts: {', '.join(keys)}", _MORE)
    if not fitting:
        raise ConfigError(f"{shared.address} has no artifact {name!r}", _MORE)
    return fitting[-1]


_SHORTEST: Final = 4
"""Characters of a key that are enough to name it, when they fit one only."""
_MORE: Final = "Give the key or the id, or its first characters, four or more."


@store_command("sync", "llamabuild store sync /mnt/team/llama")
@click.argument("address")
@_untrusted
def store_sync(
    address: str, unsigned: bool, untrusted: str, as_json: bool, cache: Path | None, progress: str
) -> None:
    """Bring what fits this machine, and publish all that is kept here."""
    from llamabuild import remotes, report

    with settings(as_json, cache, progress) as use:
        signer = None if unsigned or untrusted else _signer(use)
        own = _chosen(use, ())
        shared = _to(use, address, signer, unsigned=unsigned, untrusted=untrusted)
        pulled = _pull(use, _apart(shared, untrusted), (), everything=False)
        sent = remotes.push(shared, own, signer, use.reporter, now=_now()) if own else 0
        said = {"pulled": [one.id for one in pulled], "pushed": [one.id for one in own]}
        page = f"{len(pulled)} are here, {len(own)} are there; {sent} bytes sent"
        click.echo(report.to_json(said, "sync") if as_json else page)
