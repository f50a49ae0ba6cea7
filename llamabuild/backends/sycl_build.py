"""What a SYCL build needs beside a device: oneAPI's compiler and libraries, Level Zero."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llamabuild import data, digest
from llamabuild.host import Finished, Host, Limits
from llamabuild.model import Tool

LIMITS: Final = Limits(seconds=5)
TABLE: Final[dict[str, Any]] = data.load(data.package("backends/sycl.toml"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """An installed oneAPI. ``cc`` and ``cxx`` are its C and C++ compiler (on Windows ``cl`` is the
    C compiler), ``lister`` is its ``sycl-ls``; empty where there is none."""

    root: str
    cc: str
    cxx: str
    lister: str


def kit(host: Host) -> Kit | None:
    """The oneAPI of this machine, or None. Starts no process."""
    system = host.system()[0]
    names: Sequence[str] = TABLE["oneapi"]["compilers"].get(system, ())
    if not names:
        return None
    folder = _folder(host, "CMPLR_ROOT", "compiler/latest")
    program = "{}.exe" if system == "windows" else "{}"
    inside = [f"{folder}/bin/{program.format(name)}" for name in (*names, "sycl-ls")]
    cc, cxx, lister = (
        path if folder and host.exists(path) else host.which(name) or ""
        for name, path in zip((*names, "sycl-ls"), inside, strict=True)
    )
    root = _root(host)
    if not root and not cxx and not lister:
        return None
    return Kit(root=root, cc=cc, cxx=cxx, lister=lister)


def environment(host: Host, found: Kit) -> dict[str, str]:
    """What ``setvars`` would put into the environment so that programs find oneAPI's libraries,
    which they do by no other way; nothing when it has done so already."""
    if host.environ.get("CMPLR_ROOT") or not found.root:
        return {}
    system = host.system()[0]
    name, separator = ("PATH", ";") if system == "windows" else ("LD_LIBRARY_PATH", ":")
    folders = (f"{found.root}/{one}" for one in TABLE["oneapi"]["libraries"][system])
    here = [one for one in folders if host.exists(one)]
    known = [one for one in host.environ.get(name, "").split(separator) if one]
    return {name: separator.join(dict.fromkeys((*here, *known)))}


def run(host: Host, found: Kit, argv: Sequence[str]) -> Finished:
    """Run one of oneAPI's programs. It is given only what it needs of this environment: all that
    is asked for here would stand in a recording of this machine."""
    own = environment(host, found)
    kept = {name: host.environ.get(name, "") for name in TABLE["oneapi"]["environment"] if own}
    env = {**{name: value for name, value in kept.items() if value}, **own}
    return host.run(argv, limits=LIMITS, env=env or None)


def needs(host: Host, found: Kit) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    """What a build uses of oneAPI, and in words what it lacks."""
    compiler = _compiler(host, found)
    rows = [(row, _package(host, row)) for row in TABLE["package"]]
    tools = [compiler, *(tool for _, tool in rows), _level_zero(host)]
    lacks = []
    if not compiler:
        lacks.append("oneAPI's DPC++/C++ compiler")
    elif _numbers(compiler.version) < _numbers(TABLE["minimum"]):
        lacks.append(f"oneAPI {TABLE['minimum']} or newer (here is {compiler.version})")
    lacks += [row["missing"] for row, tool in rows if "missing" in row and not tool]
    return tuple(tool for tool in tools if tool), tuple(lacks)


def compiler_version(text: str) -> str | None:
    """The version in ``icpx --version``.

    >>> compiler_version("Intel(R) oneAPI DPC++/C++ Compiler 2025.3.2 (2025.3.2.20260112)")
    '2025.3.2'
    >>> compiler_version("icpx: error while loading shared libraries")
    """
    found = re.search(r"oneAPI DPC\+\+/C\+\+ Compiler.* (20[0-9]{2}(?:\.[0-9]{1,3}){1,2}) ", text)
    return found[1] if found else None


def header_version(text: str, words: Sequence[str]) -> str:
    """The version that a header defines, number by number.

    >>> header_version("#define MAJOR 2025\\n#define  MINOR 3", ("MAJOR", "MINOR"))
    '2025.3'
    """
    found = (re.search(rf"(?m)^#define\s+{word}\s+([0-9]{{1,6}})\b", text) for word in words)
    return ".".join(one[1] for one in found if one)


def _compiler(host: Host, found: Kit) -> Tool | None:
    if not found.cxx:
        return None
    said = run(host, found, [found.cxx, "--version"])
    version = compiler_version(said.out) if said.code == 0 else None
    if not version:
        return None
    name = os.path.basename(found.cxx).removesuffix(".exe")
    return Tool(name=name, version=version, path=found.cxx, digest=digest.of_value(said.out))


def _package(host: Host, row: Mapping[str, Any]) -> Tool | None:
    """A CMake package of oneAPI, when all of it is here."""
    folder = _folder(host, row["variable"], row["folder"])
    library = row.get("library", {}).get(host.system()[0])
    wanted = [f"{folder}/{one}" for one in (row["config"], library) if one]
    if not folder or not all(host.exists(path) for path in wanted):
        return None
    text = (host.read_text(f"{folder}/{row['header']}") or "") if "header" in row else ""
    return Tool(
        name=row["tool"],
        version=header_version(text, row.get("version", ())),
        path=wanted[0],
        digest=digest.of_value(text),
    )


def _level_zero(host: Host) -> Tool | None:
    """Level Zero's headers, when there is a library to link with too."""
    table = TABLE["level-zero"]
    headers, libraries = list(table["headers"]), list(table["libraries"])
    if host.system()[0] == "windows":
        sdk = _tidy(host.environ.get("LEVEL_ZERO_V1_SDK_PATH", ""))
        headers = [f"{sdk}/include/level_zero/ze_api.h"] if sdk else []
        libraries = [f"{sdk}/lib/ze_loader.lib"] if sdk else []
    header = next((path for path in headers if host.exists(path)), "")
    if not header or not any(host.exists(path) for path in libraries):
        return None
    text = host.read_text(header) or ""
    version = re.search(r"@version v([0-9]+\.[0-9]+)", text)
    return Tool(
        name="level-zero",
        version=version[1] if version else "",
        path=header,
        digest=digest.of_value(text),
    )


def _root(host: Host) -> str:
    """The folder of oneAPI, or an empty text."""
    usual = TABLE["oneapi"]["roots"].get(host.system()[0], ())
    wanted = (_tidy(host.environ.get("ONEAPI_ROOT", "")), *usual)
    return next((path for path in wanted if path and host.exists(path)), "")


def _folder(host: Host, variable: str, inside: str) -> str:
    """The folder of a part of oneAPI: where setvars says, else its usual place; or empty."""
    root = _root(host)
    wanted = (_tidy(host.environ.get(variable, "")), f"{root}/{inside}" if root else "")
    return next((path for path in wanted if path and host.exists(path)), "")


def _tidy(path: str) -> str:
    return path.replace("\\", "/").rstrip("/")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
