from __future__ import annotations

from dataclasses import replace

import pytest

from llamabuild import plan
from llamabuild.errors import ConfigError
from llamabuild.model import Absence, Device, Hardware, Plan, Recipe
from llamabuild.report import comparison, explanation
from tests.unit import values

CPU = Device(backend="cpu", name="n", architecture="x86_64")
NO_CUDA = Absence(what="cuda", why="no NVIDIA driver is loaded", hint="Install it.")
BASE = ("sse4_2", "avx", "f16c", "fma")
AUTO = Recipe(name="auto", summary="")


def machine(*features: str) -> Hardware:
    why = {"avx2": "SIGILL when executed"}
    return replace(
        values.hardware(*features, why=why if "avx2" not in features else {}),
        devices=(CPU,),
        absent=(NO_CUDA,),
    )


def decided(hardware: Hardware, recipe: Recipe = AUTO) -> Plan:
    accepts = frozenset({"-msse4.2", "-mavx", "-mavx2", "-mf16c", "-mfma"})
    return plan.plan(
        recipe, values.pin(), hardware, values.toolchain(values.compiler(accepts=accepts))
    )


def explained(name: str) -> str:
    hardware = machine(*BASE)
    return explanation.explain(name, decided(hardware), hardware, values.toolchain())


@pytest.mark.parametrize("name", ["GGML_AVX", "ggml_avx", "avx", "AVX"])
def test_an_option_says_its_value_and_why(name: str) -> None:
    assert "GGML_AVX = ON: this CPU runs AVX (executed here)" in explained(name)


def test_a_feature_that_is_not_used_says_what_is_wrong() -> None:
    said = explained("avx2")
    assert "CPU feature avx2 is not used" in said
    assert "SIGILL when executed" in said
    assert "GGML_AVX2 = OFF" in said


def test_a_back_end_that_is_not_used_says_why_and_what_to_do() -> None:
    assert explained("cuda").splitlines() == [
        "NVIDIA CUDA is not used.",
        "  because no NVIDIA driver is loaded",
        "  next: Install it.",
        "",
        "GGML_CUDA = OFF: NVIDIA CUDA is not used",
    ]


def test_the_back_end_that_is_used_says_for_what() -> None:
    assert "CPU is used (GGML_CPU=ON): for n." in explained("cpu")


def test_a_back_end_that_the_recipe_leaves_out() -> None:
    hardware = replace(machine("avx"), absent=())
    only = decided(hardware, Recipe(name="mine", summary="", backends=("cpu",)))
    said = explanation.explain("vulkan", only, hardware, values.toolchain())
    assert "recipe mine asks for cpu, and it is used only where it is named" in said


def test_a_tool() -> None:
    assert explained("cmake") == "cmake 3.28.0"


def test_an_unknown_name_gives_near_ones() -> None:
    with pytest.raises(ConfigError, match="GGML_AVX2"):
        explained("GGML_AVX22")
    with pytest.raises(ConfigError, match="nothing named"):
        explained("zzzzzzzz")


def test_two_machines_show_only_what_differs() -> None:
    one, other = machine(*BASE), machine(*BASE, "avx2")
    said = comparison.compare(
        comparison.Side(name="old", hardware=one, plan=decided(one)),
        comparison.Side(name="new", hardware=other, plan=decided(other)),
    )
    assert "+avx2" in said
    assert "GGML_AVX2" in said
    assert "SIGILL when executed" in said
    assert "GGML_LTO" not in said


def test_equal_machines() -> None:
    one = machine("avx")
    side = comparison.Side(name="a", hardware=one, plan=decided(one))
    said = comparison.compare(side, replace(side, name="b"))
    assert said == "a and b get the same build."
