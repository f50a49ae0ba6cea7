"""From a request's path to an open file: only what an index consists of, and nothing outside it."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final
from urllib.parse import unquote, urlsplit

from llamabuild.errors import IntegrityError
from llamabuild.index import entries, negotiation
from llamabuild.index.names import METADATA, RECORD

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".whl": "application/octet-stream",
    METADATA: "text/plain; charset=utf-8",
}
_FORMATS: Final = {negotiation.JSON: "index.json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An open file that is to be sent."""

    stream: IO[bytes]
    size: int
    modified: float
    kind: str
    etag: str
    varies: bool


def path_of(target: str) -> tuple[tuple[str, ...], bool] | None:
    """The names in a request's path, and whether it means a directory; None for a path that an
    index does not have.

    >>> path_of("/cpu.v3/llama-cpp-python/"), path_of("/a%2Bb.whl?x=1"), path_of("/")
    ((('cpu.v3', 'llama-cpp-python'), True), (('a+b.whl',), False), ((), True))
    >>> path_of("/../etc/passwd"), path_of("/cpu/%2e%2e/x"), path_of("/a%2fb"), path_of("//host/")
    (None, None, None, None)
    """
    path = urlsplit(f"//index{target}").path if target.startswith("/") else ""
    if not path or len(target) > 2000:
        return None
    names = tuple(unquote(one) for one in path[1:].removesuffix("/").split("/"))
    if names == ("",):
        return ((), True) if path == "/" else None
    return (names, path.endswith("/")) if all(map(_SEGMENT.fullmatch, names)) else None


def opened(top: Path, names: tuple[str, ...], accept: str, *, directory: bool) -> Found | None:
    """What these names mean, in the format that an Accept header asks for; None for nothing."""
    varies = directory and bool(names)
    kind = negotiation.preferred(accept) if varies else ""
    if directory:
        names = (*names, _FORMATS.get(kind, "index.html"))
    path = _inside(top, names)
    if path is None or not path.is_file():
        return None
    try:
        stream = path.open("rb")
    except OSError:
        return None
    about = os.fstat(stream.fileno())
    return Found(
        stream=stream,
        size=about.st_size,
        modified=about.st_mtime,
        kind=_kind(names, kind),
        etag=f'"{_etag(path, stream, about)}"',
        varies=varies,
    )


def is_directory(top: Path, names: tuple[str, ...]) -> bool:
    """True for a directory of the index."""
    path = _inside(top, names)
    return path is not None and path.is_dir()


def _inside(top: Path, names: tuple[str, ...]) -> Path | None:
    """The path of these names when there is something, in the folder: no link leads out."""
    try:
        real = top.joinpath(*names).resolve(strict=True)
        return real if real.is_relative_to(top) else None
    except (OSError, ValueError, RuntimeError):
        return None


def _kind(names: tuple[str, ...], asked: str) -> str:
    """The content type of a file, as one of a page that was ``asked`` for."""
    if asked:
        return asked if asked == negotiation.JSON else f"{asked}; charset=utf-8"
    if names[-1] == "index.json" and len(names) > 1:
        return negotiation.JSON
    ending = next((one for one in _TYPES if names[-1].endswith(one)), "")
    return _TYPES.get(ending, "application/octet-stream")


def _etag(path: Path, stream: IO[bytes], about: os.stat_result) -> str:
    """The SHA-256 of a file: of a wheel as its record knows it, else of what is read. A wheel that
    is not as its record says is told apart by its size and time."""
    if path.suffix != ".whl":
        data = stream.read(about.st_size)
        return hashlib.sha256(data).hexdigest()
    try:
        entry = entries.decode(path.with_name(path.name + RECORD).read_bytes(), path.name + RECORD)
    except (OSError, IntegrityError):
        entry = None
    if entry and (entry.size, entry.modified) == (about.st_size, about.st_mtime_ns):
        return entry.sha256
    return f"{about.st_mtime_ns:x}-{about.st_size:x}"
