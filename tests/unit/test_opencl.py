# ruff: noqa: E501, W291 - answers stand as they are printed
"""OpenCL: which GPUs ggml takes, what a build lacks, and that no device is ever made up.

The answers of clinfo are what people and documents show of it; those of the child are its words for
the same devices. The JSON of clinfo was printed by clinfo 3.0.23.01.25 for pocl 3.1.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamabuild.backends import Evidence, opencl, opencl_build, opencl_probe
from llamabuild.host import Finished
from llamabuild.model import Absence, Device, Tool
from tests.unit import fuzz, values
from tests.unit.recorded import RecordedHost

# An issue of clinfo itself: Snapdragon 8 Gen 3 with Termux.
ADRENO_750 = """\
Number of platforms                               1
  Platform Name                                   QUALCOMM Snapdragon(TM)
  Platform Vendor                                 QUALCOMM
  Platform Version                                OpenCL 3.0 QUALCOMM build: commit unknown
  Platform Profile                                FULL_PROFILE
  Platform Extensions                             cl_khr_icd
  Platform Extensions with Version                cl_khr_icd                                                       0xc00000 (3.0.0)
  Platform Numeric Version                        0xc00000 (3.0.0)
  Platform Extensions function suffix             QCOM
  Platform Host timer resolution                  0ns

  Platform Name                                   QUALCOMM Snapdragon(TM)
Number of devices                                 1
  Device Name                                     QUALCOMM Adreno(TM) 750
  Device Vendor                                   QUALCOMM
  Device Vendor ID                                0x5143
  Device Version                                  OpenCL 3.0 Adreno(TM) 750
  Device Numeric Version                          0xc00000 (3.0.0)
  Driver Version                                  OpenCL 3.0 QUALCOMM build: commit unknown Compiler E031.45.02.06
  Device OpenCL C Version                         OpenCL C 3.0 Adreno(TM) 750
  Device Type                                     GPU
  Unified memory for Host and Device              Yes
  Device Extensions                               cl_ext_image_from_buffer cl_khr_fp16 cl_khr_subgroups cl_qcom_subgroup_shuffle cl_qcom_large_buffer

NULL platform behavior
  clGetPlatformInfo(NULL, CL_PLATFORM_NAME, ...)  QUALCOMM Snapdragon(TM)
  clCreateContextFromType(NULL, CL_DEVICE_TYPE_GPU)  Success (1)
    Platform Name                                 QUALCOMM Snapdragon(TM)
    Device Name                                   QUALCOMM Adreno(TM) 750
"""
# An issue of xmrig: Snapdragon 865, whose driver is of 2020.
ADRENO_650 = """\
Number of platforms                               1
  Platform Name                                   QUALCOMM Snapdragon(TM)
  Platform Vendor                                 QUALCOMM
  Platform Version                                OpenCL 2.0 QUALCOMM build: commit #191610ae03 changeid #Ic907de5ed0 Date: 09/17/20 Thu

  Platform Name                                   QUALCOMM Snapdragon(TM)
Number of devices                                 1
  Device Name                                     QUALCOMM Adreno(TM)
  Device Vendor                                   QUALCOMM
  Device Vendor ID                                0x5143
  Device Version                                  OpenCL 2.0 Adreno(TM) 650
  Driver Version                                  OpenCL 2.0 QUALCOMM build: commit #191610ae03 Compiler E031.37.12.01
  Device OpenCL C Version                         OpenCL C 2.0 Adreno(TM) 650
  Device Type                                     GPU
  Unified memory for Host and Device              Yes
  Device Extensions                               cl_khr_3d_image_writes cl_khr_fp16 cl_khr_subgroups
