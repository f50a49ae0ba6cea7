"""The lock file on disk: TOML that a review can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from llamabuild import data, recordings
from llamabuild.errors import ConfigError
from llamabuild.lockfile.entries import Lock
from llamabuild.recordings import Recording

NAME: Final = "llamabuild.lock"
VERSION: Final = 1
_HINT: Final = "llamabuild lock makes it."


def read(path: Path) -> Lock:
    """The lock file at a path. Raises ConfigError naming what is wrong with it."""
    found = data.load(path)
    if found.pop("version", None) != VERSION:
        raise ConfigError(f"{path} is no lock file of version {VERSION}", _HINT)
    try:
        return msgspec.convert(_entries(found), type=Lock)
    except (msgspec.ValidationError, TypeError) as error:
        raise ConfigError(f"{path} is no lock file: {error}", _HINT) from error


def _entries(found: dict[str, Any]) -> dict[str, Any]:
    return {**dict(found.get("source", {})), "targets": found.get("target", [])}


def machines(lock: Lock, path: Path) -> dict[str, Recording]:
    """The recorded machines that a lock file at a path names. Raises ConfigError."""
    names = dict.fromkeys(one.machine for one in lock.targets if one.machine)
    return {name: recordings.read(path.parent / name) for name in names}
