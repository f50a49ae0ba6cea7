"""The options that the pinned llama.cpp trees declare, recorded: 0.2.20 to the newest, without
350 MB of archives. ``write.py`` records them; ``make versions`` compares them with the trees."""

from __future__ import annotations

import functools
from pathlib import Path

from llamabuild.options import Options, decoded

_HERE = Path(__file__).resolve().parent
NEWEST = "0.3.36"
"""The version in whose words plans are decided."""


def versions() -> tuple[str, ...]:
    """The recorded versions of llama-cpp-python, the oldest first."""
    names = (path.stem for path in _HERE.glob("*.json"))
    return tuple(sorted(names, key=lambda name: [int(part) for part in name.split(".")]))


@functools.cache
def options(version: str) -> Options:
    """What the tree of a version declares."""
    return decoded(path(version).read_bytes())


def path(version: str) -> Path:
    """The file with the record of a version."""
    return _HERE / f"{version}.json"
