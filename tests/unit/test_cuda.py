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

from llamabuild.backends import Evidence, cuda, cuda_build, cuda_child, cuda_facts, cuda_probe
from llamabuild.host import Finished, Host
from llamabuild.model import Device, Flag, Hardware, Tool, Toolchain
from tests.unit import values
from tests.unit.mutations import mutated
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


def child(*gpus: dict[str, Any], driver: str = "580.65.06", cuda: str = "13.0") -> str:
    return json.dumps({"driver": driver, "cuda": cuda, "gpus": gpus, "lost": []})


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
        "NVIDIA H200 is here, but the driver knows CUDA 12.4 and runs nothing that "
        "CUDA 13.0.88 makes"
    )
    found = cuda.detect(machine(json.dumps(survey)))
    assert found.devices[0].lacks == "CUDA 12.0 to 12.9"
    assert "Update the driver to 580.65.06 or newer" in found.absent[0].hint
    assert "CUDA 12.4" in found.absent[0].hint


def test_a_driver_too_old_for_any_toolkit_leaves_no_device() -> None:
    survey = json.loads(CHILD) | {"driver": "440.100", "cuda": "10.2", "gpus": [PASCAL]}
    found = cuda.detect(machine(json.dumps(survey)))
    assert found.devices == ()
    assert "no toolkit that can build ggml for it goes with that" in found.absent[0].why
    assert "Update the driver" in found.absent[0].hint


def test_a_divided_gpu_needs_an_instance() -> None:
    divided = {**H200, "mig": True}
    empty = json.loads(CHILD) | {"gpus": [divided]}
    assert "in MIG mode and has no instance" in why(machine(json.dumps(empty)))
    some = json.loads(CHILD) | {"gpus": [{**divided, "slices": 2, "memory": 16 << 30}]}
    assert cuda.detect(machine(json.dumps(some))).devices[0].name == "NVIDIA H200 (MIG)"


@pytest.mark.parametrize(
    ("gpu", "said"),
    [
        ({**PASCAL, "name": "Tesla K80", "capability": "3.7"}, "ggml needs 5.0"),
        ({**PASCAL, "name": "Some GPU", "capability": "99.9"}, "not one that llamabuild knows"),
    ],
)
def test_a_gpu_that_nothing_builds_for_is_no_device(gpu: dict[str, Any], said: str) -> None:
    host = machine(json.dumps(json.loads(CHILD) | {"gpus": [gpu]}))
    assert said in why(host)
    assert cuda.detect(host).devices == ()
    assert not any("nvcc" in command for command in host.started)


def test_a_toolkit_that_no_longer_knows_the_gpu_is_not_to_be_completed() -> None:
    """Neither what it lacks nor a newer driver would help."""
    found = cuda.detect(machine(child=child(PASCAL), files=DRIVER))
    (told,) = found.absent
    assert "CUDA 13.0.88 no longer compiles for compute capability 6.1" in told.why
    assert "12.9 is the last" in told.why
    assert "driver" not in told.hint.lower()
    assert "cublas" not in told.hint


def test_what_a_device_lacks_is_said_with_it() -> None:
    lacks = [
        (machine(nvcc=""), "the CUDA toolkit (nvcc and cuBLAS)"),
        (machine(files=DRIVER), "cuBLAS's development files"),
        (machine(nvcc="Segmentation fault"), "an nvcc that works"),
        (machine(nvcc=NVCC.replace("13.0", "10.1")), "CUDA 11.0 or newer"),
        (machine(nvcc=NVCC.replace("13.0", "11.1"), child=child(PASCAL, H200)), ""),
        (machine(child=child(PASCAL)), "CUDA 11.0 to 12.9"),
    ]
    for host, lack in lacks:
        found = cuda.detect(host)
        assert found.devices[0].lacks == lack
        assert bool(found.tools) == (not lack)
        assert all(one.hint for one in found.absent)


def test_a_gpu_that_shares_the_machines_memory_is_integrated() -> None:
    # NVML of a DGX Spark: no memory of its own ("Not Supported").
    spark = {"name": "NVIDIA GB10", "capability": "12.1", "memory": 0}
    host = machine(child=child(spark))
    (device,) = cuda.detect(host).devices
    assert (device.kind, device.architecture) == ("integrated", "121")
    assert device.memory == host.memory().total


def test_an_unserved_gpu_beside_a_served_one_is_left_out_when_running() -> None:
    (one,) = cuda.detect(machine(child=child(PASCAL, H200))).absent
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=1" in one.hint
    assert "cuda-toolkit-12-9" in one.hint


def test_a_gpu_newer_than_the_toolkit_works_and_the_better_toolkit_is_named() -> None:
    # GeForce RTX 5090 with driver 570.133.07 (CUDA 12.8), toolkit 12.4.131 of NVIDIA's packages.
    blackwell = {"name": "NVIDIA GeForce RTX 5090", "capability": "12.0", "memory": 34190917632}
    answer = child(blackwell, driver="570.133.07", cuda="12.8")
    found = cuda.detect(machine(answer, nvcc=NVCC.replace("13.0.88", "12.4.131")))
    assert [one.lacks for one in found.devices] == [""]
    (better,) = found.absent
    assert better.what == "CUDA 12.8"
    assert "runs PTX of 9.0" in better.why
    assert "CUDA 12.8 or newer has its own" in better.why
    assert "cuda-toolkit-12-8" in better.hint


