"""Leads: ``requested/<key>.json`` says with which key a healed request ended, so that asking again
compiles nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from llamabuild.model import Remedy
from llamabuild.store.files import write


class Lead(msgspec.Struct, frozen=True):
    """Where a healed request ended, and the remedies on the way."""

    key: str
    remedies: tuple[Remedy, ...]


def read(root: Path, requested: str) -> Lead | None:
    """What a request led to; None when that is not known (any more)."""
    return _read(root / "requested" / f"{requested}.json")


def _read(path: Path) -> Lead | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Lead)
    except (OSError, msgspec.DecodeError):
        return None


def keep(root: Path, requested: str, key: str, remedies: tuple[Remedy, ...]) -> None:
    """Asking for ``requested`` again finds ``key``."""
    if requested != key:
        lead = msgspec.json.encode(Lead(key=key, remedies=remedies))
        write(root / "requested" / f"{requested}.json", lead)


def prune(root: Path, kept: Callable[[str], bool]) -> None:
    """Remove what leads to a key that is not ``kept`` any more, and what cannot be read."""
    for path in (root / "requested").glob("*.json"):
        lead = _read(path)
        if lead is None or not kept(lead.key):
            path.unlink(missing_ok=True)
