"""Files by their contents: ``blobs/<first two digits>/<sha256>``.

A blob is made once, never changed, and compared with its name whenever it is read. The same file
in two artifacts is one blob; an artifact's folder holds further names of its blobs (hard links), so
that it takes no room of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from llamabuild import digest
from llamabuild.model import File
from llamabuild.store.files import NO_LINKS, flush_one, place

CONDEMNED = ".condemned"
"""How the name of a blob ends that is about to go."""
_TURNS = 10
"""How often a sweep may be faster."""
_READ_ONLY = 0o444
_PROGRAM = 0o555


def path_of(root: Path, sha256: str) -> Path:
    """Where the blob of this hash is, or would be."""
    return root.joinpath("blobs", sha256[:2], sha256)


def put(root: Path, file: Path, known: File, held: Path) -> None:
    """Keep a file, of the store's own file system, whose hash was taken. It becomes read-only, and
    is :func:`hold` in the folder ``held`` until somebody names it."""
    blob = path_of(root, known.sha256)
    _seal(file, _PROGRAM if known.executable else _READ_ONLY)
    for _ in range(_TURNS):
        if renewed(blob, executable=known.executable) and hold(blob, held):
            break
        flush_one(file)
        os.utime(file)
        place(file, blob)
    flush_one(blob.parent)  # also what another process has just made


def hold(blob: Path, held: Path) -> bool:
    """Give a blob another name in a folder of one's own: as long as it has one, no sweep removes
    it. False when it is gone. Where files have only one name, nothing is done: a sweep leaves alone
    what was renewed lately, and who publishes looks again."""
    name = held / blob.name
    try:
        if not (name.exists() and name.samefile(blob)):
            name.unlink(missing_ok=True)
            os.link(blob, name)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    return True


def _seal(file: Path, mode: int) -> None:
    """Make a file read-only; of another user's (a download that he did not finish, in a cache of
    several) only a copy can be."""
    try:
        os.chmod(file, mode)
    except PermissionError:
        copy = file.with_name(f"{file.name}.copy")
        shutil.copyfile(file, copy)
        os.chmod(copy, mode)
        os.replace(copy, file)


def renewed(blob: Path, *, executable: bool) -> bool:
    """True when the blob is there, or was about to go; its time is that of now then."""
    pardon(blob)
    try:
        with contextlib.suppress(PermissionError):  # another user's
            os.utime(blob)
            if executable and not blob.stat().st_mode & 0o100:
                os.chmod(blob, _PROGRAM)
    except FileNotFoundError:
        return False
    return blob.exists()


def condemn(blob: Path) -> None:
    """Take a blob out of use that nobody names. It goes for good when that is still so afterwards:
    :func:`llamabuild.store.sweeping.sweep` looks again, and whoever needs it pardons it."""
    with contextlib.suppress(FileNotFoundError):
        os.rename(blob, _condemned(blob))


def pardon(blob: Path) -> None:
    """Put a condemned blob back in use, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        if not blob.exists():
            os.rename(_condemned(blob), blob)


def execute(blob: Path) -> None:
    """Remove a condemned blob for good, unless somebody holds it."""
    condemned = _condemned(blob)
    with contextlib.suppress(FileNotFoundError):
        if os.stat(condemned).st_nlink > 1:
            pardon(blob)
        else:
            os.unlink(condemned)


def _condemned(blob: Path) -> str:
    return f"{blob}{CONDEMNED}"


def sound(path: Path, known: File) -> bool:
    """True when a file, whatever its name, has the contents that it should have.

    Raises OSError when it cannot be read, which says nothing of its contents.
    """
    return path.stat().st_size == known.size and digest.of_file(path) == known.sha256
