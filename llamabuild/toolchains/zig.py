"""Zig's C and C++ compiler, as the kit ``zig`` brings it: clang with everything that it links with.

By itself zig compiles for the very processor it runs on, with debug information; here it starts at
the least one and has none, as other compilers do, and the plan says what comes on top. It links
with an old glibc's symbols whatever machine it runs on, so that the result runs on every Linux that
has that glibc or a newer one. It has no OpenMP: ggml's own threads take its place.

It links a hidden C++ library into every shared library, and an exception that crosses libraries is
then caught by nobody. So one shared library is made of it, which what is linked from objects uses
and every build carries. Windows compares types by their names, and needs none.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from llamabuild import kits
from llamabuild.errors import ToolMissing
from llamabuild.host import Host, Limits
from llamabuild.model import Kit
from llamabuild.toolchains import visible

KIT: Final = "zig"
WINDOWS: Final = "zig-windows"
"""The kit that is the same compiler, made ready for Windows programs."""
_WINDOWS: Final = "x86_64-windows-gnu"
GLIBC: Final = "2.28"
"""The least glibc that the result needs (RHEL 8, Debian 10, Ubuntu 18.10)."""
_LIMITS: Final = Limits(seconds=900)
_COMPILER: Final = """#!/bin/sh
# {identity}
here=${{0%/*}}
if [ "$*" = -dumpmachine ]; then echo {target}; exit; fi
ZIG_GLOBAL_CACHE_DIR="$here/../cache" ZIG_LOCAL_CACHE_DIR="$here/../cache" \\
exec "$here/../ziglang/zig" {tool} -target {target} -mcpu=baseline -g0 "$@"
"""
_LINKER: Final = """#!/bin/sh
# {identity}
here=${{0%/*}}
if [ "$*" = -dumpmachine ]; then echo {target}; exit; fi
objects=
for word in "$@"; do
  case $word in
    -c|-E|-S|-M|-MM|-fsyntax-only) objects=no ;;
    -*) ;;
    *.c|*.cc|*.cpp|*.cxx) objects=no ;;
    *.o) objects=${{objects:-yes}} ;;
  esac
done
export ZIG_GLOBAL_CACHE_DIR="$here/../cache" ZIG_LOCAL_CACHE_DIR="$here/../cache"
if [ "$objects" = yes ]; then
  exec "$here/../ziglang/zig" cc -target {target} -mcpu=baseline -g0 "$@" \\
    -Wl,--as-needed "$here/../lib/{runtime}" -Wl,--no-as-needed
fi
exec "$here/../ziglang/zig" c++ -target {target} -mcpu=baseline -g0 "$@"
"""
"""With the C driver nothing of zig's own C++ library is linked."""
_TOOL: Final = """#!/bin/sh
# {identity}
exec "${{0%/*}}/../ziglang/zig" {tool} "$@"
"""
_ARCHIVERS: Final = {"ar": _TOOL, "ranlib": _TOOL}
_PROGRAMS: Final = {"zig-cc": _COMPILER, "zig-c++": _LINKER, **_ARCHIVERS}
_FOR_WINDOWS: Final = {"zig-cc": _COMPILER, "zig-c++": _COMPILER, "zig-rc": _TOOL, **_ARCHIVERS}
RUNTIME: Final = "libllamabuild-cxx.so"
"""zig's C++ library, C++ ABI library and unwinder as one shared library."""
_ARCHIVES: Final = ("libc++.a", "libc++abi.a", "libunwind.a")
_CRT: Final = "ziglang/lib/libc/mingw/crt/crtdll.c"
_ATEXIT: Final = "int __cdecl atexit (_PVFV func)"
_WARM: Final = (
    '#include <stdexcept>\nint main() { try { throw std::runtime_error(""); } catch (...) {} }\n'
)


def ready(kit: Kit, folder: Path, host: Host) -> None:
    """Programs with the names that build tools look for, and zig's libraries, which it compiles
    from source before their first use (a minute). Raises ToolMissing when it does not work."""
    windows = kit.name == WINDOWS
    names = {
        "identity": kits.folder(kit, Path()).name,
        "target": _WINDOWS if windows else target(host.system()[2], host.libc()),
    }
    programs = folder / "bin"
    programs.mkdir()
    for name, text in (_FOR_WINDOWS if windows else _PROGRAMS).items():
        program = programs / name
        tool = name.removeprefix("zig-")
        program.write_text(text.format(tool=tool, runtime=RUNTIME, **names))
        program.chmod(0o755)
    if windows:
        _hide(folder / _CRT)
    source = folder / kits.CACHE / "warm.cpp"
    source.parent.mkdir()
    source.write_text(_WARM)
    for options in (("-O3",), ("-O3", "-fPIC", "-shared")):
        made = str(source.with_suffix(".out"))
        _run((str(programs / "zig-c++"), *options, str(source), "-o", made), kit, host)
    if not windows:
        _shared(folder, kit, host)


def _hide(source: Path) -> None:
    """Every library of MinGW's has an ``atexit`` of its own, and zig exports it with the rest: the
    next library would have two. Raises ToolMissing when there is no such function."""
    text = source.read_text(encoding="utf-8")
    if _ATEXIT not in text:
        raise ToolMissing(f"there is no {_ATEXIT} in {source}", "Please report this.")
    hidden = f'__attribute__((visibility("hidden"))) {_ATEXIT}'
    source.write_text(text.replace(_ATEXIT, hidden), encoding="utf-8")


def _shared(folder: Path, kit: Kit, host: Host) -> None:
    """Make the shared library of the archives that zig has just compiled."""
    (folder / "lib").mkdir()
    archives = []
    for name in _ARCHIVES:
        newest = max(folder.glob(f"cache/o/*/{name}"), key=lambda path: path.stat().st_mtime)
        archives.append(folder / "lib" / name)
        archives[-1].write_bytes(visible.shown(newest.read_bytes()))
    argv = (
        *(str(folder / "bin" / "zig-cc"), "-O3", "-s", "-shared", "-Wl,-Bsymbolic"),
        *("-Wl,--whole-archive", *map(str, archives), "-Wl,--no-whole-archive"),
        *(f"-Wl,-soname,{RUNTIME}", "-o", str(folder / "lib" / RUNTIME)),
    )
    _run(argv, kit, host)
    for archive in archives:
        archive.unlink()


def _run(argv: tuple[str, ...], kit: Kit, host: Host) -> None:
    ended = host.run(argv, limits=_LIMITS)
    if ended.code != 0:
        said = (ended.err or ended.out or "it hangs").strip().splitlines()[-1]
        raise ToolMissing(
            f"the compiler of the kit {kit.name} does not work here: {said}",
            "Install a C++ compiler: Debian, Ubuntu: apt install g++.",
        )


def target(arch: str, machine: str) -> str:
    """What is compiled for on a machine with this C library: an old glibc, though none newer than
    the machine's, where the result is proved; or musl.

    >>> target("x86_64", "glibc 2.36"), target("aarch64", "glibc 2.17")
    ('x86_64-linux-gnu.2.28', 'aarch64-linux-gnu.2.17')
    >>> target("x86_64", "musl 1.2")
    'x86_64-linux-musl'
    """
    family, _, version = machine.partition(" ")
    if family == "musl":
        return f"{arch}-linux-musl"
    return f"{arch}-linux-gnu.{min(GLIBC, version or GLIBC, key=_numbers)}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def libc(target: str) -> str:
    """The C library that a target triple in zig's notation names; empty where the triple leaves it
    to the machine.

    >>> libc("x86_64-linux-gnu.2.28"), libc("x86_64-linux-gnu")
    ('glibc 2.28', '')
    """
    found = re.search(r"-gnu\.([0-9.]+)$", target)
    return f"glibc {found[1]}" if found else ""


def compiler(host: Host, cache: Path, name: str = KIT) -> tuple[str, str] | None:
    """The C and C++ compiler of a kit, where it is unpacked already."""
    system, _, arch = host.system()
    kit = kits.kits(f"{system}-{arch}").get(name)
    if kit is None:
        return None
    programs = kits.folder(kit, cache) / "bin"
    pair = (str(programs / "zig-cc"), str(programs / "zig-c++"))
    return pair if host.exists(pair[1]) else None


def runtime(cxx: str) -> Path | None:
    """The shared library that everything in C++ needs which the kit's compiler links; None for
    other compilers."""
    path = Path(cxx).parent.parent / "lib" / RUNTIME
    return path if is_zig(cxx) and path.is_file() else None


def is_zig(cxx: str) -> bool:
    """True for a C++ compiler with the name of a kit's: it links with lld.

    >>> is_zig("/kits/zig-1/bin/zig-c++"), is_zig("/usr/bin/c++")
    (True, False)
    """
    return Path(cxx).name == "zig-c++"


def of_kit(cxx: str) -> bool:
    """True for a C++ compiler that a kit brought."""
    path = Path(cxx)
    return is_zig(cxx) and (path.parent.parent / "ziglang").is_dir()


def resource_compiler(cxx: str) -> str:
    """The compiler of Windows resources beside a kit's C++ compiler, which CMake wants whether or
    not there are any; empty for other compilers."""
    path = Path(cxx).with_name("zig-rc")
    return str(path) if of_kit(cxx) and path.is_file() else ""
