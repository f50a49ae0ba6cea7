"""Any GPU through Vulkan: the loader and a driver to run, glslc and headers to build.

A device counts only when ggml would use it and a build for it is possible. ggml leaves software
renderers (lavapipe) alone unless ``GGML_VK_VISIBLE_DEVICES`` names them, and so does this module.
A Vulkan build runs on any GPU, so devices have no architecture. Where things are is data
(``vulkan.toml``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llamabuild import data
from llamabuild.backends import vulkan_build
from llamabuild.backends.interface import Evidence, Found, on_device
from llamabuild.host import Host, Limits
from llamabuild.model import Absence, Device, Flag, Hardware, Toolchain

TITLE: Final = "Vulkan"
SWITCH: Final = "GGML_VULKAN"
_NAME: Final = "vulkan"
_LIMITS: Final = Limits(seconds=5)
_TABLE: Final[dict[str, Any]] = data.load(data.package("backends/vulkan.toml"))
_MINIMUM: Final = (1, 2)
"""The Vulkan version that ggml asks of loader and driver (``ggml_vk_instance_init``)."""
_GPUS: Final = ("DISCRETE_GPU", "INTEGRATED_GPU")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A device of ``vulkaninfo --summary``; ``kind`` is like "DISCRETE_GPU" or "CPU"."""

    name: str
    kind: str
    api: str
    driver: str = ""


def detect(host: Host) -> Found:
    """GPUs that can be built for. No process is started where there is no loader."""
    if "GGML_DISABLE_VULKAN" in host.environ:
        return _absent("GGML_DISABLE_VULKAN is set", "Unset GGML_DISABLE_VULKAN.")
    if not _loader(host):
        return _absent("no Vulkan loader (libvulkan) is installed", _TABLE["loader"]["hint"])
    program = host.which("vulkaninfo")
    if not program:
        return _without_vulkaninfo(host)
    done = host.run([program, "--summary"], limits=_LIMITS)
    if done.timed_out:
        why = f"vulkaninfo did not answer within {_LIMITS.seconds:.0f} seconds: a driver hangs"
        return _absent(why, "Update the Vulkan driver, or restart the machine.")
    gpus = parse_summary(done.out)
    chosen = usable(gpus, host.environ.get("GGML_VK_VISIBLE_DEVICES"))
    if not chosen:
        return _nothing_usable(host, gpus)
    tools, missing = vulkan_build.needs(host)
    if missing:
        names = ", ".join(dict.fromkeys(gpu.name for gpu in chosen))
        lacks = ", ".join(one.what for one in missing)
        why = f"{names} could be used, but to build for it these are missing: {lacks}"
        hint = " ".join(one.hint for one in missing)
        return Found(absent=(Absence(what=_NAME, why=why, hint=hint), *missing))
    return Found(devices=tuple(map(_device, chosen)), tools=tools)


def flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:  # noqa: ARG001
    """Only debugging aids, all off: a Vulkan build does not depend on the GPU."""
    return tuple(Flag(name=f["name"], value=f["value"], why=f["why"]) for f in _TABLE["flag"])


def judge(evidence: Evidence) -> str | None:
    """None when every layer ran on a Vulkan device that ggml itself lists: without a usable one
    the same library silently runs on the CPU."""
    return on_device(evidence, "Vulkan")


def parse_summary(text: str) -> tuple[Gpu, ...]:
    """The devices of ``vulkaninfo --summary``, in its order; incomplete ones are left out.

    >>> parse_summary('''Devices:
    ... ========
    ... GPU0:
    ...     apiVersion         = 1.3.230
    ...     deviceType         = PHYSICAL_DEVICE_TYPE_CPU
    ...     deviceName         = llvmpipe (LLVM 15.0.6, 256 bits)
    ...     driverInfo         = Mesa 22.3.6
    ... ''')
    (Gpu(name='llvmpipe (LLVM 15.0.6, 256 bits)', kind='CPU', api='1.3.230', driver='Mesa 22.3.6'),)
    """
    _, _, devices = text.partition("\nDevices:\n" if "\nDevices:\n" in text else "Devices:\n")
    found = []
    for block in re.split(r"(?m)^GPU[0-9]+:[ \t]*$", devices)[1:]:
        words = dict(re.findall(r"(?m)^[ \t]+([A-Za-z]+)[ \t]*=[ \t]*(.*?)[ \t\r]*$", block))
        kind = re.fullmatch(r"PHYSICAL_DEVICE_TYPE_([A-Z_]+)", words.get("deviceType", ""))
        # Old ones write "4202730 (1.2.234)".
        api = re.search(r"\b[0-9]{1,3}\.[0-9]{1,3}(?:\.[0-9]{1,4})?\b", words.get("apiVersion", ""))
        if kind and api and (name := words.get("deviceName", "")):
            driver = words.get("driverInfo", "")
            found.append(Gpu(name=name, kind=kind[1], api=api[0], driver=driver))
    return tuple(found)


