"""Leads: ``requested/<key>.json`` says with which key a healed request ended, so that asking again
compiles nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec

from llamabuild.model import Remedy
from llamabuild.store import manifests, sealed


class Lead(msgspec.Struct, frozen=True):
    """Where a healed request ended, and the remedies on the way."""

    key: str
    remedies: tuple[Remedy, ...]


def read(root: Path, requested: str) -> Lead | None:
    """What a request led to; None when that is not known (any more)."""
    return sealed.read(root / "requested" / f"{requested}.json", Lead)


def keep(root: Path, requested: str, key: str, remedies: tuple[Remedy, ...]) -> None:
    """Asking for ``requested`` again finds ``key``."""
    if requested != key:
        sealed.write(root / "requested" / f"{requested}.json", Lead(key=key, remedies=remedies))


def prune(root: Path) -> None:
    """Remove what leads to a key of which nothing is kept any more, and what cannot be read."""
    known = [(path, sealed.read(path, Lead)) for path in (root / "requested").glob("*.json")]
    kept = {one.key for one in manifests.everything(root)} if known else set()
    for path, lead in known:
        if lead is None or lead.key not in kept:
            path.unlink(missing_ok=True)
