"""Cells and lock files for tests of what is done with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from llamabuild.ci import cells
from llamabuild.ci.cells import Cell
from llamabuild.lockfile import files
from llamabuild.lockfile.entries import Lock, Locked


def target(name: str, **fields: Any) -> Locked:
    """A target for Linux on x86-64, unless the fields say otherwise."""
    return Locked(
        **{"name": name, "want": "cpu-portable", "os": "linux", "arch": "x86_64", **fields}
    )


def lock(*targets: Locked) -> Lock:
    return Lock(
        pin="default",
        version="0.3.36",
        sha256="a" * 64,
        commit="0c1e57098",
        build_number=9,
        targets=targets,
    )


def cell(name: str, *needs: str) -> Cell:
    """A cell that needs this, which need not be a system and an architecture."""
    return replace(cells.cells(lock(target(name, key=name)), {})[0], needs=needs)


def write(path: Path, targets: Iterable[Locked]) -> Path:
    """A lock file."""
    files.write(path, lock(*targets))
    return path
