"""Files by their contents: ``blobs/<first two digits>/<sha256>``.

A blob is made once, never changed, and compared with its name whenever it is read. The same file
in two artifacts is one blob; an artifact's folder holds further names of its blobs (hard links), so
that it takes no room of its own.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from llamabuild import digest
from llamabuild.model import File
from llamabuild.store.files import flush_one, place

CONDEMNED = ".condemned"
"""How the name of a blob ends that is about to go."""
_READ_ONLY = 0o444
_PROGRAM = 0o555


def path_of(root: Path, sha256: str) -> Path:
    """Where the blob of this hash is, or would be."""
    return root.joinpath("blobs", sha256[:2], sha256)


def put(root: Path, file: Path, known: File) -> None:
    """Keep a file, of the store's own file system, whose hash was taken. It becomes read-only.

    One that is kept already gets the time of now, by which :mod:`llamabuild.store.sweeping` sees
    that somebody counts on it.
    """
    blob = path_of(root, known.sha256)
    os.chmod(file, _PROGRAM if known.executable else _READ_ONLY)
    if not renewed(blob, executable=known.executable):
        flush_one(file)
        os.utime(file)
        place(file, blob)
    flush_one(blob.parent)  # also what another process has just made


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
    """Remove a condemned blob for good."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_condemned(blob))


def _condemned(blob: Path) -> str:
    return f"{blob}{CONDEMNED}"


def sound(path: Path, known: File) -> bool:
    """True when a file, whatever its name, has the contents that it should have.

    Raises OSError when it cannot be read, which says nothing of its contents.
    """
    return path.stat().st_size == known.size and digest.of_file(path) == known.sha256
