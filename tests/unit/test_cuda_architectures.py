"""CUDA: which code is compiled for which GPUs, by which toolkit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamabuild.backends import cuda
from llamabuild.backends.cuda_architectures import Code, architectures, code
from llamabuild.backends.cuda_facts import (
    ROWS,
    TABLE,
    VERSIONS,
    best_toolkit,
    capability_of,
    compatible,
    fitting,
    numbers,
    reads,
    runs,
)
from llamabuild.model import Device, Flag, Tool
from tests.unit import values
from tests.unit.test_cuda import planned

# CMakeCUDAArchitecturesValidate.cmake
CMAKE = re.compile(r"[0-9]+(a|f)?(-real|-virtual)?(;[0-9]+(a|f)?(-real|-virtual)?)*")
KNOWN = ("", "10.2", *VERSIONS)


def device(capability: str, known: str, name: str = "") -> Device:
    driver = f"1.2.3 (CUDA {known})" if known else "1.2.3"
    architecture = capability.replace(".", "")
    return Device(
        backend="cuda", name=name or f"GPU {capability}", architecture=architecture, driver=driver
    )


def value(devices: Sequence[Device], nvcc: str) -> dict[str, Flag]:
    hardware = replace(values.hardware(), devices=tuple(devices))
    toolchain = replace(values.toolchain(), tools=(Tool(name="nvcc", version=nvcc),))
    return {flag.name: flag for flag in cuda.flags(hardware, toolchain)}


@pytest.mark.parametrize(
    ("architectures", "nvcc", "driver", "value"),
    [
        (("90",), "13.0.88", "580.65.06 (CUDA 13.0)", "90-real;90-virtual"),
        (("90", "86", "90"), "12.8.93", "580.65.06 (CUDA 13.0)", "86-real;90-real;90-virtual"),
        # PTX of a toolkit newer than the driver could not be read.
        (("86",), "12.8.93", "550.54.14 (CUDA 12.4)", "86-real"),
        (("86",), "12.8.93", "550.54.14", "86-real"),
        # ggml turns 12.x into its architecture-specific form, whose PTX serves no other GPU.
        (("120",), "13.0.88", "580.65.06 (CUDA 13.0)", "120a-real"),
        (("89", "120"), "13.0.88", "580.65.06 (CUDA 13.0)", "89-real;120a-real"),
        (("86", "120"), "12.8.93", "570.133.07 (CUDA 12.8)", "86-real;120a-real"),
        (("121",), "13.0.88", "580.95.05 (CUDA 13.0)", "121a-real"),
        # A GPU newer than the toolkit runs PTX, when the driver compiles that of this toolkit.
        (("120",), "12.4.131", "570.86.10 (CUDA 12.8)", "90-virtual"),
        (("86", "120"), "12.4.131", "570.86.10 (CUDA 12.8)", "86-real;90-virtual"),
        (("121",), "12.8.93", "580.95.05 (CUDA 13.0)", "100-virtual"),
        (("90",), "11.8.89", "550.54.14 (CUDA 12.4)", "89-virtual"),
        # … or machine code of an older GPU of its generation: 11.5 is Ubuntu 22.04's.
        (("89",), "11.5.119", "550.54.14 (CUDA 12.4)", "86-real;86-virtual"),
        (("103",), "12.8.93", "570.133.07 (CUDA 12.8)", "100-real;100-virtual"),
        (("61", "89"), "12.8.93", "570.86.10 (CUDA 12.8)", "61-real;89-real;89-virtual"),
        (("87",), "12.6.68", "540.4.0 (CUDA 12.6)", "87-real;87-virtual"),
        (("87",), "11.4.315", "L4T 35.4.1", "87-real"),
        (("110",), "13.0.48", "580.00 (CUDA 13.0)", "110-real;110-virtual"),
    ],
)
def test_architectures(architectures: tuple[str, ...], nvcc: str, driver: str, value: str) -> None:
    flags = planned(*architectures, nvcc=nvcc, driver=driver)
    assert flags["CMAKE_CUDA_ARCHITECTURES"].value == value


@pytest.mark.parametrize(
    ("architecture", "nvcc", "driver", "said"),
    [
        ("86", "12.8.93", "1 (CUDA 12.4)", "knows CUDA 12.4 and could not compile that of 12.8.93"),
        ("86", "12.8.93", "1", "it is not known which CUDA the driver knows"),
        ("86", "12.8.93", "1 (CUDA 13.0)", "PTX that newer GPUs can compile"),
        ("120", "12.8.93", "1 (CUDA 13.0)", "that of 12x runs on no other GPU"),
        ("120", "12.4.99", "1 (CUDA 13.0)", "CUDA 12.8 or newer has its own"),
        ("89", "11.5.119", "1 (CUDA 13.0)", "machine code of 8.6"),
        ("61", "13.0.88", "1 (CUDA 13.0)", "12.9 is the last that does"),
    ],
)
def test_the_reason_says_what_is_not_as_good_as_it_could_be(
    architecture: str, nvcc: str, driver: str, said: str
) -> None:
    flags = planned(architecture, nvcc=nvcc, driver=driver)
    assert said in flags["CMAKE_CUDA_ARCHITECTURES"].why


def runs_on(word: str, capability: str, toolkit: str, driver: str) -> bool:
    """Whether a GPU runs what CMake makes of a word, by NVIDIA's compatibility rules."""
    number, kind = re.fullmatch(r"([0-9]+)a?-(real|virtual)", word).groups()  # type: ignore[union-attr]
    made_for = capability_of(number)
    if "a" in word.partition("-")[0]:
        return made_for == capability and kind == "real" and runs(driver, toolkit)
    if numbers(made_for) > numbers(capability):
        return False
    if kind == "virtual":
        return reads(driver, toolkit)
    cards = not {made_for, capability} & set(TABLE["integrated"])
    same = numbers(made_for)[0] == numbers(capability)[0]
    return runs(driver, toolkit) and (made_for == capability or (same and cards))


