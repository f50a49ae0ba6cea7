"""Building here for another machine: which compilers can, and what CMake has to be told.

A machine of this architecture takes the compilers that are here; another one takes those that are
named after it (``aarch64-linux-gnu-g++``). Between systems there is one way, from Linux to Windows,
with the kit's compiler, which has all that its programs are linked with.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache as remembered
from pathlib import Path
from typing import Final

import msgspec

from llamabuild import data, packages, toolchains
from llamabuild.errors import ConfigError, ToolMissing, UnsupportedHardware
from llamabuild.host import Host, Limits
from llamabuild.model import Absence, Compiler, Flag, Tool, Toolchain
from llamabuild.toolchains import compilers, tools, zig

TABLE: Final = data.package("toolchains/cross.toml")
_LIMITS: Final = Limits(seconds=30)
_VERSIONS: Final = tuple(f"-{number}" for number in range(24, 8, -1))


class Architecture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of ``cross.toml``, where the fields are explained."""

    name: str
    triple: str
    cpu: str
    packages: dict[str, str]
    system: str = "linux"


@remembered
def architectures(system: str = "linux") -> dict[str, Architecture]:
    """Every architecture of a system that can be built for elsewhere, by name."""
    rows = msgspec.convert(data.load(TABLE)["architecture"], tuple[Architecture, ...])
    return {row.name: row for row in rows if row.system == system}


def architecture(arch: str, system: str = "linux") -> Architecture:
    """The row of an architecture. Raises UnsupportedHardware when there is none."""
    known = architectures(system)
    if arch not in known:
        what = arch if system == "linux" else f"{system} on {arch}"
        raise UnsupportedHardware(
            f"no cross compiler for {what} is known here",
            f"Build on such a machine; from elsewhere: {', '.join(known) or 'none'}.",
        )
    return known[arch]


def of_target(target: str) -> str:
    """The architecture that a compiler's target triple stands for; empty when it is not known.

    >>> of_target("powerpc64le-linux-gnu"), of_target("x86_64-redhat-linux"), of_target("")
    ('ppc64le', 'x86_64', '')
    """
    prefix = target.partition("-")[0]
    rows = architectures().values()
    return next((row.name for row in rows if row.triple.partition("-")[0] == prefix), "")


def system_of(target: str) -> str:
    """The operating system that a compiler's target triple stands for; Linux when it says nothing
    else.

    >>> system_of("x86_64-w64-mingw32"), system_of("aarch64-linux-gnu")
    ('windows', 'linux')
    """
    return "windows" if re.search(r"-(mingw|windows)", target) else "linux"


def check_system(system: str, arch: str, host: Host) -> None:
    """Raises UnsupportedHardware when nothing for ``system`` on ``arch`` can be built here."""
    here, _, own = host.system()
    if (here, system) == ("linux", "windows"):
        architecture(arch, system)
        return
    if system != here:
        raise UnsupportedHardware(
            f"this machine runs {here} and cannot build for {system}",
            f"Run llamabuild on a machine with {system}.",
        )
    if arch != own and system != "linux":
        raise UnsupportedHardware(
            f"building for {arch} on {own} is for Linux only, this is {system}",
            f"Run llamabuild on a machine with {arch}.",
        )


def native(system: str, arch: str, host: Host) -> bool:
    """True when this machine is of that kind."""
    here, _, own = host.system()
    return (system, arch) == (here, own)


def detect(
    arch: str,
    isa_options: tuple[str, ...],
    *,
    host: Host,
    cache: Path,
    system: str = "linux",
    asked: str = "auto",
) -> Toolchain:
    """The compilers and tools of this machine that build for ``arch``; ``isa_options`` are what
    each compiler is asked to accept, ``asked`` the toolchain that is wanted where this machine is
    of that kind. Nothing that they compile is executed, except that canaries
    run where this machine can run them.

    Raises ToolMissing without a cross compiler, cmake or ninja; ConfigError when ``CC`` or ``CXX``
    name a compiler for something else; UnsupportedHardware for an architecture nobody knows.
    """
    if native(system, arch, host):
        return toolchains.detect(host, isa_options, cache=cache, asked=asked)
    row = architecture(arch, system)
    found: list[Compiler] = []
    absent: list[Absence] = []
    for cc, cxx in _candidates(row, host, cache):
        try:
            found.append(_described(row, cc, cxx, isa_options, host, cache))
        except ValueError as error:
            absent.append(Absence(what="compiler", why=str(error), hint=_hint(row, host)))
    if not found:
        raise _none(row, absent, host)
    launcher = tools.ccache(host, cache)
    return Toolchain(
        compilers=tuple(found),
        tools=(
            tools.cmake(host, cache),
            tools.ninja(host, cache),
            *((launcher,) if isinstance(launcher, Tool) else ()),
        ),
        absent=(*absent, _without_openssl(row)),
        explicit_compiler=compilers.explicit(host.environ),
    )


