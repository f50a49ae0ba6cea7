"""What a CUDA toolkit holds of that which a build needs: nvcc, cuBLAS, the runtime, libcuda.

Nothing here raises. One toolkit costs two short runs of its nvcc.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from llamabuild import digest
from llamabuild.backends.cuda_facts import TABLE, compatible, numbers
from llamabuild.host import Host, Limits
from llamabuild.model import Tool

_LIMITS: Final = Limits(seconds=5)
_PLACES: Final[dict[str, Any]] = TABLE["places"]
_CUBLAS: Final = "cuBLAS's development files"


class _Kit(msgspec.Struct, frozen=True):
    """The note in a toolkit of wheels: distributions, and where their libraries are, seen from
    those of a result."""

    requires: tuple[str, ...]
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolkit:
    """A toolkit by its nvcc; ``missing`` is what a build lacks of it, in words, ``why`` the whole
    sentence, and ``fix`` the name of the hint ("cublas", "glibc")."""

    nvcc: str
    version: str
    tools: tuple[Tool, ...] = ()
    missing: str = ""
    why: str = ""
    fix: str = ""


def toolkit(host: Host, nvcc: str) -> Toolkit:
    """The toolkit of an nvcc and the libraries beside it."""
    said = host.run([nvcc, "--version"], limits=_LIMITS)
    version = nvcc_version(said.out)
    if not version:
        hangs = f"did not answer within {_LIMITS.seconds:.0f} seconds"
        why = f"{nvcc} {hangs if said.timed_out else 'does not work'}"
        return Toolkit(nvcc=nvcc, version="", missing="an nvcc that works", why=why)
    if numbers(version) < numbers(TABLE["minimum"]):
        why = compatible(version, "7.5") or ""
        missing = f"CUDA {TABLE['minimum']} or newer"
        return Toolkit(nvcc=nvcc, version=version, missing=missing, why=why)
    include, library = _folders(host, nvcc)
    header = _first(host, include, "cublas_api.h")
    if not header:
        why = f"the CUDA {version} toolkit here has no cuBLAS headers"
        return Toolkit(nvcc=nvcc, version=version, missing=_CUBLAS, why=why, fix="cublas")
    if clash := _clash(host, version, include):
        missing = f"a CUDA toolkit for {host.libc()}"
        return Toolkit(nvcc=nvcc, version=version, missing=missing, why=clash, fix="glibc")
    tools = [
        Tool(name="nvcc", version=version, path=nvcc, digest=digest.of_value(said.out)),
        _cublas(host, header),
    ]
    for name, files in _PLACES["libraries"].items():
        if path := next((p for file in files if (p := _first(host, library, file))), None):
            tools.append(Tool(name=name, version="", path=path))
    tools += _at_run_time(host, root_of(nvcc))
    return Toolkit(nvcc=nvcc, version=version, tools=tuple(tools))


def _at_run_time(host: Host, root: str) -> list[Tool]:
    """Where the result finds the libraries of a toolkit that was put together from wheels."""
    try:
        told = msgspec.json.decode(host.read_text(f"{root}/kit.json") or "", type=_Kit)
    except msgspec.DecodeError:
        return []
    own = digest.of_value([*told.requires, *told.places])
    return [
        Tool(name="cuda-wheels", version="", digest=own, requires=told.requires, places=told.places)
    ]


def nvcc_version(text: str) -> str | None:
    """The toolkit's version from ``nvcc --version``.

    >>> nvcc_version("Cuda compilation tools, release 13.0, V13.0.88"), nvcc_version("garbage")
    ('13.0.88', None)
    """
    found = re.search(r"release [0-9.]+, V([0-9]{1,4}\.[0-9]{1,4}(?:\.[0-9]{1,6})?)", text)
    return found[1] if found else None


def nvcc_folders(dryrun: str) -> dict[str, list[str]]:
    """Where nvcc looks for headers ("I") and libraries ("L"), from ``nvcc --dryrun``.

    >>> nvcc_folders('#$ INCLUDES="-I/c/bin/../include"  \\n#$ LIBRARIES=  "-L/c/stubs" "-L/c/lib"')
    {'I': ['/c/include'], 'L': ['/c/stubs', '/c/lib']}
    """
    lines = re.findall(r"(?m)^#\$ (?:INCLUDES|LIBRARIES)=.*$", dryrun)
    pairs = [pair for line in lines for pair in re.findall(r'"-([IL])([^"]+)"', line)]
    return {kind: [_tidy(path) for k, path in pairs if k == kind] for kind in "IL"}


def root_of(nvcc: str) -> str:
    """The folder of a toolkit by its nvcc.

    >>> root_of("/usr/local/cuda-12.8/bin/nvcc")
    '/usr/local/cuda-12.8'
    """
    return nvcc.rpartition("/bin/")[0]


def _folders(host: Host, nvcc: str) -> tuple[list[str], list[str]]:
    """Where the headers and the libraries of an nvcc may be. On Windows it answers only where cl
    is on PATH, so the usual folders below its own are looked at too."""
    dryrun = host.run([nvcc, "--dryrun", "-v", "x.cu"], limits=_LIMITS)
    told, root = nvcc_folders(dryrun.err + dryrun.out), root_of(nvcc)
    below = [f"{root}/{name}" for name in _PLACES["below"]]
    return (
        [*told["I"], f"{root}/include", *_PLACES["include"]],
        [*told["L"], *below, *_PLACES["library"]],
    )


def _tidy(path: str) -> str:
    return posixpath.normpath(path.replace("\\", "/"))


def _first(host: Host, folders: Sequence[str], name: str) -> str | None:
    paths = (f"{folder}/{name}" for folder in folders)
    return next((path for path in paths if host.exists(path)), None)


def _cublas(host: Host, header: str) -> Tool:
    text = host.read_text(header) or ""
    parts = re.findall(r"CUBLAS_VER_(?:MAJOR|MINOR|PATCH)\s+([0-9]+)", text)
    version = ".".join(parts)
    return Tool(name="cublas", version=version, path=header, digest=digest.of_value(text))


def _clash(host: Host, version: str, include: Sequence[str]) -> str:
    """Why the toolkit's headers do not compile beside this C library, or an empty string: both
    declare a function, glibc ``noexcept`` and CUDA not. Distributions mend the header, so it is
    read; only where the versions make it possible."""
    family, _, libc = host.libc().partition(" ")
    for row in TABLE["glibc"]:
        if family != "glibc" or numbers(libc) < numbers(row["first"]):
            continue
        if numbers(version)[:2] >= numbers(row["mended"]):
            continue
        header = _first(host, include, "crt/math_functions.h")
        text = (host.read_text(header) if header else "") or ""
        if re.search(rf"\b{row['function']}\(double x\)\s*;", text):
            return f"CUDA {version} does not compile beside glibc {libc} ({row['function']})"
    return ""
