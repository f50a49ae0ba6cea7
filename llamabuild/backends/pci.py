"""What hangs on the PCI bus (Linux): a GPU is there also when it has no driver.

Only asked where a back-end's own way found nothing, to tell "no such device" from "no driver".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from llamabuild.host import Host

_FOLDER: Final = "/sys/bus/pci/devices"
_DISPLAY: Final = ("0x0300", "0x0302", "0x0380")
_ACCELERATOR: Final = ("0x1200",)
VENDORS: Final = {
    "0x10de": "nvidia",
    "0x1002": "amd",
    "0x8086": "intel",
    "0x106b": "apple",
    "0x5143": "qualcomm",
    "0x19e5": "huawei",
    "0x1ed5": "moorethreads",
    "0x1022": "amd",
}
"""PCI vendor ids (pci.ids) of those who make accelerators."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A PCI function: ``vendor`` in a word ("nvidia") or as its id, ``device`` as hexadecimal id,
    ``driver`` True when the kernel has one for it."""

    vendor: str
    device: str
    accelerator: bool
    driver: bool


def functions(host: Host) -> Iterator[Function]:
    """Display controllers and processing accelerators, in bus order."""
    for name in host.entries(_FOLDER):
        folder = f"{_FOLDER}/{name}"
        kind = (host.read_text(f"{folder}/class") or "").strip()[:6]
        if kind not in (*_DISPLAY, *_ACCELERATOR):
            continue
        vendor = (host.read_text(f"{folder}/vendor") or "").strip()
        device = (host.read_text(f"{folder}/device") or "").strip()
        yield Function(
            vendor=VENDORS.get(vendor, vendor),
            device=device.removeprefix("0x"),
            accelerator=kind in _ACCELERATOR,
            driver=host.exists(f"{folder}/driver"),
        )


def displays(host: Host, vendor: str) -> tuple[Function, ...]:
    """The display controllers of one vendor."""
    return tuple(one for one in functions(host) if one.vendor == vendor and not one.accelerator)
