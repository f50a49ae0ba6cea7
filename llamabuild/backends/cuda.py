"""NVIDIA GPUs through CUDA: NVML says what is there, nvcc what can be built.

Every GPU with a working driver is a device; what a build for it lacks here (a toolkit that fits GPU
and driver, cuBLAS) is said with it. What fits what is data (``cuda.toml``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final

from llamabuild import packages
from llamabuild.backends import cuda_probe, cuda_toolkits, pci
from llamabuild.backends.cuda_architectures import architectures
from llamabuild.backends.cuda_facts import (
    TABLE,
    compatible,
    host_compiler,
    newest_below,
    numbers,
    one_toolkit,
)
from llamabuild.backends.cuda_probe import Gpu, Survey, Toolkit
from llamabuild.backends.interface import Evidence, Found, Traits, on_device
from llamabuild.host import Host
from llamabuild.model import Absence, Compiler, Device, Flag, Hardware, Toolchain

TITLE: Final = "NVIDIA CUDA"
SWITCH: Final = "GGML_CUDA"
TRAITS: Final = Traits(family="cuda")
_NAME: Final = "cuda"
_SMI: Final = "Run `nvidia-smi`: it must list the GPU."


def detect(host: Host) -> Found:
    """GPUs with a working driver. A process is started only where a driver is loaded."""
    doors = TABLE["places"]["driver"]
    if not any(host.exists(path) for path in doors) and not cuda_probe.tegra(host):
        return Found(absent=(_without_driver(host),))
    survey = cuda_probe.survey(host)
    if not survey.gpus:
        return Found(absent=(_silent(host, survey),))
    lost = tuple(_absence(one, "Check that GPU with `nvidia-smi`.", one) for one in survey.lost)
    names = ", ".join(dict.fromkeys(gpu.name for gpu in survey.gpus))
    if _hidden(host.environ.get("CUDA_VISIBLE_DEVICES")):
        why = f"CUDA_VISIBLE_DEVICES hides {names}"
        return Found(absent=(_absence(why, "Unset CUDA_VISIBLE_DEVICES.", names), *lost))
    able = [gpu for gpu in survey.gpus if not _idle(gpu)]
    idle = tuple(_idle(gpu) for gpu in survey.gpus if gpu not in able)
    toolkit = _toolkit(host, able, survey)
    lacks = {gpu: _lack(gpu, survey, toolkit) for gpu in able}
    devices = tuple(_device(gpu, survey, lacks[gpu]) for gpu in able)
    usable = any(not one.lacks for one in devices)
    return Found(
        devices=devices,
        tools=toolkit.tools if toolkit and usable else (),
        absent=(*_lacking(host, lacks, toolkit), *filter(None, idle), *lost),
    )


def flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:
    """Code for the GPUs of this machine, and nothing left to a default."""
    tools = {tool.name: tool.version for tool in toolchain.tools}
    devices = [one for one in hardware.devices if one.backend == _NAME and not one.lacks]
    own = architectures(devices, tools.get("nvcc", ""))
    set_already = {flag.name for flag in own}
    stub = "libcuda" in tools
    return (
        *own,
        *(
            Flag(name=f["name"], value=f["value"], why=f["why"])
            for f in TABLE["flag"]
            if f["name"] not in set_already
        ),
        Flag(
            name="GGML_CUDA_NO_VMM",
            value=not stub,
            why="the driver's virtual memory calls make one large pool"
            if stub
            else "no libcuda.so to link with here; memory comes from a plain pool",
        ),
        *_host_compiler_flags(toolchain, tools.get("nvcc", "")),
    )


def together(devices: tuple[Device, ...]) -> str | None:
    """None when one toolkit compiles for all the GPUs and is not too new for any driver."""
    if not devices or one_toolkit((one.architecture, one.driver) for one in devices):
        return None
    names = ", ".join(dict.fromkeys(one.name for one in devices))
    return f"no CUDA toolkit serves all of {names}"


def judge(evidence: Evidence) -> str | None:
    """None when every layer ran on a CUDA device that ggml itself lists."""
    return on_device(evidence, "CUDA")


def _absence(why: str, hint: str, seen: str = "") -> Absence:
    return Absence(what=_NAME, why=why, hint=hint, seen=seen)


def _without_driver(host: Host) -> Absence:
    """Why no driver is loaded: a container, a GPU without its driver, or no GPU at all."""
    cards = pci.displays(host, "nvidia")
    driver = packages.install(host, TABLE["packages"]["driver"])
    inside = host.exists("/.dockerenv") or host.exists("/run/.containerenv")
    if inside and (cards or _first_nvcc(host)):
        hint = "Start the container with `--gpus all` (NVIDIA Container Toolkit on its host)."
        what = "a container without access to the GPU" if cards else "a container without a GPU"
        return _absence(f"this is {what}: no NVIDIA driver is visible", hint, "a container")
    if not cards:
        return _absence("no NVIDIA driver is loaded, and no NVIDIA GPU is seen", driver)
    name = f"NVIDIA GPU (PCI 10de:{cards[0].device})"
    other = " (nouveau drives it, which has no CUDA)" if cards[0].driver else ""
    return _absence(f"an {name} is here without NVIDIA's driver{other}", driver, name)


def _first_nvcc(host: Host) -> bool:
    return bool(cuda_toolkits.places(host))


def _silent(host: Host, survey: Survey) -> Absence:
    why = survey.error or "an NVIDIA driver is loaded, but it lists no GPU"
    hints = (row["hint"] for row in TABLE["trouble"] if row["says"] in why)
    hint = next(hints, _SMI)
    if host.exists("/dev/dxg"):
        hint = "Update NVIDIA's driver in Windows; inside WSL none must be installed."
        why = f"{why} (WSL 2)"
    return _absence(why, hint, "an NVIDIA driver" if survey.error else "")


def _hidden(visible: str | None) -> bool:
    """True when CUDA_VISIBLE_DEVICES hides every GPU: CUDA stops at the first invalid one."""
    return visible is not None and (not visible.strip() or visible.strip().startswith("-"))


def _idle(gpu: Gpu) -> Absence | None:
    """Why no build would run on a GPU, whatever it is built with."""
    if gpu.mig and not gpu.slices:
        why = f"{gpu.name} is in MIG mode and has no instance"
        return _absence(why, "Create one (nvidia-smi mig -cgi) or switch MIG off.", gpu.name)
    if numbers(gpu.capability) < (5,):
        why = f"{gpu.name} has compute capability {gpu.capability}; ggml needs 5.0"
        return _absence(why, "Nothing to do: the GPU is too old.", gpu.name)
    return None


def _toolkit(host: Host, gpus: Iterable[Gpu], survey: Survey) -> Toolkit | None:
    capabilities = [gpu.capability for gpu in gpus]
    place = cuda_toolkits.best(cuda_toolkits.places(host), capabilities, survey.cuda)
    return cuda_probe.toolkit(host, place.nvcc) if place else None


def _lack(gpu: Gpu, survey: Survey, toolkit: Toolkit | None) -> str:
    """What a build for a GPU lacks here; empty when nothing. Within a major version any driver
    runs machine code of any toolkit; a driver of an older major version runs none."""
    if not toolkit:
        return "there is no nvcc to build for it"
    if toolkit.missing:
        return toolkit.missing
    if survey.cuda and numbers(survey.cuda)[:1] < numbers(toolkit.version)[:1]:
        return (
            f"the driver {survey.driver} knows CUDA {survey.cuda}, the toolkit is {toolkit.version}"
        )
    why = compatible(toolkit.version, gpu.capability)
    if not why:
        return ""
    older = numbers(toolkit.version)[:2] <= numbers(survey.cuda)
    if older and "needs" in why and newest_below(toolkit.version, gpu.capability):
        return ""  # through PTX
    return why


def _lacking(host: Host, lacks: dict[Gpu, str], toolkit: Toolkit | None) -> Iterator[Absence]:
    """One absence for each thing that is lacking, with the GPUs that lack it."""
    for lack in dict.fromkeys(filter(None, lacks.values())):
        names = ", ".join(dict.fromkeys(gpu.name for gpu, own in lacks.items() if own == lack))
        yield _absence(f"{names} is here, but {lack}", _hint(host, lack, toolkit), names)


def _hint(host: Host, lack: str, toolkit: Toolkit | None) -> str:
    install = packages.install(host, TABLE["packages"]["toolkit"])
    if not toolkit or not toolkit.version:
        return install
    if lack == toolkit.missing:
        package = "libcublas-dev-" + "-".join(toolkit.version.split(".")[:2])
        return f"Install cuBLAS's development files (NVIDIA's packages: apt install {package})."
    if "driver" in lack:
        known = lack.partition("knows CUDA ")[2].partition(",")[0]
        return f"Update the driver, or use a CUDA {known} toolkit (CUDA_HOME chooses one)."
    return "Install a CUDA toolkit that fits this GPU (CUDA_HOME chooses among several)."


def _device(gpu: Gpu, survey: Survey, lacks: str) -> Device:
    known = f" (CUDA {survey.cuda})" if survey.cuda else ""
    return Device(
        backend=_NAME,
        name=f"{gpu.name} (MIG)" if gpu.mig else gpu.name,
        architecture=gpu.capability.replace(".", ""),
        memory=gpu.memory,
        driver=(survey.driver + known).strip(),
        vendor="nvidia",
        kind="integrated" if gpu.capability in TABLE["integrated"] else "discrete",
        lacks=lacks,
    )


def _host_compiler_flags(toolchain: Toolchain, toolkit: str) -> tuple[Flag, ...]:
    """By itself nvcc takes ``g++`` from PATH: tell it what to take whenever that is not the first
    compiler here, or is one it refuses."""
    if not toolchain.compilers:
        return ()
    first = toolchain.compilers[0]
    refusal = _refusal(first, toolkit)
    if not refusal and os.path.basename(first.cxx) in ("g++", "cl.exe"):
        return ()
    for compiler in toolchain.compilers:
        if not _refusal(compiler, toolkit):
            why = refusal or "the compiler that everything else is built with"
            return (Flag(name="CMAKE_CUDA_HOST_COMPILER", value=compiler.cxx, why=why),)
    why = f"{refusal}, and there is no other; it may work all the same"
    return (Flag(name="CMAKE_CUDA_FLAGS", value="-allow-unsupported-compiler", why=why),)


def _refusal(compiler: Compiler, toolkit: str) -> str | None:
    return host_compiler(toolkit, compiler.family, compiler.version)