"""
# An issue of textgen: Arc A770 under a driver that does not know its name; the processor first.
ARC_A770 = """\
Number of platforms                               2
  Platform Name                                   Intel(R) OpenCL
  Platform Vendor                                 Intel(R) Corporation
  Platform Version                                OpenCL 3.0 LINUX
  Platform Name                                   Intel(R) OpenCL Graphics
  Platform Vendor                                 Intel(R) Corporation
  Platform Version                                OpenCL 3.0

  Platform Name                                   Intel(R) OpenCL
Number of devices                                 1
  Device Name                                     Intel(R) Core(TM) i7-5930K CPU @ 3.50GHz
  Device Version                                  OpenCL 3.0 (Build 0)
  Driver Version                                  2023.16.10.0.17_160000
  Device OpenCL C Version                         OpenCL C 3.0
  Device Type                                     CPU
  Global memory size                              67331903488 (62.71GiB)
  Unified memory for Host and Device              Yes
  Device Extensions                               cl_khr_spirv_linkonce_odr cl_khr_subgroups cl_khr_fp64

  Platform Name                                   Intel(R) OpenCL Graphics
Number of devices                                 1
  Device Name                                     Intel(R) Graphics [0x56a0]
  Device Vendor                                   Intel(R) Corporation
  Device Vendor ID                                0x8086
  Device Version                                  OpenCL 3.0 NEO
  Driver Version                                  23.35.27191.42
  Device OpenCL C Version                         OpenCL C 1.2
  Device OpenCL C all versions                    OpenCL C                                                         0x400000 (1.0.0)
                                                  OpenCL C                                                         0xc00000 (3.0.0)
  Device Type                                     GPU
  Global memory size                              16225243136 (15.11GiB)
  Unified memory for Host and Device              No
  Device Extensions                               cl_khr_byte_addressable_store cl_khr_fp16 cl_khr_subgroups cl_intel_subgroups
"""
# Documents about an old laptop, and about an RX 5700 XT.
NVIDIA = """\
Number of platforms                               1
  Platform Name                                   NVIDIA CUDA
  Platform Vendor                                 NVIDIA Corporation
  Platform Version                                OpenCL 1.1 CUDA 6.5.51

  Platform Name                                   NVIDIA CUDA
Number of devices                                 1
  Device Name                                     GeForce 310M
  Device Version                                  OpenCL 1.0 CUDA
  Driver Version                                  340.108
  Device OpenCL C Version                         OpenCL C 1.1 
  Device Type                                     GPU
"""
AMD = """\
Number of platforms                               1
  Platform Name                                   AMD Accelerated Parallel Processing
  Platform Vendor                                 Advanced Micro Devices, Inc.
  Platform Version                                OpenCL 2.1 AMD-APP (3452.0)

  Platform Name                                   AMD Accelerated Parallel Processing
Number of devices                                 1
  Device Name                                     gfx1010:xnack-
  Device Version                                  OpenCL 2.0 
  Driver Version                                  3452.0 (HSA1.1,LC)
  Device OpenCL C Version                         OpenCL C 2.0 
  Device Type                                     GPU
  Device Extensions                               cl_khr_fp64 cl_khr_fp16 cl_khr_subgroups
