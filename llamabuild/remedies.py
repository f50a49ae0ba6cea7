"""Remedies: their names, what each does, and which may be tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import msgspec

from llamabuild import data
from llamabuild.backends import BACKENDS
from llamabuild.errors import ConfigError
from llamabuild.toolchains import canary

_WITHOUT: Final = "without-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A remedy of ``remedies.toml``; the fields are explained there."""

    name: str
    does: str
    when: str
    change: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, bool] = field(default_factory=dict)
    same: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Permitted:
    """The remedies that may be tried: ``only`` these, all where it is None, none where it is
    empty."""

    only: frozenset[str] | None = None

    def __call__(self, name: str) -> bool:
        """True when a remedy may be tried: it, or its kind, was named."""
        return self.only is None or bool({name, kind(name)} & self.only)


ALL: Final = Permitted()


@cache
def known() -> Mapping[str, Known]:
    """All remedies by name."""
    rows = data.load(data.package("remedies.toml"))
    return {name: msgspec.convert({**row, "name": name}, Known) for name, row in rows.items()}


def kind(name: str) -> str:
    """The row of ``remedies.toml`` that a remedy's name belongs to.

    >>> kind("fewer-jobs"), kind("without-cuda"), kind("without-avx512f"), kind("amx-tile-config")
    ('fewer-jobs', 'without-backend', 'without-feature', 'source-options')
    """
    if name in known():
        return name
    if name in canary.canaries():
        return "source-options"
    return "without-backend" if name.removeprefix(_WITHOUT) in BACKENDS else "without-feature"


def permitted(names: Iterable[str], *, none: bool) -> Permitted:
    """What ``--no-heal`` and ``--heal NAME`` say. Raises ConfigError for what nobody knows."""
    only = frozenset(names)
    if none and only:
        raise ConfigError("--heal and --no-heal do not go together", "Give one of them.")
    for name in sorted(only):
        if name not in (*known(), *canary.canaries()) and not name.startswith(_WITHOUT):
            raise ConfigError(f"there is no remedy {name!r}", f"Remedies: {', '.join(known())}.")
    return Permitted(only=only if none or only else None)
