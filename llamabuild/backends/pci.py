"""What hangs on the PCI bus (Linux): a GPU is there also when it has no driver.

Only asked where a back-end's own way found nothing, to tell "no such device" from "no driver".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from llamabuild.host import Host

_FOLDER: Final = "/sys/bus/pci/devices"
_DISPLAY: Final = frozenset({"0x0300", "0x0302", "0x0380"})
_ACCELERATOR: Final = frozenset({"0x1200"})
VENDORS: Final = {
    "0x10de": "nvidia",
    "0x1002": "amd",
    "0x8086": "intel",
    "0x106b": "apple",
    "0x5143": "qualcomm",
    "0x13b5": "arm",
    "0x19e5": "huawei",
    "0x1ed5": "moorethreads",
    "0x14e4": "broadcom",
    "0x1010": "imagination",
    "0x144d": "samsung",
    "0x1022": "amd",
}
"""PCI vendor ids (pci.ids) of those who make accelerators. Vulkan's ``vendorID`` are the same
numbers, also for GPUs that hang on no PCI bus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A PCI function: ``vendor`` in a word ("nvidia") or as its id, ``device`` as hexadecimal id,
    ``driver`` True when the kernel has one for it, ``id`` like lspci writes it ("8086:7d1d")."""

    vendor: str
    device: str
    accelerator: bool
    driver: bool
    id: str = ""


def functions(host: Host) -> Iterator[Function]:
    """Display controllers and processing accelerators, in bus order."""
    return of_classes(host, _DISPLAY | _ACCELERATOR)


def of_classes(host: Host, classes: Collection[str]) -> Iterator[Function]:
    """The functions whose class ("0x1200") is one of these, in bus order."""
    for name in host.entries(_FOLDER):
        folder = f"{_FOLDER}/{name}"
        kind = (host.read_text(f"{folder}/class") or "").strip()[:6]
        if kind not in classes:
            continue
        vendor = (host.read_text(f"{folder}/vendor") or "").strip()
        device = (host.read_text(f"{folder}/device") or "").strip().removeprefix("0x")
        yield Function(
            vendor=VENDORS.get(vendor, vendor),
            device=device,
            accelerator=kind in _ACCELERATOR,
            driver=host.exists(f"{folder}/driver"),
            id=f"{vendor.removeprefix('0x')}:{device}",
        )


def displays(host: Host, vendor: str) -> tuple[Function, ...]:
    """The display controllers of one vendor."""
    return tuple(one for one in functions(host) if one.vendor == vendor and not one.accelerator)