"""
# As printed; only what is not asked for is left out. Names stand twice, and one has spaces in it.
POCL = """\
{ "platforms" : [ { "CL_PLATFORM_NAME" : "Portable Computing Language", "CL_PLATFORM_VENDOR" : "The pocl project", "CL_PLATFORM_VERSION" : "OpenCL 3.0 PoCL 3.1+debian  Linux, None+Asserts, RELOC, SPIR, LLVM 15.0.6, SLEEF, DISTRO, POCL_DEBUG", "CL_PLATFORM_PROFILE" : "FULL_PROFILE" } ], "devices" : [ { "online" : [ { "CL_DEVICE_NAME" : "basic-skylake-avx512-AMD EPYC", "CL_DEVICE_VENDOR" : "AuthenticAMD", "CL_DEVICE_VENDOR_ID" : 32902, "CL_DEVICE_VERSION" : "OpenCL 3.0 PoCL HSTR: basic-x86_64-pc-linux-gnu-skylake-avx512", "CL_DEVICE_NUMERIC_VERSION" : { " raw " : 12582912, "version" : "3.0.0" }, "CL_DRIVER_VERSION" : "3.1+debian", "CL_DEVICE_OPENCL_C_VERSION" : "OpenCL C 1.2 PoCL", "CL_DEVICE_OPENCL_C_ALL_VERSIONS" : {"OpenCL C" : { "raw" : 4202496, "version" : "1.2.0" }, "OpenCL C" : { "raw" : 12582912, "version" : "3.0.0" } }, "CL_DEVICE_TYPE" : { "raw" : 2, "type" : [ "CL_DEVICE_TYPE_CPU" ] }, "CL_DEVICE_GLOBAL_MEM_SIZE" : 5597507584, "CL_DEVICE_HOST_UNIFIED_MEMORY" : true, "CL_DEVICE_EXTENSIONS" : "cl_khr_byte_addressable_store cl_khr_global_int32_base_atomics   cl_khr_fp64" } ] } ], "icd_loader" : { "CL_ICDL_VERSION" : "2.3.1" } }
"""


def unit(**changes: Any) -> dict[str, Any]:
    """Snapdragon X Elite under Windows, in the child's words."""
    known: dict[str, Any] = {
        "name": "Qualcomm(R) Adreno(TM) X1-85 GPU",
        "driver": "OpenCL 3.0 QUALCOMM build: 863.0 Compiler E031.49.01.00",
        "version": "OpenCL 3.0 Adreno(TM) X1-85",
        "language": "OpenCL C 3.0 Adreno(TM) X1-85",
        "kind": "GPU",
        "memory": 16 << 30,
        "unified": True,
        "extensions": ["cl_khr_fp16", "cl_khr_subgroups"],
    }
    return known | changes


def platform(*devices: dict[str, Any], name: str = "QUALCOMM Snapdragon(TM)") -> dict[str, Any]:
    return {
        "name": name,
        "vendor": name.partition(" ")[0],
        "version": "OpenCL 3.0",
        "devices": devices,
    }


def survey(*platforms: dict[str, Any]) -> str:
    return json.dumps({"platforms": platforms})


ARC = unit(
    name="Intel(R) Arc(TM) A770 Graphics",
    driver="24.39.31294",
    version="OpenCL 3.0 NEO",
    language="OpenCL C 1.2",
    memory=16225243136,
    unified=False,
)
RTX = unit(name="NVIDIA H200", version="OpenCL 3.0 CUDA", language="OpenCL C 1.2", unified=False)
LOADER = {"/usr/lib/x86_64-linux-gnu/libOpenCL.so.1": ""}
ICD = {"/etc/OpenCL/vendors/intel.icd": "/usr/lib/libigdrcl.so\n"}
HEADERS = {
    "/usr/include/CL/cl.h": "#include <CL/cl_version.h>\n",
    "/usr/include/CL/cl_version.h": "#define CL_VERSION_3_0  1\n#define CL_VERSION_2_2  1\n",
}
LIBRARY = {"/usr/lib/x86_64-linux-gnu/libOpenCL.so": ""}
ALL = LOADER | ICD | HEADERS | LIBRARY
PCI = "/sys/bus/pci/devices/0000:00:02.0"
INTEL = {f"{PCI}/class": "0x030000", f"{PCI}/vendor": "0x8086", f"{PCI}/device": "0x9a49"}


ONE_ARC = survey(platform(ARC, name="Intel(R) OpenCL Graphics"))


def machine(
    said: Finished | str = ONE_ARC,
    *,
    clinfo: Mapping[str, Finished | str] | None = None,
    files: dict[str, str] = ALL,
    python: bool = True,
    environ: dict[str, str] | None = None,
    os: str = "linux",
) -> RecordedHost:
    programs = {"python3": "/usr/bin/python3"} if python else {}
    programs |= {"clinfo": "/usr/bin/clinfo"} if clinfo else {}
    return RecordedHost(
        files=files,
        programs=programs,
        answers={"opencl_child.py": said, **(clinfo or {})},
        environ=environ,
        os=os,
    )


