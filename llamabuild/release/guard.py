"""The guard of a released wheel: :mod:`llamabuild.release.preflight` with its facts filled in, and
the line that imports it first."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from llamabuild import data
from llamabuild.backends.cpu_table import extensions
from llamabuild.errors import IntegrityError
from llamabuild.release.labels import TABLE
from llamabuild.wheels.about import About

NAME: Final = "_llamabuild.py"
_EMPTY: Final = "FACTS: dict[str, Any] = {}\n"
IMPORT: Final = "from . import _llamabuild  # added by llamabuild: says what is missing here\n"
_BEFORE: Final = re.compile(
    r"^(?:from __future__ import .*\n|# end delvewheel patch\n)", re.MULTILINE
)
"""What has to stay before it: the second says where Windows finds what the libraries need."""
_PLATFORMS: Final = {"linux": "linux", "windows": "win32", "macos": "darwin"}
_INSTEAD: Final = (
    "Install another variant of it, by its label: the one called cpu runs on every machine of this "
    "architecture."
)


def facts(about: About) -> dict[str, Any]:
    """What the guard of a wheel has to know. Where variants are chosen at run time, the code
    outside of them is for every processor."""
    requires = about.requires
    known = {row.name: row.words or (row.name,) for row in extensions(requires.arch)}
    known |= {name: (word,) for name, word in TABLE["cpuinfo"]["words"].items()}
    needed = () if requires.variants else requires.features
    return {
        "wheel": f"{about.name} {about.release}+{about.label}",
        "platform": _PLATFORMS.get(requires.os, requires.os),
        "line": TABLE["cpuinfo"]["line"].get(requires.arch, ""),
        "features": {name: list(known[name]) for name in needed if name in known},
        "missing": _hints(about),
        "instead": _INSTEAD,
    }


def _hints(about: About) -> list[list[str]]:
    """Pairs of a library and what to do when it is not there."""
    return [
        [name, row["hint"]]
        for name in about.requires.libraries
        for row in TABLE["missing"]
        if any(fnmatchcase(name, pattern) for pattern in row["libraries"])
    ]


def module(about: About) -> str:
    """The source of ``llama_cpp/_llamabuild.py``."""
    text = data.package("release/preflight.py").read_text(encoding="utf-8")
    if text.count(_EMPTY) != 1:
        raise IntegrityError("release/preflight.py has no place for facts", "This is a bug.")
    said = json.dumps(facts(about), indent=4, sort_keys=True, ensure_ascii=True)
    return text.replace(_EMPTY, f"FACTS: dict[str, Any] = {said}\n")


def install(package: Path, about: About) -> None:
    """Put the guard into an unpacked package, before all that loads libraries."""
    (package / NAME).write_text(module(about), encoding="utf-8", newline="\n")
    init = package / "__init__.py"
    text = init.read_text(encoding="utf-8")
    end = max((found.end() for found in _BEFORE.finditer(text)), default=0)
    init.write_text(text[:end] + IMPORT + text[end:], encoding="utf-8", newline="\n")
