"""Keeping what was learned about a tool or a tree, so that a warm run need not ask again."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def keep(path: Path, data: bytes) -> None:
    """Write a fact, complete or not at all. Facts only save time: one that cannot be written
    (a read-only or full disk) is simply asked for again."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".fact-")
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.replace(name, path)
