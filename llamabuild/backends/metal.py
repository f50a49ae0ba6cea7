"""Apple's GPUs through Metal: every Mac with Apple silicon has one; Apple's tools build for it.

ggml takes the system's default GPU and compiles its kernels for it when it is loaded, so devices
have no architecture. Names and reasons are data (``metal.toml``).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from llamabuild import data
from llamabuild.backends import apple, sysctl
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
from llamabuild.model import Absence, Device, Flag, Hardware, Toolchain

TITLE: Final = "Apple Metal"
SWITCH: Final = "GGML_METAL"
_NAME: Final = "metal"
TRAITS: Final = Traits()
together = any_together
driver = any_driver
fit = any_fit
_LIMITS: Final = Limits(seconds=5)
_TABLE: Final[dict[str, Any]] = data.load(data.package("backends/metal.toml"))
_HINTS: Final[dict[str, str]] = _TABLE["hint"]
_NAMED: Final = re.compile(r"[A-Za-z][A-Za-z0-9 ()/+-]{1,60}")
_PREFIXES: Final = ("MTL", "Metal")
"""What ggml calls its devices: ``MTL0``, in older trees ``Metal``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU as system_profiler lists it; ``metal`` is what it says of Metal, in its own word."""

    name: str
    metal: str = ""


def detect(host: Host) -> Found:
    """The GPU that a build would run on."""
    system, _, arch = host.system()
    if system != "macos":
        return _absent(f"Metal is only on macOS (here: {system})", _HINTS["elsewhere"])
    if arch != "aarch64":
        return _intel(host)
    cpu = sysctl.names(sysctl.ask(host))[1]
    if _TABLE["gpu"]["virtual"] in cpu:
        why = f"this is a virtual machine ({cpu}); its GPU lacks what ggml needs"
        return _absent(why, _HINTS["virtual"])
    listed = tuple(gpu for gpu in _listed(host) if _known(gpu.name))
    gpus = listed or tuple(Gpu(name=name) for name in (cpu,) if _known(name))
    if not gpus:
        return _absent("macOS names no Apple GPU that llamabuild knows", _HINTS["strange"])
    return _buildable(host, gpus[0])


def flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:
    """Kernels inside the library, and which macOS it is for."""
    table = (Flag(name=f["name"], value=f["value"], why=f["why"]) for f in _TABLE["flag"])
    return (*table, *apple.platform_flags(hardware, toolchain))


def judge(evidence: Evidence) -> Doubt | None:
    """None when every layer ran on a Metal device that ggml itself lists."""
    verdicts = [on_device(evidence, prefix) for prefix in _PREFIXES]
    listed = any(name.startswith(_PREFIXES[1]) for name in evidence.devices)
    return verdicts[1] if listed else verdicts[0]


def parse_displays(text: str) -> tuple[Gpu, ...]:
    """The GPUs in ``system_profiler SPDisplaysDataType -json``; none in what is not that.

    >>> parse_displays('{"SPDisplaysDataType": [{"sppci_model": "Apple M1"}]}')
    (Gpu(name='Apple M1', metal=''),)
    >>> parse_displays("[]"), parse_displays("")
    ((), ())
    """
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    rows = told.get("SPDisplaysDataType") if isinstance(told, dict) else None
    gpus = (_gpu(row) for row in (rows if isinstance(rows, list) else ()) if isinstance(row, dict))
    return tuple(gpu for gpu in gpus if gpu.name)


def _gpu(row: dict[str, Any]) -> Gpu:
    name = str(row.get("sppci_model") or row.get("_name") or "")
    keys = ("spdisplays_mtlgpufamilysupport", "spdisplays_metalfamily", "spdisplays_metal")
    metal = next((row[key] for key in keys if isinstance(row.get(key), str)), "")
    return Gpu(name=name if _NAMED.fullmatch(name) else "", metal=metal)


def _listed(host: Host) -> tuple[Gpu, ...]:
    """Nothing when system_profiler fails, and without a window server it may list nothing."""
    argv = ["system_profiler", "SPDisplaysDataType", "-json"]
    done = host.run(argv, limits=_LIMITS)
    return () if done.code or done.timed_out else parse_displays(done.out)


def _known(name: str) -> bool:
    return re.fullmatch(_TABLE["gpu"]["name"], name) is not None


def _intel(host: Host) -> Found:
    """No GPU of an Intel Mac, and no Intel program on another one."""
    translated = host.run(["sysctl", "-n", "sysctl.proc_translated"], limits=_LIMITS)
    if translated.out.strip() == "1":
        why = "this Python is an Intel program under Rosetta: what it builds would be one too"
        return _absent(why, _HINTS["rosetta"], "Apple silicon")
    names = ", ".join(dict.fromkeys(gpu.name for gpu in _listed(host)))
    why = (
        f"{names or 'the GPU of this Intel Mac'} is not one that ggml's Metal kernels are made "
        "for: on Intel Macs they are slow or compute nonsense, and llama.cpp's own builds leave "
        "Metal out there"
    )
    return _absent(why, _HINTS["intel"], names)


def _buildable(host: Host, gpu: Gpu) -> Found:
    tool, lacks, hint = apple.sdk(host)
    device = Device(
        backend=_NAME,
        name=gpu.name,
        architecture="",
        memory=host.memory().total,  # the GPU's memory is the machine's
        driver=_TABLE["metal"].get(gpu.metal, ""),
        vendor="apple",
        kind="integrated",
        lacks=lacks,
    )
    if tool is None:
        why = f"{gpu.name} is here, but {lacks} is not"
        return Found(devices=(device,), absent=(_absence(why, hint, gpu.name),))
    return Found(devices=(device,), tools=(tool,))


def _absence(why: str, hint: str, seen: str = "") -> Absence:
    return Absence(what=_NAME, why=why, hint=hint, seen=seen)


def _absent(why: str, hint: str, seen: str = "") -> Found:
    return Found(absent=(_absence(why, hint, seen),))