def _candidates(row: Architecture, host: Host, cache: Path) -> Iterator[tuple[str, str]]:
    """Pairs of (C, C++) compilers, the preferred first, each real program once."""
    pairs = [(f"{row.triple}-gcc{end}", f"{row.triple}-g++{end}") for end in ("", *_VERSIONS)]
    if compilers.explicit(host.environ):
        pairs = [compilers.chosen(host.environ)]
    elif row.system == "windows":
        if pair := zig.compiler(host, cache, zig.WINDOWS):
            yield pair
        return
    seen = set()
    for names in pairs:
        cc, cxx = map(host.which, names)
        if cc and cxx and (real := os.path.realpath(cxx)) not in seen:
            seen.add(real)
            yield cc, cxx


def _described(
    row: Architecture, cc: str, cxx: str, options: tuple[str, ...], host: Host, cache: Path
) -> Compiler:
    """Raises ValueError for a compiler that does not work, ConfigError for one that the user
    chose and that is for something else."""
    found = compilers.describe(cc, cxx, options, host=host, cache=cache)
    if of_target(found.target) != row.name or system_of(found.target) != row.system:
        known = f", or set CXX={row.triple}-g++" if row.system == "linux" else ""
        raise ConfigError(
            f"{cxx} compiles for {found.target}, not for {row.triple}", f"Unset CC and CXX{known}."
        )
    return found


def _none(row: Architecture, absent: list[Absence], host: Host) -> ToolMissing:
    if absent:
        return ToolMissing(absent[0].why, absent[0].hint)
    if compilers.explicit(host.environ):
        names = " and ".join(compilers.chosen(host.environ))
        why = f"CC and CXX choose {names}, which are not on PATH"
        return ToolMissing(why, "Correct or unset CC and CXX.")
    what = f"{row.name} ({row.triple}-g++) is on PATH"
    if row.system != "linux":
        what = f"{row.system} on {row.name} is here"
    why = f"no C++ compiler for {what}"
    return ToolMissing(why, _hint(row, host))


def _hint(row: Architecture, host: Host) -> str:
    return packages.install(host, row.packages)


def _without_openssl(row: Architecture) -> Absence:
    what = row.name if row.system == "linux" else row.system
    why = f"this machine's OpenSSL is not for {what}; llama-server is built without https downloads"
    return Absence(what="openssl", why=why)


def flags(arch: str, host: Host, system: str = "linux") -> tuple[Flag, ...]:
    """What CMake must be told to build for another architecture or system; nothing for this one."""
    if native(system, arch, host):
        return ()
    root = f"/usr/{architecture(arch, system).triple}"
    theirs = f"only what is below {root} is for {arch if system == 'linux' else system}"
    return (
        Flag(name="CMAKE_SYSTEM_NAME", value=system.capitalize(), why="built here, runs elsewhere"),
        Flag(name="CMAKE_SYSTEM_PROCESSOR", value=arch, why="where it runs"),
        Flag(
            name="CMAKE_FIND_ROOT_PATH", value=root, why="where the cross compiler's libraries are"
        ),
        *(
            Flag(name=f"CMAKE_FIND_ROOT_PATH_MODE_{kind}", value="ONLY", why=theirs)
            for kind in ("LIBRARY", "INCLUDE", "PACKAGE")
        ),
        Flag(
            name="CMAKE_FIND_ROOT_PATH_MODE_PROGRAM",
            value="NEVER",
            why="programs of the build run here",
        ),
    )


def libc(compiler: Compiler, host: Host) -> str:
    """The C library that a compiler's programs are linked with ("glibc 2.36"), from its headers;
    empty where they do not tell (musl does not)."""
    argv = [compiler.cxx, "-dM", "-E", "-include", "features.h", "-x", "c++", os.devnull]
    macros = host.run(argv, limits=_LIMITS).out
    return glibc(macros)


def glibc(macros: str) -> str:
    """The version that glibc's ``features.h`` defines.

    >>> glibc("#define __GLIBC__ 2\\n#define __GLIBC_MINOR__ 36\\n"), glibc("")
    ('glibc 2.36', '')
    """
    found = [re.search(rf"#define __GLIBC{end} (\d+)", macros) for end in ("__", "_MINOR__")]
    major, minor = found
    return f"glibc {major[1]}.{minor[1]}" if major and minor else ""


def check_libc(theirs: str, ours: str) -> str:
    """Why a program linked with ``ours`` may not start on a machine that has ``theirs``, or an
    empty string. Raises UnsupportedHardware when it cannot start at all.

    >>> check_libc("glibc 2.34", "glibc 2.36")
    'it is linked with glibc 2.36, and that machine has glibc 2.34'
    >>> check_libc("glibc 2.39", "glibc 2.36")
    ''
    """
    (name, _, has), (own, _, needs) = theirs.partition(" "), ours.partition(" ")
    why = f"it is linked with {ours}, and that machine has {theirs}"
    if not (name and own):
        return ""
    if name != own:
        raise UnsupportedHardware(f"nothing built here runs there: {why}", "Build on that machine.")
    return why if _numbers(needs) > _numbers(has) else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
