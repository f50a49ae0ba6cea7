"""Shards: cells that one job makes one after another, where a host allows fewer jobs than there are
cells. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import Final

from llamabuild.ci.cells import Cell
from llamabuild.errors import ConfigError

_ODD: Final = re.compile(r"[^A-Za-z0-9._]+")
_LONGEST: Final = 60
"""Characters of a name that is a file's, an artifact's and a job's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The work of one job. All its ``cells`` have the same ``needs``. ``name`` is unique, and plain
    enough for files, artifacts and variables; ``title`` is for people."""

    name: str
    title: str
    needs: tuple[str, ...]
    cells: tuple[Cell, ...]


def sharded(cells: Iterable[Cell], most: int | None = None) -> tuple[Shard, ...]:
    """Every cell in one of at most ``most`` shards; no limit gives each cell a job of its own.

    The same cells give the same shards, the longest is as short as can be, and cells that need the
    same are spread evenly. Raises ConfigError where fewer shards are allowed than there are
    different needs.
    """
    homes: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        homes.setdefault(cell.needs, []).append(cell)
    if most is not None and len(homes) > most:
        raise ConfigError(
            f"the cells have {len(homes)} different needs, and {most} jobs are allowed",
            "A job makes cells that need the same: allow more jobs (--max-shards).",
        )
    load = _load([len(group) for group in homes.values()], most)
    parts = [part for group in homes.values() for part in _parts(group, load)]
    digits = len(str(len(parts)))
    return tuple(
        Shard(
            name=f"{number:0{digits}}-{plain(_called(part))}",
            title=_called(part),
            needs=part[0].needs,
            cells=tuple(part),
        )
        for number, part in enumerate(parts, 1)
    )


def _load(sizes: list[int], most: int | None) -> int:
    """The smallest number of cells per job with which all groups fit into so many jobs."""
    if most is None:
        return 1
    return next(load for load in count(1) if sum(-(-size // load) for size in sizes) <= most)


def _parts(group: list[Cell], load: int) -> Iterable[list[Cell]]:
    """A group in as many parts as it takes, whose lengths differ by one at most.

    >>> [len(part) for part in _parts(list(range(10)), 4)]
    [4, 3, 3]
    """
    number = -(-len(group) // load)
    short, longer = divmod(len(group), number)
    begin = 0
    for part in range(number):
        end = begin + short + (part < longer)
        yield group[begin:end]
        begin = end


def _called(cells: list[Cell]) -> str:
    """What people read: a cell's own name, and how many are made after it."""
    more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
    return cells[0].name + more


def plain(name: str) -> str:
    """A name of which only letters, digits, dots and underscores are left, joined by hyphens.

    >>> plain("cuda sm_86+sm_89"), plain("../…")
    ('cuda-sm_86-sm_89', 'cell')
    """
    words = _ODD.sub("-", name)[:_LONGEST].strip("-.")
    return words or "cell"
