"""Which runner makes a cell: what it needs, mapped to labels. Pure but for the table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from llamabuild import data
from llamabuild.ci.cells import Cell
from llamabuild.errors import ConfigError

_LABEL: Final = re.compile(r"[A-Za-z0-9$_][^\s\[\],'\"]*( [^\s\[\],'\"]+)*")
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_.:+-]*")
_LIKE: Final = "Like: 'linux,x86_64,cuda=[self-hosted, gpu]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A kind of machine that a host starts jobs on: what it ``offers`` to cells, and the ``labels``
    (GitHub) or tags (GitLab) by which it is asked for. ``image`` is the container to start there,
    empty where there is none."""

    offers: frozenset[str]
    labels: tuple[str, ...]
    image: str = ""


def of_host(name: str) -> tuple[Runner, ...]:
    """The runners that a host has for everybody; none for an unknown one."""
    return tuple(_row(row) for row in _table("runners.toml").get(name, ()))


def _row(row: dict[str, Any]) -> Runner:
    return Runner(
        offers=frozenset(row["offers"]), labels=tuple(row["labels"]), image=row.get("image", "")
    )


def jobs_of(name: str) -> int | None:
    """How many jobs a matrix of a host may have; None for no limit."""
    limits = _table("limits.toml").get(name)
    return int(limits["jobs"]) if limits else None


def bytes_of(name: str) -> int | None:
    """How many bytes the description of a matrix may have for a host; None for no limit."""
    limits = _table("limits.toml").get(name)
    return int(limits["bytes"]) if limits else None


def _table(name: str) -> dict[str, Any]:
    return data.load(data.package("ci") / name)


def parse(text: str) -> Runner:
    """A runner from the words of ``--runner``. Raises ConfigError.

    >>> parse("linux,x86_64,cuda=[self-hosted, gpu]").labels
    ('self-hosted', 'gpu')
    """
    needs, equals, labels = text.partition("=")
    words = [word.strip() for word in needs.split(",")]
    labels = labels.strip()
    if labels.startswith("[") and labels.endswith("]"):
        labels = labels[1:-1]
    named = [label.strip() for label in labels.split(",")]
    if not equals or not all(map(_WORD.fullmatch, words)):
        raise ConfigError(f"--runner {text!r} does not say what is needed", _LIKE)
    if not all(map(_LABEL.fullmatch, named)):
        raise ConfigError(f"--runner {text!r} does not name a runner", _LIKE)
    return Runner(offers=frozenset(words), labels=tuple(named))


def choose(needs: Sequence[str], runners: Sequence[Runner]) -> Runner | None:
    """The runner that offers all of it and the least beside: a GPU is not kept waiting for. Of
    several the first; None when there is none."""
    able = [one for one in runners if one.offers.issuperset(needs)]
    return min(able, key=lambda one: len(one.offers), default=None)


def divided(
    cells: Sequence[Cell], runners: Sequence[Runner]
) -> tuple[tuple[Cell, ...], tuple[Cell, ...]]:
    """The cells that some runner can make, and those that none can."""
    able = {needs for needs in {cell.needs for cell in cells} if choose(needs, runners)}
    served = tuple(cell for cell in cells if cell.needs in able)
    return served, tuple(cell for cell in cells if cell.needs not in able)
