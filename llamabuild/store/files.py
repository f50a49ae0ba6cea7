"""Writing that is complete or absent, and the operating system's refusals in our words.

What is made here has the permissions that the umask leaves, so that several users can share a
folder (``tempfile`` makes everything private).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from llamabuild.errors import DiskFull, StoreError

NO_LINKS = frozenset(
    {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
)
"""What systems answer that cannot have one file under two names (FAT, some network mounts)."""


def write(path: Path, data: bytes) -> None:
    """Write a small file complete or not at all, in place of an older one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beside(path, data) as name:
        os.replace(name, path)


def create(path: Path, data: bytes, scratch: Path) -> bool:
    """Make a file that nobody has made yet, complete or not at all; one that is there stays. True
    when ``data`` is what is in it now. ``scratch`` is a folder of the same file system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        scratch.mkdir(parents=True, exist_ok=True)
        with _beside(scratch / path.name, data) as name:
            place(Path(name), path)
    flush_one(path.parent)
    return path.read_bytes() == data


def place(file: Path, target: Path) -> None:
    """Give a flushed file a second name, at ``target``; one that is there stays. Several processes
    may do so at once: what they have is the same, for a target is named by its contents."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, target)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _copied(file, target)


def _copied(file: Path, target: Path) -> None:
    """The same where a file has only one name: another one, which appears by a rename."""
    name = f"{target}.{_unique()}"
    try:
        shutil.copy2(file, name)
        flush_one(Path(name))
        os.replace(name, target)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def _beside(path: Path, data: bytes) -> Iterator[str]:
    """A flushed file with ``data`` and a name of its own beside ``path``, gone afterwards."""
    name = str(path.parent / f".{path.name}-{_unique()}")
    try:
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        yield name
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)


def fresh(folder: Path, prefix: str) -> Path:
    """A new folder in ``folder`` whose name nobody else has."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"{prefix}{_unique()}"
    made.mkdir()
    return made


def _unique() -> str:
    return secrets.token_hex(8)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Alone, where the file system has locks: NFS may not, and what is right does not depend on
    it."""
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    with contextlib.suppress(OSError, NotImplementedError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


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
