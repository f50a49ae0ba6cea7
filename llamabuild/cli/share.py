"""Commands about stores: share with others, find out why something is not used, make room."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llamabuild.cli.keep import store_command
from llamabuild.cli.shared import Settings, settings
from llamabuild.cli.shared import recipe as load_recipe
from llamabuild.errors import ConfigError
from llamabuild.events import Noticed, Warned

if TYPE_CHECKING:
    from llamabuild.model import Artifact, Hardware, Toolchain
    from llamabuild.remotes import Shared
    from llamabuild.trust.keys import Signer

_KINDS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def _untrusted(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--untrusted`` and ``--unsigned``."""
    command = click.option(
        "--untrusted",
        metavar="NAME",
        default="",
        help="The part of the store for builds that nobody vouches for, as those of a pull request.",
    )(command)
    return click.option(
        "--unsigned", is_flag=True, help="Believe whoever can write to the store."
    )(command)


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
    rows = [
        row
        for group in (state.shards if state else ())
        for row in remotes.rows(shared, state, group)
    ]
    if names:
        wanted = [row for row in rows if (row.key + " " + row.id) and _named(row, names)]
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


def _named(row: Any, names: tuple[str, ...]) -> bool:  # noqa: ANN401
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


# --- why not -------------------------------------------------------------------------------------


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
        title, reasons = "Nothing is kept.", ()
        if found:
            near = next(one for one in kept if one.manifest.plan == found[0])
            reasons = found[1]
            differing = f"The nearest, {near.key[:12]} ({near.manifest.plan.recipe}), differs in:"
            title = differing if reasons else f"{near.key[:12]} is just that: it is a hit."
        said = {"key": plan.key(wanted), "reasons": reasons}
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
        title = f"{kept.key[:12]} does not run on {which}:" if lacking else (
            f"{kept.key[:12]} fits {which}."
        )
        notes = [f"(not known: {one})" for one in unknown]
        said = {"missing": lacking, "unknown": unknown}
        page = stores.why_page(title, (*lacking, *notes))
        click.echo(report.to_json(said, "why") if as_json else page)


def _provided(use: Settings, machine: Path | None) -> Any:  # noqa: ANN401
    from llamabuild import matching, probe, recordings
    from llamabuild.host import RecordedHost

    if machine:
        recording = recordings.read(machine)
        hardware: Hardware
        toolchain: Toolchain
        hardware, toolchain = recordings.replay(recording)
        del toolchain
        return matching.probe(RecordedHost(recording.machine), hardware)
    return matching.probe(use.host, probe.probe(use.host, cache=use.cache)[0])


# --- room ----------------------------------------------------------------------------------------


class _Size(click.ParamType):
    """Bytes: 500M, 20G."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None  # noqa: ANN401
    ) -> int:
        """See click."""
        text = str(value).strip().upper().removesuffix("B")
        number, kind = (text[:-1], text[-1:]) if text[-1:] in _KINDS else (text, "")
        try:
            return int(float(number) * _KINDS[kind])
        except (ValueError, OverflowError):
            return self.fail(f"{value!r} is no size; 500M or 20G is one", param, ctx)


@store_command("gc", "llamabuild store gc --max-size 20G --max-age 90 --dry-run")
@click.option("--max-size", type=_Size(), help="Keep no more than this (500M, 20G).")
@click.option("--max-age", type=click.FloatRange(min=0), help="Keep what was used in these days.")
@click.option("--min-free", type=_Size(), help="Have so much of the disk free.")
@click.option("--dry-run", is_flag=True, help="Only say what would go, and why.")
def store_gc(
    max_size: int | None,
    max_age: float | None,
    min_free: int | None,
    dry_run: bool,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Make room: what was used longest ago goes first. What is pinned stays, and what this machine
    has and had last. Without limits only leftovers go."""
    from llamabuild import report
    from llamabuild.report import stores
    from llamabuild.store import sweeping
    from llamabuild.store.limits import DAY, Limits

    with settings(as_json, cache, progress) as use:
        age = None if max_age is None else max_age * DAY
        limits = Limits(size=max_size, age=age, free=min_free)
        seen = sweeping.survey(use.cache, _needed(use))
        free = use.host.disk_free(use.cache)
        going = sweeping.decide(seen, limits, free=free, now=time.time())
        if not dry_run:
            sweeping.sweep(use.cache, seen, going)
        if max_size is not None and (over := sweeping.left(seen, going) - max_size) > 0:
            use.reporter(
                Warned(
                    message=f"{over} bytes more than that are needed: pinned, current or in use.",
                    hint="llamabuild store unpin ARTIFACT",
                )
            )
        page = stores.sweep_page(going, only_shown=dry_run)
        click.echo(report.to_json(going, "sweep") if as_json else page)


def _needed(use: Settings) -> dict[str, str]:
    """Why artifacts stay, by their ids."""
    from llamabuild import generations
    from llamabuild.store import pinned

    used = dict.fromkeys(generations.in_use(use.cache), "a generation")
    return used | {name: f"pinned {why}".strip() for name, why in pinned.reasons(use.cache).items()}


@store_command("pin", "llamabuild store pin 3f9a1c2d --why 'release 1.4'")
@click.argument("artifact")
@click.option("--why", default="", help="For those who wonder later.")
def store_pin(artifact: str, why: str, as_json: bool, cache: Path | None, progress: str) -> None:
    """Let an artifact stay whatever `gc` removes."""
    from llamabuild import report, store
    from llamabuild.store import pinned

    with settings(as_json, cache, progress) as use:
        kept = store.find(use.cache, artifact, use.reporter)
        pinned.add(use.cache, kept, why)
        click.echo(report.to_json(kept) if as_json else kept.key[:12])


@store_command("unpin", "llamabuild store unpin 3f9a1c2d")
@click.argument("artifact")
def store_unpin(artifact: str, as_json: bool, cache: Path | None, progress: str) -> None:
    """Let a pinned artifact go when room is made."""
    from llamabuild import report, store
    from llamabuild.store import pinned

    with settings(as_json, cache, progress) as use:
        kept = store.find(use.cache, artifact, use.reporter)
        if not pinned.remove(use.cache, kept):
            raise ConfigError(f"{kept.key[:12]} is not pinned", "See: llamabuild store ls")
        click.echo(report.to_json(kept) if as_json else kept.key[:12])
