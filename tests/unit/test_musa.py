"""MUSA: what is there, what a build lacks, and that no GPU is ever made up."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamabuild.backends import Evidence, musa
from llamabuild.host import Finished, Host
from llamabuild.model import Device, Flag, Hardware
from tests.unit import values
from tests.unit.mutations import mutated
from tests.unit.recorded import RecordedHost

# mthreads-gmi 1.14.0 with driver 2.7.0 and an MTT S80.
S80 = """Mon Nov 11 16:07:07 2024
---------------------------------------------------------------
    mthreads-gmi:1.14.0          Driver Version:2.7.0
---------------------------------------------------------------
ID   Name           |PCIe                |%GPU  Mem
     Device Type    |Pcie Lane Width     |Temp  MPC Capable
                                         |      ECC Mode
+-------------------------------------------------------------+
0    MTT S80        |00000000:04:00.0    |0%    2MiB(16384MiB)
     Physical       |4x(16x)             |49C   YES
                                         |      N/A
---------------------------------------------------------------

---------------------------------------------------------------
Processes:
ID   PID       Process name                         GPU Memory
                                                         Usage
+-------------------------------------------------------------+
   No running processes found
---------------------------------------------------------------
"""
# mthreads-gmi 2.4.1 with driver 5.1.0-server, the first two of eight MTT S5000.
S5000 = """Tue Jun 23 17:48:04 2026
---------------------------------------------------------------------
    mthreads-gmi:2.4.1           Driver Version:5.1.0-server
---------------------------------------------------------------------
ID   Name                 |PCIe                |%GPU  Mem
     Device Type   Perf   |Pcie Lane Width     |Temp  MPC Capable
                                               |      ECC Mode
+-------------------------------------------------------------------+
0    MTT S5000            |00000000:18:00.0    |0%    0MiB(81920MiB)
     Physical      P0     |16x(16x)            |48C   YES
                                               |      On-die, EDC
+-------------------------------------------------------------------+
1    MTT S5000            |00000000:3a:00.0    |N/A   0MiB(81920MiB)
     Physical      P0     |16x(16x)            |48C   YES
                                               |      On-die, EDC
---------------------------------------------------------------------

