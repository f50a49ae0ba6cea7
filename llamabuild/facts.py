"""Keeping what was learned about a tool or a tree, so that a warm run need not ask again."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def keep(path: Path, data: bytes) -> None:
    """Write a fact, complete or not at all. Facts only save time: one that cannot be written
    (a read-only or full disk) is simply asked for again. Whoever shares the cache may read it, as
    the umask says (``tempfile`` makes everything private)."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        name = path.with_name(f".fact-{secrets.token_hex(8)}")
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.replace(name, path)
