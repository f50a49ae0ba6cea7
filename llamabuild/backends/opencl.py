"""Adreno and Intel GPUs through OpenCL: the loader and a driver to run, headers to build.

ggml takes devices of one platform only, the first with a GPU unless ``GGML_OPENCL_PLATFORM`` names
another, and of those only GPUs that it has kernels for; so does this module. Where things are and
what is accepted is data (``opencl.toml``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llamabuild import packages
from llamabuild.backends import opencl_build, opencl_probe, pci
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
from llamabuild.backends.opencl_probe import TABLE, Platform, Unit
from llamabuild.host import Host
from llamabuild.model import Absence, Device, Flag, Hardware, Toolchain

TITLE: Final = "OpenCL"
SWITCH: Final = "GGML_OPENCL"
_NAME: Final = "opencl"
TRAITS: Final = Traits()
together = any_together
driver = any_driver
fit = any_fit
_PLATFORM: Final = "GGML_OPENCL_PLATFORM"
_DEVICE: Final = "GGML_OPENCL_DEVICE"
_ADRENO: Final = "adreno"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A device, and why ggml would not take it; empty when it would."""

    unit: Unit
    family: str = ""
    vendor: str = ""
    why_not: str = ""


def detect(host: Host) -> Found:
    """GPUs that ggml would use. No process is started where there is no loader or driver."""
    system = host.system()[0]
    if system not in ("linux", "windows"):
        why = (
            f"ggml needs OpenCL 2.0, which there is for Linux, Android and Windows (here: {system})"
        )
        return _absent(why, "Use Metal on a Mac, Vulkan elsewhere.")
    loaders = opencl_probe.loaders(host)
    if not loaders:
        hint = packages.install(host, TABLE["packages"]["loader"], *_driver_packages(host))
        return _absent(f"no OpenCL loader (libOpenCL) is installed{_beside(host)}", hint)
    if not opencl_probe.drivers(host):
        hint = packages.install(host, *_driver_packages(host))
        return _absent(f"no OpenCL driver is installed{_beside(host)}", hint)
    survey = opencl_probe.survey(host, loaders)
    if survey.error:
        return _absent(survey.error, packages.install(host, TABLE["packages"]["clinfo"]))
    judged = [[verdict(one, unit) for unit in one.devices] for one in survey.platforms]
    index = chosen(survey.platforms, host.environ)
    mine = _selected(judged, index, host.environ)
    good = [one for one in mine if not one.why_not]
    if not good:
        return _nothing_usable(host, survey.platforms, judged, index)
    return _buildable(host, good)


def flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:
    """Kernels for the GPUs of this machine: ggml's best ones for Adreno run on nothing else."""
    mine = [device for device in hardware.devices if device.backend == _NAME]
    adreno = any(device.architecture == _ADRENO for device in mine)
    tools = {tool.name: tool for tool in toolchain.tools}
    headers, library = tools.get(opencl_build.HEADERS), tools.get(opencl_build.LIBRARY)
    why = "kernels made for Adreno" if adreno else "no Adreno is here, and no other GPU runs them"
    found = [
        Flag(name="GGML_OPENCL_USE_ADRENO_KERNELS", value=adreno, why=why),
        Flag(
            name="GGML_OPENCL_USE_ADRENO_BIN_KERNELS",
            value=False,
            why="ready-made kernels for Adreno X2 would need a library of Qualcomm's to run",
        ),
        *(Flag(name=f["name"], value=f["value"], why=f["why"]) for f in TABLE["flag"]),
    ]
    newest = (
        "".join(headers.version.split(".")) + "0" if headers else TABLE["build"]["versions"][0][1]
    )
    why = f"the OpenCL {newest[0]}.{newest[1]} that the headers know"
    found.append(Flag(name="GGML_OPENCL_TARGET_VERSION", value=newest, why=why))
    if headers:
        folder = os.path.dirname(os.path.dirname(headers.path))
        found.append(Flag(name="OpenCL_INCLUDE_DIR", value=folder, why="the headers found"))
    if library:
        found.append(Flag(name="OpenCL_LIBRARY", value=library.path, why="the library found"))
    return tuple(found)


def judge(evidence: Evidence) -> Doubt | None:
    """None when every layer ran on an OpenCL device that ggml itself lists; all are of one name."""
    return on_device(evidence, "GPUOpenCL", buffers="OpenCL")


def verdict(platform: Platform, unit: Unit) -> Verdict:
    """Whether ggml takes a device (``ggml_opencl_is_device_supported``). Processors, which it
    would take when their name says Intel, are none for us: the CPU back-end is faster."""
    row = next((one for one in TABLE["family"] if _is_of(unit, one)), None)
    vendor, family = (row["vendor"], row["name"]) if row else ("", "")
    why = ""
    if unit.kind != "GPU":
        why = f"is no GPU ({unit.kind})"
    elif not row:
        why = "is none that ggml has OpenCL kernels for (Adreno, Intel)"
    elif (language := _language(platform, unit)) < 2:
        why = f"has {unit.language}; OpenCL C 2.0 is needed"
    elif "cl_khr_fp16" not in unit.extensions:
        why = "has no 16-bit floating point (cl_khr_fp16)"
    elif language >= 3 and not {"cl_khr_subgroups", "cl_intel_subgroups"} & {*unit.extensions}:
        why = "has no subgroups (cl_khr_subgroups)"
    return Verdict(unit=unit, family=family, vendor=vendor, why_not=why)


