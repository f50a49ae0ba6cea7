"""What is injected into a CMake project, with a real CMake and small projects."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from llamabuild import cmake
from llamabuild.host import LocalHost
from llamabuild.toolchains import tools

pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++ here"),
]
HOST = LocalHost()
TOP = """\
cmake_minimum_required(VERSION 3.21)
project(top CXX)
add_subdirectory(tools/mtmd)
"""
MTMD = "add_library(mtmd STATIC mtmd.cpp mtmd-helper.cpp models/a.cpp models/b.cpp)\n"


def compiled(folder: Path, files: dict[str, str]) -> set[str]:
    """The files that a project compiles when it is configured with what llamabuild injects."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    injected = folder / "llamabuild.cmake"
    injected.write_text(cmake.injected((), ()))
    program, ninja = (tool(HOST, folder).path for tool in (tools.cmake, tools.ninja))
    argv = [program, "-G", "Ninja", "-S", str(folder), "-B", str(folder / "build")]
    argv += [f"-DCMAKE_PROJECT_INCLUDE={injected}", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"]
    subprocess.run([*argv, f"-DCMAKE_MAKE_PROGRAM={ninja}"], check=True, capture_output=True)
    subprocess.run([program, "--build", str(folder / "build")], check=True, capture_output=True)
    units = json.loads((folder / "build" / "compile_commands.json").read_text())
    return {Path(unit["file"]).name for unit in units}


def test_the_models_of_mtmd_are_compiled_together_and_nothing_else_is(tmp_path: Path) -> None:
    sources = ("mtmd.cpp", "mtmd-helper.cpp", "models/a.cpp", "models/b.cpp")
    files = {f"tools/mtmd/{name}": f"static int x_{n} = {n};\n" for n, name in enumerate(sources)}
    files["tools/mtmd/mtmd-helper.cpp"] = "static int x_0 = 0;\n"  # it would collide
    made = compiled(tmp_path, {"CMakeLists.txt": TOP, "tools/mtmd/CMakeLists.txt": MTMD, **files})
    assert made == {"mtmd.cpp", "mtmd-helper.cpp", "unity_0_cxx.cxx"}


def test_a_tree_without_mtmd_is_left_alone(tmp_path: Path) -> None:
    top = "cmake_minimum_required(VERSION 3.21)\nproject(top CXX)\nadd_library(x STATIC x.cpp)\n"
    assert compiled(tmp_path, {"CMakeLists.txt": top, "x.cpp": "int x;\n"}) == {"x.cpp"}


def test_an_older_mtmd_without_models_is_compiled_as_it_is(tmp_path: Path) -> None:
    mtmd = "add_library(mtmd OBJECT mtmd.cpp clip.cpp)\nadd_library(y SHARED y.cpp)\n"
    files = {f"tools/mtmd/{name}.cpp": f"int {name};\n" for name in ("mtmd", "clip", "y")}
    made = compiled(tmp_path, {"CMakeLists.txt": TOP, "tools/mtmd/CMakeLists.txt": mtmd, **files})
    assert made == {"mtmd.cpp", "clip.cpp", "y.cpp"}
