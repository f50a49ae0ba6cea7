"""Wheels as archives: taken apart safely, put together so that the same files give the same bytes.

Sources: the binary distribution format (PEP 427 and its successors on packaging.python.org).
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import shutil
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from llamabuild.errors import IntegrityError

MOST: Final = 8 << 30
"""Bytes that a wheel may unpack to: with all of CUDA's libraries inside it has some three."""
_TIME: Final = (2023, 11, 14, 22, 13, 20)
"""A fixed time for the entries, that of :func:`llamabuild.wheels.pack`."""
_MODE: Final = (stat.S_IFREG | 0o644) << 16
_UNIX: Final = 3
_BLOCK: Final = 1 << 20
_AGAIN: Final = "Make the wheel again, or fetch it again."


def unsafe(names: Iterable[str]) -> tuple[str, ...]:
    """What is wrong with the names of a wheel's entries, a sentence each.

    >>> unsafe(["a/b.py", "a/../../c", "A/b.py"])
    ('a/../../c is no safe name', 'A/b.py is there twice, but for capital letters')
    """
    found, seen = [], set[str]()
    for name in names:
        parts = name.split("/")
        odd = {"", ".", ".."}.intersection(parts) or set("\\:\0").intersection(name)
        if odd or not name.isprintable():
            found.append(f"{name!a} is no safe name" if not name.isprintable() else _no(name))
        elif name.lower() in seen:
            found.append(f"{name} is there twice, but for capital letters")
        seen.add(name.lower())
    return tuple(found)


def _no(name: str) -> str:
    return f"{name or 'an empty name'} is no safe name"


def unpack(wheel: Path, folder: Path) -> tuple[str, ...]:
    """Unpack a wheel into a folder that is made; returns its names in their order. Raises
    IntegrityError when it is no archive, damaged, too large or has a name that is not safe."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            infos = [one for one in archive.infolist() if not one.is_dir()]
            names = tuple(one.filename for one in infos)
            if wrong := _refused(infos):
                raise IntegrityError(f"{wheel.name}: {wrong}", _AGAIN)
            for info in infos:
                target = folder / info.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, target.open("xb") as sink:
                    shutil.copyfileobj(source, sink, _BLOCK)
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise IntegrityError(f"{wheel} is no sound wheel: {error}", _AGAIN) from error
    return names


def _refused(infos: Iterable[zipfile.ZipInfo]) -> str:
    infos = tuple(infos)
    if wrong := unsafe(one.filename for one in infos):
        return "; ".join(wrong)
    if any(stat.S_ISLNK(one.external_attr >> 16) for one in infos):
        return "it holds a symbolic link"
    size = sum(one.file_size for one in infos)
    return f"it unpacks to {size} bytes, at most {MOST}" if size > MOST else ""


def files(folder: Path) -> tuple[str, ...]:
    """The relative paths of all files, sorted, with what describes the wheel at the end, where
    readers look first."""
    found = (one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file())
    return tuple(sorted(found, key=lambda name: (".dist-info/" in name, name)))


def pack(folder: Path, wheel: Path) -> None:
    """Write RECORD and the archive: no time, owner or order of this machine is in it."""
    info = dist_info(files(folder), folder.name)
    record = folder / info / "RECORD"
    record.unlink(missing_ok=True)
    names = files(folder)
    record.write_text(_record(folder, names, f"{info}/RECORD"), encoding="utf-8", newline="")
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in (*names, f"{info}/RECORD"):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr, entry.create_system = _MODE, _UNIX
            entry.file_size = (folder / name).stat().st_size  # decides whether zip64 is needed
            with (folder / name).open("rb") as source, archive.open(entry, "w") as sink:
                shutil.copyfileobj(source, sink, _BLOCK)


def _record(folder: Path, names: Iterable[str], own: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for name in names:
        digest, size = fingerprint(folder / name)
        writer.writerow((name, f"sha256={digest}", size))
    writer.writerow((own, "", ""))
    return text.getvalue()


def recorded(text: str) -> Mapping[str, tuple[str, str]]:
    """What RECORD says of each file: hash and size. Raises IntegrityError when it cannot be read or
    names a file twice."""
    try:
        rows = list(csv.reader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise IntegrityError(f"RECORD cannot be read: {error}", _AGAIN) from error
    found = {row[0]: (row[1], row[2]) for row in rows if len(row) == 3}
    if len(found) < len(rows):
        raise IntegrityError("RECORD has a line that is none, or a name twice", _AGAIN)
    return found


def fingerprint(file: Path) -> tuple[str, str]:
    """A file's SHA-256 as RECORD spells it (base64 without padding), and its size."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    text = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
    return text, str(file.stat().st_size)


def dist_info(names: Iterable[str], where: str) -> str:
    """The one folder that describes the wheel. Raises IntegrityError."""
    tops = {PurePosixPath(name).parts[0] for name in names}
    found = sorted(top for top in tops if top.endswith(".dist-info"))
    if len(found) != 1:
        said = ", ".join(found) or "none"
        raise IntegrityError(f"{where} has not one .dist-info folder: {said}", _AGAIN)
    return found[0]


def binaries(folder: Path) -> Iterator[Path]:
    """The libraries in an unpacked wheel, by their names."""
    for name in files(folder):
        if any(part in name.rpartition("/")[2] for part in (".so", ".dll", ".dylib")):
            yield folder / name
