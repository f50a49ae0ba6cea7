from __future__ import annotations

from llamabuild import cmake
from llamabuild.model import Flag, SourceOption


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


def test_the_injected_file_names_the_source_its_folder_and_the_reason() -> None:
    option = SourceOption(
        source="ggml/src/ggml-cpu/amx/mmq.cpp", options=("-fno-dse",), why="stores are dropped"
    )
    text = cmake.injected((option,), ())
    assert '"${CMAKE_CURRENT_SOURCE_DIR}/ggml/src/ggml-cpu/amx/mmq.cpp"' in text
    assert 'DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/ggml/src"' in text
    assert 'COMPILE_OPTIONS "-fno-dse"' in text
    assert "# stores are dropped" in text
