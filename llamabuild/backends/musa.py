"""Moore Threads GPUs through MUSA: mthreads-gmi says what is there, the MUSA SDK builds for it.

Which model has which architecture is data (``musa.toml``): no tool of the driver tells it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from llamabuild import data, digest
from llamabuild.backends import pci
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
from llamabuild.host import Host, Limits
from llamabuild.model import Absence, Device, Flag, Hardware, Tool, Toolchain

TITLE: Final = "Moore Threads MUSA"
SWITCH: Final = "GGML_MUSA"
_NAME: Final = "musa"
TRAITS: Final = Traits(family="cuda", environment=("MUSA_PATH",), toolkit=("musa", "mcc"))
together = any_together
driver = any_driver
fit = any_fit
_LIMITS: Final = Limits(seconds=5)
_TABLE: Final[dict[str, Any]] = data.load(data.package("backends/musa.toml"))
_HINTS: Final[dict[str, str]] = _TABLE["hint"]
_ARCHITECTURES: Final = {row["name"]: str(row["architecture"]) for row in _TABLE["gpu"]}
_LINE: Final = re.compile(
    r"(?m)^[0-9]{1,3} +(MTT [A-Z][A-Z0-9]{1,15}) *"
    r"\|[0-9A-Fa-f:.]{7,16} *\| *[0-9N/A]{1,3}%? +[0-9]{1,9}MiB\(([0-9]{1,9})MiB\)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU as mthreads-gmi lists it. ``memory`` is bytes."""

    name: str
    memory: int


def detect(host: Host) -> Found:
    """GPUs that a build would run on. No process is started where no driver is loaded."""
    if host.system()[0] != "linux":
        return _absent("Moore Threads' MUSA is only for Linux", _HINTS["elsewhere"])
    if not any(host.exists(path) for path in _TABLE["places"]["driver"]):
        return _without_driver(host)
    program = host.which("mthreads-gmi")
    if not program:
        why = "Moore Threads' driver is loaded, but there is no mthreads-gmi to ask"
        return _absent(why, _HINTS["tool"])
    done = host.run([program], limits=_LIMITS)
    gpus = parse_gmi(done.out)
    if done.timed_out or done.code or not gpus:
        slow = f"mthreads-gmi did not answer within {_LIMITS.seconds:.0f} seconds"
        return _absent(slow if done.timed_out else "mthreads-gmi lists no GPU", _HINTS["lists"])
    known = tuple(gpu for gpu in gpus if gpu.name in _ARCHITECTURES)
    strange = tuple(
        _absence(f"{name} is not a GPU that llamabuild knows to work", _HINTS["vulkan"], name)
        for name in dict.fromkeys(gpu.name for gpu in gpus if gpu not in known)
    )
    if not known:
        return Found(absent=strange)
    tools, lacks = _toolkit(host)
    names = ", ".join(dict.fromkeys(gpu.name for gpu in known))
    missing = (_absence(f"{names} is here, but {lacks} is not", _HINTS["sdk"], names),)
    return Found(
        devices=tuple(_device(gpu, gmi_driver(done.out), lacks) for gpu in known),
        tools=() if lacks else tools,
        absent=(*missing, *strange) if lacks else strange,
    )


def flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:
    """Machine code for the GPUs of this machine, and nothing left to a default."""
    stub = any(tool.name == "libmusa" for tool in toolchain.tools)
    return (
        _architectures(hardware),
        *(Flag(name=f["name"], value=f["value"], why=f["why"]) for f in _TABLE["flag"]),
        Flag(
            name="GGML_CUDA_NO_VMM",
            value=not stub,
            why="the driver's virtual memory calls make one large pool"
            if stub
            else "no libmusa.so to link with here; memory comes from a plain pool",
        ),
    )


def judge(evidence: Evidence) -> Doubt | None:
    """None when every layer ran on a MUSA device that ggml itself lists."""
    return on_device(evidence, "MUSA")


def parse_gmi(text: str) -> tuple[Gpu, ...]:
    """The GPUs in the table that mthreads-gmi prints.

    >>> parse_gmi("0    MTT S80        |00000000:04:00.0    |0%    2MiB(16384MiB)")
    (Gpu(name='MTT S80', memory=17179869184),)
    >>> parse_gmi("mthreads-gmi: error while loading shared libraries: libmtml.so.1")
    ()
    """
    return tuple(Gpu(name=name, memory=int(size) << 20) for name, size in _LINE.findall(text))


