"""The place where archives and sources are kept: alone with a file, room on the disk, sweeping."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from llamabuild.errors import DiskFull, StoreError
from llamabuild.events import Emit, Noticed
from llamabuild.host import Host


@contextlib.contextmanager
def locked(path: Path, emit: Emit) -> Iterator[None]:
    """Alone with ``path``, where the file system has locks. The lock ends with its process, however
    that ends."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(path.name + ".lock"))
    with contextlib.suppress(OSError, NotImplementedError):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            emit(Noticed(message=f"waiting for another run that works on {path.name}"))
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def sweep(folder: Path) -> None:
    """Remove what dead runs left half unpacked: whatever nobody holds the lock of."""
    from filelock import FileLock

    for left in folder.glob("*.part"):
        lock = FileLock(left.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except (OSError, NotImplementedError):  # somebody holds it, or there are no locks here
            continue
        shutil.rmtree(left, ignore_errors=True)
        lock.release()


def used(folder: Path) -> None:
    """Note that something is used now: what was not for long goes when room is made."""
    with contextlib.suppress(OSError):  # another user's, or a cache that can only be read
        os.utime(folder)


def room(host: Host, path: Path, need: int) -> None:
    """Raise DiskFull unless ``need`` bytes are free where ``path`` will be."""
    free = host.disk_free(path.parent)
    if free < need:
        raise DiskFull(
            f"{path.parent} has {free / 1e6:.0f} MB free, {need / 1e6:.0f} MB are needed",
            "Free some space, or choose another cache folder.",
        )


@contextlib.contextmanager
def disk(cache: Path) -> Iterator[None]:
    """What the operating system says about the cache, as one of our errors."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no space left while writing to {cache}",
                "Free some space, or choose another cache folder.",
            ) from error
        raise StoreError(
            f"the cache {cache} cannot be used: {error}", "Choose another cache folder."
        ) from error
