"""What was seen last of each shared store: ``<cache>/trust/seen/<SHA-256 of its address>.json``.

It only goes forward. A damaged file is an error: forgetting it silently would let an old state of
the store pass for the newest.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import Final

import msgspec

from llamabuild.errors import StoreError
from llamabuild.store import sealed
from llamabuild.store.files import alone, guarded
from llamabuild.trust.snapshot import Seen, Snapshot, content, follow, stamp

_VERSION: Final = 1


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    seen: Seen


def recall(root: Path, remote: str) -> Seen | None:
    """What was seen of the store at an address; None when nothing was.

    Raises StoreError naming the file when it is damaged.
    """
    path = _file(root, remote)
    with guarded(root):
        try:
            record = sealed.decode(path.read_bytes(), _Record)
        except FileNotFoundError:
            return None
    if record is None:
        raise _damaged(path, "it is not as it was written")
    if record.version != _VERSION:
        raise _damaged(path, f"its version is {record.version}, this llamabuild knows {_VERSION}")
    return record.seen


def remember(root: Path, remote: str, snapshot: Snapshot, *, now: dt.datetime) -> Seen:
    """Remember a snapshot that was opened, and return what is remembered then: when another run was
    faster, its later one.

    Raises IntegrityError when that is of another store or another content with the same version,
    and StoreError for a damaged or unwritable file.
    """
    path = _file(root, remote)
    with guarded(root), alone(path.with_suffix(".lock")):
        known = recall(root, remote)
        if known and known.store == snapshot.store and known.version > snapshot.version:
            return known
        follow(snapshot, known)
        seen = noted(snapshot, now)
        sealed.write(path, _Record(version=_VERSION, seen=seen))
    return seen


def noted(snapshot: Snapshot, now: dt.datetime) -> Seen:
    """What is remembered of a snapshot that is seen at a time."""
    return Seen(
        store=snapshot.store,
        version=snapshot.version,
        count=snapshot.count,
        content=content(snapshot),
        when=stamp(now),
    )


def _file(root: Path, remote: str) -> Path:
    """An address can hold a password: its hash names the file."""
    return root / "trust" / "seen" / f"{hashlib.sha256(remote.encode()).hexdigest()}.json"


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(
        f"what was last seen of a shared store is damaged: {path}: {why}",
        "It guards against an old state that is shown as the newest. If nobody tampered with it, "
        "remove the file: the next state that is seen is then believed as it is.",
    )
