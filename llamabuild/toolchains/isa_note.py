"""How libraries are marked with the x86-64 level that they need, so that the loader refuses them on
a lesser processor. Pure.

glibc (2.33 and newer) compares the mark with the processor before any of a library's code runs and
says "CPU ISA level is lower than required": an error that a program can report, where an
instruction that the processor does not have kills it in the middle of its work. musl does not look.

GNU ld writes the mark when it is asked to. lld, with which zig links, knows no such option, and
leaves out the sections in which compilers write such notes; but it keeps a note in a section of any
other name as it is, and loaders find notes by their segment. So the linker is given a file of
assembly that has nothing but the note.

Sources: the x86-64 psABI (levels, GNU_PROPERTY_X86_ISA_1_NEEDED), the gABI extension for
NT_GNU_PROPERTY_TYPE_0 (the note's layout), glibc's sysdeps/x86/dl-prop.h (what the loader does).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from llamabuild.backends import cpu_sets
from llamabuild.model import Compiler, Flag, Hardware
from llamabuild.toolchains import zig

FLAGS: Final = ("CMAKE_SHARED_LINKER_FLAGS_RELEASE", "CMAKE_MODULE_LINKER_FLAGS_RELEASE")
"""Those without RELEASE are for back-ends, which name folders with them. Programs are not marked:
they need the libraries, and CMake runs some to try the compiler."""
_WHY: Final = "glibc refuses the libraries where the CPU has no {level}, before they die of it"
_BY_FILE: Final = "; lld has no option for the mark, this file of the build folder holds it"
_NOTE: Final = """\
# Written by llamabuild: this library needs {level} (GNU_PROPERTY_X86_ISA_1_NEEDED).
    .section .note.llamabuild.isa, "a", @note
    .p2align 3
    .long 4, 16, 5
    .asciz "GNU"
    .long 0xc0008002, 4, {bit}, 0
    .section .note.GNU-stack, "", @progbits
"""


def flags(cpu: str, hardware: Hardware, compiler: Compiler) -> tuple[Flag, ...]:
    """The options that mark what is linked, for a recipe whose ``cpu`` is a level; nothing for
    others, and nothing where files are not ELF."""
    level = cpu_sets.level(cpu, hardware.arch)
    if level is None or hardware.os != "linux":
        return ()
    why = _WHY.format(level=level.name)
    value = f"-Wl,-z,{level.name}"
    if zig.is_zig(compiler.cxx):
        why, value = why + _BY_FILE, _file(level.name)
    return tuple(Flag(name=name, value=value, why=why) for name in FLAGS)


def files(flags: Iterable[Flag]) -> dict[str, str]:
    """Names and texts of the files that a plan's flags name and that have to be in the build
    folder, from which Ninja runs the linker."""
    named = {word for flag in flags if flag.name in FLAGS for word in str(flag.value).split()}
    return {
        _file(row.name): _NOTE.format(level=row.name, bit=row.note)
        for row in cpu_sets.levels()
        if _file(row.name) in named
    }


def _file(level: str) -> str:
    return f"llamabuild-{level}.s"
