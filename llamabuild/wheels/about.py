"""What a released wheel says of itself: ``dist-info/llamabuild.json``.

Names and labels are for people; this is what programs read: what is inside, what it requires of a
machine, and what was proved.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

import msgspec

from llamabuild.errors import IntegrityError
from llamabuild.model import Requires

NAME: Final = "llamabuild.json"
VERSION: Final = 1
_LARGEST: Final = 1 << 20


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A released wheel.

    ``variant`` is the local version label without the build ("cpu.v3"): it names the directory of
    an index. ``label`` is the whole ("cpu.v3.lb3f9a1c2"). ``key`` and ``artifact`` are those of the
    artifact that it was made of. ``cpu`` is the recipe's word, ``features`` are what the code was
    compiled for. ``proved_on`` is the device of the proof, ``unproved`` what was not run.
    """

    version: int = VERSION
    name: str = "llama-cpp-python"
    release: str
    variant: str
    label: str
    key: str
    artifact: str
    llamabuild: str
    commit: str
    build_number: int
    backends: tuple[str, ...]
    cpu: str
    features: tuple[str, ...]
    requires: Requires
    compiler: str
    created: str
    proved_on: str
    checks: int
    unproved: tuple[str, ...] = ()


def encode(about: About) -> bytes:
    """The file's contents: the same for the same facts."""
    return msgspec.json.format(msgspec.json.encode(about), indent=1) + b"\n"


def decode(data: bytes, where: str) -> About:
    """Raises IntegrityError, naming ``where``, for anything else."""
    try:
        found = msgspec.json.decode(data, type=About)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{where}: {NAME} cannot be read: {error}", _HINT) from error
    if found.version != VERSION:
        raise IntegrityError(f"{where}: {NAME} is of version {found.version}", _HINT)
    return found


_HINT: Final = "Make the wheel again with this version of llamabuild."


def read(wheel: Path) -> About | None:
    """What a wheel says of itself; None when it says nothing. Raises IntegrityError for a file that
    is no wheel, or whose statement cannot be read."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for info in archive.infolist():
                folder, _, name = info.filename.rpartition("/")
                if name == NAME and folder.endswith(".dist-info") and info.file_size <= _LARGEST:
                    return decode(archive.read(info), wheel.name)
    except (zipfile.BadZipFile, OSError) as error:
        raise IntegrityError(f"{wheel} is no wheel: {error}", "Make it again.") from error
    return None
