"""A wheel taken apart to be judged: facts only, nothing in it is believed or run."""

from __future__ import annotations

import email
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from llamabuild import audit
from llamabuild.audit import Inventory
from llamabuild.errors import IntegrityError
from llamabuild.host import Host
from llamabuild.release import archive
from llamabuild.release.repack import with_kernels
from llamabuild.wheels import about as abouts
from llamabuild.wheels.about import About


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A wheel, unpacked in ``folder``. ``version`` and ``platforms`` are those of its file name,
    ``info`` is its .dist-info folder; ``inventory`` is what its libraries are."""

    wheel: Path
    folder: Path
    names: tuple[str, ...]
    version: str
    platforms: tuple[str, ...]
    info: str
    about: About
    metadata: Message
    tags: Message
    inventory: Inventory

    def text(self, name: str) -> str:
        """A text file of the .dist-info folder; empty where it is not there."""
        file = self.folder / self.info / name
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def opened(wheel: Path, scratch: Path, host: Host) -> Opened:
    """Unpack and look. Raises IntegrityError for what is no released wheel at all: no archive,
    unsafe names, no statement of what it is, libraries that are damaged."""
    try:
        _, version, _, tags = parse_wheel_filename(wheel.name)
    except InvalidWheelFilename as error:
        raise IntegrityError(f"{wheel.name} is no name of a wheel: {error}", _HINT) from error
    folder = scratch / "opened"
    names = archive.unpack(wheel, folder)
    info = archive.dist_info(names, wheel.name)
    return Opened(
        wheel=wheel,
        folder=folder,
        names=names,
        version=str(version),
        platforms=tuple(sorted({one.platform for one in tags})),
        info=info,
        about=_about(folder / info / abouts.NAME, wheel.name),
        metadata=_fields(folder / info / "METADATA"),
        tags=_fields(folder / info / "WHEEL"),
        inventory=audit.look(folder, host, instructions=with_kernels),
    )


def _about(file: Path, where: str) -> About:
    if not file.is_file():
        raise IntegrityError(f"{where} does not say what it is: no {abouts.NAME}", _HINT)
    return abouts.decode(file.read_bytes(), where)


def _fields(file: Path) -> Message:
    return email.message_from_bytes(file.read_bytes() if file.is_file() else b"")


_HINT = "llamabuild wheel make makes released wheels."
