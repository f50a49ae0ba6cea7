"""Neural processing units: they are seen, and said to be unused, with the reason.

No back-end: nothing is built for them. People who paid for one should not have to wonder. What is
known is data (``npus.toml``). Huawei's Ascend is not here, it has a back-end.
"""

from __future__ import annotations

import re
from typing import Any, Final

from llamabuild import data
from llamabuild.backends import pci
from llamabuild.host import Host
from llamabuild.model import Absence

_TABLE: Final[dict[str, Any]] = data.load(data.package("backends/npus.toml"))
_DEVICE_TREE: Final = "/proc/device-tree/compatible"


def detect(host: Host) -> tuple[Absence, ...]:
    """One absence for each kind of NPU that is here. Starts no process, never raises."""
    found = tuple(pci.of_classes(host, frozenset(_TABLE["classes"])))
    here = [row for row in _TABLE["npu"] if _is_here(host, row, found)]
    known = {name for row in _TABLE["npu"] for name in row.get("pci", ())}
    strange = dict.fromkeys(
        one.id
        for one in found
        if one.accelerator
        and one.id not in known
        and one.vendor not in _TABLE["served"]
        and re.fullmatch("[0-9a-f]{4}:[0-9a-f]{4}", one.id)
    )
    news = "an accelerator that llamabuild does not know"
    return (
        *(_unused(row["name"], row["why"]) for row in here),
        *(_unused(f"{news} (PCI {one})", "nothing is built for it") for one in strange),
    )


def _unused(name: str, why: str) -> Absence:
    return Absence(what="npu", why=f"{name} is here, but {why}", hint=_TABLE["hint"], seen=name)


def _is_here(host: Host, row: dict[str, Any], found: tuple[pci.Function, ...]) -> bool:
    system, _, arch = host.system()
    if system == "macos":
        return bool(row.get("macos") == arch)
    if system == "windows":
        processor = host.environ.get("PROCESSOR_IDENTIFIER", "")
        return arch == "aarch64" and row.get("windows", "\0") in processor
    tree = (host.read_text(_DEVICE_TREE) or "").split("\0")
    return (
        any(one.id in row.get("pci", ()) for one in found)
        or any(name in tree for name in row.get("compatible", ()))
        or any(host.exists(path) for path in row.get("device", ()))
    )
