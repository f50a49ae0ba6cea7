"""Intel GPUs through SYCL: ``sycl-ls`` says what is there, oneAPI is what builds.

A SYCL build is compiled for whichever of Intel's GPUs is there when it starts, so devices have no
architecture. The whole llama.cpp is built with oneAPI's compilers: see :func:`compilers`. What is
where, and which GPU is of which kind, is data (``sycl.toml``).
"""

from __future__ import annotations

import os
import re
from typing import Final

from llamabuild import packages
from llamabuild.backends import pci, sycl_build, sycl_probe
from llamabuild.backends.interface import (
    Doubt,
    Evidence,
    Found,
    Traits,
    any_driver,
    any_fit,
    any_together,
    on_device,
)
from llamabuild.backends.sycl_build import TABLE, Kit
from llamabuild.backends.sycl_probe import Gpu, Survey
from llamabuild.host import Host
from llamabuild.model import Absence, Device, Flag, Hardware, Toolchain

TITLE: Final = "Intel SYCL (oneAPI)"
SWITCH: Final = "GGML_SYCL"
_NAME: Final = "sycl"
TRAITS: Final = Traits(compilers=("icx", "icpx"), environment=("ONEAPI_ROOT", "MKLROOT"))
together = any_together
driver = any_driver
fit = any_fit
_WSL: Final = "/dev/dxg"
_HIDING: Final = ("ONEAPI_DEVICE_SELECTOR", "SYCL_DEVICE_ALLOWLIST", "SYCL_DEVICE_FILTER")
_ALSO_VULKAN: Final = "Vulkan can use it too, without oneAPI."
_WAYS: Final = {"level_zero": "Level Zero", "opencl": "OpenCL"}


def detect(host: Host) -> Found:
    """GPUs that a SYCL program would use. No process is started where none of Intel's can be."""
    system, _, arch = host.system()
    if system not in TABLE["oneapi"]["roots"] or arch != "x86_64":
        here = f"{system} {arch}"
        why = f"oneAPI, which builds it, is only for Linux and Windows on x86-64 (here: {here})"
        return _absent(why, "Use another back-end: Vulkan, or on a Mac Metal.")
    seen = _seen(host)
    if system == "linux" and not seen and not _unseen(host):
        return _absent("no Intel GPU is here", "Nothing to do: SYCL is for Intel's GPUs.")
    kit = sycl_build.kit(host)
    if not kit or not kit.lister:
        return _without_oneapi(host, kit, seen)
    survey = sycl_probe.survey(host, kit)
    if not survey.gpus:
        why, hint = _why_none(host, survey, seen)
        return _absent(why, hint, seen)
    tools, missing = sycl_build.needs(host, kit)
    lacks = ", ".join(missing)
    devices = tuple(_device(gpu, lacks) for gpu in survey.gpus)
    if not missing:
        return Found(devices=devices, tools=tools)
    names = ", ".join(dict.fromkeys(gpu.name for gpu in survey.gpus))
    why = f"{names} could be used, but a build for it is not possible here: {lacks} is missing"
    hint = packages.install(host, TABLE["packages"]["oneapi"])
    return Found(devices=devices, absent=(Absence(what=_NAME, why=why, hint=hint),))


def flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:
    """What does not depend on this machine, and what oneAPI and the kernel here can do."""
    paths = {tool.name: tool.path for tool in toolchain.tools}
    kernel = hardware.os != "linux" or _kernel(hardware.os_version) >= (6, 8)
    chosen = (
        ("GGML_SYCL_DNN", "onednn" in paths, ("oneDNN is here", "no oneDNN is here")),
        (
            "GGML_SYCL_SUPPORT_LEVEL_ZERO_API",
            "level-zero" in paths,
            (
                "memory comes from Level Zero itself: less of the computer's own is used",
                "Level Zero's headers or loader are not here; memory comes through SYCL",
            ),
        ),
        (
            "GGML_SYCL_HOST_MEM_FALLBACK",
            kernel,
            (
                "a full GPU may work in the computer's memory while weights are arranged",
                "a GPU can work in the computer's memory only from Linux 6.8 on",
            ),
        ),
    )
    return (
        *(Flag(name=f["name"], value=f["value"], why=f["why"]) for f in TABLE["flag"]),
        *(Flag(name=name, value=on, why=whys[0 if on else 1]) for name, on, whys in chosen),
        *(
            Flag(name=row["flag"], value=os.path.dirname(paths[row["tool"]]), why=row["why"])
            for row in TABLE["package"]
            if row["tool"] in paths
        ),
    )


