# ruff: noqa: E501 - answers stand as they are printed
"""SYCL: what sycl-ls says, what oneAPI lacks, and that no device is ever made up.

The answers are what people and documents show of ``sycl-ls`` and ``icpx``, word for word.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamabuild.backends import Evidence, sycl, sycl_probe
from llamabuild.host import Finished
from llamabuild.model import Absence, Device, Tool
from tests.unit import fuzz, values
from tests.unit.recorded import RecordedHost

# docs/backend/SYCL.md of llama.cpp, "Verify installation" on Linux, oneAPI 2025.
ARC_AND_UHD = """\
[level_zero:gpu][level_zero:0] Intel(R) oneAPI Unified Runtime over Level-Zero, Intel(R) Arc(TM) A770 Graphics 12.55.8 [1.3.29735+27]
[level_zero:gpu][level_zero:1] Intel(R) oneAPI Unified Runtime over Level-Zero, Intel(R) UHD Graphics 730 12.2.0 [1.3.29735+27]
[opencl:cpu][opencl:0] Intel(R) OpenCL, 13th Gen Intel(R) Core(TM) i5-13400 OpenCL 3.0 (Build 0) [2025.20.8.0.06_160000]
[opencl:gpu][opencl:1] Intel(R) OpenCL Graphics, Intel(R) Arc(TM) A770 Graphics OpenCL 3.0 NEO  [24.39.31294]
[opencl:gpu][opencl:2] Intel(R) OpenCL Graphics, Intel(R) UHD Graphics 730 OpenCL 3.0 NEO  [24.39.31294]
"""
# An issue of Intel's compute runtime, Fedora 43, oneAPI 2026.0.
PANTHER_LAKE = """\
[level_zero:gpu][level_zero:0] Intel(R) oneAPI Unified Runtime over Level-Zero V2, Intel(R) Arc(TM) B390 GPU 30.0.4 [1.15.38308+4]
[opencl:cpu][opencl:0] Intel(R) OpenCL, Intel(R) Core(TM) Ultra X7 358H OpenCL 3.0 (Build 0) [2026.21.3.0.31_160000]
[opencl:gpu][opencl:1] Intel(R) OpenCL Graphics, Intel(R) Arc(TM) B390 GPU OpenCL 3.0 NEO  [26.18.38308.4]
"""
# docs/backend/SYCL.md, "Verify installation" on Windows, oneAPI 2024.
IRIS = """\
[opencl:acc:0] Intel(R) FPGA Emulation Platform for OpenCL(TM), Intel(R) FPGA Emulation Device OpenCL 1.2  [2023.16.10.0.17_160000]
[opencl:cpu:1] Intel(R) OpenCL, 11th Gen Intel(R) Core(TM) i7-1185G7 @ 3.00GHz OpenCL 3.0 (Build 0) [2023.16.10.0.17_160000]
[opencl:gpu:2] Intel(R) OpenCL Graphics, Intel(R) Iris(R) Xe Graphics OpenCL 3.0 NEO  [31.0.101.5186]
[ext_oneapi_level_zero:gpu:0] Intel(R) Level-Zero, Intel(R) Iris(R) Xe Graphics 1.3 [1.3.28044]
"""
# Windows, oneAPI 2022.
UHD_620 = """\
[opencl:acc:0] Intel(R) FPGA Emulation Platform for OpenCL(TM), Intel(R) FPGA Emulation Device 1.2 [2022.14.7.0.30_160000]
[opencl:cpu:1] Intel(R) OpenCL, Intel(R) Core(TM) i5-8350U CPU @ 1.70GHz 3.0 [2022.14.7.0.30_160000]
[opencl:gpu:2] Intel(R) OpenCL HD Graphics, Intel(R) UHD Graphics 620 3.0 [31.0.101.2114]
[ext_oneapi_level_zero:gpu:0] Intel(R) Level-Zero, Intel(R) UHD Graphics 620 1.3 [1.3.0]
[host:host:0] SYCL host platform, SYCL host device 1.2 [1.2]
"""
# A node with four Data Center GPU Max whose driver does not know the name, oneAPI 2022.
MAX_1550 = "".join(
    f"[ext_oneapi_level_zero:gpu:{n}] Intel(R) Level-Zero, Intel(R) Graphics [0x0bd5] 1.3 [1.3.24595]\n"
    for n in range(4)
)
# With ONEAPI_DEVICE_SELECTOR=level_zero:gpu, oneAPI 2026; the words about it go to stderr.
PRO_B70 = "[level_zero:gpu] Intel(R) oneAPI Unified Runtime over Level-Zero V2, Intel(R) Arc(TM) Pro B70 Graphics 20.2.0 [1.15.38308+1]\n"
# An issue of Intel's compute runtime: no Level Zero driver, oneAPI 2024.2.
ONLY_OPENCL = """\
[opencl:cpu][opencl:0] Intel(R) OpenCL, Intel(R) Core(TM) i9-10900X CPU @ 3.70GHz OpenCL 3.0 (Build 0) [2024.18.6.0.02_160000]
[opencl:gpu][opencl:1] Intel(R) OpenCL Graphics, Intel(R) Arc(TM) A770 Graphics OpenCL 3.0 NEO  [23.17.26241.33]
"""
# A pull request of stable-diffusion.cpp: the GPU's driver is missing.
ONLY_CPU = "[opencl:cpu][opencl:0] Intel(R) OpenCL, Intel(R) Core(TM) i7-8750H CPU @ 2.20GHz OpenCL 3.0 (Build 0) [2024.18.7.0.11_160000]\n"
# Arrow Lake beside an NVIDIA GPU, with Codeplay's plugin, oneAPI 2025.
WITH_CUDA = """\
[level_zero:gpu][level_zero:0] Intel(R) oneAPI Unified Runtime over Level-Zero, Intel(R) Graphics 12.70.4 [1.6.33276+22]
[opencl:cpu][opencl:0] Intel(R) OpenCL, Intel(R) Core(TM) Ultra 7 265K OpenCL 3.0 (Build 0) [2025.19.4.0.18_160000.xmain-hotfix]
[opencl:gpu][opencl:1] Intel(R) OpenCL Graphics, Intel(R) Graphics OpenCL 3.0 NEO  [25.13.33276]
[cuda:gpu][cuda:0] NVIDIA CUDA BACKEND, NVIDIA GeForce RTX 3060 8.6 [CUDA 12.9]
"""
ICPX = """\
Intel(R) oneAPI DPC++/C++ Compiler 2025.3.2 (2025.3.2.20260112)
Target: x86_64-unknown-linux-gnu
Thread model: posix
InstalledDir: /opt/intel/oneapi/compiler/2025.3/bin/compiler
Configuration file: /opt/intel/oneapi/compiler/2025.3/bin/compiler/../icpx.cfg
"""
ROOT = "/opt/intel/oneapi"
BIN = f"{ROOT}/compiler/latest/bin"
PCI = "/sys/bus/pci/devices/0000:03:00.0"
GPU = {f"{PCI}/class": "0x030000\n", f"{PCI}/vendor": "0x8086\n", f"{PCI}/device": "0x56a0\n"}
DRIVER = {f"{PCI}/driver/uevent": "", "/dev/dri/renderD128": "", "/dev/dri/card0": ""}
RUNTIME = {"/usr/lib/x86_64-linux-gnu/libze_intel_gpu.so.1": ""}
COMPILER = {
    f"{BIN}/icx": "",
    f"{BIN}/icpx": "",
    f"{BIN}/sycl-ls": "",
    f"{ROOT}/compiler/latest/lib/libsycl.so.8": "",
}
MKL = {
    f"{ROOT}/mkl/latest/lib/cmake/mkl/MKLConfig.cmake": "",
    f"{ROOT}/mkl/latest/lib/libmkl_sycl_blas.so": "",
    f"{ROOT}/mkl/latest/include/mkl_version.h": (
        "#define __INTEL_MKL__         2025\n#define __INTEL_MKL_MINOR__   0\n"
        "#define __INTEL_MKL_UPDATE__  3\n"
    ),
}
DNN = {
    f"{ROOT}/dnnl/latest/lib/cmake/dnnl/dnnl-config.cmake": "",
    f"{ROOT}/dnnl/latest/include/oneapi/dnnl/dnnl_version.h": (
        "#define DNNL_VERSION_MAJOR 3\n#define DNNL_VERSION_MINOR 9\n#define DNNL_VERSION_PATCH 1\n"
    ),
}
LEVEL_ZERO = {
    "/usr/include/level_zero/ze_api.h": " * @file ze_api.h\n * @version v1.13-r1.13.1\n",
    "/usr/lib/x86_64-linux-gnu/libze_loader.so": "",
}
REST = {
    f"{ROOT}/compiler/latest/lib/cmake/IntelSYCL/IntelSYCLConfig.cmake": "",
    f"{ROOT}/tbb/latest/lib/cmake/tbb/TBBConfig.cmake": "",
}
ALL = GPU | DRIVER | RUNTIME | COMPILER | MKL | DNN | LEVEL_ZERO | REST
WINDOWS = "C:/Program Files (x86)/Intel/oneAPI"


def machine(
    listed: Finished | str = ARC_AND_UHD,
    *,
    files: dict[str, str] = ALL,
    compiler: str = ICPX,
    environ: dict[str, str] | None = None,
    os: str = "linux",
) -> RecordedHost:
    return RecordedHost(
        files=files,
        answers={"sycl-ls": listed, "icpx --version": compiler, "icx.exe --version": compiler},
        environ=environ,
        os=os,
    )


def absence(host: RecordedHost) -> Absence:
    """The one absence of a machine without a device."""
    found = sycl.detect(host)
    assert (found.devices, found.tools) == ((), ())
    (one,) = found.absent
    assert one.what == "sycl"
    assert one.why
    assert one.hint
    return one


def test_gpus_listed_twice_are_there_once_and_processors_never() -> None:
    found = sycl.detect(machine())
    assert found.absent == ()
    assert found.devices == (
        Device(
            backend="sycl",
            name="Intel(R) Arc(TM) A770 Graphics",
            architecture="",
            driver="1.3.29735+27 (Level Zero)",
            vendor="intel",
            kind="discrete",
        ),
        Device(
            backend="sycl",
            name="Intel(R) UHD Graphics 730",
            architecture="",
            driver="1.3.29735+27 (Level Zero)",
            vendor="intel",
            kind="integrated",
        ),
    )
    assert [(tool.name, tool.version) for tool in found.tools] == [
        ("icpx", "2025.3.2"),
        ("intel-sycl", ""),
        ("onemkl", "2025.0.3"),
        ("onednn", "3.9.1"),
        ("onetbb", ""),
        ("level-zero", "1.13"),
    ]
    assert all(tool.digest for tool in found.tools)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PANTHER_LAKE, [("Intel(R) Arc(TM) B390 GPU", "integrated")]),
        (IRIS, [("Intel(R) Iris(R) Xe Graphics", "integrated")]),
        (UHD_620, [("Intel(R) UHD Graphics 620", "integrated")]),
        (MAX_1550, [("Intel(R) Graphics [0x0bd5]", "discrete")] * 4),
        (PRO_B70, [("Intel(R) Arc(TM) Pro B70 Graphics", "discrete")]),
        (ONLY_OPENCL, [("Intel(R) Arc(TM) A770 Graphics", "discrete")]),
        (WITH_CUDA, [("Intel(R) Graphics", "integrated")]),
        (ONLY_CPU, []),
        ("", []),
    ],
)
def test_every_form_of_sycl_ls_is_read(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(gpu.name, gpu.kind) for gpu in sycl_probe.parse(text)] == expected
    assert sycl_probe.parse(text.replace("\n", "\r\n")) == sycl_probe.parse(text)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Intel(R) Arc(TM) A310 Graphics", "discrete"),
        ("Intel(R) Arc(TM) A770M Graphics", "discrete"),
        ("Intel(R) Arc(TM) Pro A60 Graphics", "discrete"),
        ("Intel(R) Arc(TM) B580 Graphics", "discrete"),
        ("Intel(R) Data Center GPU Max 1550", "discrete"),
        ("Intel(R) Data Center GPU Flex 170", "discrete"),
        ("Intel(R) Iris(R) Xe MAX Graphics", "discrete"),
        ("Intel(R) Graphics [0xe223]", "discrete"),
        ("Intel(R) Graphics [0x56a0]", "discrete"),
        ("Intel(R) Graphics [0x7d55]", "integrated"),
        ("Intel(R) Arc(TM) Graphics", "integrated"),
        ("Intel(R) Arc(TM) 140V GPU (16GB)", "integrated"),
        ("Intel(R) Arc(TM) 130T GPU", "integrated"),
        ("Intel(R) Iris(R) Plus Graphics 655", "integrated"),
        ("Intel(R) UHD Graphics", "integrated"),
        ("Intel(R) Something New", ""),
    ],
)
def test_discrete_or_integrated_by_name(name: str, kind: str) -> None:
    assert sycl_probe.Gpu(name=name, way="level_zero", driver="1").kind == kind


def test_the_version_of_the_hardware_decides_before_the_name() -> None:
    gpu = sycl_probe.Gpu(name="Intel(R) Graphics", way="level_zero", driver="1", ip="20.1.4")
    assert gpu.kind == "discrete"
    assert replace(gpu, ip="99.1.0").kind == ""


@pytest.mark.parametrize("os", ["macos", "freebsd"])
def test_where_oneapi_cannot_be(os: str) -> None:
    host = machine(os=os)
    assert "only for Linux and Windows" in absence(host).why
    assert host.started == []


def test_without_an_intel_gpu_nothing_is_started() -> None:
    nvidia = {**GPU, f"{PCI}/vendor": "0x10de\n"}
    host = machine(files=ALL | nvidia)
    assert absence(host).why == "no Intel GPU is here"
    assert host.started == []


def test_under_wsl_the_gpu_hangs_on_no_pci_bus() -> None:
    files = {name: text for name, text in ALL.items() if PCI not in name and "dri" not in name}
    assert sycl.detect(machine(files=files | {"/dev/dxg": ""})).devices


def test_a_gpu_without_oneapi_is_seen_and_vulkan_named() -> None:
    host = machine(files=GPU | DRIVER | RUNTIME)
    one = absence(host)
    assert one.seen == "an Intel GPU (PCI 8086:56a0)"
    assert "oneAPI is not usable: it is not installed" in one.why
    assert "Vulkan" in one.why
    assert "oneAPI Toolkit" in one.hint
    assert host.started == []


def test_on_windows_the_driver_is_seen_by_its_loader() -> None:
    assert "a driver of Intel's is here" not in absence(machine(files={}, os="windows")).why
    one = absence(machine(files={"C:/Windows/System32/ze_loader.dll": ""}, os="windows"))
    assert "a driver of Intel's is here" in one.why
    assert "winget install Intel.OneAPI.BaseToolkit" in one.hint


def test_windows_has_other_names() -> None:
    compiler = f"{WINDOWS}/compiler/latest"
    files = {
        f"{compiler}/bin/icx.exe": "",
        f"{compiler}/bin/sycl-ls.exe": "",
        f"{WINDOWS}/mkl/latest/lib/cmake/mkl/MKLConfig.cmake": "",
        f"{WINDOWS}/mkl/latest/lib/mkl_sycl_blas_dll.lib": "",
        "D:/ze/include/level_zero/ze_api.h": "@version v1.16",
        "D:/ze/lib/ze_loader.lib": "",
    }
    environ = {"ONEAPI_ROOT": WINDOWS.replace("/", "\\") + "\\", "LEVEL_ZERO_V1_SDK_PATH": "D:\\ze"}
    host = machine(IRIS, files=files, environ=environ, os="windows")
    found = sycl.detect(host)
    assert [one.name for one in found.devices] == ["Intel(R) Iris(R) Xe Graphics"]
    assert [tool.name for tool in found.tools] == ["icx", "onemkl", "level-zero"]
    assert "sycl-ls lists no Intel GPU" in absence(machine(ONLY_CPU, files=files, os="windows")).why


@pytest.mark.parametrize(
    ("gone", "compiler", "lacks"),
    [
        (MKL, ICPX, "oneMKL with SYCL"),
        ({f"{ROOT}/mkl/latest/lib/libmkl_sycl_blas.so": ""}, ICPX, "oneMKL with SYCL"),
        ({f"{BIN}/icpx": ""}, ICPX, "oneAPI's DPC++/C++ compiler"),
        ({}, "Segmentation fault", "oneAPI's DPC++/C++ compiler"),
        ({}, ICPX.replace("2025.3.2", "2024.2.1"), "oneAPI 2025.0 or newer (here is 2024.2.1)"),
    ],
)
def test_what_a_build_lacks_is_told_with_the_device(
    gone: dict[str, str], compiler: str, lacks: str
) -> None:
    files = {name: text for name, text in ALL.items() if name not in gone}
    found = sycl.detect(machine(files=files, compiler=compiler))
    assert {one.lacks for one in found.devices} == {lacks}
    assert found.tools == ()
    assert f"{lacks} is missing" in found.absent[0].why


@pytest.mark.parametrize(
    ("listed", "files", "environ", "why", "hint"),
    [
        (Finished(code=-9, out="", err="", timed_out=True), ALL, {}, "within 5 seconds", "sycl-ls"),
        # An issue of Intel's compute runtime.
        (Finished(code=-7, out=ARC_AND_UHD, err=""), ALL, {}, "does not work: SIGBUS", "sycl-ls"),
        (Finished(code=127, out="", err="sycl-ls: libsycl.so.8: no\n"), ALL, {}, "libsycl", "list"),
        (ONLY_CPU, ALL, {"ONEAPI_DEVICE_SELECTOR": "opencl:cpu"}, "SELECTOR hides it", "Unset"),
        (ONLY_CPU, GPU | COMPILER, {}, "the kernel has no driver for it", "modprobe"),
        (
            ONLY_CPU,
            GPU | COMPILER | {f"{PCI}/driver/uevent": ""},
            {},
            "there is no /dev/dri/renderD*",
            "--device /dev/dri",
        ),
        (ONLY_CPU, GPU | COMPILER | DRIVER, {}, "compute runtime is not installed", "Install"),
        (ONLY_CPU, ALL, {}, "this user may not open it", "usermod -aG render"),
    ],
)
def test_why_no_gpu_is_listed(
    listed: Finished | str, files: dict[str, str], environ: dict[str, str], why: str, hint: str
) -> None:
    one = absence(machine(listed, files=files, environ=environ))
    assert why in one.why
    assert hint in one.hint
    assert one.seen


def test_setvars_comes_before_the_usual_places() -> None:
    moved = {name.replace(ROOT, "/own"): text for name, text in (MKL | COMPILER).items()}
    environ = {
        "ONEAPI_ROOT": "/own",
        "MKLROOT": "/own/mkl/latest",
        "CMPLR_ROOT": "/own/compiler/latest",
    }
    host = machine(files=GPU | DRIVER | moved, environ=environ)
    paths = {tool.name: tool.path for tool in sycl.detect(host).tools}
    assert paths["icpx"] == "/own/compiler/latest/bin/icpx"
    assert paths["onemkl"] == "/own/mkl/latest/lib/cmake/mkl/MKLConfig.cmake"
    assert sycl.compilers(host) == ("/own/compiler/latest/bin/icx", paths["icpx"])
    assert sycl.environment(host) == {}


def test_without_setvars_the_libraries_are_named() -> None:
    host = machine(environ={"LD_LIBRARY_PATH": "/mine", "TOKEN": "secret"})
    folders = f"{ROOT}/compiler/latest/lib:{ROOT}/mkl/latest/lib:{ROOT}/dnnl/latest/lib"
    assert sycl.environment(host) == {"LD_LIBRARY_PATH": f"{folders}:{ROOT}/tbb/latest/lib:/mine"}
    assert sycl.compilers(machine(files=GPU)) is None
    assert sycl.environment(machine(files=GPU)) == {}


# --- flags ---------------------------------------------------------------------------------------


def flags(
    *tools: Tool, os: str = "linux", kernel: str = "6.8.0-45-generic"
) -> dict[str, bool | str]:
    hardware = replace(values.hardware(), os=os, os_version=kernel)
    found = sycl.flags(hardware, replace(values.toolchain(), tools=tools))
    assert all(flag.why for flag in found)
    assert len({flag.name for flag in found}) == len(found)
    return {flag.name: flag.value for flag in found}


def test_flags_say_everything() -> None:
    tools = (
        Tool(name="onednn", version="3", path="/o/dnnl/lib/cmake/dnnl/dnnl-config.cmake"),
        Tool(name="onemkl", version="3", path="/o/mkl/lib/cmake/mkl/MKLConfig.cmake"),
        Tool(name="level-zero", version="1", path="/usr/include/level_zero/ze_api.h"),
    )
    assert flags(*tools) == {
        "GGML_SYCL_TARGET": "INTEL",
        "GGML_SYCL_F16": False,
        "GGML_SYCL_GRAPH": True,
        "GGML_SYCL_DEVICE_ARCH": "",
        "GGML_SYCL_DNN": True,
        "GGML_SYCL_SUPPORT_LEVEL_ZERO_API": True,
        "GGML_SYCL_HOST_MEM_FALLBACK": True,
        "DNNL_DIR": "/o/dnnl/lib/cmake/dnnl",
        "MKL_DIR": "/o/mkl/lib/cmake/mkl",
    }


def test_what_is_not_here_is_off() -> None:
    without = flags()
    assert without["GGML_SYCL_DNN"] is False
    assert without["GGML_SYCL_SUPPORT_LEVEL_ZERO_API"] is False
    assert "DNNL_DIR" not in without


@pytest.mark.parametrize(
    ("os", "kernel", "value"),
    [
        ("linux", "6.1", False),
        ("linux", "6.8.0-45-generic", True),
        ("linux", "6.10-rc1", True),
        ("linux", "7.0.0-14-generic", True),
        ("linux", "", False),
        ("windows", "10", True),
    ],
)
def test_memory_of_the_computer_needs_a_new_kernel(os: str, kernel: str, value: bool) -> None:
    assert flags(os=os, kernel=kernel)["GGML_SYCL_HOST_MEM_FALLBACK"] is value


@pytest.mark.parametrize(
    ("devices", "offloaded", "good"),
    [
        (("SYCL0: Intel(R) Arc(TM) A770 Graphics", "CPU: x"), 3, True),
        (("SYCL0: Intel(R) Arc(TM) A770 Graphics", "CPU: x"), 2, False),
        (("Vulkan0: Intel(R) Arc(TM) A770 Graphics", "CPU: SYCL"), 3, False),
        ((), 0, False),
    ],
)
def test_only_a_run_on_sycl_is_one(devices: tuple[str, ...], offloaded: int, good: bool) -> None:
    held = ("SYCL0", "CPU")
    evidence = Evidence(devices=devices, offloaded=offloaded, layers=3, log="", buffers=held)
    assert (sycl.judge(evidence) is None) == good
    assert sycl.judge(replace(evidence, buffers=("CPU",)))


# --- garbage -------------------------------------------------------------------------------------

LISTS = (ARC_AND_UHD, PANTHER_LAKE, IRIS, UHD_620, MAX_1550, PRO_B70, ONLY_OPENCL, WITH_CUDA)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(LISTS), st.integers(0, 2**32))
def test_a_broken_list_makes_up_no_device(text: str, seed: int) -> None:
    broken = "\n".join(fuzz._worse(tuple(text.splitlines()), random.Random(seed)))
    gpus = sycl_probe.parse(broken)
    assert len(gpus) <= len(sycl_probe.parse(text)) or all(gpu.way == "opencl" for gpu in gpus)
    for gpu in gpus:
        assert all(part in broken for part in (gpu.name, gpu.driver, gpu.ip))
    host = machine(
        broken, compiler="\n".join(fuzz._worse(tuple(ICPX.splitlines()), random.Random(seed)))
    )
    found = sycl.detect(host)
    assert found.devices or found.absent
    assert bool(found.tools) == any(not one.lacks for one in found.devices)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_an_answer(text: str) -> None:
    assert sycl_probe.parse(text) == ()
    assert not sycl.detect(machine(text)).devices
