"""Which C++ compiler nvcc has beside it, for the code that runs on the CPU. Pure.

The limits are those of ``crt/host_config.h`` in the toolkits (``cuda.toml``).
"""

from __future__ import annotations

import os
from typing import Final

from llamabuild.backends.cuda_facts import TABLE, numbers
from llamabuild.model import Compiler, Flag, Toolchain

_BY_ITSELF: Final = ("g++", "cl.exe")
"""What nvcc takes from PATH when it is told nothing."""


def host_compiler(toolkit: str, family: str, version: str) -> str | None:
    """None when nvcc accepts a compiler beside it, else why not. A toolkit newer than the table
    is taken to accept what the newest one in it does.

    >>> host_compiler("12.4", "gcc", "14.2.0")
    'CUDA 12.4 accepts gcc up to 13, here is 14'
    >>> host_compiler("12.3", "msvc", "19.41.34120"), host_compiler("12.4", "msvc", "19.41.34120")
    ('CUDA 12.3 accepts msvc up to 19.39, here is 19.41', None)
    """
    if family not in ("gcc", "clang", "msvc"):
        return f"nvcc works with gcc, clang or msvc, not with {family}"
    parts = numbers(version)[: 2 if family == "msvc" else 1]
    limit = newest_accepted(toolkit, family)
    if limit and parts > numbers(limit):
        here = ".".join(map(str, parts))
        return f"CUDA {toolkit} accepts {family} up to {limit}, here is {here}"
    return None


def newest_accepted(toolkit: str, family: str) -> str:
    """The newest compiler of a family that a toolkit accepts, or an empty string.

    >>> newest_accepted("12.2", "gcc"), newest_accepted("11.2", "clang")
    ('12', '')
    """
    rows = (row for row in TABLE["toolkit"] if numbers(row["version"]) <= numbers(toolkit)[:2])
    limits = [str(row[family]) for row in rows if family in row]
    return limits[-1] if limits else ""


def host_flags(toolchain: Toolchain, toolkit: str) -> tuple[Flag, ...]:
    """By itself nvcc takes ``g++`` from PATH: tell it what to take whenever that is not the first
    compiler here, or is one it refuses."""
    if not toolchain.compilers:
        return ()
    first = toolchain.compilers[0]
    refusal = _refusal(first, toolkit)
    if not refusal and os.path.basename(first.cxx).lower() in _BY_ITSELF:
        return ()
    for compiler in toolchain.compilers:
        if not _refusal(compiler, toolkit):
            why = refusal or "the compiler that everything else is built with"
            return (Flag(name="CMAKE_CUDA_HOST_COMPILER", value=compiler.cxx, why=why),)
    why = f"{refusal}, and there is no other; it may work all the same"
    why += f". Better: {_better(first, toolkit)}"
    return (Flag(name="CMAKE_CUDA_FLAGS", value="-allow-unsupported-compiler", why=why),)


def _refusal(compiler: Compiler, toolkit: str) -> str | None:
    return host_compiler(toolkit, compiler.family, compiler.version)


def _better(compiler: Compiler, toolkit: str) -> str:
    """What to install beside a compiler that nvcc refuses."""
    if compiler.family == "msvc":
        return f"Visual Studio's tools up to {newest_accepted(toolkit, 'msvc')}, or a newer CUDA"
    limit = newest_accepted(toolkit, "gcc")
    return f"install g++-{limit}, or a newer CUDA"
