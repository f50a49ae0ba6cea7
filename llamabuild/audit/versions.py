"""Versions of symbols: which a file needs of others, and which a library of the system defines.

``sections`` are pyelftools'. Sources: the gABI's extension for symbol versions (LSB Core, chapter
10.7).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Final

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section

_VERSION: Final = re.compile(r"(GLIBC|GLIBCXX|CXXABI|GCC|GOMP|OMP)_([0-9]+(?:\.[0-9]+)*)")
_MOST: Final = 1000
"""Versions that a library defines: glibc 2.41 has 60."""


def needed(sections: dict[str, Section]) -> tuple[tuple[str, str], ...]:
    """The highest version of each family of versioned symbols that a file needs."""
    section = sections.get(".gnu.version_r")
    if section is None:
        return ()
    most = section["sh_size"] // 16  # a damaged file may claim billions
    names = (
        auxiliary.name
        for _, needed in islice(section.iter_versions(), most)
        for auxiliary in islice(needed, most)
    )
    return highest(islice(names, most))


def defined(path: Path) -> tuple[tuple[str, str], ...]:
    """The highest version of each family that a library defines; none when it cannot be read."""
    try:
        with path.open("rb") as stream:
            section = ELFFile(stream).get_section_by_name(".gnu.version_d")
            if section is None:
                return ()
            pairs = islice(section.iter_versions(), _MOST)
            return highest(next(iter(names)).name for _, names in pairs)
    except (ELFError, OSError, ValueError, LookupError, AttributeError):
        return ()


def highest(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The highest version of each family among names.

    >>> highest(["GLIBC_2.9", "GLIBC_2.34", "GLIBC_PRIVATE", "GCC_3.0"])
    (('GCC', '3.0'), ('GLIBC', '2.34'))
    """
    found: dict[str, str] = {}
    for match in filter(None, map(_VERSION.fullmatch, names)):
        found[match[1]] = max(match[2], found.get(match[1], "0"), key=numbers)
    return tuple(sorted(found.items()))


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers that compare.

    >>> numbers("2.9") < numbers("2.34"), numbers("1.2.5-r1"), numbers("")
    (True, (1, 2, 5), ())
    """
    head = re.match(r"[0-9]{1,9}(?:\.[0-9]{1,9})*", version)
    return tuple(map(int, head[0].split("."))) if head else ()