Processes:
ID   PID       Process name                         GPU Memory
+-------------------------------------------------------------+
0    1123      /usr/lib/xorg/Xorg                       134MiB
"""
# mcc of the MUSA SDK 5.2.0.
MCC = "clang version 14.0.0\nmcc version 5.2.0\nTarget: x86_64-unknown-linux-gnu\n"
DRIVER = {"/dev/mtgpu.0": ""}


def sdk(root: str = "/usr/local/musa") -> dict[str, str]:
    return {
        f"{root}/bin/mcc": "",
        f"{root}/bin/clang": "",
        f"{root}/bin/clang++": "",
        f"{root}/cmake/FindMUSAToolkit.cmake": "",
        f"{root}/include/mublas.h": "#pragma once\n",
        f"{root}/lib/libmusa.so": "",
    }


ALL = DRIVER | sdk()
CARD = {
    "/sys/bus/pci/devices/0000:04:00.0/class": "0x030000\n",
    "/sys/bus/pci/devices/0000:04:00.0/vendor": "0x1ed5\n",
    "/sys/bus/pci/devices/0000:04:00.0/device": "0x0201\n",
}


def machine(
    gmi: Finished | str | None = S80,
    *,
    files: dict[str, str] | None = None,
    mcc: Finished | str = MCC,
    environ: dict[str, str] | None = None,
    os: str = "linux",
) -> RecordedHost:
    return RecordedHost(
        files=ALL if files is None else files,
        programs={} if gmi is None else {"mthreads-gmi": "/usr/bin/mthreads-gmi"},
        answers={"mthreads-gmi": gmi or "", "mcc --version": mcc},
        environ=environ,
        os=os,
    )


def why(host: Host) -> str:
    found = musa.detect(host)
    assert not found.devices
    assert not found.tools
    assert all(one.what == "musa" and one.why and one.hint for one in found.absent)
    return found.absent[0].why


def test_a_gpu_with_all_it_needs() -> None:
    found = musa.detect(machine())
    assert found.devices == (
        Device(
            backend="musa",
            name="MTT S80",
            architecture="21",
            memory=16384 << 20,
            driver="2.7.0",
            vendor="moorethreads",
            kind="discrete",
        ),
    )
    versions = [(tool.name, tool.version) for tool in found.tools]
    assert versions == [("mcc", "5.2.0"), ("mublas", ""), ("libmusa", "")]
    assert found.absent == ()


def test_a_server_with_two() -> None:
    devices = musa.detect(machine(S5000)).devices
    assert [(one.name, one.architecture, one.memory >> 20) for one in devices] == [
        ("MTT S5000", "31", 81920)
    ] * 2
    assert {one.driver for one in devices} == {"5.1.0-server"}


@pytest.mark.parametrize("os", ["macos", "windows", "freebsd"])
def test_elsewhere_musa_does_not_exist(os: str) -> None:
    host = machine(os=os)
    assert why(host) == "Moore Threads' MUSA is only for Linux"
    assert host.started == []


def test_without_a_driver_nothing_is_started() -> None:
    host = machine(files=sdk())
    assert why(host) == "no Moore Threads GPU is here"
    card = machine(files=sdk() | CARD)
    assert why(card) == "a Moore Threads GPU is here, but its driver is not loaded"
    assert musa.detect(card).absent[0].seen == "a Moore Threads GPU (PCI id 0201)"
    assert host.started == card.started == []


@pytest.mark.parametrize(
    ("gmi", "said"),
    [
        (None, "there is no mthreads-gmi to ask"),
        (Finished(code=-9, out=S80, err="", timed_out=True), "did not answer within 5 seconds"),
        (Finished(code=-11, out=S80, err=""), "mthreads-gmi lists no GPU"),
        (Finished(code=127, out="", err="libmtml.so.1: not found"), "mthreads-gmi lists no GPU"),
        ("", "mthreads-gmi lists no GPU"),
        (S80.partition("0    MTT")[0], "mthreads-gmi lists no GPU"),
        (S80.replace("16384MiB", "N/A"), "mthreads-gmi lists no GPU"),
        (S80.replace("16384", "١٦٣٨٤"), "mthreads-gmi lists no GPU"),
    ],
)
def test_a_driver_that_lists_no_gpu_says_why(gmi: Finished | str | None, said: str) -> None:
    assert said in why(machine(gmi))


def test_a_gpu_that_is_not_known_is_no_device() -> None:
    assert why(machine(S80.replace("S80 ", "S10 "))).startswith("MTT S10 is not a GPU that")
    both = musa.detect(machine(S5000.replace("S5000 ", "S9000 ", 1)))
    assert [one.architecture for one in both.devices] == ["31"]
    assert [one.seen for one in both.absent] == ["MTT S9000"]


@pytest.mark.parametrize(
    ("gone", "lacks"),
    [
        ("/usr/local/musa/", "the MUSA SDK"),
        ("bin/mcc", "a working compiler in /usr/local/musa"),
        ("bin/clang++", "a working compiler in /usr/local/musa"),
        ("MUSAToolkit", "the CMake module MUSAToolkit in /usr/local/musa"),
        ("mublas.h", "muBLAS's header in /usr/local/musa"),
    ],
)
def test_each_missing_piece_is_named(gone: str, lacks: str) -> None:
    found = musa.detect(machine(files={path: t for path, t in ALL.items() if gone not in path}))
    assert [one.lacks for one in found.devices] == [lacks]
    assert found.tools == ()
    (absent,) = found.absent
    assert absent.why == f"MTT S80 is here, but {lacks} is not"
    assert "MUSA SDK" in absent.hint


@pytest.mark.parametrize(
    "mcc",
    [
        "",
        "garbage",
        Finished(code=1, out=MCC, err=""),
        Finished(code=-9, out=MCC, err="", timed_out=True),
    ],
)
def test_a_compiler_that_does_not_work_is_none(mcc: Finished | str) -> None:
    found = musa.detect(machine(mcc=mcc))
    assert found.devices[0].lacks == "a working compiler in /usr/local/musa"


@pytest.mark.parametrize(
    ("roots", "environ", "taken"),
    [
        (["/opt/musa", "/usr/local/musa"], {}, "/opt/musa"),
        (["/opt/musa", "/home/u/musa"], {"MUSA_PATH": "/home/u/musa/"}, "/home/u/musa"),
        (["/usr/local/musa"], {"MUSA_PATH": "/gone"}, "/usr/local/musa"),
    ],
)
def test_the_sdk_is_the_one_that_ggml_takes(
    roots: list[str], environ: dict[str, str], taken: str
) -> None:
    files = DRIVER | {path: text for root in roots for path, text in sdk(root).items()}
    found = musa.detect(machine(files=files, environ=environ))
    assert found.tools[0].path == f"{taken}/bin/mcc"


# --- flags ---------------------------------------------------------------------------------------


def planned(host: Host, *extra: Device) -> dict[str, Flag]:
    found = musa.detect(host)
    hardware: Hardware = replace(values.hardware(), devices=(*found.devices, *extra))
    known = values.toolchain()
    flags = musa.flags(hardware, replace(known, tools=(*known.tools, *found.tools)))
    assert all(flag.why for flag in flags)
    assert len({flag.name for flag in flags}) == len(flags)
    return {flag.name: flag for flag in flags}


def test_what_a_machine_is_built_with() -> None:
    assert {name: flag.value for name, flag in planned(machine()).items()} == {
        "MUSA_ARCHITECTURES": "21",
        "GGML_MUSA_GRAPHS": False,
        "GGML_MUSA_MUDNN_COPY": False,
        "GGML_CUDA_FA": True,
        "GGML_CUDA_FORCE_MMQ": False,
        "GGML_CUDA_FORCE_CUBLAS": False,
        "GGML_CUDA_NO_PEER_COPY": False,
        "GGML_CUDA_NO_VMM": False,
    }


def test_architectures_are_the_union_of_what_can_be_built_for() -> None:
    other = Device(backend="musa", name="MTT S5000", architecture="31")
    lacking = Device(backend="musa", name="MTT S4000", architecture="22", lacks="the MUSA SDK")
    assert planned(machine(), other, lacking)["MUSA_ARCHITECTURES"].value == "21;31"
    assert planned(machine(files={}))["MUSA_ARCHITECTURES"].value == "21;22;31"


def test_virtual_memory_needs_something_to_link_with() -> None:
    files = {path: text for path, text in ALL.items() if "libmusa" not in path}
    assert planned(machine(files=files))["GGML_CUDA_NO_VMM"].value is True
    driver = {"/usr/lib/x86_64-linux-gnu/musa/libmusa.so": ""}
    assert planned(machine(files=files | driver))["GGML_CUDA_NO_VMM"].value is False


# --- proof ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "offloaded", "layers", "good"),
    [
        (("MUSA0: MTT S80", "CPU: x"), 3, 3, True),
        (("MUSA0: MTT S80", "CPU: x"), 2, 3, False),
        (("MUSA0: MTT S80",), 0, 0, False),
        (("CUDA0: x", "CPU: MUSA"), 3, 3, False),
        ((), 3, 3, False),
    ],
)
def test_only_a_run_on_the_gpu_is_a_run_on_the_gpu(
    devices: tuple[str, ...], offloaded: int, layers: int, good: bool
) -> None:
    held = ("MUSA0", "CPU")
    evidence = Evidence(devices=devices, offloaded=offloaded, layers=layers, log="", buffers=held)
    assert (musa.judge(evidence) is None) == good
    assert musa.judge(replace(evidence, buffers=("CPU",)))


# --- garbage -------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(mutated(S5000))
def test_a_broken_mthreads_gmi_makes_up_no_gpu(text: str) -> None:
    gpus = musa.parse_gmi(text)
    assert len(gpus) <= len(re.findall(r"(?m)^[0-9]+ +MTT ", text))
    assert all(
        gpu.name in text and f"({gpu.memory >> 20}MiB)" in text for gpu in gpus if gpu.memory
    )


@settings(max_examples=200, deadline=None)
@given(mutated(S80), mutated(MCC))
def test_detection_never_raises_and_tools_have_devices(gmi: str, mcc: str) -> None:
    found = musa.detect(machine(gmi, mcc=mcc))
    assert found.devices or found.absent
    assert bool(found.tools) == any(not one.lacks for one in found.devices)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_an_answer(text: str) -> None:
    assert musa.parse_gmi(text) == ()
    assert musa.gmi_driver(text) == ""
    assert musa.mcc_version(text) == ""
