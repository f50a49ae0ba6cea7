"""Why NVIDIA's driver shows no GPU, and what helps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llamabuild.backends import cuda_hints, cuda_toolkits, pci
from llamabuild.backends.cuda_facts import TABLE
from llamabuild.backends.cuda_probe import Survey
from llamabuild.host import Host
from llamabuild.model import Absence

_WINDOWS: Final = (
    "Where there is an NVIDIA GPU: install or update its driver in Windows, none inside WSL; then "
    "run: wsl --shutdown"
)
_SMI: Final = "Run `nvidia-smi`: it must list the GPU."


def absence(why: str, hint: str, seen: str = "") -> Absence:
    """An absence of CUDA."""
    return Absence(what="cuda", why=why, hint=hint, seen=seen)


def no_driver(host: Host) -> Absence:
    """Why no driver is loaded: the system, a container, a GPU without it, or no GPU at all."""
    system = host.system()[0]
    if system not in ("linux", "windows"):
        other = "Metal is what Macs have." if system == "macos" else "Vulkan may be there."
        return absence("CUDA is only for Linux and Windows; no NVIDIA GPU is seen", other)
    if host.exists("/dev/dxg"):
        return absence("Windows shows WSL 2 no NVIDIA GPU", _WINDOWS)
    cards = pci.displays(host, "nvidia")
    told = "NVIDIA_VISIBLE_DEVICES" in host.environ or cuda_toolkits.present(host)
    if (cards or told) and (contained := without_gpu(host)):
        return contained
    if not cards:
        why = "no NVIDIA driver is loaded, and no NVIDIA GPU is seen"
        return absence(why, cuda_hints.driver(host))
    name = _card(cards)
    held = _holder(host) if cards[0].driver else ""
    why = f"an {name} is here without NVIDIA's driver{f' ({held})' if held else ''}"
    return absence(why, cuda_hints.driver(host), name)


def without_gpu(host: Host) -> Absence | None:
    """The absence in a container that was not given the GPU; None when this is no such container.
    The driver's files in /proc are seen from inside all the same, its devices are not."""
    if host.exists("/dev/nvidiactl") or host.exists("/dev/dxg"):
        return None
    cards = pci.displays(host, "nvidia")
    tegra = "nvidia,tegra" in (host.read_text("/proc/device-tree/compatible") or "")
    docker = "docker run --runtime nvidia" if tegra else "docker run --gpus all"
    ways = (
        ("KUBERNETES_SERVICE_HOST" in host.environ, "Give the pod the resource nvidia.com/gpu: 1."),
        (
            host.exists("/run/.containerenv"),
            "Start it with: podman run --device nvidia.com/gpu=all",
        ),
        (host.exists("/.dockerenv"), f"Start it with: {docker}"),
    )
    hint = next((hint for inside, hint in ways if inside), "")
    if not hint:
        return None
    needs = "Its host needs NVIDIA's driver and the NVIDIA Container Toolkit."
    if not cards:
        return absence("this is a container without an NVIDIA GPU", f"{needs} {hint}")
    name = _card(cards)
    return absence(f"this container was not given the {name}", f"{needs} {hint}", name)


def silent(host: Host, survey: Survey) -> Absence:
    """Why a loaded driver lists no GPU."""
    why = survey.error or "an NVIDIA driver is loaded, but it lists no GPU"
    if survey.lost:
        why = f"no GPU works: {'; '.join(survey.lost)}"
    hint = step(why) or _SMI
    if host.exists("/dev/dxg"):
        return absence(f"{why} (WSL 2)", step(why) or _WINDOWS, "an NVIDIA driver")
    cards = pci.displays(host, "nvidia")
    return absence(why, hint, _card(cards) if cards else "an NVIDIA driver")


def lost(says: str) -> Absence:
    """A GPU among others that does not answer."""
    return absence(says, step(says) or "Check that GPU with `nvidia-smi`.", says)


def step(why: str) -> str:
    """What helps, where the reason is a known one; else an empty string."""
    return next((row["hint"] for row in TABLE["trouble"] if row["says"] in why), "")


def _card(cards: Sequence[pci.Function]) -> str:
    return f"NVIDIA GPU (PCI 10de:{cards[0].device})"


def _holder(host: Host) -> str:
    """Which other kernel driver holds an NVIDIA GPU, in words."""
    for name, words in TABLE["holder"].items():
        for address in host.entries(f"/sys/bus/pci/drivers/{name}"):
            vendor = host.read_text(f"/sys/bus/pci/devices/{address}/vendor") or ""
            if vendor.strip() == "0x10de":
                return str(words)
    return ""