def usable(gpus: tuple[Gpu, ...], visible: str | None) -> tuple[Gpu, ...]:
    """The devices that ggml would use: those that ``GGML_VK_VISIBLE_DEVICES`` lists, else all
    GPUs, else the first that is no CPU.

    >>> lavapipe = Gpu(name="llvmpipe", kind="CPU", api="1.3.230")
    >>> usable((lavapipe,), None), len(usable((lavapipe,), "0"))
    ((), 1)
    """
    new = tuple(gpu for gpu in gpus if _version(gpu.api) >= _MINIMUM)
    if visible is not None:
        asked = {int(word) for word in re.findall(r"[0-9]{1,4}", visible)}
        return tuple(gpu for index, gpu in enumerate(gpus) if index in asked and gpu in new)
    real = tuple(gpu for gpu in new if gpu.kind in _GPUS)
    return real or tuple(gpu for gpu in new if gpu.kind != "CPU")[:1]


def _absent(why: str, hint: str) -> Found:
    return Found(absent=(Absence(what=_NAME, why=why, hint=hint),))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _device(gpu: Gpu) -> Device:
    driver = f"{gpu.driver} (Vulkan {gpu.api})".strip()
    return Device(backend=_NAME, name=gpu.name, architecture="", driver=driver)


def _loader(host: Host) -> bool:
    sdk = host.environ.get("VULKAN_SDK")
    folders = host.environ.get("LD_LIBRARY_PATH", "").split(":")
    extra = [f"{folder}/libvulkan.so.1" for folder in folders if folder]
    extra += [f"{sdk}/lib/libvulkan.{ending}" for ending in ("so.1", "dylib") if sdk]
    usual = _TABLE["loader"].get(host.system()[0], ())
    return any(host.exists(path) for path in (*usual, *extra))


def _drivers(host: Host) -> tuple[str, ...]:
    """Manifests of Vulkan drivers: those the user named, else the well-known ones."""
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        if named := host.environ.get(name):
            return tuple(path for path in named.split(":") if host.exists(path))
    table = _TABLE["driver"]
    paths = (
        f"{folder}/{name}{ending}"
        for folder in table["folders"]
        if host.exists(folder)
        for name in table["names"]
        for ending in table["endings"]
    )
    return tuple(path for path in paths if host.exists(path))


def _without_vulkaninfo(host: Host) -> Found:
    drivers = _drivers(host)
    if not drivers:
        return _absent("no Vulkan driver is installed", _TABLE["driver"]["hint"])
    names = ", ".join(Path(path).name for path in drivers)
    why = f"there are drivers ({names}), but no vulkaninfo to ask which devices they serve"
    return _absent(why, _TABLE["driver"]["tool_hint"])


def _nothing_usable(host: Host, gpus: tuple[Gpu, ...]) -> Found:
    if not gpus:
        why = "vulkaninfo lists no device" if _drivers(host) else "no Vulkan driver is installed"
        return _absent(why, _TABLE["driver"]["hint"])
    names = ", ".join(gpu.name for gpu in gpus)
    if "GGML_VK_VISIBLE_DEVICES" in host.environ:
        why = f"GGML_VK_VISIBLE_DEVICES selects none of the usable devices among: {names}"
        return _absent(why, "Unset GGML_VK_VISIBLE_DEVICES, or list other indices.")
    if all(gpu.kind == "CPU" for gpu in gpus):
        hint = "Install the GPU's driver. To use it all the same: GGML_VK_VISIBLE_DEVICES=0"
        return _absent(f"{names} is software: it computes on the CPU, slowly", hint)
    return _absent(f"Vulkan 1.2 is needed and {names} is older", "Update the Vulkan driver.")
