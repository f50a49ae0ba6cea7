"""CUDA: what is there, what fits what, and that no GPU is ever made up."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamabuild.backends import Evidence, cuda, cuda_child, cuda_facts, cuda_probe, cuda_toolkits
from llamabuild.host import Finished, Host
from llamabuild.model import Device, Flag, Hardware, Tool, Toolchain
from tests.unit import values
from tests.unit.recorded import RecordedHost

NVCC = """nvcc: NVIDIA (R) Cuda compiler driver
Copyright (c) 2005-2025 NVIDIA Corporation
Built on Wed_Aug_20_01:58:59_PM_PDT_2025
Cuda compilation tools, release 13.0, V13.0.88
Build cuda_13.0.r13.0/compiler.36424714_0
"""
DRYRUN = """#$ _TARGET_DIR_=targets/x86_64-linux
#$ TOP=/usr/local/cuda-13.0/bin/..
#$ PATH=/usr/local/cuda-13.0/bin/../nvvm/bin:/usr/bin
#$ INCLUDES="-I/cuda/targets/x86_64-linux/include"  \n\
#$ SYSTEM_INCLUDES="-isystem" "/cuda/targets/x86_64-linux/include/cccl"  \n\
#$ LIBRARIES=  "-L/cuda/targets/x86_64-linux/lib/stubs" "-L/cuda/targets/x86_64-linux/lib"
#$ gcc -D__CUDA_ARCH_LIST__=750 -E "-I/not/this/one" "x.cu"
"""
H200 = {"name": "NVIDIA H200", "capability": "9.0", "memory": 150754820096, "mig": False}
PASCAL = {"name": "NVIDIA GeForce GTX 1070", "capability": "6.1", "memory": 8510701568}
CHILD = json.dumps(
    {"driver": "580.65.06", "cuda": "13.0", "gpus": [{**H200, "slices": 0}], "lost": []}
)
SMI = """NVIDIA GeForce RTX 4090, 8.9, 24564, 550.54.14
NVIDIA GeForce RTX 3070 Laptop GPU, 8.6, [N/A], 550.54.14
"""
DRIVER = {"/proc/driver/nvidia/version": "NVRM version: 580.65.06"}
CUBLAS = {
    "/cuda/targets/x86_64-linux/include/cublas_api.h": "#define CUBLAS_VER_MAJOR 13\n"
    "#define CUBLAS_VER_MINOR 0\n#define CUBLAS_VER_PATCH 2\n#define CUBLAS_VER_BUILD 14\n"
}
STUB = {"/cuda/targets/x86_64-linux/lib/stubs/libcuda.so": ""}
NO_NVML = Finished(code=0, out='{"error": "NVML Shared Library Not Found"}\n', err="")


def machine(
    child: Finished | str = CHILD,
    *,
    files: dict[str, str] | None = None,
    nvcc: str = NVCC,
    smi: str = "",
    environ: dict[str, str] | None = None,
) -> RecordedHost:
    programs = {"nvcc": "/usr/local/cuda/bin/nvcc"} if nvcc else {}
    programs |= {"nvidia-smi": "/usr/bin/nvidia-smi"} if smi else {}
    dryrun = Finished(code=0, out="", err=DRYRUN)
    return RecordedHost(
        files=DRIVER | CUBLAS | STUB if files is None else files,
        programs=programs,
        answers={
            "cuda_child.py": child,
            "nvcc --version": nvcc,
            "nvcc --dryrun": dryrun,
            "nvidia-smi": smi,
        },
        environ=environ,
    )


def why(host: Host) -> str:
    found = cuda.detect(host)
    assert all(one.lacks for one in found.devices)
    assert not found.tools
    assert all(one.what == "cuda" and one.why and one.hint for one in found.absent)
    return found.absent[0].why


def test_a_gpu_with_all_it_needs_is_a_device() -> None:
    host = machine()
    found = cuda.detect(host)
    assert found.devices == (
        Device(
            backend="cuda",
            name="NVIDIA H200",
            architecture="90",
            memory=150754820096,
            driver="580.65.06 (CUDA 13.0)",
            vendor="nvidia",
            kind="discrete",
        ),
    )
    versions = [(tool.name, tool.version) for tool in found.tools]
    assert versions == [("nvcc", "13.0.88"), ("cublas", "13.0.2"), ("libcuda", "")]
    assert found.absent == ()
    assert " -I " in host.started[0], "the child must not see the user's Python settings"


def test_without_a_driver_nothing_is_started() -> None:
    host = machine(files={})
    assert why(host) == "no NVIDIA driver is loaded, and no NVIDIA GPU is seen"
    assert host.started == []


@pytest.mark.parametrize(
    ("child", "said"),
    [
        (NO_NVML, "does not work: NVML Shared Library Not Found"),
        (Finished(code=-11, out="", err=""), "could not be asked: SIGSEGV"),
        (Finished(code=-9, out="", err="", timed_out=True), "did not answer within 5 seconds"),
        (Finished(code=127, out="", err=""), "could not be asked: exit code 127"),
        ('{"driver": "580.65.06", "cuda": "13.0", "gpus": [], "lost": []}', "it lists no GPU"),
    ],
)
def test_a_driver_that_gives_no_gpu_says_why(child: Finished | str, said: str) -> None:
    assert said in why(machine(child))


def test_nvidia_smi_answers_where_nvml_does_not() -> None:
    host = machine(NO_NVML, smi=SMI, nvcc=NVCC.replace("13.0", "12.4"))
    devices = cuda.detect(host).devices
    assert [(one.name, one.architecture, one.memory) for one in devices] == [
        ("NVIDIA GeForce RTX 4090", "89", 24564 << 20),
        ("NVIDIA GeForce RTX 3070 Laptop GPU", "86", 0),
    ]
    assert {one.driver for one in devices} == {"550.54.14 (CUDA 12.4)"}


def test_without_nvcc_the_gpu_is_named_and_not_used() -> None:
    assert why(machine(nvcc="")) == "NVIDIA H200 is here, but there is no nvcc to build for it"


def test_a_toolkit_without_cublas_is_not_used() -> None:
    host = machine(files=DRIVER | STUB)
    assert "the CUDA 13.0.88 toolkit here has no cuBLAS headers" in why(host)
    assert "libcublas-dev-13-0" in cuda.detect(host).absent[0].hint


def test_nvcc_that_does_not_work_is_not_used() -> None:
    assert "nvcc does not work" in why(machine(nvcc="Segmentation fault"))


@pytest.mark.parametrize("hidden", ["", " ", "-1"])
def test_hidden_gpus_are_not_used(hidden: str) -> None:
    said = why(machine(environ={"CUDA_VISIBLE_DEVICES": hidden}))
    assert said == "CUDA_VISIBLE_DEVICES hides NVIDIA H200"


def test_a_gpu_that_the_toolkit_no_longer_knows_stands_beside_one_that_it_knows() -> None:
    survey = json.loads(CHILD) | {"gpus": [H200, PASCAL], "lost": ["GPU 2: GPU is lost"]}
    found = cuda.detect(machine(json.dumps(survey)))
    assert [device.architecture for device in found.devices if not device.lacks] == ["90"]
    assert "no longer compiles for compute capability 6.1" in found.absent[0].why
    assert found.absent[1].why == "GPU 2: GPU is lost"


def test_a_driver_of_an_older_major_version_is_not_used() -> None:
    survey = json.loads(CHILD) | {"driver": "550.54.14", "cuda": "12.4"}
    said = why(machine(json.dumps(survey)))
    assert said == (
        "NVIDIA H200 is here, but the driver 550.54.14 knows CUDA 12.4, the toolkit is 13.0.88"
    )


def test_a_divided_gpu_needs_an_instance() -> None:
    divided = {**H200, "mig": True}
    empty = json.loads(CHILD) | {"gpus": [divided]}
    assert "in MIG mode and has no instance" in why(machine(json.dumps(empty)))
    some = json.loads(CHILD) | {"gpus": [{**divided, "slices": 2, "memory": 16 << 30}]}
    assert cuda.detect(machine(json.dumps(some))).devices[0].name == "NVIDIA H200 (MIG)"


# --- where there is no driver, or one in trouble --------------------------------------------------

CARD = {
    "/sys/bus/pci/devices/0000:01:00.0/class": "0x030000\n",
    "/sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
    "/sys/bus/pci/devices/0000:01:00.0/device": "0x1c03\n",
}


def absence(host: RecordedHost) -> tuple[str, str]:
    (only,) = cuda.detect(host).absent
    assert only.seen or "no NVIDIA GPU is seen" in only.why
    return only.why, only.hint


@pytest.mark.parametrize(
    ("files", "said", "hint"),
    [
        (CARD, "10de:1c03) is here without NVIDIA's driver", "Install NVIDIA's driver"),
        (
            {**CARD, "/sys/bus/pci/devices/0000:01:00.0/driver/x": ""},
            "nouveau drives it",
            "Install NVIDIA's driver",
        ),
        ({**CARD, "/.dockerenv": ""}, "a container without access to the GPU", "--gpus all"),
        (
            {"/.dockerenv": "", "/usr/local/cuda/bin/nvcc": ""},
            "a container without a GPU",
            "--gpus all",
        ),
        ({"/.dockerenv": ""}, "no NVIDIA GPU is seen", "Install NVIDIA's driver"),
    ],
)
def test_without_a_driver_the_reason_is_looked_for(
    files: dict[str, str], said: str, hint: str
) -> None:
    why, next_step = absence(machine(files=files, nvcc=""))
    assert said in why
    assert hint in next_step


@pytest.mark.parametrize(
    ("child", "smi", "hint"),
    [
        ("Driver/library version mismatch", "", "Restart the machine"),
        ("Unknown Error", "", "In a container: restart it"),
        ("Insufficient Permissions", "", "may not use /dev/nvidia"),
        ("GPU is lost", "", "fell off the bus"),
        (
            "NVML Shared Library Not Found",
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
            "Run `nvidia-smi`",
        ),
        (
            "",
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
            "Secure Boot",
        ),
    ],
)
def test_a_driver_in_trouble_gets_the_step_that_helps(child: str, smi: str, hint: str) -> None:
    answer = json.dumps({"error": child}) if child else "garbage"
    _, next_step = absence(machine(answer, smi=smi))
    assert hint in next_step


def test_inside_wsl_the_driver_is_that_of_windows() -> None:
    host = machine(NO_NVML, files={"/dev/dxg": ""})
    why, next_step = absence(host)
    assert "(WSL 2)" in why
    assert "in Windows" in next_step


def test_nvidia_smi_of_wsl_is_found_where_it_is() -> None:
    smi = "/usr/lib/wsl/lib/nvidia-smi"
    host = RecordedHost(
        files={"/dev/dxg": "", smi: ""},
        answers={"cuda_child.py": NO_NVML, "nvidia-smi": SMI},
    )
    assert [one.architecture for one in cuda.detect(host).devices] == ["89", "86"]


def test_a_jetson_without_nvml_is_known_by_its_device_tree() -> None:
    tree = "nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0"
    host = machine(NO_NVML, files={"/proc/device-tree/compatible": tree, **CUBLAS})
    (device,) = cuda.detect(host).devices
    assert (device.name, device.architecture) == ("NVIDIA Orin", "87")
    assert (device.kind, device.lacks) == ("integrated", "")
    assert device.memory == host.memory().total


def test_a_gpu_that_is_too_old_for_ggml() -> None:
    survey = json.loads(CHILD) | {"gpus": [{**PASCAL, "name": "Tesla K80", "capability": "3.7"}]}
    assert "ggml needs 5.0" in why(machine(json.dumps(survey)))


# --- several toolkits ----------------------------------------------------------------------------

LOCAL = (
    "/usr/local/cuda-11.8",
    "/usr/local/cuda-12.4",
    "/usr/local/cuda-12.8",
    "/usr/local/cuda-13.0",
)


@pytest.mark.parametrize(
    ("capabilities", "known", "chosen"),
    [
        (("8.9",), "13.0", "13.0"),
        (("6.1", "8.9"), "13.0", "12.8"),
        (("8.9",), "12.8", "12.8"),
        (("8.9",), "12.2", "11.8"),  # the newest whose PTX the driver reads
        (("12.0",), "12.8", "12.8"),
        (("12.0", "6.1"), "13.0", "12.8"),
        (("8.0",), "11.8", "11.8"),
    ],
)
def test_the_toolkit_that_serves_best_is_chosen(
    capabilities: tuple[str, ...], known: str, chosen: str
) -> None:
    host = RecordedHost(files={f"{root}/bin/nvcc": "" for root in LOCAL})
    best = cuda_toolkits.best(cuda_toolkits.places(host), capabilities, known)
    assert best is not None
    assert best.version == chosen


def test_the_users_own_choice_wins() -> None:
    files = {f"{root}/bin/nvcc": "" for root in LOCAL}
    for environ in ({"CUDA_HOME": LOCAL[0]}, {"CUDACXX": f"{LOCAL[0]}/bin/nvcc"}):
        (only,) = cuda_toolkits.places(RecordedHost(files=files, environ=environ))
        assert (only.nvcc, only.version) == (f"{LOCAL[0]}/bin/nvcc", "11.8")
    elsewhere = RecordedHost(files=files, environ={"CUDA_HOME": "/nowhere"})
    assert len(cuda_toolkits.places(elsewhere)) == len(LOCAL)


def test_a_file_tells_the_version_before_the_folder_does() -> None:
    told = {"/usr/local/cuda/version.json": '{"cuda": {"version": "12.6.3"}}'}
    host = RecordedHost(files={"/usr/local/cuda/bin/nvcc": "", **told})
    assert [one.version for one in cuda_toolkits.places(host)] == ["12.6.3"]
    for broken in ("{", "[]", '{"cuda": 3}', '{"cuda": {"version": "x; rm"}}'):
        files = {"/opt/cuda/bin/nvcc": "", "/opt/cuda/version.json": broken}
        assert [one.version for one in cuda_toolkits.places(RecordedHost(files=files))] == [""]


def test_toolkits_on_windows() -> None:
    root = "C:/Program Files/NVIDIA GPU Computing Toolkit/CUDA/v12.8"
    host = RecordedHost(os="windows", files={f"{root}/bin/nvcc.exe": ""})
    assert [one.version for one in cuda_toolkits.places(host)] == ["12.8"]


# --- flags ---------------------------------------------------------------------------------------


def planned(
    *architectures: str,
    nvcc: str = "13.0.88",
    driver: str = "580.65.06 (CUDA 13.0)",
    compilers: Toolchain | None = None,
    stub: bool = True,
) -> dict[str, Flag]:
    devices = tuple(
        Device(backend="cuda", name=f"GPU {one}", architecture=one, driver=driver)
        for one in architectures
    )
    hardware: Hardware = replace(values.hardware(), devices=devices)
    toolchain = compilers or values.toolchain(replace(values.compiler(), cxx="/usr/bin/g++"))
    tools = [Tool(name="nvcc", version=nvcc)]
    tools += [Tool(name="libcuda", version="")] if stub else []
    flags = cuda.flags(hardware, replace(toolchain, tools=(*toolchain.tools, *tools)))
    assert all(flag.why for flag in flags)
    assert len({flag.name for flag in flags}) == len(flags)
    return {flag.name: flag for flag in flags}


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
        ((), "13.0.88", "", "all-major"),
        # A GPU newer than the toolkit runs PTX, when the driver compiles that of this toolkit.
        (("120",), "12.4.131", "570.86.10 (CUDA 12.8)", "90-virtual"),
        (("86", "120"), "12.4.131", "570.86.10 (CUDA 12.8)", "86-real;90-virtual"),
        (("61", "89"), "12.8.93", "570.86.10 (CUDA 12.8)", "61-real;89-real;89-virtual"),
        (("121",), "13.0.88", "580.95.05 (CUDA 13.0)", "121a-real"),
    ],
)
def test_architectures(architectures: tuple[str, ...], nvcc: str, driver: str, value: str) -> None:
    flags = planned(*architectures, nvcc=nvcc, driver=driver)
    assert flags["CMAKE_CUDA_ARCHITECTURES"].value == value


def test_architectures_are_what_cmake_accepts() -> None:
    accepted = re.compile(r"[0-9]+(a|f)?(-real|-virtual)?(;[0-9]+(a|f)?(-real|-virtual)?)*")
    for row in cuda_facts.TABLE["capability"]:
        for toolkit in cuda_facts.TABLE["toolkit"]:
            version, number = toolkit["version"], row["number"]
            if cuda_facts.compatible(version, number) and (
                not cuda_facts.newest_below(version, number)
                or cuda_facts.numbers(number) < cuda_facts.numbers(row["first"])
            ):
                continue
            planned_for = planned(number.replace(".", ""), nvcc=version, driver="1 (CUDA 99.0)")
            value = planned_for["CMAKE_CUDA_ARCHITECTURES"].value
            assert isinstance(value, str)
            assert accepted.fullmatch(value), (version, number)
            for word in re.findall(r"[0-9]+", value):
                known = cuda_facts.capability_of(word)
                assert cuda_facts.compatible(version, known) is None, (version, number)
                assert cuda_facts.numbers(known) <= cuda_facts.numbers(number)


def test_turing_without_tensor_cores_gets_pascals_code() -> None:
    def value(name: str, nvcc: str) -> dict[str, Flag]:
        device = Device(
            backend="cuda", name=name, architecture="75", driver="580.65.06 (CUDA 13.0)"
        )
        hardware = replace(values.hardware(), devices=(device,))
        tools = (Tool(name="nvcc", version=nvcc),)
        toolchain = replace(values.toolchain(), tools=tools)
        return {flag.name: flag for flag in cuda.flags(hardware, toolchain)}

    slow = value("NVIDIA GeForce GTX 1660 Ti", "12.8.93")
    assert slow["CMAKE_CUDA_ARCHITECTURES"].value == "61-virtual;80-virtual"
    assert slow["GGML_CUDA_FORCE_MMQ"].value is True
    for name, nvcc in (("NVIDIA GeForce RTX 2080", "12.8.93"), ("NVIDIA GeForce GTX 1650", "13.0")):
        usual = value(name, nvcc)
        assert usual["CMAKE_CUDA_ARCHITECTURES"].value == "75-real;75-virtual"
        assert usual["GGML_CUDA_FORCE_MMQ"].value is False


@pytest.mark.parametrize(
    ("devices", "possible"),
    [
        ([("61", "(CUDA 12.8)"), ("120", "(CUDA 12.8)")], True),
        ([("61", "(CUDA 13.0)"), ("110", "(CUDA 13.0)")], False),
        ([("86", "(CUDA 12.2)"), ("110", "(CUDA 13.0)")], False),
        ([("86", ""), ("110", "(CUDA 13.0)")], True),
        ([], True),
    ],
)
def test_which_gpus_one_build_serves(devices: list[tuple[str, str]], possible: bool) -> None:
    some = tuple(
        Device(backend="cuda", name=one, architecture=one, driver=f"1.2 {driver}".strip())
        for one, driver in devices
    )
    assert (cuda.together(some) is None) == possible


def test_options_that_would_bind_the_result_to_this_machine_are_off() -> None:
    flags = planned("90")
    assert flags["GGML_CUDA_NCCL"].value is False
    assert flags["GGML_CUDA_FA"].value is True
    assert flags["GGML_CUDA_GRAPHS"].value is True
    assert "CMAKE_CUDA_COMPILER" not in flags


def test_virtual_memory_needs_something_to_link_with() -> None:
    assert planned("90", stub=True)["GGML_CUDA_NO_VMM"].value is False
    assert planned("90", stub=False)["GGML_CUDA_NO_VMM"].value is True


def test_a_compiler_that_nvcc_refuses_is_replaced_by_one_that_it_takes() -> None:
    new = replace(values.compiler("gcc", "14.2.0"), cxx="/usr/bin/g++")
    old = replace(values.compiler("gcc", "12.2.0"), cxx="/usr/bin/g++-12")
    clang = replace(values.compiler("clang", "15.0.0"), cxx="/usr/bin/clang++")
    both = planned("86", nvcc="12.4.131", compilers=values.toolchain(new, old))
    assert both["CMAKE_CUDA_HOST_COMPILER"].value == "/usr/bin/g++-12"
    assert "accepts gcc up to 13" in both["CMAKE_CUDA_HOST_COMPILER"].why
    alone = planned("86", nvcc="12.4.131", compilers=values.toolchain(new))
    assert alone["CMAKE_CUDA_FLAGS"].value == "-allow-unsupported-compiler"
    good = planned("86", nvcc="13.0.88", compilers=values.toolchain(new, old))
    assert not {"CMAKE_CUDA_HOST_COMPILER", "CMAKE_CUDA_FLAGS"} & set(good)
    chosen = planned("86", nvcc="13.0.88", compilers=values.toolchain(clang, old))
    assert chosen["CMAKE_CUDA_HOST_COMPILER"].value == "/usr/bin/clang++"


# --- tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toolkit", "capability", "fits"),
    [
        ("12.9", "5.0", True),
        ("12.9.1", "6.1", True),
        ("13.0", "6.1", False),
        ("11.8", "9.0", False),
        ("12.0", "9.0", True),
        ("11.8", "8.9", True),
        ("11.7", "8.9", False),
        ("12.8", "12.0", True),
        ("12.8", "12.1", False),
        ("13.0", "10.1", False),
        ("13.0", "11.0", True),
        ("13.9", "7.5", True),
        ("12.4", "3.5", False),
        ("12.4", "99.9", False),
    ],
)
def test_which_toolkit_compiles_for_which_gpu(toolkit: str, capability: str, fits: bool) -> None:
    assert (cuda_facts.compatible(toolkit, capability) is None) == fits


@pytest.mark.parametrize(
    ("toolkit", "family", "version", "fits"),
    [
        ("11.8", "gcc", "11.4.0", True),
        ("11.8", "gcc", "12.1.0", False),
        ("11.6", "gcc", "11.4.0", True),
        ("12.2", "gcc", "12.3.0", True),
        ("12.2", "gcc", "13.1.0", False),
        ("12.4.131", "clang", "17.0.6", True),
        ("12.4.131", "clang", "18.1.0", False),
        ("11.2", "clang", "9.0.1", True),
        ("14.0", "gcc", "16.1.0", True),
        ("14.0", "gcc", "17.1.0", False),
        ("13.0", "appleclang", "15.0.0", False),
        ("11.8", "msvc", "19.39.33520", True),
        ("11.8", "msvc", "19.40.33807", False),
        ("13.1", "msvc", "19.50.35717", False),
        ("13.2", "msvc", "19.50.35717", True),
    ],
)
def test_which_toolkit_accepts_which_compiler(
    toolkit: str, family: str, version: str, fits: bool
) -> None:
    assert (cuda_facts.host_compiler(toolkit, family, version) is None) == fits


def test_the_tables_are_in_order() -> None:
    toolkits = cuda_facts.TABLE["toolkit"]
    versions = [cuda_facts.numbers(row["version"]) for row in toolkits]
    drivers = [cuda_facts.numbers(row["driver"]) for row in toolkits if "driver" in row]
    gcc = [row["gcc"] for row in toolkits if "gcc" in row]
    assert versions == sorted(set(versions))
    assert drivers == sorted(set(drivers))
    assert gcc == sorted(gcc)
    for row in cuda_facts.TABLE["capability"]:
        last = row["last"] or "99.0"
        assert cuda_facts.numbers(row["first"]) <= cuda_facts.numbers(last)


# --- proof ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "offloaded", "layers", "good"),
    [
        (("CUDA0: NVIDIA H200", "CPU: x"), 3, 3, True),
        (("CUDA0: NVIDIA H200", "CPU: x"), 2, 3, False),
        (("CUDA0: NVIDIA H200",), 0, 0, False),
        (("Vulkan0: NVIDIA CUDA-like", "CPU: CUDA"), 3, 3, False),
        ((), 3, 3, False),
    ],
)
def test_only_a_run_on_the_gpu_is_a_run_on_the_gpu(
    devices: tuple[str, ...], offloaded: int, layers: int, good: bool
) -> None:
    evidence = Evidence(devices=devices, offloaded=offloaded, layers=layers, log="")
    assert (cuda.judge(evidence) is None) == good


# --- the child -----------------------------------------------------------------------------------


class Nvml:
    """NVIDIA's library as three GPUs answer: divided, sharing memory with the CPU, and lost."""

    class NVMLError(Exception):
        """What every call raises."""

    def nvmlSystemGetCudaDriverVersion(self) -> int:  # noqa: N802
        return 13020

    def nvmlSystemGetDriverVersion(self) -> bytes:  # noqa: N802
        return b"595.45.04"

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        if index == 2:
            raise self.NVMLError("GPU is lost")
        return ("divided", "shared")[index]

    def nvmlDeviceGetCudaComputeCapability(self, handle: str) -> list[int]:  # noqa: N802
        return {"divided": [9, 0], "shared": [12, 1]}[handle]

    def nvmlDeviceGetName(self, handle: str) -> str:  # noqa: N802
        return {"divided": "NVIDIA H100", "shared": "NVIDIA GB10"}[handle]

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:  # noqa: N802
        if handle == "shared":
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(total={"slice": 10 << 30, "divided": 80 << 30}[handle])

    def nvmlDeviceGetMigMode(self, handle: str) -> list[int]:  # noqa: N802
        if handle == "shared":
            raise self.NVMLError("Not Supported")
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: str) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: str, index: int) -> str:  # noqa: N802
        if index > 1:
            raise self.NVMLError("Not Found")
        return "slice"


