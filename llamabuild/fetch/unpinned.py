"""A file of which nobody said before how large it is and what is in it.

It is taken up again where a line broke as long as this run lasts; what an earlier run left says
nothing about the file of today and is not used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Final

from llamabuild import digest
from llamabuild.events import Emit
from llamabuild.fetch.opener import Opener
from llamabuild.fetch.progress import Meter
from llamabuild.fetch.transfer import Patience, Transient, Unavailable, insist

MAX_BYTES: Final = 1 << 30  # llama.cpp's archives have 0.03 to 0.1 GB


def obtain(
    address: str,
    target: Path,
    opener: Opener,
    *,
    patience: Patience,
    emit: Emit,
    limit: int = MAX_BYTES,
) -> str:
    """Fill ``target`` with a file and return its SHA-256. Raises Unavailable, and WrongBytes when
    a server answers with another part than was asked for."""
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    insist(
        lambda: _attempt(address, part, opener, emit, limit),
        patience=patience,
        emit=emit,
        progress=lambda: _size(part),
    )
    os.replace(part, target)
    return digest.of_file(target)


def _attempt(address: str, part: Path, opener: Opener, emit: Emit, limit: int) -> None:
    have = _size(part)
    with opener.body(address, have) as body, part.open("ab") as stream:
        if body.start != have:  # the server does not resume
            stream.truncate(0)
            have = 0
        if body.start > have:
            raise Transient(f"asked for the beginning, got byte {body.start}")
        _check(have if body.total is None else body.total, limit)
        meter = Meter(emit, "fetch", body.total or limit)
        for block in body.blocks:
            have += len(block)
            _check(have, limit)
            stream.write(block)
            if body.total is not None:
                meter.at(have)
        _end(stream)
    if body.total is not None and have != body.total:
        raise Transient(f"it ended after {have} of {body.total} bytes")


def _check(size: int, limit: int) -> None:
    if size > limit:
        raise Unavailable(f"it has more than {limit >> 20} MiB, which no llama.cpp has")


def _end(stream: IO[bytes]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
