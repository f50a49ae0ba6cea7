"""What is inside a wheel that an index has to say: its METADATA, and what it says of itself."""

from __future__ import annotations

import email
import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from llamabuild.errors import IntegrityError, LlamabuildError, Refused
from llamabuild.index.entries import Entry, disagreements
from llamabuild.index.names import PROJECT, named
from llamabuild.wheels import about

_LARGEST: Final = 1 << 20
"""Bytes of METADATA; llama-cpp-python's has 40,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file as it was hashed: its SHA-256, its size in bytes and its time (nanoseconds)."""

    sha256: str
    size: int
    modified: int


def metadata(wheel: Path) -> bytes:
    """A wheel's METADATA. Raises IntegrityError for what is no wheel of the name that it has."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = [
                one
                for one in archive.infolist()
                if one.filename.count("/") == 1 and one.filename.endswith(".dist-info/METADATA")
            ]
            if len(found) != 1 or found[0].file_size > _LARGEST:
                raise IntegrityError(f"{wheel.name} has no METADATA, or one that cannot be")
            return archive.read(found[0])
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError) as error:
        raise IntegrityError(f"{wheel.name} is no wheel: {error}", "Make it again.") from error


def entry(wheel: Path, file: File, *, published: str, turn: int) -> Entry:
    """The record of a wheel. Raises Refused, with every reason, for one that no index takes."""
    try:
        said = about.read(wheel)
        data = metadata(wheel)
    except IntegrityError as error:
        raise _refused(wheel, (error.message,)) from error
    if said is None:
        raise _refused(wheel, (f"there is no {about.NAME} in it",))
    message = email.message_from_bytes(data)
    reasons = (*disagreements(wheel.name, said), *_disagreements(wheel, message))
    if reasons:
        raise _refused(wheel, reasons)
    return Entry(
        file=wheel.name,
        sha256=file.sha256,
        size=file.size,
        modified=file.modified,
        metadata=hashlib.sha256(data).hexdigest(),
        requires_python=_python(message),
        dependencies=tuple(map(str, message.get_all("Requires-Dist", ()))),
        published=published,
        turn=turn,
        about=said,
    )


def minimal(wheel: Path) -> tuple[str, ...]:
    """Why an index cannot take a wheel, whatever it does; empty when it can."""
    try:
        entry(wheel, File(sha256="", size=0, modified=0), published="", turn=1)
    except LlamabuildError as error:
        return error.reasons if isinstance(error, Refused) else (error.message,)
    return ()


def _refused(wheel: Path, reasons: tuple[str, ...]) -> Refused:
    return Refused(
        f"{wheel.name}: {reasons[0]}",
        "llamabuild wheel makes wheels that an index takes.",
        reasons=reasons,
    )


def _python(message: Message) -> str:
    return str(message.get("Requires-Python", "")).strip()


def _disagreements(wheel: Path, message: Message) -> tuple[str, ...]:
    """How METADATA and the name of a wheel differ."""
    wrong = []
    project, version = str(message.get("Name", "")), str(message.get("Version", ""))
    known = named(wheel.name)
    if canonicalize_name(project) != PROJECT:
        wrong.append(f"its METADATA is that of {project or 'nothing'}, not of {PROJECT}")
    if known and version != f"{known.release}+{known.label}":
        wrong.append(f"its METADATA says version {version or '(none)'}")
    try:
        SpecifierSet(_python(message))
    except InvalidSpecifier:
        wrong.append(f"its METADATA asks for a Python that is none: {_python(message)[:80]!r}")
    return tuple(wrong)
