"""What an index knows of its wheels: one record for each, beside the wheel. Pure.

The records are the truth, and every page is made of them. Each is written by itself, so two who
publish at once cannot undo each other's work, lock or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from llamabuild.errors import IntegrityError
from llamabuild.index.names import PROJECT, RECORD, is_variant, named
from llamabuild.wheels.about import About

VERSION: Final = 1
LARGEST: Final = 2 << 20
"""Bytes of a record; one has some 3,000."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wheel in an index.

    ``size`` in bytes and ``modified`` (nanoseconds) are the file's when it was hashed;
    ``metadata`` is the SHA-256 of its METADATA, ``requires_python`` and ``dependencies`` are from
    there. ``published`` is when it came (ISO 8601, UTC). Of several wheels in one place that of the
    highest ``turn`` stands, see :func:`replaced`.
    """

    version: int = VERSION
    file: str
    sha256: str
    size: int
    modified: int
    metadata: str
    requires_python: str
    dependencies: tuple[str, ...]
    published: str
    turn: int = 1
    about: About


def encode(entry: Entry) -> bytes:
    """The record's contents."""
    return msgspec.json.format(msgspec.json.encode(entry), indent=1) + b"\n"


_DECODER: Final = msgspec.json.Decoder(Entry)


def decode(data: bytes, name: str) -> Entry:
    """A record from the bytes of the file ``name``. Raises IntegrityError for one that cannot be
    read, or that is about another wheel than its name says."""
    try:
        found = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{name} cannot be read: {error}", _HINT) from error
    if found.version != VERSION or found.file + RECORD != name:
        raise IntegrityError(f"{name} is not the record of its wheel", _HINT)
    if not (_SHA256.fullmatch(found.sha256) and _SHA256.fullmatch(found.metadata)):
        raise IntegrityError(f"{name}: a hash in it is none", _HINT)
    wrong = disagreements(found.file, found.about)
    if wrong:
        raise IntegrityError(f"{name}: {wrong[0]}", _HINT)
    return found


_HINT: Final = "`llamabuild index check FOLDER --repair`, then publish the wheel again."


def disagreements(file: str, about: About) -> tuple[str, ...]:
    """How a wheel's name and what it says of itself differ, a sentence each."""
    known = named(file)
    if known is None:
        return (f"{file!r} is no name of a {PROJECT} wheel that an index takes",)
    said = (
        ("is about", about.name, PROJECT),
        ("says release", about.release, known.release),
        ("says label", about.label, known.label),
    )
    wrong = [f"it {what} {one}, its name {other}" for what, one, other in said if one != other]
    if not is_variant(about.variant):
        wrong.append(f"{about.variant!r} is no name for a variant")
    elif not f"{known.label}.".startswith(f"{about.variant}."):
        wrong.append(f"its label {known.label} does not begin with its variant {about.variant}")
    return tuple(wrong)


def place(entry: Entry) -> tuple[str, str, str]:
    """What only one wheel can be: release, variant and platform."""
    known = named(entry.file)
    assert known is not None
    return known.release, entry.about.variant, known.tags


def standing(entries: Iterable[Entry]) -> dict[tuple[str, str, str], Entry]:
    """The wheel that stands in each place: that of the highest turn."""
    first: dict[tuple[str, str, str], Entry] = {}
    for one in sorted(entries, key=lambda one: (one.turn, one.file)):
        first[place(one)] = one
    return first


def replaced(entries: Mapping[str, Entry]) -> dict[str, str]:
    """The wheels that another has replaced, with its name. Clients take them only for a pin of just
    that version (PEP 592), so what was installed and locked goes on working."""
    stands = standing(entries.values())
    by = {name: stands[place(one)].file for name, one in entries.items()}
    return {name: other for name, other in by.items() if other != name}
