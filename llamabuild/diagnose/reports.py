"""A report of a failure that nobody explains: a file to read, and to send if one wants to."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

import llamabuild
from llamabuild.diagnose import scanning
from llamabuild.diagnose.ranking import Diagnosis
from llamabuild.store import files

_HEAD: Final = 40
_TAIL: Final = 160
"""Lines of the log's beginning and end that a report holds."""


def write(
    folder: Path,
    stream: BinaryIO,
    found: Diagnosis,
    machine: str,
    scrub: Callable[[str], str],
) -> Path:
    """A report in ``folder``, complete or not at all: versions, the machine (a page of text), the
    first error with the lines around it, the log's beginning and end; all of it scrubbed. Raises
    OSError.
    """
    text = scrub("\n".join(_parts(stream, found, machine)))
    data = text.encode("utf-8", "replace")
    path = folder / f"report-{hashlib.sha256(data).hexdigest()[:12]}.txt"
    files.write(path, data)
    return path


def _parts(stream: BinaryIO, found: Diagnosis, machine: str) -> list[str]:
    parts = [f"llamabuild {llamabuild.__version__}", "", machine, ""]
    if error := found.error:
        parts += [f"First error (line {error.line}):", *(f"  {one}" for one in error.around), ""]
    head, tail, left_out = _ends(stream)
    parts += ["The log:", *head]
    parts += [f"[{left_out} lines left out]"] if left_out else []
    return [*parts, *tail, ""]


def _ends(stream: BinaryIO) -> tuple[list[str], list[str], int]:
    head: list[str] = []
    tail: deque[str] = deque(maxlen=_TAIL)
    total = 0
    for number, line in scanning.lines_of(stream):
        total = number
        if len(head) < _HEAD:
            head.append(line[:1000])
        else:
            tail.append(line[:1000])
    return head, list(tail), max(0, total - len(head) - len(tail))
