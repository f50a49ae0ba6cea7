"""The keys that the owner of this machine trusts, and what each may sign.

One file a key, ``<cache>/trust/<keyid>.json``. A ``builder`` may sign artifacts, and states of a
store that only grow; a ``janitor`` also those from which something was removed. Reading needs no
role, and no key.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from llamabuild.errors import ConfigError, StoreError
from llamabuild.store.files import guarded, write
from llamabuild.trust.keys import SHOWN, PublicKey, parse_public

BUILDER: Final = "builder"
JANITOR: Final = "janitor"
ROLES: Final = (BUILDER, JANITOR)
_VERSION: Final = 1
_PREFIX: Final = 4
"""Characters of a keyid that are enough to name it, when they fit one key only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """A trusted key, what it may sign, and since when (ISO 8601, UTC)."""

    public: PublicKey
    roles: tuple[str, ...]
    added: str

    def __str__(self) -> str:
        return f"{self.public.name} ({self.public.keyid[:SHOWN]}…)"


Roster = Sequence[Trusted]


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file of a key. ``name`` is for people who read it; the public line counts."""

    version: int
    name: str
    roles: tuple[str, ...]
    public: str
    added: str


def add(root: Path, public: PublicKey, roles: Iterable[str], *, now: dt.datetime) -> Trusted:
    """Trust a key. One that is trusted already gets these roles and this name.

    Raises ConfigError for an unknown role, for none, and for a name that another key has.
    """
    wanted = set(roles)
    chosen = tuple(role for role in ROLES if role in wanted)
    if not chosen or wanted - set(ROLES):
        raise ConfigError(
            "a trusted key needs a role, and there are two", f"Roles: {', '.join(ROLES)}."
        )
    for other in listed(root):
        if other.public.name == public.name and other.public.raw != public.raw:
            raise ConfigError(
                f"another trusted key has the name {public.name!r}: {other.public.keyid[:SHOWN]}",
                "Change the name, the last word of the line, or remove the other key first.",
            )
    trusted = Trusted(public=public, roles=chosen, added=now.isoformat(timespec="seconds"))
    entry = _Entry(
        version=_VERSION, name=public.name, roles=chosen, public=public.line, added=trusted.added
    )
    with guarded(root):
        write(_file(root, public.keyid), msgspec.json.format(msgspec.json.encode(entry), indent=1))
    return trusted


def listed(root: Path) -> tuple[Trusted, ...]:
    """Every trusted key, by name. A damaged file is an error, not a missing key: raises StoreError
    that names it."""
    with guarded(root):
        found = [_read(path) for path in (root / "trust").glob("*.json")]
    return tuple(sorted(found, key=lambda one: (one.public.name, one.public.keyid)))


def _file(root: Path, keyid: str) -> Path:
    return root / "trust" / f"{keyid}.json"


def _read(path: Path) -> Trusted:
    try:
        entry = msgspec.json.decode(path.read_bytes(), type=_Entry)
        public = parse_public(entry.public)
        if entry.version != _VERSION:
            raise _damaged(path, f"its version is {entry.version}, this llamabuild knows 1")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    except ConfigError as error:
        raise _damaged(path, error.message) from error
    if public.keyid != path.stem or public.name != entry.name:
        raise _damaged(path, "it is the file of another key")
    if not entry.roles or set(entry.roles) - set(ROLES):
        raise _damaged(path, "its roles are unknown")
    return Trusted(public=public, roles=entry.roles, added=entry.added)


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(
        f"the trusted key {path} cannot be used: {why}",
        "Remove the file, and trust the key again: llamabuild trust add LINE",
    )


def find(root: Path, name: str) -> Trusted:
    """The trusted key with this name, or whose keyid begins so. Raises ConfigError when there is
    none, or several."""
    known = listed(root)
    exact = [one for one in known if one.public.name == name]
    begun = [one for one in known if one.public.keyid.startswith(name) and len(name) >= _PREFIX]
    fitting = exact or begun
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        keys = ", ".join(map(str, fitting))
        raise ConfigError(f"{name!r} fits several keys: {keys}", "Give more of the keyid.")
    raise ConfigError(f"no trusted key is {name!r}", "See which there are: llamabuild trust ls")


def remove(root: Path, name: str) -> Trusted:
    """Trust a key no longer; ``name`` is as in :func:`find`. Raises ConfigError."""
    trusted = find(root, name)
    with guarded(root):
        _file(root, trusted.public.keyid).unlink(missing_ok=True)
    return trusted
