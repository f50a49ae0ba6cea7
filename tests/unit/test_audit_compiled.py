from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import cmake
from llamabuild.audit import compiled
from llamabuild.audit.compiled import Unit
from llamabuild.errors import IntegrityError
from llamabuild.model import Flag, Plan, SourceOption
from tests.unit.values import plan

TREE = Path("/tree")
CPU = str(TREE / "ggml/src/ggml-cpu/ggml-cpu.c")
AVX2 = ("-msse4.2", "-mavx", "-mf16c", "-mfma", "-mavx2")
RELEASE = ("cc", "-DNDEBUG", "-O3")


def flags(**values: bool | str) -> tuple[Flag, ...]:
    every: dict[str, bool | str] = {"CMAKE_BUILD_TYPE": "Release", "GGML_FMA": True, **values}
    return tuple(Flag(name=name, value=value, why="") for name, value in every.items())


def planned(**values: bool | str) -> Plan:
    features = ("sse4_2", "avx", "f16c", "fma", "avx2")
    return replace(plan(), cpu_features=features, flags=flags(**values), targets=("llama",))


def unit(target: str, *words: str, file: str = CPU) -> Unit:
    return Unit(file=file, target=target, words=words)


REGISTRY = unit("ggml", *RELEASE, "-DGGML_USE_CPU", file="/tree/ggml/src/ggml-backend-reg.cpp")
SOUND = (unit("ggml-cpu", *RELEASE, *AVX2), REGISTRY)


def library(*names: str, kind: str = "SHARED_LIBRARY") -> dict[str, cmake.Target]:
    return {name: cmake.Target(name=name, kind=kind, files=()) for name in names}


TARGETS = library("llama", "ggml", "ggml-cpu")


def said(units: tuple[Unit, ...], of: Plan | None = None) -> tuple[str, ...]:
    return compiled.differences(of or planned(), units, TARGETS, TREE)


def test_as_planned() -> None:
    assert said(SOUND) == ()


@pytest.mark.parametrize(
    ("words", "trouble"),
    [
        (("cc", "-DNDEBUG", *AVX2), "compiled with no optimisation"),
        ((*RELEASE, *AVX2, "-O0"), "compiled with -O0"),
        ((*RELEASE, *AVX2, "-Og"), "compiled with -Og"),
        ((*RELEASE, *AVX2, "-UNDEBUG"), "compiled without -DNDEBUG"),
        (("cc", "-O3", *AVX2), "compiled without -DNDEBUG"),
        ((*RELEASE, *AVX2, "-ffast-math"), "compiled with -ffast-math"),
        ((*RELEASE, *AVX2, "-march=native"), "compiled with -march=native"),
        ((*RELEASE, *AVX2, "-mavx512f"), "instruction set not as planned"),
        ((*RELEASE, *AVX2[1:]), "instruction set not as planned"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_name(
    words: tuple[str, ...], trouble: str
) -> None:
    lines = said((unit("ggml-cpu", *words), REGISTRY))
    assert any(line.startswith(trouble) and "ggml-cpu.c (ggml-cpu)" in line for line in lines)


def test_every_file_is_looked_at_and_said_once() -> None:
    many = tuple(
        unit("llama", "c++", "-O0", "-DNDEBUG", file=f"/tree/src/{n}.cpp") for n in range(6)
    )
    assert said((*SOUND, *many)) == (
        "compiled with -O0: 0.cpp (llama), 1.cpp (llama), 2.cpp (llama) and 3 more",
    )


def test_options_for_one_file() -> None:
    option = SourceOption(source="ggml/src/ggml-cpu/ggml-cpu.c", options=("-O1",), why="")
    one = replace(planned(), source_options=(option,))
    assert said((unit("ggml-cpu", *RELEASE, *AVX2, "-O1"), REGISTRY), one) == ()
    assert said(SOUND, one) == (f"{option.source} (ggml-cpu) is compiled without -O1",)
    assert said((REGISTRY,), one) == (f"{option.source} is not compiled at all",)


def test_macros_of_back_ends() -> None:
    other = replace(REGISTRY, words=(*RELEASE, "-DGGML_USE_CUDA"))
    assert said((SOUND[0], other)) == (
        "ggml is compiled without GGML_USE_CPU",
        "ggml is compiled with GGML_USE_CUDA",
    )
    loaded = planned(GGML_BACKEND_DL=True)
    assert said(SOUND, loaded) == ("ggml is not compiled to load its back-ends (GGML_BACKEND_DL)",)


def test_targets_of_back_ends_and_tools() -> None:
    found = compiled.differences(planned(), SOUND, library("ggml-vulkan"), TREE)
    assert found == (
        "there is no target llama",
        "unplanned library ggml-vulkan",
        "no library ggml-cpu",
    )


VARIANTS = ("x64", "sse42", "haswell")


def fat(*units: Unit) -> tuple[str, ...]:
    of = planned(GGML_BACKEND_DL=True, GGML_CPU_ALL_VARIANTS=True)
    registry = replace(REGISTRY, words=(*RELEASE, "-DGGML_BACKEND_DL"))
    names = (f"ggml-cpu-{name}" for name in VARIANTS)
    targets = library("llama", "ggml", *names) | library("ggml-cpu-x64-feats", kind="OBJECT")
    return compiled.differences(of, (registry, *units), targets, TREE)


def test_each_variant_has_its_own_options() -> None:
    sound = (
        unit("ggml-cpu-x64", *RELEASE),
        unit("ggml-cpu-sse42", *RELEASE, "-msse4.2"),
        unit("ggml-cpu-haswell", *RELEASE, *AVX2, "-mbmi2"),
        unit("ggml-cpu-haswell-feats", *RELEASE),
    )
    lacking = [line for line in fat(*sound) if "not made" not in line]
    assert lacking == []
    assert "CPU variant zen4 is not made" in fat(*sound)
    wrong = fat(unit("ggml-cpu-sse42", *RELEASE, "-msse4.2", "-mavx"))
    assert any(line.startswith("ggml-cpu-sse42 is compiled with -mavx") for line in wrong)
    asking = fat(unit("ggml-cpu-haswell-feats", *RELEASE, "-mavx2"))
    assert any(line.startswith("ggml-cpu-haswell-feats is compiled with -mavx2") for line in asking)


def test_what_the_shader_compiler_knows_is_a_fact() -> None:
    one = "-DGGML_VULKAN_COOPMAT_GLSLC_SUPPORT"
    assert compiled.facts((unit("ggml-vulkan", "c++", one), unit("ggml", "c++", one + "2"))) == (
        one[2:],
    )


def test_commands_are_read_with_their_targets(tmp_path: Path) -> None:
    words = 'cc -DX="a b" -o ggml/src/CMakeFiles/ggml-cpu-zen4.dir/a.c.o -c /tree/a.c'
    entry = {"directory": "/b", "file": "/tree/a.c", "command": words}
    (tmp_path / "compile_commands.json").write_text(json.dumps([entry, entry]))
    found = compiled.units(tmp_path)
    assert [one.target for one in found] == ["ggml-cpu-zen4"] * 2
    assert found[0].words[1] == "-DX=a b"


@pytest.mark.parametrize("text", [None, "{", "[{}]", "3", '[{"file": 1, "command": 2}]'])
def test_commands_that_are_not_there(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "compile_commands.json").write_text(text)
    with pytest.raises(IntegrityError, match="no compile commands"):
        compiled.units(tmp_path)
