"""Names that are not trusted, of archives and of patches, as paths that stay where they belong."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

_FOREIGN: Final = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')  # drives, streams, other separators


def safe_name(name: str) -> PurePosixPath:
    """A member's name as a relative path. Raises ValueError with the reason if it is unsafe.

    >>> safe_name("./a/b.txt")
    PurePosixPath('a/b.txt')
    >>> safe_name("a/../../b")
    Traceback (most recent call last):
    ValueError: leaves the archive with '..'
    """
    if name.startswith("/"):
        raise ValueError("has an absolute name")
    if _FOREIGN.search(name):
        raise ValueError("has a character in its name that means something else elsewhere")
    path = PurePosixPath(name)
    if ".." in path.parts:
        raise ValueError("leaves the archive with '..'")
    return path
