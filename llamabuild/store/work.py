"""Locks and folders for work in progress. Both die with their process.

Locks save work that would be done twice; nothing depends on them for being right, so that a file
system without locks will do.

``filelock`` is imported where a lock is taken: looking and deciding takes none.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from llamabuild.events import Emit, Noticed
from llamabuild.store.files import alone, fresh, guarded

_KEPT = 3 * 86400.0
"""Seconds for which a build that was interrupted can go on."""
_WRITTEN = 3600.0
"""Seconds after which nobody is still writing a small file."""


@contextlib.contextmanager
def locked(root: Path, key: str, emit: Emit) -> Iterator[None]:
    """One builder per key. The lock dies with its process; correctness does not depend on it."""
    import filelock

    lock = filelock.FileLock(_made(root / "locks") / f"{key}.lock")
    with contextlib.suppress(OSError, NotImplementedError):  # no locks on this file system
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
    with alone(work / "sweep.lock"):
        for old in work.iterdir():
            if old.is_dir():
                _sweep(old)
            elif old.name.startswith("."):
                _forget(old)
        folder = fresh(work, "build-")
        lock = filelock.FileLock(f"{folder}.lock")
        with contextlib.suppress(OSError, NotImplementedError):
            lock.acquire()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


@contextlib.contextmanager
def begun(
    root: Path, key: str, goes_on: Callable[[Exception], bool] = lambda _: False
) -> Iterator[Path]:
    """The folder that a build of ``key`` is compiled in, alone with it. It is there next time when
    the build was interrupted or killed, or ``goes_on`` after its error, for some days, and removed
    when it ended otherwise, well or not."""
    home = _made(root / "begun")
    folder = home / key[:32]
    with alone(home / f"{folder.name}.lock"):
        folder.mkdir(exist_ok=True)
        os.utime(folder)
        for old in home.iterdir():
            if old.is_dir() and old.stat().st_mtime < time.time() - _KEPT:
                _sweep(old)
        try:
            yield folder
        except Exception as error:
            if not goes_on(error):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _forget(file: Path) -> None:
    """Remove a small file that was never finished."""
    with contextlib.suppress(OSError):  # it was, in this moment
        if file.stat().st_mtime < time.time() - _WRITTEN:
            file.unlink()


def _sweep(folder: Path) -> None:
    """Remove the leavings of a process that is gone."""
    import filelock

    lock = filelock.FileLock(f"{folder}.lock")
    try:
        lock.acquire(blocking=False)
    except (filelock.Timeout, OSError, NotImplementedError):
        return
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
    Path(lock.lock_file).unlink(missing_ok=True)


def discard(root: Path, *paths: Path) -> None:
    """Remove folders: first out of sight by one rename each, then for good."""
    with guarded(root):
        trash = fresh(root / "work", "trash-")
        for number, path in enumerate(paths):
            with contextlib.suppress(FileNotFoundError):  # another process was first
                os.rename(path, trash / str(number))
        shutil.rmtree(trash, ignore_errors=True)


def quarantined(root: Path, path: Path) -> Path:
    """Set something aside that does not verify, by one rename; returns where it is now. It is kept
    for who wants to know what happened to it, until it is swept."""
    aside = fresh(root / "quarantine", f"{path.name[:64]}-")
    with contextlib.suppress(FileNotFoundError):  # another process was first
        os.rename(path, aside / path.name)
    return aside


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
