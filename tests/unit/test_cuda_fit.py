from __future__ import annotations

import itertools

import pytest

from llamabuild.backends import cuda_facts
from llamabuild.backends.cuda_architectures import code
from llamabuild.backends.cuda_fit import driver, fit
from llamabuild.backends.interface import COMPILED, NEVER, OWN, RELATED, Driver
from llamabuild.model import Device, Requires, Tool

DRIVERS = ("450.51.05 (CUDA 11.0)", "525.60.13 (CUDA 12.0)", "570.26 (CUDA 12.8)", "580.65.06", "")


def gpu(capability: str, driver: str = "580.65.06 (CUDA 13.0)", name: str = "a GPU") -> Device:
    number = capability.replace(".", "")
    return Device(backend="cuda", name=name, architecture=number, driver=driver)


def built(*codes: str, toolkit: str = "12.8.93") -> Requires:
    """A result with code in the words of CMake: "89-real", "90-virtual"."""
    kinds = {"real": "sass", "virtual": "ptx"}
    parts = (one.partition("-") for one in codes)
    asked = driver((), (Tool(name="nvcc", version=toolkit),))
    return Requires(
        os="linux",
        arch="x86_64",
        backends=("cuda",),
        device_code=tuple((kinds[kind], name) for name, _, kind in parts),
        drivers=(("cuda", asked.least),),
        toolkits=(("cuda", asked.toolkit),),
    )


@pytest.mark.parametrize(
    ("capability", "codes", "pace"),
    [
        ("8.9", ["89-real"], OWN),
        ("8.9", ["80-real", "89-real"], OWN),
        ("8.9", ["86-real"], RELATED),
        ("8.6", ["89-real"], NEVER),
        ("9.0", ["89-real"], NEVER),
        ("9.0", ["90a-real"], OWN),
        ("8.9", ["90a-real"], NEVER),
        ("10.3", ["100a-real"], NEVER),
        ("10.3", ["100f-real"], RELATED),
        ("10.0", ["103f-real"], NEVER),
        ("12.1", ["120f-real"], RELATED),
        ("12.1", ["120a-real"], NEVER),
        ("8.7", ["86-real"], NEVER),  # Orin shares no machine code with cards
        ("8.9", ["87-real"], NEVER),
        ("8.9", ["80-virtual"], COMPILED),
        ("8.0", ["86-virtual"], NEVER),
        ("12.0", ["89-virtual"], COMPILED),
        ("9.0", ["90a-virtual"], COMPILED),
        ("10.0", ["90a-virtual"], NEVER),
        ("10.3", ["100f-virtual"], COMPILED),
    ],
)
def test_code_and_gpus(capability: str, codes: list[str], pace: int) -> None:
    found = fit(built(*codes), gpu(capability))
    assert found.pace == pace
    assert bool(found.missing) == (pace == NEVER)


def test_what_is_missing_is_said() -> None:
    (said,) = fit(built("90a-real"), gpu("8.9")).missing
    assert said == "code for compute capability 8.9 or PTX ≤ 8.9 missing: has sass 90a"
    (said,) = fit(built("89-real", toolkit="13.0.88"), gpu("8.9", "525.60.13 (CUDA 12.0)")).missing
    assert said == "driver 580.65.06 needed, 525.60.13 is here"
    (said,) = fit(built("80-virtual"), gpu("8.9", "525.60.13 (CUDA 12.0)")).missing
    assert said == "PTX of CUDA 12.8.93 needs a driver that knows it, 525.60.13 is here"


def test_machine_code_of_a_newer_minor_version_runs_on_an_older_driver() -> None:
    assert fit(built("89-real"), gpu("8.9", "525.60.13 (CUDA 12.0)")).pace == OWN


def test_a_driver_that_knows_more_than_its_number_says_is_believed() -> None:
    """With NVIDIA's forward compatibility package."""
    assert fit(built("90-real", toolkit="13.0.88"), gpu("9.0", "535.54.03 (CUDA 13.0)")).pace == OWN


def test_a_driver_that_nobody_knows_is_no_reason_to_refuse() -> None:
    assert fit(built("87-real"), gpu("8.7", "")).pace == OWN
    assert fit(built("80-virtual"), gpu("8.7", "")).pace == COMPILED


def test_pascals_ptx_is_the_best_for_a_gpu_without_tensor_cores() -> None:
    card = gpu("7.5", name="NVIDIA GeForce GTX 1660 Ti")
    assert fit(built("61-virtual", "80-virtual"), card).pace == OWN
    assert fit(built("75-real"), card).pace == RELATED
    assert fit(built("75-real"), gpu("7.5", name="NVIDIA GeForce RTX 2080")).pace == OWN


def test_the_floor_is_that_of_the_libraries_that_are_needed() -> None:
    nvcc = (Tool(name="nvcc", version="12.8.93"),)
    assert driver((), nvcc) == Driver(least="525.60.13", toolkit="12.8.93")
    assert driver(("libcudart.so.13", "libm.so.6"), nvcc).least == "580.65.06"
    assert driver(("cublas64_12.dll",), ()) == Driver(least="525.60.13")
    assert driver((), ()) == Driver()


@pytest.mark.parametrize("known", DRIVERS)
def test_whatever_would_be_built_for_a_gpu_runs_on_it(known: str) -> None:
    """The two directions of the same table agree: which code to make, and which code runs."""
    cuda = cuda_facts.known_by(known) or cuda_facts.known_cuda(known)
    for capability, toolkit in itertools.product(cuda_facts.ROWS, cuda_facts.VERSIONS):
        made = code(capability, toolkit, cuda)
        if made.word:
            found = fit(built(made.word, toolkit=toolkit), gpu(capability, known))
            assert found.pace >= COMPILED, (capability, toolkit, made)
            assert (found.pace == OWN) == (not made.makeshift), (capability, toolkit, made)


def test_more_code_and_a_newer_driver_never_refuse_what_ran() -> None:
    words = ("61-virtual", "75-real", "80-virtual", "86-real", "90a-real", "100f-real", "120a-real")
    for capability, first, more in itertools.product(cuda_facts.ROWS, words, words):
        before = fit(built(first), gpu(capability, DRIVERS[1])).pace
        assert fit(built(first, more), gpu(capability, DRIVERS[1])).pace >= before
        assert fit(built(first), gpu(capability, DRIVERS[2])).pace >= before