def chosen(platforms: tuple[Platform, ...], environ: Mapping[str, str]) -> int:
    """The index of the platform whose devices ggml would take: the one that the user names, by
    number or by a part of its name, else the first with a GPU, else the first. -1: none."""
    asked = environ.get(_PLATFORM, "")
    number = re.match(r"\s*([0-9]{1,4})", asked)
    if number and int(number[1]) < len(platforms):
        return int(number[1])
    if asked:
        named = (n for n, one in enumerate(platforms) if asked in one.name or asked in one.vendor)
        return next(named, -1)
    with_gpu = (
        n for n, one in enumerate(platforms) if any(unit.kind == "GPU" for unit in one.devices)
    )
    return next(with_gpu, 0 if platforms else -1)


def _absent(why: str, hint: str) -> Found:
    return Found(absent=(Absence(what=_NAME, why=why, hint=hint),))


def _is_of(unit: Unit, row: Mapping[str, Any]) -> bool:
    return any(word in unit.name for word in row["words"]) or any(
        word in unit.version for word in row["version"]
    )


def _language(platform: Platform, unit: Unit) -> int:
    """The major version of OpenCL C that ggml would compile for: every 3.0 device of a 3.0 platform
    knows that of 3.0, although its older answer may say 1.2."""
    if all(text.startswith("OpenCL 3") for text in (platform.version, unit.version)):
        return 3
    return int(unit.language.removeprefix("OpenCL C ")[0])


def _selected(judged: list[list[Verdict]], index: int, environ: Mapping[str, str]) -> list[Verdict]:
    """The devices of the chosen platform, or the one that the user names: by a number, which counts
    through all platforms, else by a part of its name. With both numbers the whole platform is
    taken, the device only being its first."""
    if index < 0:
        return []
    mine, every = judged[index], [one for devices in judged for one in devices]
    asked = environ.get(_DEVICE, "")
    number = re.match(r"\s*([0-9]{1,4})", asked)
    if number and int(number[1]) < len(every):
        if re.match(r"\s*[0-9]", environ.get(_PLATFORM, "")):
            return mine if int(number[1]) < len(mine) else []
        return [every[int(number[1])]]
    return [one for one in mine if asked in one.unit.name][: 1 if asked else None]


def _device(one: Verdict, lacks: str) -> Device:
    unit = one.unit
    compiler = re.search(r"Compiler (E[0-9.]+)", unit.driver)
    model = re.search(r"Adreno\(TM\) \S+", unit.version)
    generic = model and not re.search("[0-9]", unit.name)
    return Device(
        backend=_NAME,
        name=f"QUALCOMM {model[0]}" if model and generic else unit.name,
        architecture=one.family,
        memory=unit.memory,
        driver=f"{compiler[1] if compiler else unit.driver} ({unit.version[:10]})",
        vendor=one.vendor,
        kind="integrated" if unit.unified else "discrete",
        lacks=lacks,
    )


def _buildable(host: Host, good: list[Verdict]) -> Found:
    tools, missing = opencl_build.needs(host)
    lacks = ", ".join(one.what for one in missing)
    devices = tuple(_device(one, lacks) for one in good)
    if not missing:
        return Found(devices=devices, tools=tools)
    names = ", ".join(dict.fromkeys(device.name for device in devices))
    why = f"{names} could be used, but a build for it is not possible here: {lacks} is missing"
    hint = packages.install(host, *(one.packages for one in missing))
    return Found(devices=devices, absent=(Absence(what=_NAME, why=why, hint=hint),))


def _nothing_usable(
    host: Host, platforms: tuple[Platform, ...], judged: list[list[Verdict]], index: int
) -> Found:
    """Why ggml would take no device; first what the user could change without installing."""
    for number, devices in enumerate(judged):
        for one in devices:
            if not one.why_not and number != index:
                name = platforms[number].name
                why = (
                    f"{one.unit.name} could be used, but ggml would take another platform's devices"
                )
                return _absent(why, f'Set {_PLATFORM}="{name}" and run again.')
    if any(host.environ.get(name) for name in (_PLATFORM, _DEVICE)):
        why = f"{_PLATFORM} or {_DEVICE} selects no device that ggml can use"
        return _absent(why, f"Unset {_PLATFORM} and {_DEVICE}.")
    listed = [f"{one.unit.name} {one.why_not}" for devices in judged for one in devices]
    hint = packages.install(host, *_driver_packages(host))
    if not listed:
        return _absent(f"OpenCL lists no device{_beside(host)}", hint)
    if any(one.family and one.unit.kind == "GPU" for devices in judged for one in devices):
        return _absent("; ".join(dict.fromkeys(listed)), "Update the GPU's driver, or use Vulkan.")
    other = "Use the back-end made for the GPU (CUDA, ROCm), or Vulkan."
    return _absent(
        f"{'; '.join(dict.fromkeys(listed))}{_beside(host)}", hint if _beside(host) else other
    )


def _beside(host: Host) -> str:
    """What the PCI bus says about Intel's GPUs, to be put after a reason."""
    return "; an Intel GPU is here without an OpenCL driver" if pci.displays(host, "intel") else ""


def _driver_packages(host: Host) -> tuple[Mapping[str, str], ...]:
    kind = "driver-intel" if pci.displays(host, "intel") else "driver"
    return (TABLE["packages"][kind],)
