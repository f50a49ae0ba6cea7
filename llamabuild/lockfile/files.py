"""``llamabuild.lock`` as a file: strict to read, complete or absent to write."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import tomli_w

from llamabuild import data, recordings
from llamabuild.errors import ConfigError
from llamabuild.lockfile.entries import Lock, Locked
from llamabuild.recordings import Recording
from llamabuild.store import files

NAME: Final = "llamabuild.lock"
VERSION: Final = 1
_HEAD: Final = """\
# Made by `llamabuild lock`; keep it with your code.
# To add a target: llamabuild lock 'cuda sm_86+sm_89'. To renew all: llamabuild lock --upgrade.

"""


class _Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where everything is made from."""

    pin: str
    version: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    commit: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{7,40}$")]
    build_number: int


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    version: int
    source: _Source
    target: tuple[Locked, ...] = ()


def read(path: Path) -> Lock:
    """The lock file. Raises ConfigError naming file and place for whatever is wrong with it."""
    if not path.is_file():
        raise ConfigError(f"there is no {path}", "Make it: llamabuild lock cpu-fat")
    table = data.load(path)
    if table.get("version") != VERSION:
        raise ConfigError(
            f"{path} is of version {table.get('version')!r}; this llamabuild reads {VERSION}",
            "Use the llamabuild that wrote it, or make it anew.",
        )
    try:
        _check_fields(table)
        found = msgspec.convert(table, _File)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}", "Correct it, or make it anew.") from error
    _check_names(path, found)
    source = found.source
    return Lock(
        pin=source.pin,
        version=source.version,
        sha256=source.sha256,
        commit=source.commit,
        build_number=source.build_number,
        targets=found.target,
    )


def write(path: Path, lock: Lock) -> None:
    """Write the lock file in place of an older one, complete or not at all."""
    table = {
        "version": VERSION,
        "source": {
            "pin": lock.pin,
            "version": lock.version,
            "sha256": lock.sha256,
            "commit": lock.commit,
            "build_number": lock.build_number,
        },
        "target": [_filled(one) for one in lock.targets],
    }
    files.write(path, (_HEAD + tomli_w.dumps(table)).encode())


def machines(lock: Lock, path: Path) -> dict[str, Recording]:
    """The recorded machines of a lock file at ``path``, by its names for them. Raises ConfigError
    for one that is not there or cannot be read."""
    names = dict.fromkeys(one.machine for one in lock.targets if one.machine)
    return {name: recordings.read(path.parent / name) for name in names}


def _filled(one: Locked) -> dict[str, Any]:
    """A target without the fields that are empty."""
    return {name: value for name, value in msgspec.to_builtins(one).items() if value}


def _check_fields(table: dict[str, Any]) -> None:
    """A misspelt field would be one that is not there. Raises ValidationError."""
    known = {field.name for field in dataclasses.fields(Locked)}
    rows = table.get("target", [])
    for row in rows if isinstance(rows, list) else []:
        for name in set(row) - known if isinstance(row, dict) else ():
            raise msgspec.ValidationError(f"target {row.get('name')!r}: unknown field {name!r}")


def _check_names(path: Path, found: _File) -> None:
    seen = set()
    for one in found.target:
        if one.name in seen:
            raise ConfigError(
                f"{path}: two targets are called {one.name!r}", "Give one another name."
            )
        seen.add(one.name)
