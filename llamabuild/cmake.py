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
from llamabuild.toolchains import sccache, zig

_CLIENT = "client-llamabuild"
_QUERY = {"requests": [{"kind": "cache", "version": 2}, {"kind": "codemodel", "version": 2}]}
KEPT_ENVIRONMENT = frozenset(
    {
        *("PATH", "HOME", "USER", "TMPDIR", "TEMP", "TMP", "LD_LIBRARY_PATH", "SYSTEMROOT"),
        *("INCLUDE", "LIB", "LIBPATH", "SDKROOT", "DEVELOPER_DIR"),
    }
)
"""What a build sees of the user's environment; the rest could change the result unseen."""
_COMPILER_CACHES = ("CCACHE_", "SCCACHE_")
"""Settings of programs that change no byte of a result."""
_SPOKEN_OF = (
    *("CMAKE_ARGS", "CMAKE_PREFIX_PATH", "CMAKE_BUILD_TYPE", "CMAKE_GENERATOR"),
    *("CMAKE_TOOLCHAIN_FILE", "SKBUILD_CMAKE_ARGS", "SKBUILD_CMAKE_DEFINE", "CUDAARCHS"),
    *("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CUDAFLAGS", "SOURCE_DATE_EPOCH"),
    *("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH"),
    *("NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"),
)

LANGUAGE_FLAGS = ("CMAKE_C_FLAGS", "CMAKE_CXX_FLAGS")
"""What compilers are told beside what the tree itself tells them: a plan's words and ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A CMake target: its kind ("SHARED_LIBRARY", "EXECUTABLE" …) and the files it makes."""

    name: str
    kind: str
    files: tuple[Path, ...]


def environment(
    environ: Mapping[str, str], tools: Iterable[Tool] = (), own: Iterable[str] = ()
) -> dict[str, str]:
    """The environment that a build runs in: a short list of names, those that its back-ends want
    of their ``own``, and a plain locale. The
    back-ends' own tools (nvcc, glslc) are on PATH, where CMake looks for them, and git does not
    take an enclosing repository for the source's."""
    names = KEPT_ENVIRONMENT.union(own, sccache.credentials(environ))
    kept = {
        name: value
        for name, value in environ.items()
        if name.upper() in names or name.startswith(_COMPILER_CACHES)
    }
    folders = (os.path.dirname(tool.path) for tool in tools if tool.backend and tool.path)
    path = os.pathsep.join(dict.fromkeys((*folders, *kept.get("PATH", "").split(os.pathsep))))
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
    own = {flag.name: flag.value for flag in plan.flags if flag.name in LANGUAGE_FLAGS}
    paths = {
        "CMAKE_C_COMPILER": plan.compiler.cc,
        "CMAKE_CXX_COMPILER": plan.compiler.cxx,
        "CMAKE_MAKE_PROGRAM": ninja,
        **{name: f"{own.get(name, '')} {mapped}".strip() for name in LANGUAGE_FLAGS},
        "CMAKE_INSTALL_RPATH": "$ORIGIN;$ORIGIN/../lib",
        "CMAKE_PROJECT_INCLUDE": str(folder / "llamabuild.cmake"),
    }
    if resources := zig.resource_compiler(plan.compiler.cxx):
        paths["CMAKE_RC_COMPILER"] = resources
    if ccache:
        paths |= {f"CMAKE_{lang}_COMPILER_LAUNCHER": ccache for lang in ("C", "CXX", "CUDA", "HIP")}
    return [
        *(cmake, "-G", "Ninja", "-S", str(tree), "-B", str(folder), "--no-warn-unused-cli"),
        *(define(flag.name, flag.value) for flag in plan.flags if flag.name not in own),
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
_TOGETHER = """\
# mtmd has an encoder for each family of models: dozens of small files that read the same headers.
# Sixteen at a time they take half the processor time; llama.cpp does so with libllama's models.
function(llamabuild_together)
  if(NOT TARGET mtmd)
    return()
  endif()
  get_target_property(folder mtmd SOURCE_DIR)
  get_target_property(sources mtmd SOURCES)
  foreach(source IN LISTS sources)
    if(NOT source MATCHES "models/[^/]+\\.cpp$")
      set_source_files_properties("${folder}/${source}" TARGET_DIRECTORY mtmd
        PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    endif()
  endforeach()
  set_target_properties(mtmd PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 16)
endfunction()
if(PROJECT_IS_TOP_LEVEL)
  cmake_language(DEFER CALL llamabuild_together)
endif()
"""
_SOURCE_OPTIONS = """\
# Options for single files are properties that a folder's targets see. ggml makes its targets now in
# the file's own folder, now in one above: every folder on the way to the file is given them, when
# everything has been read and the folders are known.
function(llamabuild_source_options source options)
  set(file "${CMAKE_CURRENT_SOURCE_DIR}/${source}")
  set(below "${CMAKE_CURRENT_SOURCE_DIR}")
  while(below)
    list(APPEND folders "${below}")
    get_property(candidates DIRECTORY "${below}" PROPERTY SUBDIRECTORIES)
    set(below "")
    foreach(candidate IN LISTS candidates)
      string(FIND "${file}" "${candidate}/" position)
      if(position EQUAL 0)
        set(below "${candidate}")
      endif()
    endforeach()
  endwhile()
  set_source_files_properties("${file}" DIRECTORY ${folders}
    PROPERTIES COMPILE_OPTIONS "${options}")
endfunction()
"""
_SOURCE_OPTION = """\
# @WHY@
if(PROJECT_IS_TOP_LEVEL)
  cmake_language(DEFER CALL llamabuild_source_options "@SOURCE@" "@OPTIONS@")
endif()
"""


def injected(options: Iterable[SourceOption], left_out: Iterable[str]) -> str:
    """A CMake file, included by every ``project()``: small files to be compiled together, options
    for single source files, and variants that are not to be compiled."""
    text = f"# Written by llamabuild.\n{_TOGETHER}"
    if names := ";".join(left_out):
        text += _LEFT_OUT.replace("@NAMES@", names)
    asked = tuple(options)
    if asked:
        text += _SOURCE_OPTIONS
    for option in asked:
        words = {
            "@WHY@": option.why,
            "@SOURCE@": option.source,
            "@OPTIONS@": ";".join(option.options),
        }
        block = _SOURCE_OPTION
        for word, value in words.items():
            block = block.replace(word, value)
        text += block
    return text


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
    return tuple(
        f"{flag.name}: asked for {flag.value}, configured {configured.get(flag.name)}"
        for flag in flags
        if not _same(flag, configured.get(flag.name))
    )


_TRUTHS = {"ON": True, "OFF": False, "TRUE": True, "FALSE": False, "1": True, "0": False}


def _same(flag: Flag, got: str | None) -> bool:
    """True when a cache entry says what a flag does."""
    if got is None or isinstance(flag.value, bool):
        return _TRUTHS.get(str(got).upper()) == flag.value
    if flag.name in LANGUAGE_FLAGS:  # the words of the plan, and ours behind them
        return got.split()[: len(flag.value.split())] == flag.value.split()
    return got == flag.value


def commands(folder: Path) -> dict[str, tuple[str, ...]]:
    """The compile command of every source file, by path relative to nothing (absolute)."""
    entries = json.loads((folder / "compile_commands.json").read_text())
    return {entry["file"]: tuple(shlex.split(entry["command"])) for entry in entries}
