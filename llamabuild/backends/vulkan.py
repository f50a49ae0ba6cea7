"""Any GPU through Vulkan: the loader and a driver to run, glslc and headers to build.

Only devices count that ggml would use. It leaves software renderers (lavapipe, SwiftShader) alone
unless ``GGML_VK_VISIBLE_DEVICES`` names them, and so does this module. A Vulkan build runs on any
GPU, so devices have no architecture. Where things are is data (``vulkan.toml``).
"""

from __future__ import annotations

import re
from typing import Any, Final

from llamabuild import data, packages
from llamabuild.backends import pci, vulkan_build, vulkan_probe
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
from llamabuild.backends.vulkan_build import numbers
from llamabuild.backends.vulkan_probe import Gpu, Survey
from llamabuild.host import Host
from llamabuild.model import Absence, Device, Flag, Hardware, Toolchain

TITLE: Final = "Vulkan"
SWITCH: Final = "GGML_VULKAN"
_NAME: Final = "vulkan"
TRAITS: Final = Traits(environment=("VULKAN_SDK",), memory=2_200_000_000)
"""ggml-vulkan.cpp, with every shader in it, peaked at 2.0 GB with GCC 12."""
together = any_together
driver = any_driver
fit = any_fit
_VISIBLE: Final = "GGML_VK_VISIBLE_DEVICES"
_TABLE: Final[dict[str, Any]] = data.load(data.package("backends/vulkan.toml"))
_MINIMUM: Final = (1, 2)
"""The Vulkan version that ggml asks of loader and driver (``ggml_vk_instance_init``)."""
_WEAK: Final = tuple(_TABLE["weak"])
_KINDS: Final = {"DISCRETE_GPU": "discrete", "INTEGRATED_GPU": "integrated", "CPU": "software"}


def detect(host: Host) -> Found:
    """GPUs that ggml would use. No process is started where there is no loader."""
    if "GGML_DISABLE_VULKAN" in host.environ:
        return _absent("GGML_DISABLE_VULKAN is set", "Unset GGML_DISABLE_VULKAN.")
    loaders = vulkan_probe.loaders(host)
    if not loaders:
        hint = _install_driver(host, (), "loader")
        return _without(host, (), "no Vulkan loader (libvulkan) is installed", hint)
    survey = vulkan_probe.survey(host, loaders)
    chosen = usable(survey.gpus, host.environ.get(_VISIBLE))
    if survey.api and numbers(survey.api) < _MINIMUM:
        why = f"Vulkan 1.2 is needed and the loader is {survey.api}"
        return _without(host, survey.gpus, why, "Update the Vulkan loader.")
    if not chosen:
        return _nothing_usable(host, survey)
    tools, missing = vulkan_build.needs(host)
    lacks = ", ".join(one.what for one in missing)
    devices = tuple(_device(gpu, lacks) for gpu in chosen)
    if not missing:
        return Found(devices=devices, tools=tools)
    names = ", ".join(dict.fromkeys(gpu.name for gpu in chosen))
    reasons = "; ".join(one.why for one in missing)
    why = f"{names} could be used, but a build for it is not possible here: {reasons}"
    hint = packages.install(host, *(one.packages for one in missing))
    return Found(devices=devices, absent=_absent(why, hint, names).absent)


def flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:  # noqa: ARG001
    """Only debugging aids, all off: a Vulkan build does not depend on the GPU."""
    return tuple(Flag(name=f["name"], value=f["value"], why=f["why"]) for f in _TABLE["flag"])


def judge(evidence: Evidence) -> Doubt | None:
    """None when every layer ran on a Vulkan device that ggml itself lists: without a usable one
    the same library silently runs on the CPU."""
    return on_device(evidence, "Vulkan")


def usable(gpus: tuple[Gpu, ...], visible: str | None) -> tuple[Gpu, ...]:
    """The devices that ggml would use: those that ``GGML_VK_VISIBLE_DEVICES`` lists, else all
    GPUs, each once, else the first that is no CPU. One wrong index and it uses none.

    >>> lavapipe = Gpu(name="llvmpipe", kind="CPU", api="1.3.230")
    >>> usable((lavapipe,), None), len(usable((lavapipe,), "0")), usable((lavapipe,), "0,1")
    ((), 1, ())
    """
    if visible is not None:
        asked = [int(word) for word in re.findall(r"[0-9]+", _numbers(visible))]
        if any(index >= len(gpus) or not _supported(gpus[index]) for index in asked):
            return ()
        return tuple(gpus[index] for index in dict.fromkeys(asked))
    real = [
        (index, gpu)
        for index, gpu in enumerate(gpus)
        if gpu.kind in ("DISCRETE_GPU", "INTEGRATED_GPU") and _supported(gpu)
    ]
    best: dict[int, Gpu] = {}
    for index, gpu in real:
        same = gpu.twin if gpu.twin >= 0 else index
        best[same] = min(best.get(same, gpu), gpu, key=_rank)
    if best:
        return tuple(best.values())
    return tuple(gpu for gpu in [g for g in gpus if g.kind != "CPU"][:1] if _supported(gpu))


def _numbers(visible: str) -> str:
    """The beginning of a list that ggml reads: up to the first thing that is no number."""
    found = re.match(r"(?:[\s,]*[0-9]{1,9}(?![0-9]))*", visible)
    return found[0] if found else ""


