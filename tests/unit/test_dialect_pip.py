"""The pip command: what a shell and scikit-build-core make of it is what was planned."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scikit_build_core.builder.builder import get_cmake_args_from_settings
from scikit_build_core.settings.skbuild_model import ScikitBuildSettings

from llamabuild import data, dialect
from llamabuild.dialect.pip import cmake_arguments, forced, pip_arguments
from llamabuild.errors import ConfigError
from llamabuild.model import Flag
from tests import trees
from tests.unit import values
from tests.unit.test_dialect import flag, machine

TABLE = data.load(data.package("dialect/pip.toml"))


def understood(line: str) -> list[str]:
    """The arguments that CMake gets when a shell runs ``line``."""
    words = shlex.split(line)
    variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    return list(get_cmake_args_from_settings(ScikitBuildSettings(), variables))


def line(*flags: Flag, version: str = "0.3.36", os: str = "linux", arch: str = "x86_64") -> str:
    return pip_arguments(flags, version, os, arch)[0]


def test_the_line_as_people_copy_it() -> None:
    text = line(
        flag("GGML_CUDA"),
        flag("GGML_NATIVE", False),
        flag("CMAKE_CUDA_ARCHITECTURES", "80-real;90"),
        flag("CMAKE_C_FLAGS", "-msse4.2 -mbmi2"),
    )
    assert text == (
        "CMAKE_ARGS='-DGGML_CUDA=ON -DGGML_NATIVE=OFF -DCMAKE_CUDA_ARCHITECTURES=80-real;90 "
        '"-DCMAKE_C_FLAGS=-msse4.2 -mbmi2"\' '
        "pip install --no-cache-dir --no-binary llama-cpp-python llama-cpp-python==0.3.36"
    )
    assert understood(text) == [
        "-DGGML_CUDA=ON",
        "-DGGML_NATIVE=OFF",
        "-DCMAKE_CUDA_ARCHITECTURES=80-real;90",
        "-DCMAKE_C_FLAGS=-msse4.2 -mbmi2",
    ]


@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20), max_size=4))
def test_any_value_survives_shell_and_scikit_build_core(texts: list[str]) -> None:
    flags = [flag(f"GGML_X{number}", text) for number, text in enumerate(texts)]
    assert understood(line(*flags)) == [f"-D{one.name}={one.value}" for one in flags]


def test_the_compiler_travels_in_front() -> None:
    text, _ = pip_arguments((), "0.3.36", "linux", "x86_64", compiler=values.compiler())
    assert text.startswith("CC=/usr/bin/gcc CXX=/usr/bin/gcc++ CMAKE_ARGS='' pip ")


def test_powershell() -> None:
    text = line(flag("GGML_CUDA"), flag("GGML_X", "it's"), os="windows")
    assert text.startswith("$env:CMAKE_ARGS='-DGGML_CUDA=ON \"-DGGML_X=it''s\"'; pip install ")


@pytest.mark.parametrize("version", trees.versions())
def test_a_plan_of_every_version_comes_through(version: str) -> None:
    planned = machine("x86_64", ("sse4_2", "avx", "f16c", "fma", "avx2", "bmi2"), ("cuda",))
    said = dialect.render(planned.flags, trees.options(version), "x86_64")
    text, notes = pip_arguments(said.flags, version, "linux", "x86_64")
    got = dict(word[2:].split("=", 1) for word in understood(text))
    fixed = {name for row in TABLE["instead"] for name in row["names"]}
    fixed |= {*TABLE["silent"]["names"], *forced(version, "linux", "x86_64")}
    for one in said.flags:
        if one.name not in fixed:
            truth = {True: "ON", False: "OFF"}
            assert got[one.name] == (truth[one.value] if isinstance(one.value, bool) else one.value)
    assert {note.said for note in notes} == {"changed"}
    assert any(note.name == "LLAMA_BUILD_EXAMPLES" for note in notes)


@pytest.mark.parametrize(
    ("version", "os", "arch", "names"),
    [
        ("0.2.20", "linux", "x86_64", {"BUILD_SHARED_LIBS"}),
        ("0.3.36", "linux", "aarch64", {"BUILD_SHARED_LIBS", "LLAMA_BUILD_COMMON", "LLAMA_CURL"}),
        (
            "0.2.20",
            "macos",
            "x86_64",
            {"BUILD_SHARED_LIBS", "LLAMA_AVX", "LLAMA_AVX2", "LLAMA_FMA", "LLAMA_F16C"},
        ),
        ("0.2.79", "macos", "aarch64", {"BUILD_SHARED_LIBS", "LLAMA_METAL_EMBED_LIBRARY"}),
        ("0.2.90", "macos", "aarch64", {"BUILD_SHARED_LIBS", "GGML_METAL_EMBED_LIBRARY"}),
        (
            "0.3.10",
            "macos",
            "x86_64",
            {
                *("BUILD_SHARED_LIBS", "LLAMA_BUILD_COMMON", "LLAMA_CURL", "GGML_METAL"),
                *("GGML_METAL_EMBED_LIBRARY", "GGML_AVX", "GGML_AVX2", "GGML_FMA", "GGML_F16C"),
            },
        ),
    ],
)
def test_what_the_project_forces(version: str, os: str, arch: str, names: set[str]) -> None:
    assert set(forced(version, os, arch)) == names


def test_forced_against_the_plan_is_told_and_left_out() -> None:
    flags = (flag("GGML_METAL", False), flag("GGML_AVX2"), flag("GGML_FMA", False))
    given, notes = cmake_arguments(flags, "0.3.36", "macos", "x86_64")
    assert not given
    assert [note.name for note in notes] == ["GGML_METAL", "GGML_AVX2"]
    assert notes[0].why.startswith("ON, llama-cpp-python sets it in any case")
    assert notes[1].why.startswith("OFF, ")


@pytest.mark.parametrize("name", ["GGML_BACKEND_DL", "GGML_OPENCL"])
def test_what_pip_cannot_give_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        line(flag(name))
    assert caught.value.hint
    assert name in line(flag(name, False))


def test_back_ends_inside_libggml_are_packed() -> None:
    assert "GGML_CANN=ON" in line(flag("GGML_CANN"), version="0.2.90")


@pytest.mark.parametrize("kind", ["forced", "instead", "unpacked"])
def test_every_name_of_the_table_exists_somewhere(kind: str) -> None:
    known = {"BUILD_SHARED_LIBS"}
    for version in trees.versions():
        tree = trees.options(version)
        known |= {*tree.declared, *tree.read, *tree.aliases}
    assert {name for row in TABLE[kind] for name in row["names"]} <= known
