"""Pins: artifacts that stay, whatever is swept. ``pinned/<id>.json`` says why."""

from __future__ import annotations

from pathlib import Path

import msgspec

from llamabuild.model import Artifact
from llamabuild.store.files import guarded, write


class _Pinned(msgspec.Struct, frozen=True):
    key: str
    why: str


def add(root: Path, artifact: Artifact, why: str) -> None:
    """Let an artifact stay. Raises StoreError, DiskFull."""
    with guarded(root):
        data = msgspec.json.encode(_Pinned(key=artifact.key, why=why))
        write(root / "pinned" / f"{artifact.id}.json", data)


def remove(root: Path, artifact: Artifact) -> bool:
    """Let it go again; False when it was not pinned."""
    path = root / "pinned" / f"{artifact.id}.json"
    with guarded(root):
        was = path.exists()
        path.unlink(missing_ok=True)
    return was


def reasons(root: Path) -> dict[str, str]:
    """Why each pinned artifact stays, by its id. A pin that cannot be read holds all the same."""
    return {path.stem: _reason(path) for path in (root / "pinned").glob("*.json")}


def _reason(path: Path) -> str:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Pinned).why
    except (OSError, msgspec.DecodeError):
        return ""
