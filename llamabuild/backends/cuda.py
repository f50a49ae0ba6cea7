"""NVIDIA GPUs through CUDA: NVML says what is there, nvcc what can be built.

A GPU counts as a device only when a build for it is possible: driver, toolkit and cuBLAS fit
together. Everything else is an absence with its reason. What fits what is data (``cuda.toml``).
"""

from __future__ import annotations

import os
from typing import Final

from llamabuild.backends import cuda_probe
from llamabuild.backends.cuda_facts import TABLE, compatible, host_compiler, numbers
from llamabuild.backends.cuda_probe import Gpu, Survey, Toolkit
from llamabuild.backends.interface import Evidence, Found, on_device
from llamabuild.host import Host
from llamabuild.model import Absence, Compiler, Device, Flag, Hardware, Toolchain

TITLE: Final = "NVIDIA CUDA"
SWITCH: Final = "GGML_CUDA"
_NAME: Final = "cuda"
_NO_DRIVER: Final = "Install NVIDIA's driver (Debian: apt install nvidia-driver) and restart."
_NO_NVCC: Final = "Install the CUDA toolkit (Debian: apt install nvidia-cuda-toolkit)."


def detect(host: Host) -> Found:
    """GPUs that can be built for. A process is started only where a driver is loaded."""
    if not any(host.exists(path) for path in TABLE["places"]["driver"]):
        return Found(absent=(_absence("no NVIDIA driver is loaded", _NO_DRIVER),))
    survey = cuda_probe.survey(host)
    if not survey.gpus:
        why = survey.error or "an NVIDIA driver is loaded, but it lists no GPU"
        return Found(absent=(_absence(why, "Run `nvidia-smi`: it must list the GPU."),))
    lost = tuple(_absence(one, "Check that GPU with `nvidia-smi`.") for one in survey.lost)
    names = ", ".join(dict.fromkeys(gpu.name for gpu in survey.gpus))
    if _hidden(host.environ.get("CUDA_VISIBLE_DEVICES")):
        why = f"CUDA_VISIBLE_DEVICES hides {names}"
        return Found(absent=(_absence(why, "Unset CUDA_VISIBLE_DEVICES."), *lost))
    toolkit = cuda_probe.toolkit(host)
    if not toolkit or toolkit.missing:
        lack = toolkit.missing if toolkit else "there is no nvcc to build for it"
        why = f"{names} is here, but {lack}"
        return Found(absent=(_absence(why, _hint(toolkit)), *lost))
    judged = [(gpu, _blocked(gpu, survey, toolkit)) for gpu in survey.gpus]
    devices = tuple(_device(gpu, survey) for gpu, blocked in judged if not blocked)
    return Found(
        devices=devices,
        tools=toolkit.tools if devices else (),
        absent=(*(blocked for _, blocked in judged if blocked), *lost),
    )


def flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:
    """Machine code for the GPUs of this machine, and nothing left to a default."""
    tools = {tool.name: tool.version for tool in toolchain.tools}
    devices = [device for device in hardware.devices if device.backend == _NAME]
    stub = "libcuda" in tools
    return (
        _architectures(devices, tools.get("nvcc", "")),
        *(Flag(name=f["name"], value=f["value"], why=f["why"]) for f in TABLE["flag"]),
        Flag(
            name="GGML_CUDA_NO_VMM",
            value=not stub,
            why="the driver's virtual memory calls make one large pool"
            if stub
            else "no libcuda.so to link with here; memory comes from a plain pool",
        ),
        *_host_compiler_flags(toolchain, tools.get("nvcc", "")),
    )


def judge(evidence: Evidence) -> str | None:
    """None when every layer ran on a CUDA device that ggml itself lists."""
    return on_device(evidence, "CUDA")


def _absence(why: str, hint: str) -> Absence:
    return Absence(what=_NAME, why=why, hint=hint)


def _hidden(visible: str | None) -> bool:
    """True when CUDA_VISIBLE_DEVICES hides every GPU: CUDA stops at the first invalid one."""
    return visible is not None and (not visible.strip() or visible.strip().startswith("-"))