def test_the_child_tells_what_the_parent_understands() -> None:
    survey = cuda_probe.parse_survey(json.dumps(cuda_child.survey(Nvml())))
    assert survey is not None
    assert (survey.driver, survey.cuda) == ("595.45.04", "13.2")
    assert survey.lost == ("GPU 2: GPU is lost",)
    divided, shared = survey.gpus
    assert (divided.capability, divided.memory, divided.slices) == ("9.0", 10 << 30, 2)
    assert (shared.capability, shared.memory, shared.mig) == ("12.1", 0, False)


def test_the_child_prints_one_json_object_wherever_it_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cuda_child.main()
    assert cuda_probe.parse_survey(capsys.readouterr().out) is not None


# --- garbage -------------------------------------------------------------------------------------


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """The text with a piece cut out, doubled or replaced by anything, up to four times."""
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        middle = draw(st.one_of(st.just(""), st.just(text[start:end] * 2), st.text(max_size=12)))
        text = text[:start] + middle + text[end:]
    return text


@settings(max_examples=300, deadline=None)
@given(mutated(SMI))
def test_a_broken_nvidia_smi_makes_up_no_gpu(text: str) -> None:
    lines = text.splitlines()
    survey = cuda_probe.parse_smi(text)
    assert len(survey.gpus) <= len(lines)
    for gpu in survey.gpus:
        assert any(gpu.name in line and gpu.capability in line for line in lines)
        assert gpu.memory == 0 or any(str(gpu.memory >> 20) in line for line in lines)
        assert re.fullmatch(r"[0-9]{1,2}\.[0-9]", gpu.capability)


