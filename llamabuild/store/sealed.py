"""Small files that nothing else names by their contents: they begin with their own SHA-256.

A changed bit in a lead, a verdict or a generation would be another lead, verdict or generation.
Sealed, it is none: what is not as it was written is as if it were not there. This is no signature:
whoever can write can seal.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

import msgspec

from llamabuild.store import files

_T = TypeVar("_T")


def encode(value: object) -> bytes:
    """A value as JSON, after a line with the hash of that."""
    data = msgspec.json.encode(value)
    return _hash(data) + b"\n" + data


def decode(sealed: bytes, kind: type[_T]) -> _T | None:
    """The value that was sealed; None for anything else."""
    seal, _, data = sealed.partition(b"\n")
    if seal != _hash(data):
        return None
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):  # another version's
        return None


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def write(path: Path, value: object) -> None:
    """Keep a value, complete or not at all, in place of an older one. Raises OSError."""
    files.write(path, encode(value))


def read(path: Path, kind: type[_T]) -> _T | None:
    """The value that is kept; None when there is none, or the file is not as it was written."""
    try:
        return decode(path.read_bytes(), kind)
    except OSError:
        return None
