"""Writing that is complete or absent, and the operating system's refusals in our words."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llamabuild.errors import DiskFull, StoreError


def write(path: Path, data: bytes) -> None:
    """Write a small file complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)  # mkstemp makes it private; a team may share the folder
        os.replace(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def guarded(root: Path) -> Iterator[None]:
    """Turn the operating system's refusals inside into errors of ours."""
    try:
        yield
    except OSError as error:
        raise refusal(error, root) from error


def refusal(error: OSError, root: Path) -> StoreError | DiskFull:
    """The error of ours for one of the operating system's."""
    where = error.filename or root
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"the disk is full: {where}", "Free some space and run again.")
    return StoreError(
        f"{where}: {error.strerror or error}",
        f"Make {root} writable, or point LLAMABUILD_CACHE to another folder.",
    )


def flush(folder: Path) -> None:
    """Every file and folder below reaches the disk before the entry appears."""
    for path in folder.rglob("*"):
        flush_one(path)
    flush_one(folder)


def flush_one(path: Path) -> None:
    """One file or folder reaches the disk."""
    if os.name == "posix":  # Windows can neither open folders nor needs it
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