@settings(max_examples=300, deadline=None)
@given(mutated(f"some driver's greeting\n{CHILD}\n"))
def test_a_broken_child_makes_up_no_gpu(text: str) -> None:
    survey = cuda_probe.parse_survey(text)
    if survey is None:
        return
    last = next(line for line in reversed(text.splitlines()) if line.startswith("{"))
    said = msgspec.json.decode(last.encode())
    assert [gpu.name for gpu in survey.gpus] == [gpu["name"] for gpu in said.get("gpus", [])]


@settings(max_examples=300, deadline=None)
@given(mutated(CHILD), mutated(SMI), mutated(NVCC), mutated(DRYRUN))
def test_detection_never_raises_and_devices_have_tools(
    child: str, smi: str, nvcc: str, dryrun: str
) -> None:
    host = RecordedHost(
        files=DRIVER | CUBLAS | STUB,
        programs={"nvcc": "/usr/bin/nvcc", "nvidia-smi": "/usr/bin/nvidia-smi"},
        answers={
            "cuda_child.py": child,
            "nvcc --version": nvcc,
            "nvcc --dryrun": Finished(code=0, out="", err=dryrun),
            "nvidia-smi": smi,
        },
    )
    found = cuda.detect(host)
    assert any(not one.lacks for one in found.devices) == bool(found.tools)
    assert all(one.lacks for one in found.devices) <= bool(found.absent)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_an_answer(text: str) -> None:
    assert cuda_probe.parse_smi(text).gpus == ()
    assert cuda_probe.parse_survey(text) is None or text.strip()
    assert cuda_probe.nvcc_version(text) is None
    assert cuda_probe.nvcc_folders(text) == {"I": [], "L": []}
    cuda_facts.numbers(text)
