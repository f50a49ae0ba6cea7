"""Wheels: what is in one, and its files in a folder. Their names are not trusted."""

from __future__ import annotations

import contextlib
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from llamabuild.errors import IntegrityError
from llamabuild.fetch.names import safe_name

MAX_BYTES: Final = 8 << 30
"""The largest seen, with CUDA inside, have 2 GB."""
_MOST_FILES: Final = 20_000
_BLOCK: Final = 1 << 20


def names(wheel: Path) -> tuple[str, ...]:
    """The names of the files in a wheel. Raises IntegrityError when it is damaged."""
    with _opened(wheel) as archive:
        return tuple(archive.namelist())


def unpack(wheel: Path, folder: Path, *, limit: int = MAX_BYTES) -> None:
    """Unpack a wheel, or another zip archive, without the links in it. Raises IntegrityError when
    it is damaged, for names that leave the folder and for more than ``limit`` bytes, whatever its
    index says."""
    with _opened(wheel) as archive:
        members = [one for one in archive.infolist() if not (one.is_dir() or _is_link(one))]
        if len(members) > _MOST_FILES:
            raise ValueError(f"it has {len(members)} files")
        left = limit
        for member in members:
            target = folder / safe_name(member.filename)
            target.parent.mkdir(parents=True, exist_ok=True)
            left -= _write(archive, member, target, left)


def _is_link(member: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(member.external_attr >> 16)


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, most: int) -> int:
    """One new file of at most so many bytes; returns its size."""
    size = 0
    with archive.open(member) as packed, target.open("xb") as out:
        while block := packed.read(_BLOCK):
            size += len(block)
            if size > most:
                raise ValueError(f"{member.filename}: unpacked the wheel is too large")
            out.write(block)
    if member.external_attr >> 16 & 0o100:
        target.chmod(0o755)  # no setuid, nothing for others
    return size


@contextlib.contextmanager
def _opened(wheel: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise _unsound(wheel, str(error)) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise _unsound(wheel, f"{error.filename} appears twice") from error


def _unsound(wheel: Path, why: str) -> IntegrityError:
    return IntegrityError(f"{wheel}: not a sound wheel: {why}", "Build or download it again.")