def test_whatever_is_compiled_for_a_gpu_compiles_and_runs_there() -> None:
    for capability in ROWS:
        for toolkit in VERSIONS:
            for driver in KNOWN:
                one = code(capability, toolkit, driver)
                case = (capability, toolkit, driver, one)
                assert bool(one.word) != bool(one.why), case
                assert one.word or not one.makeshift, case
                if one.word:
                    made_for = capability_of(re.findall(r"[0-9]+", one.word)[0])
                    assert compatible(toolkit, made_for) is None, case
                    assert runs_on(one.word, capability, toolkit, driver), case
                if toolkit in fitting(capability, driver):
                    assert one == Code(word=one.word), case
                    assert one.word, case


GPUS = st.lists(st.tuples(st.sampled_from(list(ROWS)), st.sampled_from(KNOWN)), max_size=6)


@settings(max_examples=400, deadline=None)
@given(GPUS, st.sampled_from(VERSIONS))
def test_cmake_takes_the_list_and_it_serves_every_gpu(
    gpus: list[tuple[str, str]], toolkit: str
) -> None:
    served = [one for one in gpus if code(one[0], toolkit, one[1]).word]
    devices = [device(*one) for one in served]
    (flag, *_) = architectures(devices, toolkit)
    assert isinstance(flag.value, str)
    assert CMAKE.fullmatch(flag.value)
    words = flag.value.split(";")
    assert len(set(words)) == len(words)
    for word in words:
        assert compatible(toolkit, capability_of(re.findall(r"[0-9]+", word)[0])) is None
        assert not re.match(r"12[0-9]-|[0-9]+f|12[0-9]a?-virtual", word)
    for capability, driver in served:
        assert any(runs_on(word, capability, toolkit, driver) for word in words)
    assert flag.why


@settings(max_examples=200, deadline=None)
@given(GPUS)
def test_the_toolkit_that_is_named_serves_as_many_as_any(gpus: list[tuple[str, str]]) -> None:
    capabilities, driver = [one for one, _ in gpus], gpus[0][1] if gpus else ""
    best = best_toolkit(capabilities, driver)

    def served(version: str) -> int:
        return sum(version in fitting(one, driver) for one in capabilities)

    assert (served(best) if best else 0) == max(map(served, VERSIONS), default=0)


@pytest.mark.parametrize("toolkit", [*VERSIONS, ""])
def test_without_a_gpu_there_is_code_for_all_cards(toolkit: str) -> None:
    (flag,) = architectures((), toolkit)
    words = str(flag.value).split(";")
    assert CMAKE.fullmatch(str(flag.value))
    assert not any(re.match(r"12[0-9]-", word) for word in words)
    if toolkit:
        for word in words:
            assert compatible(toolkit, capability_of(re.findall(r"[0-9]+", word)[0])) is None


# --- Turing without tensor cores ------------------------------------------------------------------

GTX = "NVIDIA GeForce GTX 1660 Ti"


def test_turing_without_tensor_cores_gets_pascals_code() -> None:
    for name in (GTX, "NVIDIA GeForce GTX 1650 with Max-Q Design", "NVIDIA GeForce MX450"):
        slow = value([device("7.5", "13.0", name)], "12.8.93")
        assert slow["CMAKE_CUDA_ARCHITECTURES"].value == "61-virtual;80-virtual"
        assert slow["GGML_CUDA_FORCE_MMQ"].value is True
        assert CMAKE.fullmatch(TABLE["no_tensor_cores"]["architectures"])


@pytest.mark.parametrize(
    ("devices", "nvcc", "said"),
    [
        ([device("7.5", "13.0", "NVIDIA GeForce RTX 2080")], "12.8.93", ""),
        ([device("7.5", "13.0", "Tesla T4")], "12.8.93", ""),
        ([device("7.5", "13.0", GTX)], "13.0.88", "with CUDA 12.9 or older"),
        ([device("7.5", "12.4", GTX)], "12.8.93", "with a driver that knows CUDA 12.8.93"),
        ([device("7.5", "13.0", GTX), device("8.6", "13.0")], "12.8.93", "a build of its own"),
    ],
)
def test_where_it_does_not_it_is_said(devices: list[Device], nvcc: str, said: str) -> None:
    usual = value(devices, nvcc)
    assert str(usual["CMAKE_CUDA_ARCHITECTURES"].value).startswith("75-real")
    assert usual["GGML_CUDA_FORCE_MMQ"].value is False
    assert said in usual["CMAKE_CUDA_ARCHITECTURES"].why
    assert bool(said) == ("no tensor cores" in usual["CMAKE_CUDA_ARCHITECTURES"].why)


def test_a_code_is_something_or_says_why_not() -> None:
    assert code("6.1", "13.0", "13.0") == Code(why=str(compatible("13.0", "6.1")))
    assert code("8.6", "", "").word == "86-real"
