"""Manifests: ``manifests/<group>/<key>/<id>.json``, where the id is the SHA-256 of the bytes.

So a manifest cannot be changed without another name, and one key may have several: builds of the
same thing need not be the same to the byte. What is read is checked before anything believes it:
the name, the form, and that no file in it would come to lie outside its artifact.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
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

    >>> unsafe({"../x": File(sha256="0" * 64, size=1)})
    "'../x' is not a file of an artifact"
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
    parts = PurePosixPath(name).parts
    if "/".join(parts) != name or not all(_PART.fullmatch(part) for part in parts):
        return False
    in_place = len(parts) == 2 and parts[0] in _FOLDERS
    return name == _LOG or (in_place and (parts[0] != "wheel" or name.endswith(".whl")))


def folder(root: Path, group: str, key: str) -> Path:
    """Where the manifests of a key are."""
    return root / "manifests" / group / key


def publish(root: Path, group: str, key: str, data: bytes, name: str) -> None:
    """Make a manifest known, under its id; from now on what it names is looked for."""
    path = folder(root, group, key) / f"{name}.json"
    create(path, data, root / "work")


def of_key(root: Path, group: str, key: str) -> Iterator[Path]:
    """The files of a key's manifests."""
    return folder(root, group, key).glob("*.json")


def everything(root: Path, group: str = "*", key: str = "*") -> Iterator[Path]:
    """The files of all manifests, of one group or of one beginning of a key."""
    return (root / "manifests").glob(f"{group}/{key}/*.json")


def read(path: Path) -> Manifest:
    """The manifest in a file of the store.

    Raises IntegrityError when it is not what its place says, OSError when it cannot be read.
    """
    if path.stat().st_size > LARGEST:
        raise _wrong(path.stem, "it is too large")
    found = decode(path.read_bytes(), path.stem)
    if found.key != path.parent.name:
        where = path.parent.name[:12]
        raise _wrong(path.stem, f"it is for {found.key[:12]}, and lies with {where}")
    return found
