"""The check of `make versions` on a small tree: what it lets pass, and that it can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import backends, plan, probe, recipes
from llamabuild.host import LocalHost
from llamabuild.model import Hardware, Plan, Source, SourceOption, Toolchain
from tests.trees import configured
from tests.unit import values

HOST = LocalHost()
pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(HOST.system()[2] != "x86_64", reason="the small tree is for x86-64"),
]
OLD = """\
cmake_minimum_required(VERSION 3.21)
project("llama.cpp" C CXX)
option(BUILD_SHARED_LIBS "" OFF)
option(LLAMA_NATIVE "-march=native" ON)
option(LLAMA_SSE42 "" OFF)
option(LLAMA_AVX2 "" ON)
option(LLAMA_AVX "" ON)
option(LLAMA_BUILD_EXAMPLES "" OFF)
option(LLAMA_BUILD_SERVER "" OFF)
option(LLAMA_MPI "" ON)
if (LLAMA_NATIVE)
  add_compile_options(-march=native)
endif()
if (LLAMA_AVX2)
  add_compile_options(-mavx2)
endif()
if (LLAMA_AVX)
  add_compile_options(-mavx)
endif()
message(STATUS "${LLAMA_MPI}${LLAMA_BUILD_EXAMPLES}${LLAMA_BUILD_SERVER}${LLAMA_SSE42}")
add_library(llama SHARED ggml.c sgemm.cpp llama.cpp)
"""
PROJECT = """\
cmake_minimum_required(VERSION 3.21)
project(llama_cpp)
set(BUILD_SHARED_LIBS "On")
add_subdirectory(vendor/llama.cpp)
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> tuple[Hardware, Toolchain]:
    hardware, toolchain = probe.probe(HOST, cache=tmp_path_factory.mktemp("cache"))
    made_up = values.hardware("sse4_2", "avx", "f16c", "fma", "avx2", "bmi2")
    return replace(hardware, cpu=made_up.cpu, devices=()), toolchain


@pytest.fixture
def planned(here: tuple[Hardware, Toolchain]) -> Plan:
    recipe = recipes.load("cpu-native", tuple(backends.BACKENDS))
    return plan.plan(recipe, values.pin(), *here)


def source(root: Path, text: str = OLD, project: str = PROJECT) -> Source:
    tree = root / "vendor" / "llama.cpp"
    tree.mkdir(parents=True)
    (root / "CMakeLists.txt").write_text(project)
    (tree / "CMakeLists.txt").write_text(text)
    for name in ("ggml.c", "sgemm.cpp", "llama.cpp"):
        (tree / name).write_text("")
    return Source(pin=values.pin(), root=root)


def direct(planned: Plan, source: Source, to: Path) -> configured.Outcome:
    return configured.direct(planned, source, "x86_64", to, HOST)


def test_an_old_tree_is_configured_as_planned(planned: Plan, tmp_path: Path) -> None:
    outcome = direct(planned, source(tmp_path / "s"), tmp_path / "b")
    assert not outcome.wrong
    assert not outcome.ignored
    told = set(outcome.effective.split())
    assert told == {"-msse4.2", "-mavx", "-mavx2", "-mf16c", "-mfma", "-mbmi2"}


def test_the_same_through_pip(planned: Plan, tmp_path: Path) -> None:
    outcome = configured.by_pip(planned, source(tmp_path / "s"), "x86_64", tmp_path / "b", HOST)
    assert not outcome.wrong


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("if (LLAMA_AVX2)", "if (LLAMA_AVX2 AND LLAMA_NATIVE)", "ggml.c: planned"),
        ("add_compile_options(-mavx2)", "add_compile_options(-mavx2 -mfma4)", "-mfma4"),
        ("if (LLAMA_NATIVE)", "if (TRUE)", "the compiler decides by itself"),
        ("if (LLAMA_AVX)", "if (FALSE)", "ignored: LLAMA_AVX"),
        ('option(LLAMA_MPI "" ON)', 'set(LLAMA_MPI ON CACHE BOOL "" FORCE)', "LLAMA_MPI: asked"),
        ("ggml.c sgemm.cpp ", "", "no file of ggml's CPU code"),
    ],
)
def test_what_is_not_as_planned_is_found(
    planned: Plan, tmp_path: Path, old: str, new: str, words: str
) -> None:
    assert old in OLD
    outcome = direct(planned, source(tmp_path / "s", OLD.replace(old, new)), tmp_path / "b")
    assert any(words in wrong for wrong in outcome.wrong), outcome.wrong


def test_what_the_tree_never_says_the_compiler_is_told(planned: Plan, tmp_path: Path) -> None:
    silent = OLD.replace("add_compile_options(-mavx2)", "")
    outcome = direct(planned, source(tmp_path / "s", silent), tmp_path / "b")
    assert not outcome.wrong
    assert "-mavx2" in outcome.effective


@pytest.mark.parametrize("order", ['set(LLAMA_AVX2 OFF CACHE BOOL "" FORCE)', ""])
def test_what_the_project_forces_unseen_is_found(planned: Plan, tmp_path: Path, order: str) -> None:
    project = PROJECT.replace("add_subdirectory", f"{order}\nadd_subdirectory")
    outcome = configured.by_pip(
        planned, source(tmp_path / "s", project=project), "x86_64", tmp_path / "b", HOST
    )
    assert bool(outcome.wrong) == bool(order)


def test_options_for_a_file_reach_it_in_any_folder(planned: Plan, tmp_path: Path) -> None:
    """ggml's targets are made in the file's own folder, or in one above it."""
    place = tmp_path / "s"
    nested = OLD + "add_subdirectory(ggml)\n"
    made = source(place, nested)
    ggml = made.tree / "ggml" / "src" / "ggml-amx"
    ggml.mkdir(parents=True)
    (ggml / "mmq.cpp").write_text("")
    (ggml.parent / "up.cpp").write_text("")
    (ggml / "CMakeLists.txt").write_text("add_library(amx mmq.cpp)\nfunction(later)\nendfunction()")
    (ggml.parent / "CMakeLists.txt").write_text("add_subdirectory(ggml-amx)")
    (ggml.parents[1] / "CMakeLists.txt").write_text("add_subdirectory(src)")
    option = SourceOption(source="ggml/src/ggml-cpu/amx/mmq.cpp", options=("-fno-dse",), why="w")
    mending = replace(planned, source_options=(option,))
    outcome = direct(mending, made, tmp_path / "b")
    assert not outcome.wrong
    (ggml / "CMakeLists.txt").write_text("")
    (ggml.parent / "CMakeLists.txt").write_text(
        "add_subdirectory(ggml-amx)\nadd_library(amx ggml-amx/mmq.cpp)"
    )
    assert not direct(mending, made, tmp_path / "b2").wrong
