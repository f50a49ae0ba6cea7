"""The catalogue of failures, as it stands in ``catalogue/*.toml``: one table is one failure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from llamabuild import data
from llamabuild.errors import ConfigError

STAGES: Final = (
    *("configure", "compile", "link", "wheel", "install"),
    *("import", "load", "run", "inference"),
)
"""When a failure shows itself, in the order of a user's day."""
CAUSE: Final = 50
"""An entry of this ``rank`` or more names a cause; one below it a class of failures, and counts
only where nothing better is found."""
WRAPPER: Final = 10
"""An entry of this ``rank`` or less is what a tool says after another one failed ("Failed building
wheel"): never a cause."""
_FOLDER: Final = "diagnose/catalogue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One failure.

    ``patterns`` find it (any of them; see :mod:`llamabuild.diagnose.patterns` for their dialect);
    each of ``needs`` must be found somewhere in the log too. A line that shows one of ``unless``
    does not count, nor does one that shows something benign, unless ``despite`` names that.
    ``rank`` orders what is found: the highest first, then the earliest.

    ``cause`` and ``fix`` are for people; words in braces are named groups of the patterns, and
    ``fix_linux``, ``fix_macos`` and ``fix_windows`` stand for ``fix`` there. ``packages`` are names
    of ``packages.toml`` whose command for this machine is a fix; ``context`` names facts of this
    machine that help (:mod:`llamabuild.diagnose.context`).

    ``prevented`` is how llamabuild sees it before a build: "check: NAME" is a check of `doctor`,
    anything else a sentence about what it never does; empty where nothing can tell before.
    ``remedy`` is the name of what the pipeline tries by itself, and ``ours`` says what llamabuild
    does about it. ``examples`` are literal lines that must be found as this entry.
    """

    id: str
    title: str
    stage: str
    rank: int
    patterns: tuple[str, ...]
    cause: str
    fix: tuple[str, ...]
    source: str
    examples: tuple[str, ...]
    platforms: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    despite: tuple[str, ...] = ()
    fix_linux: tuple[str, ...] = ()
    fix_macos: tuple[str, ...] = ()
    fix_windows: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    prevented: str = ""
    remedy: str = ""
    ours: str = ""

    def where(self, system: str) -> str:
        """The operating system that its ways out are for: this one, if it happens there."""
        here = not system or not self.platforms or system in self.platforms
        return system if here else self.platforms[0]

    @property
    def is_cause(self) -> bool:
        """True when it says why, not only what kind of failure it is."""
        return self.rank >= CAUSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Benign:
    """Lines that look like an error and are none: nothing on them counts."""

    id: str
    patterns: tuple[str, ...]
    why: str
    examples: tuple[str, ...]


@cache
def entries() -> tuple[Entry, ...]:
    """All failures. Raises ConfigError for a table that is not as it should be."""
    return tuple(_read(Entry, "failure"))


@cache
def benign() -> tuple[Benign, ...]:
    """All lines that only look like an error. Raises ConfigError."""
    return tuple(_read(Benign, "benign"))


def _read(kind: type[Any], word: str) -> list[Any]:
    found = []
    for file in sorted(data.package(_FOLDER).glob("*.toml")):
        found += [_entry(kind, row, file) for row in data.load(file).get(word, ())]
    return found


def _entry(kind: type[Any], row: dict[str, Any], file: Path) -> Any:  # noqa: ANN401 - either kind
    name = row.get("id", "an entry without id")
    unknown = set(row) - {field.name for field in fields(kind)}
    if unknown:
        raise ConfigError(f"{file}: {name}: there is no {', '.join(sorted(unknown))}")
    try:
        return msgspec.convert(row, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file}: {name}: {error}") from error