def absence(host: RecordedHost) -> Absence:
    """The one absence of a machine without a device."""
    found = opencl.detect(host)
    assert (found.devices, found.tools) == ((), ())
    (one,) = found.absent
    assert one.what == "opencl"
    assert one.why
    assert one.hint
    return one


def test_an_intel_gpu_with_all_it_needs() -> None:
    found = opencl.detect(machine())
    assert found.absent == ()
    assert found.devices == (
        Device(
            backend="opencl",
            name="Intel(R) Arc(TM) A770 Graphics",
            architecture="intel",
            memory=16225243136,
            driver="24.39.31294 (OpenCL 3.0)",
            vendor="intel",
            kind="discrete",
        ),
    )
    assert [(tool.name, tool.version) for tool in found.tools] == [
        ("opencl-headers", "3.0"),
        ("libopencl", ""),
    ]


def test_an_adreno_of_a_snapdragon_laptop() -> None:
    files = {
        "C:/Windows/System32/OpenCL.dll": "",
        "C:/dev/opencl/include/CL/cl.h": "",
        "C:/dev/opencl/include/CL/cl_version.h": "#define CL_VERSION_3_0  1",
        "C:/dev/opencl/lib/OpenCL.lib": "",
    }
    host = machine(
        survey(platform(unit())), files=files, environ={"OCL_ROOT": "C:\\dev\\opencl"}, os="windows"
    )
    found = opencl.detect(host)
    assert found.devices == (
        Device(
            backend="opencl",
            name="Qualcomm(R) Adreno(TM) X1-85 GPU",
            architecture="adreno",
            memory=16 << 30,
            driver="E031.49.01.00 (OpenCL 3.0)",
            vendor="qualcomm",
            kind="integrated",
        ),
    )
    assert [tool.path for tool in found.tools] == [
        "C:/dev/opencl/include/CL/cl.h",
        "C:/dev/opencl/lib/OpenCL.lib",
    ]


@pytest.mark.parametrize(
    ("answer", "name", "kind", "memory"),
    [
        (ADRENO_750, "QUALCOMM Adreno(TM) 750", "integrated", 0),
        (ADRENO_650, "QUALCOMM Adreno(TM) 650", "integrated", 0),
        (ARC_A770, "Intel(R) Graphics [0x56a0]", "discrete", 16225243136),
    ],
)
def test_where_the_loader_cannot_be_asked_clinfo_is(
    answer: str, name: str, kind: str, memory: int
) -> None:
    unknown = Finished(code=1, out="", err="Unknown option --json")
    host = machine(
        '{"error": "it is for another machine"}', clinfo={"--json": unknown, "clinfo": answer}
    )
    (device,) = opencl.detect(host).devices
    assert (device.name, device.kind, device.memory) == (name, kind, memory)
    crlf = answer.replace("\n", "\r\n")
    assert opencl_probe.parse_text(crlf) == opencl_probe.parse_text(answer)


def test_clinfo_speaks_json() -> None:
    (pocl,) = opencl_probe.parse_json(POCL)
    assert (pocl.name, pocl.devices[0].name) == (
        "Portable Computing Language",
        "basic-skylake-avx512-AMD EPYC",
    )
    assert pocl.devices[0].memory == 5597507584
    crashed = Finished(code=-11, out="", err="")
    host = machine(crashed, clinfo={"--json": POCL})
    assert "is no GPU (CPU)" in absence(host).why


