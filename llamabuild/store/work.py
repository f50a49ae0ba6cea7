"""Locks and folders for work in progress. Both die with their process.

``filelock`` is imported where a lock is taken: looking and deciding takes none.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from llamabuild.events import Emit, Noticed
from llamabuild.store.files import guarded

_KEPT = 3 * 86400.0
"""Seconds for which a build that was interrupted can go on."""


@contextlib.contextmanager
def locked(root: Path, key: str, emit: Emit) -> Iterator[None]:
    """One builder per key. The lock dies with its process; correctness does not depend on it."""
    import filelock

    path = root / "locks" / f"{key}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        emit(Noticed(message="Another llamabuild is making the same artifact; waiting for it."))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def workdir(root: Path) -> Iterator[Path]:
    """A fresh folder for one build, removed afterwards; those of dead processes are removed
    first. Each is locked as long as its process lives, and made under the lock of the sweep, so
    that nobody takes a folder that is just being made for a leftover."""
    import filelock

    work = _made(root / "work")
    with filelock.FileLock(work / "sweep.lock"):
        for old in work.iterdir():
            if old.is_dir():
                _sweep(old)
        folder = Path(tempfile.mkdtemp(dir=work, prefix="build-"))
        lock = filelock.FileLock(f"{folder}.lock")
        lock.acquire()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


@contextlib.contextmanager
def begun(root: Path, key: str) -> Iterator[Path]:
    """The folder that a build of ``key`` is compiled in, alone with it. It is there next time when
    the build was interrupted or killed, for some days, and removed when it ended, well or not."""
    import filelock

    home = _made(root / "begun")
    folder = home / key[:32]
    with filelock.FileLock(home / f"{folder.name}.lock"):
        folder.mkdir(exist_ok=True)
        os.utime(folder)
        for old in home.iterdir():
            if old.is_dir() and old.stat().st_mtime < time.time() - _KEPT:
                _sweep(old)
        try:
            yield folder
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove the leavings of a process that is gone."""
    import filelock

    lock = filelock.FileLock(f"{folder}.lock")
    try:
        lock.acquire(blocking=False)
    except (filelock.Timeout, OSError):
        return
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
    Path(lock.lock_file).unlink(missing_ok=True)


def discard(root: Path, path: Path) -> None:
    """Remove a folder: first out of sight by one rename, then for good."""
    with guarded(root):
        trash = Path(tempfile.mkdtemp(dir=_made(root / "work"), prefix="trash-"))
        with contextlib.suppress(FileNotFoundError):  # another process was first
            os.rename(path, trash / "entry")
        shutil.rmtree(trash, ignore_errors=True)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