def _hint(toolkit: Toolkit | None) -> str:
    if not toolkit or not toolkit.version:
        return _NO_NVCC
    package = "libcublas-dev-" + "-".join(toolkit.version.split(".")[:2])
    return f"Install cuBLAS's development files (NVIDIA's packages: apt install {package})."


def _blocked(gpu: Gpu, survey: Survey, toolkit: Toolkit) -> Absence | None:
    """Why a GPU that is there cannot be used. Within a major version any driver runs machine
    code of any toolkit; a driver of an older major version runs none."""
    if gpu.mig and not gpu.slices:
        why = f"{gpu.name} is in MIG mode and has no instance"
        return _absence(why, "Create one (nvidia-smi mig -cgi) or switch MIG off.")
    if survey.cuda and numbers(survey.cuda)[:1] < numbers(toolkit.version)[:1]:
        knows = f"the driver {survey.driver} knows CUDA {survey.cuda}"
        why = f"{gpu.name}: {knows}, the toolkit is {toolkit.version}"
        return _absence(why, f"Update the driver, or use a CUDA {survey.cuda} toolkit.")
    if why_not := compatible(toolkit.version, gpu.capability):
        return _absence(f"{gpu.name}: {why_not}", "Install a CUDA toolkit that fits this GPU.")
    return None


def _device(gpu: Gpu, survey: Survey) -> Device:
    known = f" (CUDA {survey.cuda})" if survey.cuda else ""
    return Device(
        backend=_NAME,
        name=f"{gpu.name} (MIG)" if gpu.mig else gpu.name,
        architecture=gpu.capability.replace(".", ""),
        memory=gpu.memory,
        driver=survey.driver + known,
    )


def _architectures(devices: list[Device], toolkit: str) -> Flag:
    """Machine code (``-real``) for each kind of GPU, and PTX (``-virtual``) of the newest, which
    newer GPUs compile when loading. A driver cannot read PTX of a toolkit newer than itself, and
    ggml's 12.x PTX is architecture-specific: newer GPUs could not read it."""
    present = sorted({device.architecture for device in devices}, key=numbers)
    if not present:
        why = "no GPU is here to build for: machine code for every generation"
        return Flag(name="CMAKE_CUDA_ARCHITECTURES", value="all-major", why=why)
    real = [f"{one}a-real" if numbers(one) >= (120,) else f"{one}-real" for one in present]
    names = ", ".join(dict.fromkeys(device.name for device in devices))
    why = f"machine code for {names}"
    driver = devices[0].driver.partition("(CUDA ")[2]
    if toolkit and numbers(driver) >= numbers(toolkit)[:2] and numbers(present[-1]) < (120,):
        real.append(f"{present[-1]}-virtual")
        why += ", and PTX that newer GPUs can compile"
    return Flag(name="CMAKE_CUDA_ARCHITECTURES", value=";".join(real), why=why)


def _host_compiler_flags(toolchain: Toolchain, toolkit: str) -> tuple[Flag, ...]:
    """By itself nvcc takes ``g++`` from PATH: tell it what to take whenever that is not the first
    compiler here, or is one it refuses."""
    if not toolchain.compilers:
        return ()
    first = toolchain.compilers[0]
    refusal = _refusal(first, toolkit)
    if not refusal and os.path.basename(first.cxx) == "g++":
        return ()
    for compiler in toolchain.compilers:
        if not _refusal(compiler, toolkit):
            why = refusal or "the compiler that everything else is built with"
            return (Flag(name="CMAKE_CUDA_HOST_COMPILER", value=compiler.cxx, why=why),)
    why = f"{refusal}, and there is no other; it may work all the same"
    return (Flag(name="CMAKE_CUDA_FLAGS", value="-allow-unsupported-compiler", why=why),)


def _refusal(compiler: Compiler, toolkit: str) -> str | None:
    return host_compiler(toolkit, compiler.family, next(iter(numbers(compiler.version)), 0))
