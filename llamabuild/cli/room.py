"""Commands that make room, and keep what must not go."""

from __future__ import annotations

import datetime as dt
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llamabuild.cli.keep import store_command
from llamabuild.cli.shared import Settings, settings
from llamabuild.errors import ConfigError
from llamabuild.events import Warned

if TYPE_CHECKING:
    _Int = click.ParamType[int]
else:  # generic from click 8.3 on only
    _Int = click.ParamType

_KINDS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class _Size(_Int):
    """Bytes: 500M, 20G."""

    name = "size"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """See click."""
        text = str(value).strip().upper().removesuffix("B")
        number, kind = (text[:-1], text[-1:]) if text[-1:] in _KINDS else (text, "")
        try:
            size = int(float(number) * _KINDS[kind])
        except (ValueError, OverflowError):
            size = -1
        if size < 0:
            self.fail(f"{value!r} is no size; 500M or 20G is one", param, ctx)
        return size


class _Days(click.FloatRange):
    """Days, none of them less than none."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's word
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """See click."""
        days = float(super().convert(value, param, ctx))
        if math.isnan(days):
            self.fail(f"{value!r} is no number of days", param, ctx)
        return days


@store_command("gc", "llamabuild store gc --max-size 20G --max-age 90 --dry-run")
@click.option("--max-size", type=_Size(), help="Keep no more than this (500M, 20G).")
@click.option("--max-age", type=_Days(min=0), help="Keep what was used in these days.")
@click.option("--min-free", type=_Size(), help="Have so much of the disk free.")
@click.option("--dry-run", is_flag=True, help="Only say what would go, and why.")
@click.option("--store", "address", help="Make room in a shared store, with a janitor's key.")
@click.option("--unsigned", is_flag=True, help="Believe whoever can write to that store.")
def store_gc(
    max_size: int | None,
    max_age: float | None,
    min_free: int | None,
    dry_run: bool,
    address: str | None,
    unsigned: bool,
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Make room: what was used longest ago goes first. What is pinned stays, and what this machine
    has and had last. Without limits only leftovers go."""
    from llamabuild import report, store
    from llamabuild.report import stores
    from llamabuild.store import sweeping
    from llamabuild.store.limits import DAY, Limits

    with settings(as_json, cache, progress) as use:
        age = None if max_age is None else max_age * DAY
        if address:
            _clean(use, address, age, max_size, dry_run=dry_run, unsigned=unsigned)
            return
        limits = Limits(size=max_size, age=age, free=min_free)
        with store.guarded(use.cache):
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


def _clean(
    use: Settings,
    address: str,
    age: float | None,
    size: int | None,
    *,
    dry_run: bool,
    unsigned: bool,
) -> None:
    """Make room in a shared store."""
    from llamabuild import remotes, report
    from llamabuild.remotes import cleaning
    from llamabuild.report import stores
    from llamabuild.trust import keys

    now = dt.datetime.now(tz=dt.timezone.utc)
    signer = None if unsigned else keys.load_signer(keys.where(use.host.environ))
    shared = remotes.opened(address, use.cache, unsigned=unsigned, signer=signer)
    going = cleaning.decide(shared, age=age, size=size, now=now)
    if not dry_run:
        cleaning.clean(shared, going, signer, now=now)
    page = stores.cleaning_page(going, only_shown=dry_run)
    click.echo(report.to_json(going, "cleaning") if use.as_json else page)


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
