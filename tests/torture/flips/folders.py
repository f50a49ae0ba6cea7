"""Folders that are put right again: contents, modes, and which names are of one file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def write(path: Path, data: bytes, *, apart: bool) -> None:
    """Change a file, under all its names as a disk does, or ``apart``: under this one only."""
    mode = path.stat().st_mode
    if apart:
        path.unlink()
    else:
        path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(mode)


class Folders:
    """What is in some folders now; :meth:`restore` makes it so again."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._made = {folder for folder, _ in self._walked()}
        self._first: dict[int, str] = {}
        self._files: dict[str, tuple[bytes, int, str]] = {}
        for _, names in self._walked():
            for name in names:
                state = os.stat(name)
                first = self._first.setdefault(state.st_ino, name)
                self._files[name] = (Path(name).read_bytes(), state.st_mode, first)

    def _walked(self) -> Iterator[tuple[str, list[str]]]:
        for top in self._folders:
            for folder, _, names in os.walk(top):
                yield folder, [os.path.join(folder, name) for name in names]

    def restore(self) -> None:
        """Remove what is new, write what was changed or is gone, and link what was one file."""
        for folder, names in self._walked():
            if folder not in self._made:
                shutil.rmtree(folder)
                continue
            for name in names:
                if name not in self._files:
                    os.unlink(name)
        for folder in sorted(self._made):
            os.makedirs(folder, exist_ok=True)
        for name, (data, mode, first) in self._files.items():
            if name == first and _read(name) != data:
                Path(name).unlink(missing_ok=True)
                Path(name).write_bytes(data)
                os.chmod(name, mode)
        for name, (_, _, first) in self._files.items():
            if name != first and not (os.path.exists(name) and os.path.samefile(name, first)):
                Path(name).unlink(missing_ok=True)
                os.link(first, name)


def _read(name: str) -> bytes | None:
    try:
        return Path(name).read_bytes()
    except FileNotFoundError:
        return None
