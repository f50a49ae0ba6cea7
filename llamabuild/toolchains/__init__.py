"""Compilers and build tools of this machine: what they are made of and what they get right."""

from __future__ import annotations

from pathlib import Path

from llamabuild.host import Host
from llamabuild.model import Absence, Compiler, Tool, Toolchain
from llamabuild.toolchains import compilers, msvc, tools

NO_COMPILER = Absence(
    what="compiler",
    why="no C++ compiler (g++ or clang++) is on PATH",
    hint="Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++; macOS: xcode-select "
    "--install",
)


def detect(host: Host, isa_options: tuple[str, ...], *, cache: Path) -> Toolchain:
    """All compilers and tools; ``isa_options`` are what each compiler is asked to accept.

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
    for cc, cxx in compilers.candidates(host):
        try:
            found.append(compilers.describe(cc, cxx, isa_options, host=host, cache=cache))
        except ValueError as error:
            absent.append(Absence(what="compiler", why=str(error), hint=NO_COMPILER.hint))
    if not found and not absent:
        absent.append(_none(host))
    extras = (tools.ccache(host, cache), tools.openssl(host))
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


def _none(host: Host) -> Absence:
    if not compilers.explicit(host.environ):
        return NO_COMPILER
    names = " and ".join(compilers.chosen(host.environ))
    return Absence(
        what="compiler",
        why=f"CC and CXX choose {names}, which are not on PATH",
        hint="Correct or unset CC and CXX.",
    )