@pytest.mark.parametrize("answer", [NVIDIA, AMD])
def test_other_gpus_are_not_for_this_back_end(answer: str) -> None:
    host = machine("", clinfo={"--json": "", "clinfo": answer})
    one = absence(host)
    assert "is none that ggml has OpenCL kernels for (Adreno, Intel)" in one.why
    assert "CUDA, ROCm" in one.hint


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"kind": "CPU", "name": "Intel(R) Core(TM) i5-13400"}, "is no GPU (CPU)"),
        ({"kind": "ACCELERATOR"}, "is no GPU"),
        (
            {"version": "OpenCL 1.2", "language": "OpenCL C 1.2"},
            "has OpenCL C 1.2; OpenCL C 2.0 is needed",
        ),
        ({"extensions": ["cl_khr_subgroups"]}, "cl_khr_fp16"),
        ({"extensions": ["cl_khr_fp16"]}, "has no subgroups"),
    ],
)
def test_what_ggml_asks_of_a_gpu(changes: dict[str, Any], why: str) -> None:
    device = ARC | changes
    assert why in absence(machine(survey(platform(device, name="Intel(R) OpenCL")))).why


def test_subgroups_are_a_part_of_opencl_2() -> None:
    old = ARC | {
        "version": "OpenCL 2.1 NEO",
        "language": "OpenCL C 2.0",
        "extensions": ["cl_khr_fp16"],
    }
    assert opencl.detect(machine(survey(platform(old, name="Intel(R) OpenCL")))).devices


# --- which platform ------------------------------------------------------------------------------

CPU_FIRST = survey(
    platform(unit(kind="CPU", name="pthread-haswell"), name="Portable Computing Language"),
    platform(ARC, ARC, name="Intel(R) OpenCL Graphics"),
)
NVIDIA_FIRST = survey(
    platform(RTX, name="NVIDIA CUDA"), platform(ARC, name="Intel(R) OpenCL Graphics")
)


@pytest.mark.parametrize(
    ("environ", "count"),
    [
        ({}, 2),
        ({"GGML_OPENCL_PLATFORM": "Intel"}, 2),
        ({"GGML_OPENCL_PLATFORM": "1"}, 2),
        ({"GGML_OPENCL_DEVICE": "1"}, 1),
        ({"GGML_OPENCL_DEVICE": "A770"}, 1),
        ({"GGML_OPENCL_PLATFORM": "1", "GGML_OPENCL_DEVICE": "1"}, 2),
        ({"GGML_OPENCL_PLATFORM": "1", "GGML_OPENCL_DEVICE": "2"}, 0),
        ({"GGML_OPENCL_DEVICE": "0"}, 0),
        ({"GGML_OPENCL_DEVICE": "B580"}, 0),
        ({"GGML_OPENCL_PLATFORM": "Portable"}, 0),
        ({"GGML_OPENCL_PLATFORM": "rusticl"}, 0),
    ],
)
def test_the_first_platform_with_a_gpu_is_taken_or_the_one_named(
    environ: dict[str, str], count: int
) -> None:
    found = opencl.detect(machine(CPU_FIRST, environ=environ))
    assert len(found.devices) == count
    assert bool(found.absent) == (count == 0)


def test_a_gpu_behind_another_platform_has_to_be_named() -> None:
    one = absence(machine(NVIDIA_FIRST))
    assert "Intel(R) Arc(TM) A770 Graphics could be used" in one.why
    assert 'GGML_OPENCL_PLATFORM="Intel(R) OpenCL Graphics"' in one.hint
    assert opencl.detect(machine(NVIDIA_FIRST, environ={"GGML_OPENCL_PLATFORM": "Intel"})).devices


def test_a_name_that_selects_nothing_is_told() -> None:
    host = machine(environ={"GGML_OPENCL_DEVICE": "B580"})
    assert "selects no device" in absence(host).why
    assert "Unset" in absence(host).hint


# --- what is missing -----------------------------------------------------------------------------


