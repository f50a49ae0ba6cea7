from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llamabuild import cmake
from llamabuild.model import Flag, SourceOption
from tests.unit import values


def test_the_environment_is_a_short_list() -> None:
    environ = {"PATH": "/bin", "CFLAGS": "-O0", "SOURCE_DATE_EPOCH": "1", "CMAKE_ARGS": "-DX=1"}
    made = cmake.environment(environ)
    assert made["PATH"] == "/bin"
    assert not {"CFLAGS", "SOURCE_DATE_EPOCH", "CMAKE_ARGS"} & set(made)
    assert made["LC_ALL"] == "C"


def test_what_is_kept_out_is_named() -> None:
    environ = {"CFLAGS": "-O0", "CUDAARCHS": "", "HOME": "/"}
    assert cmake.ignored(environ) == ("CFLAGS",)


def test_differences_between_asked_and_configured() -> None:
    flags = (
        Flag(name="A", value=True, why=""),
        Flag(name="B", value=False, why=""),
        Flag(name="C", value="x", why=""),
        Flag(name="D", value=True, why=""),
        Flag(name="E", value="armv8-a", why=""),
    )
    configured = {"A": "ON", "B": "0", "C": "y", "E": "armv8-a"}
    assert cmake.differences(flags, configured) == (
        "C: asked for x, configured y",
        "D: asked for True, configured None",
    )


def test_the_compilers_own_options_may_have_ours_behind_them() -> None:
    flags = (Flag(name="CMAKE_C_FLAGS", value="-msse4.2 -mbmi2", why=""),)
    assert not cmake.differences(flags, {"CMAKE_C_FLAGS": "-msse4.2 -mbmi2 -ffile-prefix-map=a=b"})
    for got in ("-msse4.2", "-mbmi2 -msse4.2", ""):
        assert cmake.differences(flags, {"CMAKE_C_FLAGS": got})
    assert cmake.differences(flags, {})


def test_options_for_the_compilers_join_those_of_the_plan() -> None:
    flags = (
        Flag(name="CMAKE_C_FLAGS", value="-msse4.2", why=""),
        Flag(name="GGML_X", value=True, why=""),
    )
    argv = cmake.configure(
        replace(values.plan(), flags=flags),
        cmake="cmake",
        ninja="ninja",
        ccache="",
        tree=Path("/t"),
        folder=Path("/b"),
    )
    ours = "-ffile-prefix-map=/t=llama.cpp"
    assert [one for one in argv if "CMAKE_C_FLAGS" in one] == [
        f"-DCMAKE_C_FLAGS:STRING=-msse4.2 {ours}"
    ]
    assert f"-DCMAKE_CXX_FLAGS:STRING={ours}" in argv
    assert "-DGGML_X:BOOL=ON" in argv


def test_the_injected_file_names_the_source_and_the_reason() -> None:
    option = SourceOption(
        source="ggml/src/ggml-cpu/amx/mmq.cpp", options=("-fno-dse", "-O1"), why="stores dropped"
    )
    text = cmake.injected((option, option), ())
    asked = 'CALL llamabuild_source_options "ggml/src/ggml-cpu/amx/mmq.cpp" "-fno-dse;-O1"'
    assert text.count(asked) == 2
    assert text.count("function(llamabuild_source_options ") == 1
    assert "# stores dropped" in text
    assert "llamabuild_source_options" not in cmake.injected((), ())
