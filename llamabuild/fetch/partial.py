"""A file in the making: hashed while it grows, resumed where it broke, renamed when it is right.

``NAME.part`` grows; ``NAME`` is complete and right; ``NAME.verified`` remembers that it was hashed,
with the size and time of the file then, so that a warm run does not hash it again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Final, TypeAlias

from llamabuild import digest
from llamabuild.events import Emit
from llamabuild.fetch.progress import Meter
from llamabuild.fetch.transfer import Body, Patience, Transient, WrongBytes, insist
from llamabuild.model import Archive

Source: TypeAlias = Callable[[int], AbstractContextManager[Body]]

_BLOCK: Final = 1 << 20


def verified(target: Path, pin: Archive) -> bool:
    """True when ``target`` is the pinned file; it is hashed only if it changed since last time."""
    try:
        now = _stamp(target, pin)
    except OSError:
        return False
    with contextlib.suppress(OSError):
        if _stamp_file(target).read_text(encoding="ascii") == now:
            return True
    if target.stat().st_size != pin.size or digest.of_file(target) != pin.sha256:
        return False
    _stamp_file(target).write_text(now, encoding="ascii")  # a torn stamp only costs one hashing
    return True


def received(target: Path) -> int:
    """Bytes that earlier attempts left for the next one."""
    try:
        return _part(target).stat().st_size
    except FileNotFoundError:
        return 0


def obtain(target: Path, pin: Archive, source: Source, *, patience: Patience, emit: Emit) -> None:
    """Fill ``target`` from ``source``. Raises Unavailable, or WrongBytes when what came is not
    the pinned file; a resumed file that is wrong is tried once more from the start."""
    resumed = received(target) > 0
    meter = Meter(emit, "fetch", pin.size)

    def fill() -> None:
        try:
            insist(
                lambda: _attempt(target, pin, source, meter),
                patience=patience,
                emit=emit,
                progress=lambda: received(target),
            )
        except WrongBytes:
            _part(target).unlink()
            raise
        finally:
            if not received(target):
                _part(target).unlink(missing_ok=True)

    try:
        fill()
    except WrongBytes:
        if not resumed:
            raise
        fill()
    os.replace(_part(target), target)
    _stamp_file(target).write_text(_stamp(target, pin), encoding="ascii")


def _attempt(target: Path, pin: Archive, source: Source, meter: Meter) -> None:
    """Add to the partial file until it is complete. Never reads more than ``pin.size`` bytes."""
    with _part(target).open("a+b") as part:
        hasher, have = _resume(part)
        meter.start(have)
        if have < pin.size:
            with source(have) as body:
                if body.total not in (None, pin.size):
                    raise WrongBytes(f"the file has {body.total} bytes, wanted {pin.size}")
                if body.start == 0 < have:  # the server does not resume
                    part.truncate(0)
                    hasher, have = hashlib.sha256(), 0
                elif body.start != have:
                    raise WrongBytes(f"asked for byte {have}, got byte {body.start}")
                for block in body.blocks:
                    have += len(block)
                    if have > pin.size:
                        raise WrongBytes(f"more than the {pin.size} bytes wanted")
                    part.write(block)
                    hasher.update(block)
                    meter.at(have)
        if have < pin.size:
            raise Transient(f"it ended after {have} of {pin.size} bytes")
        if hasher.hexdigest() != pin.sha256:
            raise WrongBytes(f"wanted sha256 {pin.sha256}, got {hasher.hexdigest()}")
        part.flush()
        os.fsync(part.fileno())


def _resume(part: IO[bytes]) -> tuple[hashlib._Hash, int]:
    """The hash state and size of what is there already."""
    hasher, have = hashlib.sha256(), 0
    part.seek(0)
    while block := part.read(_BLOCK):
        hasher.update(block)
        have += len(block)
    return hasher, have


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _stamp_file(target: Path) -> Path:
    return target.with_name(target.name + ".verified")


def _stamp(target: Path, pin: Archive) -> str:
    stat = target.stat()
    return json.dumps([stat.st_size, stat.st_mtime_ns, pin.sha256])
