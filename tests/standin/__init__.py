"""A small project with the shape of the real source, for tests of everything around it.

It is compiled by the real CMake, Ninja and compiler, packed into a real wheel and proved by
running what was built; only the inference is small: its tools print the sum of squares that
their library computes.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from llamabuild import digest, plan, probe, recipes
from llamabuild.backends import cpu_features
from llamabuild.errors import ProofFailed
from llamabuild.events import Emit
from llamabuild.host import Host, Limits, LocalHost
from llamabuild.model import Build, Check, Flag, Pin, Plan, Proof, Speed

ROOT = "llama_cpp_python-0.0.1"
LIBRARIES = """\
add_library(ggml-cpu ggml-cpu/ggml-cpu.c ggml-cpu/amx/mmq.cpp)
add_library(ggml ggml.c)
target_compile_definitions(ggml PRIVATE GGML_USE_CPU)
target_link_libraries(ggml PUBLIC ggml-cpu)
"""
"""What ggml's own CMake file makes, in small."""
_FILES: dict[str, str] = {
    "pyproject.toml": """\
[build-system]
requires = ["scikit-build-core"]
build-backend = "scikit_build_core.build"
[project]
name = "llama_cpp_python"
dynamic = ["version"]
requires-python = ">=3.8"
[tool.scikit-build]
wheel.packages = ["llama_cpp"]
wheel.py-api = "py3"
[tool.scikit-build.metadata.version]
provider = "scikit_build_core.metadata.regex"
input = "llama_cpp/__init__.py"
""",
    "README.md": "A stand-in.\n",
    "LICENSE.md": "MIT\n",
    "llama_cpp/__init__.py": '__version__ = "0.0.1"\n',
    "vendor/llama.cpp/ggml/src/ggml-cpu/ggml-cpu.c": """\
int sum_of_squares(int n) { int sum = 0; for (int i = 1; i <= n; i++) sum += i * i; return sum; }
""",
    "vendor/llama.cpp/ggml/src/ggml-cpu/amx/mmq.cpp": 'extern "C" int unused() { return 0; }\n',
    "vendor/llama.cpp/ggml/src/CMakeLists.txt": f"{LIBRARIES}@MACHINE@",
    "vendor/llama.cpp/ggml/CMakeLists.txt": "project(ggml C CXX)\nadd_subdirectory(src)\n",
    "vendor/llama.cpp/ggml/src/ggml.c": "int registry(void) { return 1; }\n",
    "vendor/llama.cpp/nothing.c": "int nothing(void) { return 0; }\n",
    "vendor/llama.cpp/main.c": """\
#include <stdio.h>
int sum_of_squares(int);
int main(void) { printf("%d\\n", sum_of_squares(20)); return 0; }
""",
}


def _cmake(flags: tuple[Flag, ...], targets: tuple[str, ...]) -> str:
    names = [flag.name for flag in flags if flag.name.startswith(("GGML_", "LLAMA_"))]
    tools = [name for name in targets if name not in ("llama", "mtmd")]
    lines = ["cmake_minimum_required(VERSION 3.21)", "project(llama C CXX)"]
    lines += [f'set({name} "" CACHE STRING "declared")' for name in names]
    lines += ["add_subdirectory(ggml)"]
    lines += [
        f"add_library({name} nothing.c)\ntarget_link_libraries({name} PUBLIC ggml)"
        for name in ("llama", "mtmd")
    ]
    lines += [
        f"add_executable({name} main.c)\ntarget_link_libraries({name} PRIVATE llama)"
        for name in tools
    ]
    return "\n".join(lines) + "\n"


def archive(folder: Path, cache: Path, *, extra: dict[str, str] | None = None) -> Pin:
    """Write the stand-in's source archive for this machine and return its pin."""
    decided = _planned(_pin(folder / "none", 1, "0" * 64), cache)
    files = dict(_FILES) | (extra or {})
    folder_file = "vendor/llama.cpp/ggml/src/CMakeLists.txt"
    files[folder_file] = files[folder_file].replace("@MACHINE@", _machine_options(decided.flags))
    files.setdefault("vendor/llama.cpp/CMakeLists.txt", _cmake(decided.flags, decided.targets))
    path = folder / f"{ROOT}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{ROOT}/{name}")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return _pin(path, path.stat().st_size, digest.of_file(path))


def _machine_options(flags: tuple[Flag, ...]) -> str:
    """What ggml's own CMake does with the options of the instruction set."""
    lines = [
        f"if({row.option})\n  target_compile_options(ggml-cpu PRIVATE {option})\nendif()"
        for row in cpu_features.extensions(LocalHost().system()[2])
        for option in row.compiler
        if row.option
    ]
    if any(flag.name == "GGML_CPU_ARM_ARCH" for flag in flags):
        lines.append("target_compile_options(ggml-cpu PRIVATE -march=${GGML_CPU_ARM_ARCH})")
    return "\n".join(lines) + "\n"


def _pin(path: Path, size: int, sha256: str) -> Pin:
    return Pin(
        name="standin",
        version="0.0.1",
        urls=(path.as_uri(),),
        size=size,
        sha256=sha256,
        licence="MIT",
        commit="0000000",
        build_number=1,
    )


def _planned(pin: Pin, cache: Path) -> Plan:
    hardware, toolchain = probe.probe(LocalHost(), cache=cache)
    recipe = recipes.load("cpu-native", ("cpu", "cuda", "vulkan"))
    return plan.plan(recipe, pin, hardware, toolchain)


def proved(built: Build, work: Path, host: Host, emit: Emit) -> Proof:
    """Run what was built and compare with the sum computed here."""
    ended = host.run([str(built.prefix / "bin" / "llama-cli")], limits=Limits(seconds=20))
    wanted = sum(n * n for n in range(1, 21))
    if ended.code != 0 or ended.out.strip() != str(wanted):
        raise ProofFailed(f"{ended}", kind="wrong-numbers", check="sum of squares")
    return Proof(
        reference="a sum in Python",
        device="CPU",
        checks=(Check(name="sum of squares", detail=ended.out.strip()),),
        speed=(Speed(model="none", threads=1, prompt=1.0, generate=1.0),),
        seconds=0.1,
    )
