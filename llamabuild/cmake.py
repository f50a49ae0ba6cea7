"""CMake's language: arguments in, JSON answers out. Nothing here starts a process.

What was configured is read from CMake's file API and ``compile_commands.json``, never scraped
from its messages.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamabuild.errors import BuildFailed
from llamabuild.model import Flag, Plan, SourceOption, Tool

_CLIENT = "client-llamabuild"
_QUERY = {"requests": [{"kind": "cache", "version": 2}, {"kind": "codemodel", "version": 2}]}
KEPT_ENVIRONMENT = frozenset(
    {
        *("PATH", "HOME", "USER", "TMPDIR", "TEMP", "TMP", "LD_LIBRARY_PATH", "SYSTEMROOT"),
        *("CCACHE_DIR", "CCACHE_MAXSIZE", "CCACHE_DISABLE", "VULKAN_SDK"),
        *("INCLUDE", "LIB", "LIBPATH", "SDKROOT", "DEVELOPER_DIR"),
    }
)
"""What a build sees of the user's environment; the rest could change the result unseen."""
_SPOKEN_OF = (
    *("CMAKE_ARGS", "CMAKE_PREFIX_PATH", "CMAKE_BUILD_TYPE", "CMAKE_GENERATOR"),
    *("CMAKE_TOOLCHAIN_FILE", "SKBUILD_CMAKE_ARGS", "SKBUILD_CMAKE_DEFINE", "CUDAARCHS"),
    *("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CUDAFLAGS", "SOURCE_DATE_EPOCH"),
    *("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH"),
    *("NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A CMake target: its kind ("SHARED_LIBRARY", "EXECUTABLE" …) and the files it makes."""

    name: str
    kind: str
    files: tuple[Path, ...]


def environment(environ: Mapping[str, str], tools: Iterable[Tool] = ()) -> dict[str, str]:
    """The environment that a build runs in: a short list of names and a plain locale. The
    back-ends' own tools (nvcc, glslc) are on PATH, where CMake looks for them, and git does not
    take an enclosing repository for the source's."""
    kept = {name: value for name, value in environ.items() if name.upper() in KEPT_ENVIRONMENT}
    own = (os.path.dirname(tool.path) for tool in tools if tool.backend and tool.path)
    path = os.pathsep.join(dict.fromkeys((*own, *kept.get("PATH", "").split(os.pathsep))))
    fixed = {"LC_ALL": "C", "VSLANG": "1033", "CLICOLOR_FORCE": "0", "GIT_DIR": os.devnull}
    return {**kept, **fixed, "PATH": path}


def ignored(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Variables of the user that CMake or a compiler would have obeyed and that are kept out."""
    return tuple(name for name in _SPOKEN_OF if environ.get(name))


def define(name: str, value: bool | str) -> str:
    """One ``-D`` argument; a value stays typed until here.

    >>> define("GGML_CUDA", False), define("GGML_CPU_ARM_ARCH", "armv8-a")
    ('-DGGML_CUDA:BOOL=OFF', '-DGGML_CPU_ARM_ARCH:STRING=armv8-a')
    """
    if isinstance(value, bool):
        return f"-D{name}:BOOL={'ON' if value else 'OFF'}"
    return f"-D{name}:STRING={value}"


def configure(
    plan: Plan, *, cmake: str, ninja: str, ccache: str, tree: Path, folder: Path
) -> list[str]:
    """The argv that configures ``tree`` into ``folder`` with everything the plan says."""
    mapped = f"-ffile-prefix-map={tree}=llama.cpp"
    paths = {
        "CMAKE_C_COMPILER": plan.compiler.cc,
        "CMAKE_CXX_COMPILER": plan.compiler.cxx,
        "CMAKE_MAKE_PROGRAM": ninja,
        "CMAKE_C_FLAGS": mapped,
        "CMAKE_CXX_FLAGS": mapped,
        "CMAKE_INSTALL_RPATH": "$ORIGIN;$ORIGIN/../lib",
        "CMAKE_PROJECT_INCLUDE": str(folder / "llamabuild.cmake"),
    }
    if ccache:
        paths |= {f"CMAKE_{lang}_COMPILER_LAUNCHER": ccache for lang in ("C", "CXX")}
    return [
        *(cmake, "-G", "Ninja", "-S", str(tree), "-B", str(folder), "--no-warn-unused-cli"),
        *(define(flag.name, flag.value) for flag in plan.flags),
        *(define(name, value) for name, value in paths.items()),
    ]


_LEFT_OUT = """\
# Libraries that this compiler cannot compile or gets wrong. ggml depends on every variant that it
# knows; CMake keeps an overridden command under its name with an underscore.
if(PROJECT_IS_TOP_LEVEL)
  set(LLAMABUILD_LEFT_OUT "@NAMES@")
  function(add_dependencies target)
    list(FIND LLAMABUILD_LEFT_OUT "${ARGV1}" position)
    if(target STREQUAL "ggml" AND position GREATER -1)
      set_target_properties(${ARGN} PROPERTIES EXCLUDE_FROM_ALL TRUE)
    else()
      _add_dependencies(${target} ${ARGN})
    endif()
  endfunction()
endif()
"""
_SOURCE_OPTIONS = """\
# @WHY@
if(PROJECT_IS_TOP_LEVEL)
  cmake_language(DEFER CALL set_source_files_properties
    "${CMAKE_CURRENT_SOURCE_DIR}/@SOURCE@"
    DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/@FOLDER@"
    PROPERTIES COMPILE_OPTIONS "@OPTIONS@")
endif()
"""


def injected(options: Iterable[SourceOption], left_out: Iterable[str]) -> str:
    """A CMake file, included by every ``project()``: options for single source files, set when
    the folders they belong to are known, and variants that are not to be compiled."""
    text = "# Written by llamabuild.\n"
    if names := ";".join(left_out):
        text += _LEFT_OUT.replace("@NAMES@", names)
    for option in options:
        words = {
            "@WHY@": option.why,
            "@SOURCE@": option.source,
            "@FOLDER@": _target_folder(option.source),
            "@OPTIONS@": ";".join(option.options),
        }
        block = _SOURCE_OPTIONS
        for word, value in words.items():
            block = block.replace(word, value)
        text += block
    return text


def _target_folder(source: str) -> str:
    """The folder whose CMakeLists.txt makes the target: ggml's back-ends are made two above.

    >>> _target_folder("ggml/src/ggml-cpu/amx/mmq.cpp")
    'ggml/src'
    """
    parts = source.split("/")
    return "/".join(parts[: parts.index("src") + 1])


def ask(folder: Path) -> None:
    """Put the questions for the file API into a build folder, before it is configured."""
    query = folder / ".cmake" / "api" / "v1" / "query" / _CLIENT / "query.json"
    query.parent.mkdir(parents=True)
    query.write_text(json.dumps(_QUERY))


def _answer(folder: Path, kind: str) -> dict[str, Any]:
    reply = folder / ".cmake" / "api" / "v1" / "reply"
    index = json.loads(max(reply.glob("index-*.json")).read_text())
    for response in index["reply"][_CLIENT]["query.json"]["responses"]:
        if response.get("kind") == kind:
            answer: dict[str, Any] = json.loads((reply / response["jsonFile"]).read_text())
            return answer
    raise BuildFailed(f"CMake did not answer the question about its {kind}", step="configure")


def cache(folder: Path) -> dict[str, str]:
    """The configured cache entries."""
    return {entry["name"]: entry["value"] for entry in _answer(folder, "cache")["entries"]}


def targets(folder: Path) -> dict[str, Target]:
    """Every target of the configured tree, by name."""
    model = _answer(folder, "codemodel")
    found = {}
    for entry in model["configurations"][0]["targets"]:
        text = (folder / ".cmake" / "api" / "v1" / "reply" / entry["jsonFile"]).read_text()
        target = json.loads(text)
        files = tuple(folder / item["path"] for item in target.get("artifacts", ()))
        found[target["name"]] = Target(name=target["name"], kind=target["type"], files=files)
    return found


def differences(flags: Iterable[Flag], configured: Mapping[str, str]) -> tuple[str, ...]:
    """Where the configured cache is not what was asked for, in words."""
    truths = {"ON": True, "OFF": False, "TRUE": True, "FALSE": False, "1": True, "0": False}
    told = []
    for flag in flags:
        got = configured.get(flag.name)
        same = (
            truths.get(str(got).upper()) == flag.value
            if isinstance(flag.value, bool)
            else (got == flag.value)
        )
        if not same:
            told.append(f"{flag.name}: asked for {flag.value}, configured {got}")
    return tuple(told)


def commands(folder: Path) -> dict[str, tuple[str, ...]]:
    """The compile command of every source file, by path relative to nothing (absolute)."""
    entries = json.loads((folder / "compile_commands.json").read_text())
    return {entry["file"]: tuple(shlex.split(entry["command"])) for entry in entries}
