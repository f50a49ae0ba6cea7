"""What is in a folder of sources: its digest, and a copy of it.

Only what can change a build counts: regular files by their path, their bytes and whether they are
programs. What version control, editors and earlier builds leave in a checkout is passed over, and
so are models. Symbolic links that stay inside are left out, as they are of archives.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from llamabuild import digest
from llamabuild.errors import ConfigError
from llamabuild.fetch.unpack import MAX_BYTES, MAX_MEMBERS

_OUTPUT_FOLDERS: Final = ("build*", "out", "tmp")
"""At the top only; deeper down sources have folders of such names."""
_FOLDERS: Final = (".git", "__pycache__", "node_modules", ".venv", "venv", ".cache", ".vs")
_FILES: Final = (".git", "*.gguf", "*.o", "*.pyc")


def of(folder: Path) -> str:
    """SHA-256 over the files of a folder. Raises ConfigError for a link that leaves it, and for
    more than a source has."""
    with _readable(folder):
        return digest.of_value(
            [[name, digest.of_file(path), _is_program(path)] for name, path in _files(folder)]
        )


def copy(folder: Path, to: Path) -> None:
    """Copy what counts of a folder to a new one. Raises ConfigError as :func:`of` does."""
    for name, path in _files(folder):
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o755 if _is_program(path) else 0o644)


def _is_program(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o100)


def _files(top: Path) -> Iterator[tuple[str, Path]]:
    """Names and paths of the files that count, sorted by their names."""
    found: dict[str, Path] = {}
    size = 0
    for place, folders, files in os.walk(top, onerror=_raise):
        here = Path(place)
        folders[:] = [name for name in folders if not _passed_over(here / name, top)]
        links = [name for name in (*folders, *files) if _is_link(here / name, top)]
        folders[:] = [name for name in folders if name not in links]
        for name in files:
            path = here / name
            if name in links or not path.is_file() or _matches(name, _FILES):
                continue
            found[path.relative_to(top).as_posix()] = path
            size += path.stat().st_size
            if size > MAX_BYTES or len(found) > MAX_MEMBERS:
                raise ConfigError(
                    f"{top} has more than {MAX_BYTES >> 30} GB or {MAX_MEMBERS} files",
                    "Give a llama.cpp checkout without what is not its source.",
                )
    yield from sorted(found.items())


def _passed_over(path: Path, top: Path) -> bool:
    return path.name in _FOLDERS or (path.parent == top and _matches(path.name, _OUTPUT_FOLDERS))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, one) for one in patterns)


def _is_link(path: Path, top: Path) -> bool:
    """True for a link that stays inside. Raises ConfigError for one that leaves the folder: a
    build may read through it, and nobody would know what."""
    if not path.is_symlink():
        return False
    if not path.resolve().is_relative_to(top.resolve()):
        raise ConfigError(
            f"{path} is a link that leaves {top}", "Remove it, or put what it means in its place."
        )
    return True


def _raise(error: OSError) -> None:
    raise error


@contextlib.contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{error.filename or folder} cannot be read: {error.strerror}", "Make it readable."
        ) from error
