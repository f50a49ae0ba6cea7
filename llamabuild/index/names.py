"""Names in an index: which are safe, and what they say. Pure.

A name becomes a folder, a part of an address and a line of a page, so only those of one path
segment and of a few characters are taken.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

PROJECT: Final = "llama-cpp-python"
"""The one project of an index, as its pages call it (PEP 503, normalised)."""
ROOT: Final = "llamabuild-index.json"
RECORD: Final = ".llamabuild.json"
"""What is appended to the name of a wheel for the file that says what is known of it."""
METADATA: Final = ".metadata"
"""The same for its METADATA (PEP 658)."""
SIGNED: Final = ".dsse.json"
"""The same for what its builder signed about it."""
VARIANTS: Final = "variants"
"""The directory of variant wheels (PEP 825, a draft): no variant may be called so."""
_LONGEST: Final = 200
_VARIANT: Final = re.compile(r"[a-z0-9]+(?:\.[a-z0-9]+)*")
_FILE: Final = re.compile(r"[A-Za-z0-9_]+-[A-Za-z0-9._+]+-[a-z0-9_.]+-[a-z0-9_.]+-[a-z0-9_.]+\.whl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What the name of a wheel says: "0.3.36", "cpu.v3.lb3f9a1c2", "py3-none-linux_x86_64"."""

    release: str
    label: str
    tags: str


def is_variant(name: str) -> bool:
    """True for a name that a variant may have: one that is a local version label (PEP 440).

    >>> [is_variant(one) for one in ("cpu.v3", "cu128.sm80.sm90", "variants", "..", "a/b", "CPU")]
    [True, True, False, False, False, False]
    """
    return len(name) <= _LONGEST and bool(_VARIANT.fullmatch(name)) and name != VARIANTS


@functools.lru_cache(maxsize=1 << 16)
def named(file: str) -> Named | None:
    """What the file name of a wheel says; None for one that an index does not take.

    >>> named("llama_cpp_python-0.3.36+cpu.lb12-py3-none-linux_x86_64.whl")
    Named(release='0.3.36', label='cpu.lb12', tags='py3-none-linux_x86_64')
    >>> named("numpy-2.0-py3-none-any.whl"), named("../llama_cpp_python-1-py3-none-any.whl")
    (None, None)
    """
    if len(file) > _LONGEST or not _FILE.fullmatch(file):
        return None
    try:
        project, version, build, _ = parse_wheel_filename(file)
    except (InvalidWheelFilename, InvalidVersion):
        return None
    _, said, *tags = file.removesuffix(".whl").split("-")
    if project != PROJECT or build or str(version) != said:
        return None
    return Named(release=version.public, label=version.local or "", tags="-".join(tags))


@functools.lru_cache(maxsize=1 << 16)
def age(file: str) -> tuple[Version, str]:
    """What wheels are sorted by: their version, then their name."""
    return parse_wheel_filename(file)[1], file
