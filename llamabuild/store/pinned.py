"""Pins: artifacts that stay, whatever is swept. ``pinned/<id>.json`` says why."""

from __future__ import annotations

from pathlib import Path

import msgspec

from llamabuild.model import Artifact
from llamabuild.store import sealed
from llamabuild.store.files import guarded


class _Pinned(msgspec.Struct, frozen=True):
    key: str
    why: str


def add(root: Path, artifact: Artifact, why: str) -> None:
    """Let an artifact stay. Raises StoreError, DiskFull."""
    with guarded(root):
        sealed.write(root / "pinned" / f"{artifact.id}.json", _Pinned(key=artifact.key, why=why))


def remove(root: Path, artifact: Artifact) -> bool:
    """Let it go again; False when it was not pinned."""
    path = root / "pinned" / f"{artifact.id}.json"
    with guarded(root):
        was = path.exists()
        path.unlink(missing_ok=True)
    return was


def reasons(root: Path) -> dict[str, str]:
    """Why each pinned artifact stays, by its id. A pin that cannot be read holds all the same."""
    known = {path: sealed.read(path, _Pinned) for path in (root / "pinned").glob("*.json")}
    return {path.stem: one.why if one else "" for path, one in known.items()}
