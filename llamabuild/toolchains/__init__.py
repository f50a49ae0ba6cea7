"""Compilers and build tools of this machine: what they are made of and what they get right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from llamabuild import packages
from llamabuild.host import Host
from llamabuild.model import Absence, Compiler, Tool, Toolchain
from llamabuild.toolchains import compilers, msvc, tools, zig

NO_COMPILER = Absence(
    what="compiler",
    why="no C++ compiler (g++ or clang++) is on PATH",
    hint="Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++; macOS: xcode-select "
    "--install",
)

_PACKAGES = {
    "apt": "g++",
    "dnf": "gcc-c++",
    "pacman": "gcc",
    "apk": "g++ linux-headers",
    "zypper": "gcc-c++",
    "pkg": "clang",
    "else": "macOS: xcode-select --install; Windows: Visual Studio Build Tools with C++",
}
_NOT_OPENSSL = Absence(
    what="openssl",
    why="the compiler builds for older systems than this one, which have other libraries; "
    "llama-server is built without https downloads (`-hf`)",
)


def detect(
    host: Host, isa_options: tuple[str, ...], *, cache: Path, asked: str = "auto"
) -> Toolchain:
    """All compilers and tools; ``isa_options`` are what each compiler is asked to accept. A kit's
    compiler counts where the machine has none ("auto"), alone (its name is ``asked``) or never
    ("machine").

    Raises ToolMissing when neither the machine nor the wheels have a usable cmake and ninja.
    """
    found: list[Compiler] = []
    absent: list[Absence] = []
    if host.system()[0] == "windows" and not compilers.explicit(host.environ):
        visual = msvc.detect(host)
        if isinstance(visual, Compiler):
            found.append(visual)
        else:
            absent.append(visual)
    for cc, cxx in _pairs(found, asked, host, cache):
        try:
            found.append(compilers.describe(cc, cxx, isa_options, host=host, cache=cache))
        except ValueError as error:
            absent.append(Absence(what="compiler", why=str(error), hint=NO_COMPILER.hint))
    if not found and not absent:
        absent.append(_none(host))
    older = bool(found and zig.libc(found[0].target))
    extras = (tools.ccache(host, cache), _NOT_OPENSSL if older else tools.openssl(host))
    return Toolchain(
        compilers=tuple(found),
        tools=(
            tools.cmake(host, cache),
            tools.ninja(host, cache),
            *(extra for extra in extras if isinstance(extra, Tool)),
        ),
        absent=(*absent, *(extra for extra in extras if isinstance(extra, Absence))),
        explicit_compiler=compilers.explicit(host.environ),
    )


def _pairs(
    found: Sequence[Compiler], asked: str, host: Host, cache: Path
) -> Iterator[tuple[str, str]]:
    """The compilers to describe; the kit's is one when none that was ``found`` until then will
    do."""
    if asked != zig.KIT:
        yield from compilers.candidates(host)
    chosen = asked == "machine" or compilers.explicit(host.environ)
    if not chosen and all(map(compilers.too_old, found)) and (pair := zig.compiler(host, cache)):
        yield pair


def _none(host: Host) -> Absence:
    if not compilers.explicit(host.environ):
        return replace(NO_COMPILER, hint=packages.install(host, _PACKAGES))
    names = " and ".join(compilers.chosen(host.environ))
    return Absence(
        what="compiler",
        why=f"CC and CXX choose {names}, which are not on PATH",
        hint="Correct or unset CC and CXX.",
    )
