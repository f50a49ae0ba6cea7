"""Matrix products of long prompts through a BLAS library: part of macOS, elsewhere asked for.

ggml uses BLAS only for products whose every dimension is at least 32, never for generating tokens,
and its own CPU code is about as fast: only Apple's Accelerate, which reaches matrix units that
nothing else does, is taken without asking. Where libraries are is data (``blas.toml``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import msgspec

from llamabuild import data, digest, packages
from llamabuild.backends import apple
from llamabuild.backends.interface import (
    Doubt,
    Evidence,
    Found,
    Traits,
    any_driver,
    any_fit,
    listed,
)
from llamabuild.host import Host
from llamabuild.model import Absence, Device, Flag, Hardware, Tool, Toolchain

TITLE: Final = "BLAS"
SWITCH: Final = "GGML_BLAS"
_NAME: Final = "blas"
TRAITS: Final = Traits(environment=("MKLROOT",))
driver = any_driver
fit = any_fit
_ACCELERATE: Final = "Accelerate"
_HEADERS: Final = "blas-headers"
_LIBRARY: Final = "blas-library"


class Library(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row of ``blas.toml``, where the fields are explained."""

    name: str
    vendor: str
    arch: str = ""
    env: tuple[str, ...]
    headers: tuple[str, ...]
    version: str
    includes: tuple[str, ...]
    libraries: tuple[str, ...]
    find: bool = False


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    triplets: dict[str, str]
    library: tuple[Library, ...]
    packages: dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A library with its headers: the folder of these, the library's file, and its version."""

    library: Library
    include: str
    file: str
    version: str
    text: str


@cache
def table() -> _Table:
    """What is known about BLAS libraries."""
    return msgspec.convert(data.load(data.package("backends/blas.toml")), _Table)


def detect(host: Host) -> Found:
    """The library that a build would use. No process is started but on macOS."""
    if host.system()[0] == "macos":
        return _macos(host)
    places = [place for row in table().library if (place := find(host, row))]
    if not places:
        hint = packages.install(host, table().packages["openblas"])
        return Found(absent=(_absence("no BLAS library with its headers is installed", hint),))
    first = places[0]
    device = Device(backend=_NAME, name=first.library.name, architecture="", kind="library")
    return Found(devices=(device,), tools=_tools(first))


def flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:
    """Which library, where its headers are, and where it is itself."""
    if hardware.os == "macos":
        return (
            Flag(name="GGML_BLAS_VENDOR", value="Apple", why="Accelerate is part of macOS"),
            Flag(name="GGML_ACCELERATE", value=True, why="its vector functions serve the CPU too"),
            *apple.platform_flags(hardware, toolchain),
        )
    tools = {tool.name: tool for tool in toolchain.tools}
    name = next((one.name for one in hardware.devices if one.backend == _NAME), "")
    row = next((one for one in table().library if one.name == name), table().library[-1])
    headers, library = tools.get(_HEADERS), tools.get(_LIBRARY)
    found = [Flag(name="GGML_BLAS_VENDOR", value=row.vendor, why=f"{row.name} is used")]
    if headers:
        why = f"the headers of {row.name}; else pkg-config would be needed and asked"
        found.append(Flag(name="BLAS_INCLUDE_DIRS", value=headers.path, why=why))
    if library and not row.find:
        why = "this very library: CMake would take the first of this name, or one without threads"
        found.append(Flag(name="BLAS_LIBRARIES", value=library.path, why=why))
    return (*found, Flag(name="GGML_ACCELERATE", value=False, why="Accelerate is only on macOS"))


def together(devices: tuple[Device, ...]) -> str | None:
    """None when all devices are the same library: a build is linked with one."""
    names = list(dict.fromkeys(device.name for device in devices))
    return None if len(names) < 2 else f"a build is linked with one of {' and '.join(names)}"


def judge(evidence: Evidence) -> Doubt | None:
    """None when ggml lists the library: which products it takes is its own choice, by their
    size."""
    return listed(evidence, "BLAS")


def find(host: Host, row: Library) -> Place | None:
    """Where a library is, with its headers; None when either is not there."""
    arch = host.system()[2]
    if row.arch not in ("", arch):
        return None
    for words in _roots(host.environ, row, table().triplets.get(arch, arch)):
        folders, files = _filled(row.includes, words), _filled(row.libraries, words)
        folder = next((one for one in folders if _all_there(host, one, row.headers)), "")
        file = next((one for one in files if host.exists(one)), "")
        if folder and file:
            text = "\n".join(host.read_text(f"{folder}/{name}") or "" for name in row.headers)
            version = version_of(row, text)
            return Place(library=row, include=folder, file=file, version=version, text=text)
    return None


def version_of(row: Library, headers: str) -> str:
    """A library's version by its headers, or an empty text.

    >>> row = next(one for one in table().library if one.name == "OpenBLAS")
    >>> version_of(row, '#define OPENBLAS_VERSION " OpenBLAS 0.3.21 "')
    '0.3.21'
    """
    found = re.search(row.version, headers)
    return found[1].strip() if found else ""


def _roots(environ: Mapping[str, str], row: Library, triplet: str) -> list[dict[str, str]]:
    """Words to fill patterns with: a folder from each variable that is set, then none."""
    asked = (environ.get(name, "").replace("\\", "/").rstrip("/") for name in row.env)
    return [{"root": root, "triplet": triplet} for root in (*filter(None, asked), "")]


def _filled(patterns: tuple[str, ...], words: Mapping[str, str]) -> list[str]:
    """The patterns that are about the folder, or without one those that are about none."""
    mine = (one for one in patterns if ("{root}" in one) == bool(words["root"]))
    return [
        one.replace("{root}", words["root"]).replace("{triplet}", words["triplet"]) for one in mine
    ]


def _all_there(host: Host, folder: str, names: tuple[str, ...]) -> bool:
    return all(host.exists(f"{folder}/{name}") for name in names)


def _tools(place: Place) -> tuple[Tool, ...]:
    known = digest.of_value([place.library.name, place.text])
    headers = Tool(name=_HEADERS, version=place.version, path=place.include, digest=known)
    return (headers, Tool(name=_LIBRARY, version=place.version, path=place.file))


def _macos(host: Host) -> Found:
    """Accelerate is there; what may be too old is macOS or its SDK."""
    version = host.system()[1]
    if not apple.has_accelerate(version):
        why = f"ggml needs the Accelerate of macOS 13.3 (here: {version})"
        return Found(
            absent=(_absence(why, "Update macOS; without it the CPU's own code is used."),)
        )
    tool, lacks, hint = apple.sdk(host)
    if tool and not apple.has_accelerate(tool.version):
        lacks, hint = (
            f"an SDK of macOS 13.3 or newer (here: {tool.version})",
            "Update Xcode's command line tools: softwareupdate --list",
        )
    device = Device(backend=_NAME, name=_ACCELERATE, architecture="", lacks=lacks)
    if lacks or tool is None:
        why = f"Accelerate is part of macOS, but {lacks} is not here"
        return Found(devices=(device,), absent=(_absence(why, hint, _ACCELERATE),))
    return Found(devices=(device,), tools=(tool,))


def _absence(why: str, hint: str, seen: str = "") -> Absence:
    return Absence(what=_NAME, why=why, hint=hint, seen=seen)