def gmi_driver(text: str) -> str:
    """The driver's version in mthreads-gmi's table.

    >>> gmi_driver("    mthreads-gmi:2.3.2           Driver Version:3.3.5-server"), gmi_driver("")
    ('3.3.5-server', '')
    """
    found = re.search(r"Driver Version:([0-9][0-9A-Za-z.-]{0,30})", text)
    return found[1] if found else ""


def mcc_version(text: str) -> str:
    """The MUSA compiler's version from ``mcc --version``.

    >>> mcc_version("clang version 14.0.0\\nmcc version 5.2.0\\nTarget: x86_64"), mcc_version("x")
    ('5.2.0', '')
    """
    found = re.search(r"(?m)^mcc version ([0-9]{1,4}(?:\.[0-9]{1,6})+)", text)
    return found[1] if found else ""


def _absence(why: str, hint: str, seen: str = "") -> Absence:
    return Absence(what=_NAME, why=why, hint=hint, seen=seen)


def _absent(why: str, hint: str) -> Found:
    return Found(absent=(_absence(why, hint),))


def _without_driver(host: Host) -> Found:
    cards = [one for one in pci.functions(host) if one.vendor == "moorethreads"]
    if not cards:
        return _absent("no Moore Threads GPU is here", _HINTS["none"])
    seen = ", ".join(f"a Moore Threads GPU (PCI id {card.device})" for card in cards)
    why = "a Moore Threads GPU is here, but its driver is not loaded"
    return Found(absent=(_absence(why, _HINTS["driver"], seen),))


def _device(gpu: Gpu, driver: str, lacks: str) -> Device:
    return Device(
        backend=_NAME,
        name=gpu.name,
        architecture=_ARCHITECTURES[gpu.name],
        memory=gpu.memory,
        driver=driver,
        vendor="moorethreads",
        kind="discrete",
        lacks=lacks,
    )


def _root(host: Host) -> str:
    """The SDK that ggml takes: ``MUSA_PATH`` when it exists, then the first that does."""
    own = host.environ.get("MUSA_PATH", "").rstrip("/")
    roots = (own, *_TABLE["places"]["roots"])
    return next((root for root in roots if root and host.exists(root)), "")


def _toolkit(host: Host) -> tuple[tuple[Tool, ...], str]:
    """What a build uses, and what is missing for one, in words."""
    root = _root(host)
    if not root:
        return (), "the MUSA SDK"
    mcc, header = f"{root}/bin/mcc", host.read_text(f"{root}/include/mublas.h")
    said = host.run([mcc, "--version"], limits=_LIMITS) if host.exists(mcc) else None
    version = mcc_version(said.out) if said and not said.timed_out and not said.code else ""
    if not said or not version or not host.exists(f"{root}/bin/clang++"):
        return (), f"a working compiler in {root}"
    if not any("musatoolkit" in name.lower() for name in host.entries(f"{root}/cmake")):
        return (), f"the CMake module MUSAToolkit in {root}"
    if not header:
        return (), f"muBLAS's header in {root}"
    places = (f"{root}/lib/libmusa.so", *_TABLE["places"]["libmusa"])
    stub = next((path for path in places if host.exists(path)), "")
    tools = (
        Tool(name="mcc", version=version, path=mcc, digest=digest.of_value(said.out)),
        Tool(
            name="mublas",
            version="",
            path=f"{root}/include/mublas.h",
            digest=digest.of_value(header),
        ),
    )
    return (*tools, Tool(name="libmusa", version="", path=stub)) if stub else tools, ""


def _architectures(hardware: Hardware) -> Flag:
    mine = [one for one in hardware.devices if one.backend == _NAME and not one.lacks]
    if not mine:
        why = "no GPU is here to build for: every architecture that ggml knows"
        return Flag(name="MUSA_ARCHITECTURES", value=_TABLE["default"], why=why)
    present = sorted({device.architecture for device in mine})
    names = ", ".join(dict.fromkeys(device.name for device in mine))
    why = f"machine code for {names}; older SDKs cannot compile for newer GPUs"
    return Flag(name="MUSA_ARCHITECTURES", value=";".join(present), why=why)