@pytest.mark.parametrize("os", ["macos", "freebsd"])
def test_where_ggml_can_use_no_opencl(os: str) -> None:
    host = machine(os=os)
    assert "OpenCL 2.0" in absence(host).why
    assert host.started == []


@pytest.mark.parametrize("os", ["linux", "windows"])
def test_without_a_loader_or_a_driver_nothing_is_started(os: str) -> None:
    host = machine(files={}, os=os)
    assert "no OpenCL loader" in absence(host).why
    assert host.started == []


def test_a_loader_alone_finds_nothing() -> None:
    host = machine(files=LOADER | INTEL)
    one = absence(host)
    assert one.why == "no OpenCL driver is installed; an Intel GPU is here without an OpenCL driver"
    assert "compute runtime" in one.hint
    assert host.started == []
    assert opencl.detect(
        machine(files=LOADER | HEADERS | LIBRARY, environ={"OCL_ICD_VENDORS": "/x"})
    ).devices


def test_on_android_the_makers_library_is_loader_and_driver() -> None:
    prefix = "/data/data/com.termux/files/usr"
    files = {
        "/vendor/lib64/libOpenCL.so": "",
        f"{prefix}/include/CL/cl.h": "#define CL_VERSION_3_0 1",
        f"{prefix}/lib/libOpenCL.so": "",
    }
    found = opencl.detect(machine(survey(platform(unit())), files=files))
    assert found.devices
    assert [tool.path for tool in found.tools] == [
        f"{prefix}/include/CL/cl.h",
        f"{prefix}/lib/libOpenCL.so",
    ]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (Finished(code=-9, out="", err="", timed_out=True), "did not answer within 5 seconds"),
        (Finished(code=-11, out="", err=""), "could not be asked: SIGSEGV"),
        (
            '{"error": "clGetPlatformIDs failed: OpenCL error -6"}',
            "does not work: clGetPlatformIDs",
        ),
        ("", "could not be asked: exit code 0"),
        (survey(), "OpenCL lists no device"),
        (survey(platform()), "OpenCL lists no device"),
    ],
)
def test_answers_that_are_none(said: Finished | str, why: str) -> None:
    assert why in absence(machine(said)).why


@pytest.mark.parametrize(
    ("gone", "python", "lacks"),
    [
        (HEADERS, True, "OpenCL's headers (CL/cl.h)"),
        (LIBRARY, True, "a libOpenCL to link with"),
        ({}, False, "Python 3 on PATH"),
        (HEADERS | LIBRARY, True, "OpenCL's headers (CL/cl.h), a libOpenCL to link with"),
    ],
)
def test_what_a_build_lacks_is_told_with_the_device(
    gone: dict[str, str], python: bool, lacks: str
) -> None:
    debian = {"/etc/os-release": "ID=debian\n"}
    files = {name: text for name, text in ALL.items() if name not in gone} | debian
    found = opencl.detect(machine(files=files, python=python))
    assert [one.lacks for one in found.devices] == [lacks]
    assert found.tools == ()
    assert f"{lacks} is missing" in found.absent[0].why
    assert "apt install" in found.absent[0].hint


def test_headers_of_opencl_1_are_too_old() -> None:
    old = {"/usr/include/CL/cl.h": "#define CL_VERSION_1_2 1", "/usr/include/CL/cl_version.h": ""}
    files = {name: text for name, text in ALL.items() if name not in HEADERS}
    found = opencl.detect(machine(files=files | old))
    assert found.devices[0].lacks == "headers of OpenCL 2.0 or newer"


# --- flags ---------------------------------------------------------------------------------------


def flags(architecture: str, *tools: Tool) -> dict[str, bool | str]:
    device = Device(backend="opencl", name="x", architecture=architecture)
    hardware = replace(values.hardware(), devices=(device,))
    found = opencl.flags(hardware, replace(values.toolchain(), tools=tools))
    assert all(flag.why for flag in found)
    return {flag.name: flag.value for flag in found}


