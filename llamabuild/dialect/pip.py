"""The same decision as a pip command, for people who build llama-cpp-python that way. Pure.

pip hands the text of ``CMAKE_ARGS`` to scikit-build-core, which splits it as a shell would: a ``;``
survives there, unlike in ``SKBUILD_CMAKE_ARGS`` and ``-C cmake.args``. llama-cpp-python's own
CMakeLists.txt then sets some options whatever was asked for; those are told.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterable, Iterator
from typing import Any, Final

from llamabuild import data
from llamabuild.dialect import Note
from llamabuild.errors import ConfigError
from llamabuild.model import Compiler, Flag
from llamabuild.toolchains import isa_note

PROJECT: Final = "llama-cpp-python"
_NO_NOTE: Final = "pip has no such file: the libraries are not marked with their level"
_PLAIN: Final = re.compile(r"[^\s\"'\\]+")


def pip_arguments(
    flags: Iterable[Flag], version: str, os: str, arch: str, *, compiler: Compiler | None = None
) -> tuple[str, tuple[Note, ...]]:
    """The line to copy into a shell (PowerShell on Windows), and what llama-cpp-python's own
    build makes of the plan. ``flags`` are those rendered for the version's tree.

    Raises ConfigError for what cannot be had from pip at all.
    """
    arguments, notes = cmake_arguments(flags, version, os, arch)
    variables = {"CC": compiler.cc, "CXX": compiler.cxx} if compiler else {}
    variables["CMAKE_ARGS"] = " ".join(map(_word, arguments))
    install = f"pip install --no-cache-dir --no-binary {PROJECT} {PROJECT}=={version}"
    if os == "windows":
        doubled = ((name, value.replace("'", "''")) for name, value in variables.items())
        return "".join(f"$env:{name}='{value}'; " for name, value in doubled) + install, notes
    pairs = (f"{name}={shlex.quote(value)}" for name, value in variables.items())
    return " ".join((*pairs, install)), notes


def cmake_arguments(
    flags: Iterable[Flag], version: str, os: str, arch: str
) -> tuple[tuple[str, ...], tuple[Note, ...]]:
    """What CMake is to be given in llama-cpp-python's own build, one argument each, and the notes
    of :func:`pip_arguments`. Raises ConfigError."""
    silent = table()["silent"]["names"]
    given, notes = [], []
    for flag in (flag for flag in flags if flag.name not in silent):
        if isa_note.files((flag,)):
            notes.append(Note(name=flag.name, said="left out", why=_NO_NOTE))
            continue
        if flag.value is True and (row := _row("unpacked", flag.name, version, os, arch)):
            raise ConfigError(
                f"{flag.name} is not for pip: {row['why']}",
                "Install the wheel that llamabuild makes: it has everything.",
            )
        if row := _row("forced", flag.name, version, os, arch):
            if row["value"] != flag.value:
                notes.append(_note(flag, row, f"{PROJECT} sets it in any case"))
            continue
        if row := _row("instead", flag.name, version, os, arch):
            if row["value"] != flag.value:
                notes.append(_note(flag, row, "not as planned"))
            given.append(_define(flag.name, row["value"]))
        else:
            given.append(_define(flag.name, flag.value))
    return tuple(given), tuple(notes)


def forced(version: str, os: str, arch: str) -> dict[str, bool]:
    """The options that llama-cpp-python's own build sets whatever it is given.

    >>> sorted(forced("0.3.36", "linux", "x86_64"))
    ['BUILD_SHARED_LIBS', 'LLAMA_BUILD_COMMON', 'LLAMA_CURL']
    """
    rows = _rows("forced", version, os, arch)
    return {name: row["value"] for row in rows for name in row["names"]}


def _note(flag: Flag, row: dict[str, Any], what: str) -> Note:
    value = "ON" if row["value"] else "OFF"
    return Note(name=flag.name, said="changed", why=f"{value}, {what}: {row['why']}")


def _row(kind: str, name: str, version: str, os: str, arch: str) -> dict[str, Any] | None:
    rows = _rows(kind, version, os, arch)
    return next((row for row in rows if name in row["names"]), None)


def _rows(kind: str, version: str, os: str, arch: str) -> Iterator[dict[str, Any]]:
    """The rows that hold for a version on a machine."""
    for row in table()[kind]:
        since = _numbers(row.get("first", "0")) <= _numbers(version)
        until = "last" not in row or _numbers(version) <= _numbers(row["last"])
        if since and until and row.get("os", os) == os and row.get("arch", arch) == arch:
            yield row


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", version)[:3])


def _define(name: str, value: bool | str) -> str:
    """``-D`` without a type: scikit-build-core and the tree know it.

    >>> _define("GGML_CUDA", True), _define("CMAKE_CUDA_ARCHITECTURES", "80;86")
    ('-DGGML_CUDA=ON', '-DCMAKE_CUDA_ARCHITECTURES=80;86')
    """
    return f"-D{name}={('ON' if value else 'OFF') if isinstance(value, bool) else value}"


def _word(argument: str) -> str:
    r"""An argument as one word of ``CMAKE_ARGS``, in double quotes where it needs any: the whole
    text is going to stand in single quotes.

    >>> print(_word("-DA=80;86"), _word("-DCMAKE_C_FLAGS=-msse4.2 -mbmi2"))
    -DA=80;86 "-DCMAKE_C_FLAGS=-msse4.2 -mbmi2"
    """
    if _PLAIN.fullmatch(argument):
        return argument
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@functools.cache
def table() -> dict[str, Any]:
    """``pip.toml``, which explains itself."""
    return data.load(data.package("dialect/pip.toml"))
