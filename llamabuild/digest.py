"""Canonical JSON and SHA-256 of values and files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def canonical(value: object) -> bytes:
    """The one JSON text of ``value``: sorted keys, no spaces, no floats' ambiguity to worry about.

    Only str, bool, int, None, lists and string-keyed dicts are allowed, so that equal values
    have equal bytes on every Python.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def of_value(value: object) -> str:
    """SHA-256 of the canonical JSON of ``value``, as lower-case hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as lower-case hex (``hashlib.file_digest`` needs Python 3.11)."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
