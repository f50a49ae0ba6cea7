"""``vendor/kits.toml`` → :class:`Kit`: tools that are brought along where a machine has none."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from llamabuild import data, digest
from llamabuild.errors import ConfigError
from llamabuild.model import Archive, Kit

CONTENTS: Final = "contents.json"
"""The file of a kit that lists the others with their sizes."""
CACHE: Final = "cache"
"""The folder of a kit in which its tools keep what they like."""


class _Wheel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the file; ``file`` is PROJECT/FILE."""

    platform: str
    file: str
    version: str
    size: int
    sha256: str


class _Kit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""

    version: str
    licence: str
    layout: int
    what: str
    unpacked: int
    wheels: tuple[_Wheel, ...]


def kits(platform: str) -> dict[str, Kit]:
    """The kits that there are for a ``platform`` ("linux-x86_64"), by name, in the file's order."""
    found = {}
    for name, table in _tables().items():
        if wheels := tuple(
            _archive(one, table.licence) for one in table.wheels if one.platform == platform
        ):
            found[name] = Kit(
                name=name,
                version=table.version,
                licence=table.licence,
                layout=table.layout,
                what=table.what,
                unpacked=table.unpacked,
                wheels=wheels,
            )
    return found


def folder(kit: Kit, cache: Path) -> Path:
    """Where a kit is when it is complete: named by the hashes of all that is in it and by what is
    made of it."""
    identity = digest.of_value([kit.layout, *(wheel.sha256 for wheel in kit.wheels)])
    return cache / "kits" / f"{kit.name}-{identity[:16]}"


def contents(folder: Path) -> dict[str, int]:
    """Every file of a kit below its folder with its size, but for what its tools keep for
    themselves."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    names = ((path.relative_to(folder).as_posix(), path.stat().st_size) for path in found)
    return {name: size for name, size in names if name.split("/")[0] not in (CACHE, CONTENTS)}


def complete(folder: Path) -> bool:
    """True when a kit has all its files; somebody may have cleared up among them."""
    try:
        known = msgspec.json.decode((folder / CONTENTS).read_bytes(), type=dict[str, int])
        return all((folder / name).stat().st_size == size for name, size in known.items())
    except (OSError, msgspec.DecodeError):
        return False


def _archive(row: _Wheel, licence: str) -> Archive:
    project, _, _ = row.file.partition("/")
    return Archive(
        name=project,
        version=row.version,
        urls=(f"pypi:{row.file}",),
        size=row.size,
        sha256=row.sha256,
        licence=licence,
    )


@cache
def _tables(path: Path | None = None) -> dict[str, _Kit]:
    """Raises ConfigError naming what is wrong with the file."""
    path = path or data.folder("vendor") / "kits.toml"
    try:
        return msgspec.convert(data.load(path).get("kits", {}), dict[str, _Kit])
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}", "vendor/README.md shows the form.") from error
