"""Manifests: ``manifests/<group>/<key>-<id>.json``, where the id is the SHA-256 of the bytes.

So a manifest cannot be changed without another name, and one key may have several: builds of the
same thing need not be the same to the byte. What is read is checked before anything believes it:
the name, the form, and that no file in it would come to lie outside its artifact.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from llamabuild.errors import IntegrityError
from llamabuild.model import File, Manifest
from llamabuild.store.files import create

VERSION: Final = 2
LARGEST: Final = 16 << 20
"""Bytes. A real one has some 60,000."""
NAME: Final = "manifest.json"
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_FILE: Final = re.compile(r"([0-9a-f]{64})-([0-9a-f]{64})\.json")
_FOLDERS: Final = frozenset({"bin", "lib", "wheel"})
_LOG: Final = "build.log"
_PART: Final = re.compile(r"[A-Za-z0-9_+@~][A-Za-z0-9_+@~. -]*")
_FINGERPRINT: Final = re.compile(r"[a-z0-9][A-Za-z0-9_.+-]*")


def encode(manifest: Manifest) -> tuple[str, bytes]:
    """The id and the bytes of a manifest."""
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    return hashlib.sha256(data).hexdigest(), data


def decode(data: bytes, name: str) -> Manifest:
    """The manifest whose id is ``name``. Raises IntegrityError for anything else."""
    if hashlib.sha256(data).hexdigest() != name:
        raise _wrong(name, "its contents are not what its name says")
    try:
        found = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _wrong(name, f"it cannot be read: {error}") from error
    if found.version != VERSION:
        raise _wrong(name, f"it has version {found.version}, this llamabuild knows {VERSION}")
    if not _HASH.fullmatch(found.key):
        raise _wrong(name, f"{found.key!r} is no key")
    if not _FINGERPRINT.fullmatch(found.plan.fingerprint):
        raise _wrong(name, f"{found.plan.fingerprint!r} is no name for a folder")
    if why := unsafe(found.files):
        raise _wrong(name, why)
    return found


def _wrong(name: str, why: str) -> IntegrityError:
    return IntegrityError(f"manifest {name[:12]}: {why}", "It is not used.")


def unsafe(files: Mapping[str, File]) -> str:
    """What is wrong with the names and hashes of an artifact's files, or an empty string.

    >>> file = File(sha256="0" * 64, size=1)
    >>> unsafe({"wheel/a.whl": file, "../x": file}), unsafe({"wheel/a.whl": file})
    ("'../x' is not a file of an artifact", '')
    """
    if sum(name.startswith("wheel/") for name in files) != 1:
        return "an artifact has one wheel"
    for name, file in files.items():
        if not _placed(name):
            return f"{name!r} is not a file of an artifact"
        if not _HASH.fullmatch(file.sha256) or file.size < 0:
            return f"{name!r} has no hash or no size"
    if len({name.lower() for name in files}) < len(files):
        return "two of its files have one name on some systems"
    return ""


def _placed(name: str) -> bool:
    """True for ``build.log`` and for ``bin/X``, ``lib/X`` and ``wheel/X.whl``."""
    parts = name.split("/")  # pathlib takes five times as long, and thousands of names are read
    if not all(map(_PART.fullmatch, parts)):
        return False
    in_place = len(parts) == 2 and parts[0] in _FOLDERS
    return name == _LOG or (in_place and (parts[0] != "wheel" or name.endswith(".whl")))


@dataclass(frozen=True, slots=True)
class Entry:
    """A manifest's file, and what its name says: the key of what went in, and the id."""

    key: str
    id: str
    path: Path


def entry(root: Path, group: str, key: str, id_: str) -> Entry:
    """Where a manifest is, or would be."""
    return Entry(key, id_, root / "manifests" / group / f"{key}-{id_}.json")


def publish(root: Path, group: str, key: str, id_: str, data: bytes) -> Entry:
    """Make a manifest known; from now on what it names is looked for."""
    made = entry(root, group, key, id_)
    create(made.path, data, root / "work")
    return made


def everything(root: Path, group: str = "", key: str = "") -> Iterator[Entry]:
    """All manifests; those of one group, and of keys that begin so, where these are given."""
    home = root / "manifests"
    for name in (group,) if group else _names(home):
        folder = home / name
        for file in _names(folder, key):
            if found := _FILE.fullmatch(file):
                yield Entry(found[1], found[2], folder / file)


def _names(folder: Path, begin: str = "") -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.startswith(begin))
    except (FileNotFoundError, NotADirectoryError):
        return []


def read(entry: Entry) -> Manifest:
    """A manifest of the store.

    Raises IntegrityError when it is not what its name says, OSError when it cannot be read.
    """
    if entry.path.stat().st_size > LARGEST:
        raise _wrong(entry.id, "it is too large")
    found = decode(entry.path.read_bytes(), entry.id)
    if found.key != entry.key:
        raise _wrong(entry.id, f"it is for {found.key[:12]}, and is kept for {entry.key[:12]}")
    return found
