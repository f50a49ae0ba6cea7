"""Cells as files: ``DIR/SHARD/CELL.json``, all of them or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from llamabuild.ci.cells import encode
from llamabuild.ci.shards import Shard, plain
from llamabuild.errors import ConfigError
from llamabuild.store import files


def write(folder: Path, shards: Iterable[Shard]) -> None:
    """Write the cells of shards into a folder that appears with all of them.

    Raises ConfigError when there is something in it already: cells of another time would be made
    with them. Raises StoreError and DiskFull.
    """
    folder = folder.absolute()
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty", "Remove it, or choose a new one.")
    with files.guarded(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = files.fresh(folder.parent, f".{folder.name}-")
        try:
            for shard in shards:
                _fill(work / shard.name, shard)
            if folder.is_dir():
                folder.rmdir()
            os.rename(work, folder)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


def _fill(home: Path, shard: Shard) -> None:
    """Files in the order in which they are to be made."""
    home.mkdir()
    digits = len(str(len(shard.cells)))
    for number, cell in enumerate(shard.cells, 1):
        name = f"{number:0{digits}}-{plain(cell.name)}.json"
        (home / name).write_bytes(encode(cell))
