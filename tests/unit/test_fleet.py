from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild import fleet
from llamabuild.model import Device, Hardware, Toolchain
from tests.unit import values

AVX2 = ("sse4_2", "avx", "f16c", "fma", "avx2", "bmi2")
ZEN4 = (
    *AVX2,
    *("avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"),
    *("avx512vbmi", "avx512_vnni", "avx512_bf16"),
)
CPU = Device(backend="cpu", name="n", architecture="x86_64")


def gpu(capability: str, driver: str = "580.65.06 (CUDA 13.0)") -> Device:
    return Device(
        backend="cuda",
        name=f"GPU {capability}",
        architecture=capability,
        vendor="nvidia",
        kind="discrete",
        driver=driver,
        lacks="there is no nvcc to build for it",
    )


def machine(*features: str, devices: tuple[Device, ...] = (), **fields: str) -> Hardware:
    arch = fields.pop("arch", "x86_64")
    known = values.hardware(*features, arch=arch)
    return replace(known, devices=(*devices, CPU), **fields)  # type: ignore[arg-type]


def test_equal_machines_share_a_native_build() -> None:
    (only,) = fleet.groups({"a": machine(*AVX2), "b": machine(*AVX2)})
    assert (only.machines, only.cpu, only.losses) == (("a", "b"), "native", {})


def test_different_cpus_share_a_build_with_all_variants() -> None:
    machines = {"a": machine(*AVX2), "b": machine(*ZEN4), "c": machine("sse4_2", "avx")}
    (only,) = fleet.groups(machines)
    assert only.cpu == "fat"
    assert only.losses == {}
    assert fleet.separate(machines) == 3


def test_a_loss_is_said() -> None:
    machines = {"a": machine(*ZEN4, "avx_vnni"), "b": machine(*AVX2)}
    (only,) = fleet.groups(machines)
    assert only.losses == {"a": "variant zen4 does without AVX-VNNI"}


def test_what_can_never_share_does_not() -> None:
    groups = fleet.groups(
        {
            "linux": machine(*AVX2),
            "musl": machine(*AVX2, libc="musl 1.2"),
            "arm": machine("asimddp", arch="aarch64"),
            "windows": machine(*AVX2, os="windows", libc=""),
        }
    )
    assert sorted(one.machines for one in groups) == [("arm",), ("linux",), ("musl",), ("windows",)]


def test_the_oldest_c_library_decides() -> None:
    (only,) = fleet.groups(
        {"new": machine(*AVX2, libc="glibc 2.39"), "old": machine(*AVX2, libc="glibc 2.31")}
    )
    assert only.hardware.libc == "glibc 2.31"
    assert "glibc 2.31" in only.notes[0]


def test_gpus_that_one_toolkit_serves_share_a_build() -> None:
    machines = {
        "pascal": machine(*AVX2, devices=(gpu("61"),)),
        "ada": machine(*AVX2, devices=(gpu("89"),)),
        "no gpu": machine(*AVX2),
    }
    (only,) = fleet.groups(machines)
    assert only.backends == ("cuda", "cpu")
    assert [one.architecture for one in only.hardware.devices[:-1]] == ["61", "89"]


def test_gpus_that_no_toolkit_serves_together_are_apart() -> None:
    """CUDA 13 no longer compiles for 6.1, and 11.0 (Thor) came with it."""
    machines = {
        "pascal": machine(*AVX2, devices=(gpu("61"),)),
        "thor": machine(*AVX2, devices=(gpu("110"),)),
        "ampere": machine(*AVX2, devices=(gpu("86"),)),
    }
    groups = fleet.groups(machines)
    assert sorted(one.machines for one in groups) in (
        [("ampere", "pascal"), ("thor",)],
        [("ampere", "thor"), ("pascal",)],
    )


def test_a_driver_of_an_older_major_version_wants_its_own_toolkit() -> None:
    machines = {
        "old": machine(*AVX2, devices=(gpu("86", "535.54.03 (CUDA 12.2)"),)),
        "thor": machine(*AVX2, devices=(gpu("110"),)),
    }
    assert len(fleet.groups(machines)) == 2


def test_a_builder_that_cannot_says_why() -> None:
    groups = fleet.groups({"a": machine(*AVX2, devices=(gpu("86"),))})
    tools = values.toolchain()
    for builder, said in (
        (machine(*AVX2, os="macos"), "has to be built on linux x86_64"),
        (machine(*AVX2, libc="glibc 2.39"), "would not start where there is glibc 2.36"),
        (machine(*AVX2), "lacks the tools for NVIDIA CUDA"),
    ):
        (job,) = fleet.jobs(groups, values.pin(), builder, tools)
        assert job.plan is None
        assert said in job.why_not
    (job,) = fleet.jobs(groups, values.pin(), machine(*AVX2), Toolchain())
    assert job.plan is None


CPUS = st.sampled_from([AVX2, ZEN4, ("sse4_2",), ()])
MACHINES = st.builds(
    lambda features, gpus, libc: machine(*features, devices=gpus, libc=libc),
    CPUS,
    st.lists(st.sampled_from(["61", "75", "86", "90", "120", "110"]), max_size=2, unique=True).map(
        lambda some: tuple(map(gpu, sorted(some)))
    ),
    st.sampled_from(["glibc 2.31", "glibc 2.39", "musl 1.2"]),
)


@given(st.dictionaries(st.text("abc", min_size=1), MACHINES, max_size=8))
def test_every_machine_is_served_once_by_a_build_that_runs_there(
    machines: dict[str, Hardware],
) -> None:
    groups = fleet.groups(machines)
    served = [name for group in groups for name in group.machines]
    assert sorted(served) == sorted(machines)
    assert len(groups) <= max(1, fleet.separate(machines))
    for group in groups:
        for name in group.machines:
            mine = machines[name]
            assert mine.libc.split()[0] == group.hardware.libc.split()[0]
            assert mine.libc >= group.hardware.libc
            wanted = {one.architecture for one in mine.devices if one.backend == "cuda"}
            assert wanted <= {one.architecture for one in group.hardware.devices}


@pytest.mark.parametrize("count", [0, 1])
def test_few_machines(count: int) -> None:
    machines = {str(number): machine(*AVX2) for number in range(count)}
    assert len(fleet.groups(machines)) == count