def judge(evidence: Evidence) -> Doubt | None:
    """None when every layer ran on a SYCL device that ggml itself lists."""
    return on_device(evidence, "SYCL")


def compilers(host: Host) -> tuple[str, str] | None:
    """The C and C++ compiler of oneAPI, which must compile the whole tree: it knows no compiler for
    SYCL alone. None when they are not here. On Windows C is compiled by ``cl``."""
    kit = sycl_build.kit(host)
    return (kit.cc, kit.cxx) if kit and kit.cc and kit.cxx else None


def environment(host: Host) -> dict[str, str]:
    """What those compilers, and what they made, need in the environment to find libraries."""
    kit = sycl_build.kit(host)
    return sycl_build.environment(host, kit) if kit else {}


def _absent(why: str, hint: str, seen: str = "") -> Found:
    return Found(absent=(Absence(what=_NAME, why=why, hint=hint, seen=seen),))


def _device(gpu: Gpu, lacks: str) -> Device:
    return Device(
        backend=_NAME,
        name=gpu.name,
        architecture="",
        driver=f"{gpu.driver} ({_WAYS[gpu.way]})",
        vendor="intel",
        kind=gpu.kind,
        lacks=lacks,
    )


def _seen(host: Host) -> str:
    """Intel's GPUs as the PCI bus tells them, in words; or an empty text."""
    ids = ", ".join(one.id for one in pci.displays(host, "intel"))
    return f"an Intel GPU (PCI {ids})" if ids else ""


def _unseen(host: Host) -> bool:
    """True when there may be a GPU that the PCI bus does not show: under WSL, or without a bus."""
    return host.exists(_WSL) or (not host.entries("/sys/bus/pci/devices") and _nodes(host))


def _nodes(host: Host) -> bool:
    return any(name.startswith("renderD") for name in host.entries("/dev/dri"))


def _without_oneapi(host: Host, kit: Kit | None, seen: str) -> Found:
    lacks = "its sycl-ls is missing" if kit else "it is not installed"
    hint = packages.install(host, TABLE["packages"]["oneapi"])
    if seen:
        return _absent(
            f"{seen} is here, but oneAPI is not usable: {lacks}. {_ALSO_VULKAN}", hint, seen
        )
    why = f"oneAPI, which knows Intel's GPUs and builds for them, is not usable: {lacks}"
    if any(host.exists(path) for path in TABLE["runtime"].get(host.system()[0], ())):
        why += f"; a driver of Intel's is here. {_ALSO_VULKAN}"
    return _absent(why, hint)


def _why_none(host: Host, survey: Survey, seen: str) -> tuple[str, str]:
    """Why sycl-ls shows no GPU, and what would change it: the first thing found wrong."""
    hiding = [name for name in _HIDING if host.environ.get(name)]
    runtime = packages.install(host, TABLE["packages"]["runtime"])
    here = f"{seen} is here, but " if seen else ""
    if survey.error:
        return f"{here}{survey.error}", "Run `sycl-ls`: it must list the GPU."
    if hiding:
        return f"{here}{hiding[0]} hides it from SYCL", f"Unset {hiding[0]}."
    if host.system()[0] == "windows":
        return "sycl-ls lists no Intel GPU", runtime
    if seen and not any(one.driver for one in pci.displays(host, "intel")):
        why = f"{seen} is here, but the kernel has no driver for it (i915, xe)"
        return why, "Install a newer kernel, or load its driver: modprobe xe (old GPUs: i915)"
    if not host.exists(_WSL) and not _nodes(host):
        why = f"{here}there is no /dev/dri/renderD* to reach it by"
        return why, "A container needs --device /dev/dri; else install a newer kernel."
    if not any(host.exists(path) for path in TABLE["runtime"]["linux"]):
        return f"{here}Intel's compute runtime is not installed", runtime
    why = f"{here}sycl-ls lists no Intel GPU: most likely this user may not open it"
    return why, "Let this user open /dev/dri/renderD*: sudo usermod -aG render,video $USER"


def _kernel(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.split(r"[.-]", version)[:2] if part.isdecimal())
