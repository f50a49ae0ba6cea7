"""Keeping what was learned about a tool, so that a warm run starts no process."""

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
        keep_or_raise(path, data)


def keep_or_raise(path: Path, data: bytes) -> None:
    """Write a file, complete or not at all. Raises OSError when it cannot be written."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".fact-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.replace(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
