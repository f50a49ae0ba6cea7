"""Unpacks a ``.tar.gz`` (or ``.tar.xz``) whose names are not trusted, completely or not at all.

Only regular files and folders come out, under names that mean the same on every system: no
absolute names, no ``..``, no devices, nothing twice. Python's own ``data`` filter is asked too
where there is one (3.10.12, 3.11.4 and later). Symbolic links inside the archive are left out, and
so are folders named ``.git``: they are half of the pinned archive, and a build must not read its
version from them.
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import posixpath
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final

from llamabuild.errors import IntegrityError
from llamabuild.events import Emit
from llamabuild.fetch import patch
from llamabuild.fetch.names import safe_name
from llamabuild.fetch.progress import Meter
from llamabuild.model import Pin

MAX_BYTES: Final = 8 << 30  # a llama.cpp tree has 0.2 GB
MAX_MEMBERS: Final = 200_000  # the pinned archive has 3,884

_BLOCK: Final = 1 << 20
_XZ: Final = b"\xfd7zXZ\0"


def unpack(archive: Path, folder: Path, pin: Pin, emit: Emit, *, limit: int = MAX_BYTES) -> None:
    """Unpack into ``folder``, which appears when it is complete and patched and has one top folder
    with the pin's tree in it. The caller holds the lock. Raises IntegrityError naming the member
    or the patch."""
    temporary = folder.with_name(folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        extract(archive, temporary, emit, limit=limit)
        if not (root(temporary) / pin.tree).is_dir():
            raise IntegrityError(
                f"{archive.name} has no folder {pin.tree!r} in its top folder",
                "Correct `tree` of the pin.",
            )
        for one in pin.patches:
            patch.apply(one, root(temporary))
        if hasattr(os, "sync"):
            os.sync()  # once for all: thousands of fsync calls take minutes on a slow disk
        os.rename(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def extract(archive: Path, folder: Path, emit: Emit, *, limit: int = MAX_BYTES) -> None:
    """Everything of an archive into an empty folder. Raises IntegrityError naming the member."""
    with archive.open("rb") as stream, _told(archive):
        _extract(stream, folder, emit, limit)


def root(folder: Path) -> Path:
    """The archive's own top folder. Raises IntegrityError when there is not exactly one."""
    names = os.listdir(folder)
    if len(names) != 1 or not (folder / names[0]).is_dir():
        raise IntegrityError(
            f"the archive has {len(names)} entries at its top, wanted one folder",
            "Pin a source archive with one top folder.",
        )
    return folder / names[0]


def _extract(stream: IO[bytes], folder: Path, emit: Emit, limit: int) -> None:
    meter = Meter(emit, "unpack", os.fstat(stream.fileno()).st_size)
    kinds: dict[PurePosixPath, bool] = {PurePosixPath(): True}  # path → is a folder
    total = 0
    # tarfile alone would not look at the checksum and length at the end of the compressed stream.
    with _plain(stream) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
        for count, member in enumerate(tar, 1):
            try:
                path = _checked(member, folder, kinds)
                total += member.size
                if total > limit or count > MAX_MEMBERS:
                    raise ValueError(f"passes the limit of {limit} bytes or {MAX_MEMBERS} members")
            except (ValueError, getattr(tarfile, "FilterError", ValueError)) as error:
                raise _unsafe(member, str(error)) from error
            if ".git" not in path.parts and not member.issym():
                _write(tar, member, folder / path)
            meter.at(stream.tell())
        while plain.read(_BLOCK):
            pass
    meter.at(os.fstat(stream.fileno()).st_size)


def _plain(stream: IO[bytes]) -> gzip.GzipFile | lzma.LZMAFile:
    """The uncompressed bytes: of xz when they begin so, else of gzip."""
    start = stream.read(len(_XZ))
    stream.seek(0)
    return lzma.LZMAFile(stream) if start == _XZ else gzip.GzipFile(fileobj=stream)


def _checked(
    member: tarfile.TarInfo, folder: Path, kinds: dict[PurePosixPath, bool]
) -> PurePosixPath:
    """The member's path, entered into ``kinds``. Raises ValueError or tarfile.FilterError."""
    path = safe_name(member.name)
    if member.issym():
        _check_link(path, member.linkname)
    elif not (member.isreg() or member.isdir()):
        raise ValueError("is neither a regular file nor a folder")
    if member.size < 0:
        raise ValueError("has a negative size")
    if path in kinds and not (kinds[path] and member.isdir()):
        raise ValueError("appears twice")
    for parent in path.parents:
        if not kinds.setdefault(parent, True):
            raise ValueError(f"lies in {parent}, which is a file")
    kinds[path] = member.isdir()
    if hasattr(tarfile, "data_filter"):
        tarfile.data_filter(member, str(folder))
    return path


def _check_link(path: PurePosixPath, target: str) -> None:
    """Links inside the archive are left out: old sources have some for another build system, and
    nothing needs them. Raises ValueError for one that leaves it; nobody means well with that."""
    safe = posixpath.normpath(posixpath.join(path.parent, target))
    if target.startswith("/") or safe.startswith("../") or safe == "..":
        raise ValueError("is a link that leaves the archive")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """One folder, or one new file: never through a link, since none exists below."""
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(member)
    assert content is not None
    try:
        with content, target.open("xb") as out:
            shutil.copyfileobj(content, out, _BLOCK)
    except FileExistsError as error:  # names that differ, but not for this file system
        raise _unsafe(member, "appears twice on this file system") from error
    target.chmod(0o755 if member.mode & 0o100 else 0o644)  # no setuid, nothing for others
    with contextlib.suppress(OSError, OverflowError):  # absurd times do no harm
        os.utime(target, (member.mtime, member.mtime))


def _unsafe(member: tarfile.TarInfo, why: str) -> IntegrityError:
    return IntegrityError(
        f"unsafe archive: {member.name!r} {why}",
        "Nothing of it was kept. Pin another archive.",
    )


@contextlib.contextmanager
def _told(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, gzip.BadGzipFile, lzma.LZMAError, EOFError, zlib.error) as error:
        raise IntegrityError(
            f"{archive.name} is not a readable .tar.gz or .tar.xz archive: {error}",
            "Its hash, where there is one, fits: so that names the wrong file.",
        ) from error
