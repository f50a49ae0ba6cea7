"""Commands about whom to believe: make a signing key, trust the keys of others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llamabuild.cli.shared import main_group, settings, shared
from llamabuild.errors import ConfigError
from llamabuild.events import Noticed

if TYPE_CHECKING:
    from llamabuild.trust.roster import Trusted

_LIMIT = 64 << 10


@main_group.group("trust")
def trust_group() -> None:
    """Say whose artifacts are believed, and sign your own."""


def _trust_command(
    name: str, example: str, **context: bool
) -> Callable[[Callable[..., None]], click.Command]:
    def wrap(function: Callable[..., None]) -> click.Command:
        made = trust_group.command(name, epilog=f"Example: {example}", context_settings=context)
        return made(shared(function))

    return wrap


@_trust_command("new", "llamabuild trust new anna")
@click.argument("name")
@click.option(
    "--key",
    help="Where to write it (else $LLAMABUILD_SIGNING_KEY, else your configuration folder).",
)
def trust_new(name: str, key: str | None, as_json: bool, cache: Path | None, progress: str) -> None:
    """Make a signing key; its public line, for the others, is printed."""
    from llamabuild import report
    from llamabuild.trust import keys

    with settings(as_json, cache, progress) as use:
        path = keys.file_of(key or keys.where(use.host.environ)).absolute()
        public = keys.create(path, name)
        use.reporter(Noticed(message=f"The private key is in {path}: nobody else may have it."))
        made = {"name": name, "keyid": public.keyid, "public": public.line, "path": path}
        click.echo(report.to_json({"key": made}, "key") if as_json else public.line)


# A private key begins like an option, and click would print an unknown option as it is.
@_trust_command(
    "add",
    "llamabuild trust add anna.pub --role builder --role janitor",
    ignore_unknown_options=True,
)
@click.argument("line", nargs=-1, required=True, metavar="LINE|FILE")
@click.option(
    "--role",
    "roles",
    multiple=True,
    default=("builder",),
    show_default=True,
    help="What the key may sign: builder (artifacts, and an index that only grows) or janitor (an "
    "index from which something was removed); can be given twice.",
)
def trust_add(
    line: tuple[str, ...],
    roles: tuple[str, ...],
    as_json: bool,
    cache: Path | None,
    progress: str,
) -> None:
    """Trust a key: its public line, or the file that it stands in."""
    from llamabuild.trust import keys, roster

    with settings(as_json, cache, progress) as use:
        if any(word.startswith("-") for word in line):
            raise _neither()
        words = " ".join(line)
        text = words if words.startswith(keys.KIND) else _text(words)
        now = dt.datetime.now(tz=dt.timezone.utc)
        _show(roster.add(use.cache, keys.parse_public(text), roles, now=now), as_json)


def _text(path: str) -> str:
    """What stands in a file."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read(_LIMIT)
    except (OSError, ValueError) as error:
        raise _neither() from error


def _neither() -> ConfigError:
    """The words are not repeated: they could be a private key."""
    return ConfigError(
        "this is neither the public line of a key, nor a file that can be read, nor an option",
        "llamabuild trust new NAME prints such a line; give it, or a file that it stands in.",
    )


@_trust_command("ls", "llamabuild trust ls")
def trust_ls(as_json: bool, cache: Path | None, progress: str) -> None:
    """List the trusted keys."""
    from llamabuild import report
    from llamabuild.trust import roster

    with settings(as_json, cache, progress) as use:
        known = roster.listed(use.cache)
        if as_json:
            click.echo(report.to_json([_plain(one) for one in known], "trust"))
        else:
            for one in known:
                click.echo(_row(one))


@_trust_command("rm", "llamabuild trust rm anna")
@click.argument("key", metavar="NAME|KEYID")
def trust_rm(key: str, as_json: bool, cache: Path | None, progress: str) -> None:
    """Trust a key no longer."""
    from llamabuild.trust import roster

    with settings(as_json, cache, progress) as use:
        _show(roster.remove(use.cache, key), as_json)


def _show(trusted: Trusted, as_json: bool) -> None:
    from llamabuild import report

    click.echo(report.to_json({"key": _plain(trusted)}, "key") if as_json else _row(trusted))


def _row(trusted: Trusted) -> str:
    from llamabuild.trust.keys import SHOWN

    keyid = trusted.public.keyid[:SHOWN]
    roles = ", ".join(trusted.roles)
    return f"{keyid}  {trusted.public.name:20} {roles:18} since {trusted.added[:10]}"


def _plain(trusted: Trusted) -> dict[str, object]:
    public = trusted.public
    return {
        "name": public.name,
        "keyid": public.keyid,
        "roles": trusted.roles,
        "public": public.line,
        "added": trusted.added,
    }