def test_adrenos_kernels_are_for_adreno() -> None:
    assert flags("adreno")["GGML_OPENCL_USE_ADRENO_KERNELS"] is True
    assert flags("intel")["GGML_OPENCL_USE_ADRENO_KERNELS"] is False
    assert opencl.flags(values.hardware(), values.toolchain())[0].value is False


def test_flags_say_everything() -> None:
    tools = (
        Tool(name=opencl_build.HEADERS, version="2.2", path="/usr/include/CL/cl.h"),
        Tool(name=opencl_build.LIBRARY, version="", path="/usr/lib/libOpenCL.so"),
    )
    assert flags("intel", *tools) == {
        "GGML_OPENCL_USE_ADRENO_KERNELS": False,
        "GGML_OPENCL_USE_ADRENO_BIN_KERNELS": False,
        "GGML_OPENCL_EMBED_KERNELS": True,
        "GGML_OPENCL_PROFILING": False,
        "GGML_OPENCL_TARGET_VERSION": "220",
        "OpenCL_INCLUDE_DIR": "/usr/include",
        "OpenCL_LIBRARY": "/usr/lib/libOpenCL.so",
    }
    assert flags("intel")["GGML_OPENCL_TARGET_VERSION"] == "300"


@pytest.mark.parametrize(
    ("devices", "offloaded", "good"),
    [
        (("GPUOpenCL: QUALCOMM Adreno(TM) 750", "CPU: x"), 3, True),
        (("GPUOpenCL: QUALCOMM Adreno(TM) 750", "CPU: x"), 0, False),
        (("Vulkan0: OpenCL", "CPU: x"), 3, False),
        ((), 0, False),
    ],
)
def test_only_a_run_on_opencl_is_one(devices: tuple[str, ...], offloaded: int, good: bool) -> None:
    held = ("OpenCL", "CPU")
    evidence = Evidence(devices=devices, offloaded=offloaded, layers=3, log="", buffers=held)
    assert (opencl.judge(evidence) is None) == good
    assert opencl.judge(replace(evidence, buffers=("CPU",)))


# --- garbage -------------------------------------------------------------------------------------


def worse(text: str, seed: int) -> str:
    return "\n".join(fuzz._worse(tuple(text.split("\n")), random.Random(seed)))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([ADRENO_750, ADRENO_650, ARC_A770, NVIDIA, AMD]), st.integers(0, 2**32))
def test_a_broken_clinfo_makes_up_no_device(text: str, seed: int) -> None:
    broken = worse(text, seed)
    platforms = opencl_probe.parse_text(broken)
    assert sum(len(one.devices) for one in platforms) <= text.count("\n  Device Name  ")
    for one in platforms:
        for device in one.devices:
            assert all(part in broken for part in (device.name, device.version, device.kind))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([CPU_FIRST, NVIDIA_FIRST, POCL]), st.integers(0, 2**32))
def test_detection_never_raises_and_devices_have_tools(text: str, seed: int) -> None:
    broken = worse(text, seed)
    answers = machine(broken, clinfo={"--json": broken, "clinfo": worse(ARC_A770, seed)})
    for host in (answers, machine(broken)):
        found = opencl.detect(host)
        assert len(found.tools) == (2 if found.devices else 0)
        assert found.devices or found.absent


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200), st.text(max_size=6), st.text(max_size=6))
def test_any_text_is_an_answer(text: str, one: str, other: str) -> None:
    assert opencl_probe.parse_text(text) == ()
    assert opencl_probe.parse_json(text) == ()
    environ = {"GGML_OPENCL_PLATFORM": one, "GGML_OPENCL_DEVICE": other}
    platforms = msgspec.json.decode(CPU_FIRST, type=opencl_probe.Survey).platforms
    assert opencl.chosen(platforms, environ) in (-1, 0, 1)
    found = opencl.detect(machine(CPU_FIRST, environ=environ))
    assert found.devices or found.absent
