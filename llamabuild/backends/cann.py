"""Huawei's Ascend NPUs through CANN: ``npu-smi`` says what is there, the toolkit builds.

A build is for one kind of chip (``SOC_TYPE``), which is always told, as by itself the tree would
ask npu-smi and count lines. Which chips llama.cpp computes on is data (``cann.toml``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from llamabuild.backends import cann_probe, pci
from llamabuild.backends.cann_probe import TABLE, Npu, Survey
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
from llamabuild.host import Host
from llamabuild.model import Absence, Device, Flag, Hardware, Toolchain

TITLE: Final = "Huawei CANN"
SWITCH: Final = "GGML_CANN"
_NAME: Final = "cann"
TRAITS: Final = Traits(environment=("ASCEND_TOOLKIT_HOME",))
together = any_together
driver = any_driver
fit = any_fit
_VISIBLE: Final = "ASCEND_RT_VISIBLE_DEVICES"
_DRIVER_HINT: Final[str] = TABLE["packages"]["driver"]["else"]


def detect(host: Host) -> Found:
    """NPUs that a build would run on. No process is started where no driver is loaded."""
    system, _, arch = host.system()
    if system != "linux" or arch not in ("x86_64", "aarch64"):
        why = f"CANN is only for Linux on x86-64 and arm64 (here: {system}, {arch})"
        return _absent(why, "Use another back-end: Vulkan, or on a Mac Metal.")
    seen = _seen(host)
    if not host.exists(TABLE["driver"]["node"]):
        if not seen:
            return _absent("no Ascend NPU is here", "Nothing to do: CANN is for Huawei's NPUs.")
        why = f"{seen} is here without a driver ({TABLE['driver']['node']} does not exist)"
        return _absent(why, _DRIVER_HINT, seen)
    npu_smi = cann_probe.program(host)
    if not npu_smi:
        why = "an Ascend driver is loaded, but npu-smi is not here to ask"
        hint = f"Install the driver's tools; a container needs {TABLE['driver']['tools'][0]}."
        return _absent(why, f"{hint[:-1]} and /usr/local/dcmi mounted.", seen)
    survey = cann_probe.survey(host, npu_smi)
    if survey.error:
        hint = "Let this user open /dev/davinci*: sudo usermod -aG HwHiAiUser $USER"
        return _absent(survey.error, hint, seen)
    if _VISIBLE in host.environ and not host.environ[_VISIBLE].strip():
        names = ", ".join(dict.fromkeys(npu.name for npu in survey.npus))
        return _absent(f"{_VISIBLE} hides {names}", f"Unset {_VISIBLE}.", seen)
    return _found(host, survey)


def flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:
    """The kind of chip, where CANN is, and graphs where the chip can run them."""
    mine = [device for device in hardware.devices if device.backend == _NAME]
    soc = f"Ascend{mine[0].architecture.upper()}" if mine else "Ascend910B3"
    graphs = "310P" not in soc
    names = ", ".join(dict.fromkeys(device.name for device in mine))
    found = [
        Flag(
            name="SOC_TYPE",
            value=soc,
            why=names or "no NPU is here to build for: the chip that llama.cpp is made on",
        ),
        Flag(
            name="USE_ACL_GRAPH",
            value=graphs,
            why="the chip runs whole graphs, not one operation at a time"
            if graphs
            else "310P cannot run graphs",
        ),
    ]
    path = next((tool.path for tool in toolchain.tools if tool.name == "cann"), "")
    if path:
        root = path.removesuffix(f"/{TABLE['toolkit']['header']}")
        found.append(Flag(name="CANN_INSTALL_DIR", value=root, why="the CANN that was found"))
    return tuple(found)


def judge(evidence: Evidence) -> Doubt | None:
    """None when every layer ran on a CANN device that ggml itself lists."""
    return on_device(evidence, "CANN")


def _absent(why: str, hint: str, seen: str = "") -> Found:
    return Found(absent=(_absence(why, hint, seen),))


def _absence(why: str, hint: str, seen: str = "") -> Absence:
    return Absence(what=_NAME, why=why, hint=hint, seen=seen)


def _seen(host: Host) -> str:
    """Ascend chips as the PCI bus tells them, in words; or an empty text."""
    ids = [one.id for one in pci.functions(host) if one.id in TABLE["driver"]["pci"]]
    return f"an Ascend NPU (PCI {', '.join(dict.fromkeys(ids))})" if ids else ""


def _row(host: Host, npu: Npu) -> Mapping[str, Any]:
    """What the table knows about a chip; nothing when it does not know it."""
    here = {one.id for one in pci.functions(host)}
    for row in TABLE["chip"]:
        if re.fullmatch(row["names"], npu.name) and ("pci" not in row or row["pci"] in here):
            return dict(row)
    return {"why": "is an Ascend that llamabuild does not know"}


def _found(host: Host, survey: Survey) -> Found:
    """Devices of one family, that of the first usable chip: a build is for one."""
    judged = [(npu, _row(host, npu)) for npu in survey.npus]
    good = [(npu, row) for npu, row in judged if not npu.why_not and "why" not in row]
    family = good[0][1]["family"] if good else ""
    other = f"is of another kind than the {family} that is built for"
    reasons = [
        f"{npu.name} {row.get('why') or npu.why_not or other}"
        for npu, row in judged
        if row.get("family") != family or npu.why_not
    ]
    lost = tuple(
        _absence(why, "Use Vulkan or the CPU; look at `npu-smi info`.")
        for why in dict.fromkeys(reasons)
    )
    mine = [(npu, row) for npu, row in good if row["family"] == family]
    if not mine:
        return Found(absent=lost)
    kit = cann_probe.toolkit(host)
    devices = tuple(_device(npu, row, survey.driver, kit.lacks) for npu, row in mine)
    if kit.tool:
        return Found(devices=devices, tools=(kit.tool,), absent=lost)
    names = ", ".join(dict.fromkeys(device.name for device in devices))
    why = f"{names} could be used, but a build for it is not possible here: {kit.lacks} is missing"
    return Found(devices=devices, absent=(_absence(why, kit.hint), *lost))


def _device(npu: Npu, row: Mapping[str, Any], driver: str, lacks: str) -> Device:
    architecture = str(row.get("architecture", npu.name))
    return Device(
        backend=_NAME,
        name=f"Huawei Ascend {architecture}",
        architecture=architecture.lower(),
        memory=npu.memory,
        driver=driver,
        vendor="huawei",
        kind="discrete",
        lacks=lacks,
    )