def test_headers_that_clash_with_a_new_glibc_are_seen_before_the_build() -> None:
    class Trixie(RecordedHost):
        def libc(self) -> str:
            return "glibc 2.41"

    # As in CUDA 12.9's crt/math_functions.h, and as Debian mends it.
    plain = "extern __DEVICE_FUNCTIONS_DECL__ __device_builtin__ double   cospi(double x);\n"
    mended = plain.replace("(double x)", "(double x) noexcept (true)")
    header = "/cuda/targets/x86_64-linux/include/crt/math_functions.h"
    for text, lack in ((plain, "a CUDA toolkit for glibc 2.41"), (mended, "")):
        found = cuda.detect(
            Trixie(
                files=DRIVER | CUBLAS | STUB | {header: text},
                programs={"nvcc": "/usr/local/cuda/bin/nvcc"},
                answers={
                    "cuda_child.py": CHILD,
                    "nvcc --version": NVCC.replace("13.0.88", "12.9.86"),
                    "nvcc --dryrun": Finished(code=0, out="", err=DRYRUN),
                },
            )
        )
        assert found.devices[0].lacks == lack
        assert [("glibc 2.41 (cospi)" in one.why) for one in found.absent] == [True] * bool(lack)


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


def test_every_option_of_the_tree_is_decided() -> None:
    # option() and set(… CACHE …) of ggml/CMakeLists.txt at 0c1e57098.
    tree = "FORCE_MMQ FORCE_CUBLAS NO_PEER_COPY NO_VMM FA FA_ALL_QUANTS FA_QUANTS GRAPHS NCCL"
    names = {f"GGML_CUDA_{name}" for name in f"{tree} COMPRESSION_MODE".split()}
    assert {name for name in planned("90") if name.startswith("GGML_CUDA")} == names


def test_the_result_finds_the_libraries_of_the_toolkit_that_was_chosen() -> None:
    wanted = ("CMAKE_SHARED_LINKER_FLAGS", "CMAKE_MODULE_LINKER_FLAGS")
    places = {
        "/usr/local/cuda-12.8/targets/x86_64-linux/lib/libcudart.so": True,
        "/usr/lib/x86_64-linux-gnu/libcudart.so": False,
        "/home/a user/cuda/lib64/libcudart.so": False,
        "": False,
    }
    for path, told in places.items():
        tools = (Tool(name="nvcc", version="12.8.93"), Tool(name="cudart", version="", path=path))
        device = Device(backend="cuda", name="A", architecture="90")
        hardware = replace(values.hardware(), devices=(device,))
        flags = cuda.flags(hardware, replace(values.toolchain(), tools=tools))
        found = {flag.name: flag.value for flag in flags if flag.name in wanted}
        value = f"-Wl,-rpath,{path.rpartition('/')[0]}"
        assert found == (dict.fromkeys(wanted, value) if told else {})


def test_a_toolkit_of_wheels_is_found_without_naming_a_folder_of_this_machine() -> None:
    places = ("../../nvidia/cu13/lib", "../../../../kits/cuda-13.0-ab/toolkit/lib")
    tools = (
        Tool(name="nvcc", version="13.0.88"),
        Tool(name="cudart", version="", path="/home/a user/kits/cuda-13.0-ab/toolkit/lib64/x.so"),
        Tool(name="cuda-wheels", version="", places=places),
    )
    device = Device(backend="cuda", name="A", architecture="90")
    hardware = replace(values.hardware(), devices=(device,))
    flags = cuda.flags(hardware, replace(values.toolchain(), tools=tools))
    (value,) = {str(flag.value) for flag in flags if flag.name.endswith("_LINKER_FLAGS")}
    assert value == " ".join(rf"-Wl,-rpath,\$ORIGIN/{place}" for place in places)


def test_virtual_memory_needs_something_to_link_with() -> None:
    assert planned("90", stub=True)["GGML_CUDA_NO_VMM"].value is False
    assert planned("90", stub=False)["GGML_CUDA_NO_VMM"].value is True


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
        ("10.2", "5.3", False),
    ],
)
def test_which_toolkit_compiles_for_which_gpu(toolkit: str, capability: str, fits: bool) -> None:
    assert (cuda_facts.compatible(toolkit, capability) is None) == fits


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
    held = ("CUDA0", "CPU")
    evidence = Evidence(devices=devices, offloaded=offloaded, layers=layers, log="", buffers=held)
    assert (cuda.judge(evidence) is None) == good
    assert cuda.judge(replace(evidence, buffers=("CPU",)))


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
    nvml: str, smi: str, nvcc: str, dryrun: str
) -> None:
    host = RecordedHost(
        files=DRIVER | CUBLAS | STUB,
        programs={"nvcc": "/usr/bin/nvcc", "nvidia-smi": "/usr/bin/nvidia-smi"},
        answers={
            "cuda_child.py": nvml,
            "nvcc --version": nvcc,
            "nvcc --dryrun": Finished(code=0, out="", err=dryrun),
            "nvidia-smi": smi,
        },
    )
    found = cuda.detect(host)
    assert any(not one.lacks for one in found.devices) == bool(found.tools)
    known = {row["number"].replace(".", "") for row in cuda_facts.TABLE["capability"]}
    assert all(one.architecture in known and one.vendor == "nvidia" for one in found.devices)
    assert all(one.lacks for one in found.devices) <= bool(found.absent)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_an_answer(text: str) -> None:
    assert cuda_probe.parse_smi(text).gpus == ()
    assert cuda_probe.parse_survey(text) is None or text.strip()
    assert cuda_build.nvcc_version(text) is None
    assert cuda_build.nvcc_folders(text) == {"I": [], "L": []}
    cuda_facts.numbers(text)