def _supported(gpu: Gpu) -> bool:
    return numbers(gpu.api) >= _MINIMUM and gpu.storage16


def _rank(gpu: Gpu) -> int:
    """The place of a driver in the order in which ggml takes one of several for a GPU."""
    order: list[int] = _TABLE["driver"]["order"]
    if gpu.driver_id in order:
        return order.index(gpu.driver_id)
    return len(order) if gpu.driver_id == _TABLE["driver"]["last"] else len(order) + 1


def _absent(why: str, hint: str, seen: str = "") -> Found:
    return Found(absent=(Absence(what=_NAME, why=why, hint=hint, seen=seen),))


def _device(gpu: Gpu, lacks: str) -> Device:
    return Device(
        backend=_NAME,
        name=gpu.name,
        architecture="",
        memory=gpu.memory,
        driver=f"{gpu.driver} (Vulkan {gpu.api}{_condition(gpu)})".strip(),
        vendor=_vendor(gpu),
        kind="weak" if gpu.name.startswith(_WEAK) else _KINDS.get(gpu.kind, ""),
        lacks=lacks,
    )


def _condition(gpu: Gpu) -> str:
    """Software is used where the variable selects it, when a result runs as when it is proved."""
    return f", only with {_VISIBLE} set" if gpu.kind == "CPU" else ""


def _vendor(gpu: Gpu) -> str:
    """Whose GPU it is, in a word; empty for software and for those that nobody here knows."""
    return "" if gpu.kind == "CPU" else pci.VENDORS.get(f"0x{gpu.vendor:04x}", "")


def _nothing_usable(host: Host, survey: Survey) -> Found:
    gpus = survey.gpus
    names = ", ".join(gpu.name for gpu in gpus)
    if not gpus:
        return _no_device(host, survey.error)
    if _VISIBLE in host.environ:
        why = f"{_VISIBLE} does not select usable devices only, among: {names}"
        return _absent(why, f"Unset {_VISIBLE}, or list other indices.", names)
    if all(gpu.kind == "CPU" for gpu in gpus):
        why = f"{names} is software: it computes on the CPU, slowly"
        hint = f"To use it all the same: {_VISIBLE}=0"
        if _strangers(host, gpus):
            hint = _install_driver(host, gpus)
        return _without(host, gpus, why, hint)
    refused = [gpu for gpu in gpus if gpu.kind != "CPU" and not _supported(gpu)]
    names = ", ".join(gpu.name for gpu in refused)
    if all(numbers(gpu.api) < _MINIMUM for gpu in refused):
        why = f"Vulkan 1.2 is needed and {names} knows an older version only"
        return _absent(why, "Update the Vulkan driver.", names)
    why = f"{names} has no 16-bit storage (storageBuffer16BitAccess), which ggml needs"
    return _absent(why, "Update the Vulkan driver; old GPUs may never have it.", names)


def _no_device(host: Host, error: str) -> Found:
    if error == vulkan_probe.HANGS:
        return _without(host, (), error, "Update the Vulkan driver, or restart the machine.")
    why = error or "Vulkan lists no device"
    if host.system()[0] != "windows" and not vulkan_probe.manifests(host):  # it has a registry
        why = "no Vulkan driver is installed"
    return _without(host, (), why, _install_driver(host, ()))


def _without(host: Host, gpus: tuple[Gpu, ...], why: str, hint: str) -> Found:
    """An absence that tells of the GPUs on the PCI bus which Vulkan does not show."""
    titles = {"amd": "AMD", "intel": "Intel", "nvidia": "NVIDIA"}
    makers = " and ".join(titles[one] for one in _strangers(host, gpus))
    if not makers:
        return _absent(why, hint, ", ".join(gpu.name for gpu in gpus))
    return _absent(f"{why}; the PCI bus shows a GPU of {makers}", hint, f"a GPU of {makers}")


def _strangers(host: Host, gpus: tuple[Gpu, ...]) -> list[str]:
    """Makers of GPUs on the PCI bus that Vulkan does not show, as far as drivers are known."""
    shown = {_vendor(gpu) for gpu in gpus}
    here = dict.fromkeys(one.vendor for one in pci.functions(host) if not one.accelerator)
    return [one for one in here if one in _TABLE["driver"]["manifests"] and one not in shown]


def _install_driver(host: Host, gpus: tuple[Gpu, ...], *also: str) -> str:
    """What to do about drivers: install those for the GPUs here, or let an installed one work."""
    makers = _strangers(host, gpus)
    lacking = [maker for maker in makers if not _has_manifest(host, maker)]
    if makers and not lacking and not also:
        if any(name.startswith("renderD") for name in host.entries("/dev/dri")):
            return "Let this user open the GPU: sudo usermod -aG render,video $USER; log in again."
        return "There is no /dev/dri/renderD*: a container needs --device /dev/dri."
    drivers = [f"driver-{maker}" for maker in lacking] if makers else ["driver"]
    return packages.install(host, *(_TABLE["packages"][name] for name in (*also, *drivers)))


def _has_manifest(host: Host, maker: str) -> bool:
    """True when a driver for this maker's GPUs is installed."""
    names = tuple(_TABLE["driver"]["manifests"][maker])
    return any(name.startswith(names) for name in vulkan_probe.manifests(host))
