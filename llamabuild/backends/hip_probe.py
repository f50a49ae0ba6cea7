"""Ask the amdgpu driver which GPUs are here: KFD's files, ``rocminfo``, on Windows ``hipInfo``.

Nothing here raises, and no parser makes up a GPU: only whole answers count. Where rocminfo is
there it must agree, since it is the first program that really opens the device.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from llamabuild.backends import pci
from llamabuild.backends.hip_facts import ROWS, TABLE, gfx_name, overriding
from llamabuild.host import Finished, Host, Limits

_LIMITS: Final = Limits(seconds=5)
_PLACES: Final[dict[str, Any]] = TABLE["places"]
_HINTS: Final[dict[str, str]] = TABLE["hint"]
_DENIED: Final = ("Permission denied", "Operation not permitted")
_VRAM: Final = ("1", "2")
"""``heap_type`` of memory on the card, visible to the CPU or not (Linux, kfd_crat.h)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU. ``memory`` is bytes, ``node`` KFD's number of it (-1 when not known)."""

    gfx: str
    name: str = ""
    memory: int = 0
    integrated: bool = False
    node: int = -1

    @property
    def known(self) -> bool:
        """True when the table knows this architecture."""
        return self.gfx in ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The GPUs that can be used, or why there are none and what to do. ``seen`` names what is
    there all the same."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    why: str = ""
    hint: str = ""
    seen: str = ""


def survey(host: Host) -> Survey:
    """What is here on Linux. No process is started where there is no device file."""
    nodes = _kfd(host)
    if not any(host.exists(path) for path in _PLACES["device"]):
        return _without_device_file(host, nodes)
    program = host.which("rocminfo") or _first(host, _PLACES["rocminfo"])
    if not program and not nodes:
        return _nothing(host)
    if not program:
        gpus = tuple(_as_overridden(gpu, host.environ) for gpu in nodes)
        return Survey(gpus=tuple(map(_named, gpus)), driver=_driver(host))
    done = host.run([program], limits=_LIMITS)
    gpus = parse_rocminfo(done.out)
    if done.timed_out or done.code or not gpus:
        return _seen(_unanswered(done), _names(nodes))
    return Survey(gpus=tuple(_named(_merged(gpu, nodes)) for gpu in gpus), driver=_driver(host))


def survey_windows(host: Host, root: str) -> Survey:
    """What is here on Windows, where only the HIP SDK at ``root`` can tell."""
    if not any(host.exists(path) for path in _PLACES["windows_driver"]):
        return Survey(why="no AMD driver with HIP is installed", hint=_HINTS["windows_driver"])
    program = f"{root}/bin/hipInfo.exe"
    if not root or not host.exists(program):
        why = "AMD's driver is here, but not the HIP SDK, which tells the GPUs and builds for them"
        return Survey(why=why, hint=_HINTS["windows_sdk"], seen="an AMD GPU")
    done = host.run([program], limits=_LIMITS)
    gpus = tuple(map(_named, parse_hipinfo(done.out)))
    if done.timed_out or not gpus:
        slow = f"hipInfo did not answer within {_LIMITS.seconds:.0f} seconds"
        why = slow if done.timed_out else "the HIP SDK's hipInfo lists no GPU"
        return Survey(why=why, hint=_HINTS["windows_none"])
    return Survey(gpus=gpus, driver="amdhip64")


def parse_rocminfo(text: str) -> tuple[Gpu, ...]:
    """The GPUs among the agents of ``rocminfo``; none when the answer does not end as it should.

    >>> parse_rocminfo("ROCk module is loaded\\nUnable to open /dev/kfd read-write: ...")
    ()
    """
    if "*** Done ***" not in text:
        return ()
    agents = re.split(r"(?m)^\*{7}[ \t]*\nAgent [0-9]+[ \t]*\n\*{7}[ \t]*$", text)[1:]
    return tuple(gpu for gpu in map(_agent, agents) if gpu)


def parse_hipinfo(text: str) -> tuple[Gpu, ...]:
    """The GPUs of the HIP SDK's ``hipInfo``. Its memory sizes have been wrong, so they are left.

    >>> parse_hipinfo("device#   0\\nName:    AMD Radeon RX 6950 XT\\ngcnArchName:   gfx1030")
    (Gpu(gfx='gfx1030', name='AMD Radeon RX 6950 XT', memory=0, integrated=False, node=-1),)
    """
    found = []
    for block in re.split(r"(?m)^device#[ \t]+[0-9]+[ \t]*$", text.replace("\r\n", "\n"))[1:]:
        words = dict(
            re.findall(r"(?m)^(Name|gcnArchName|isIntegrated):[ \t]+(\S.*?)[ \t]*$", block)
        )
        gfx = words.get("gcnArchName", "").partition(":")[0]
        if re.fullmatch(r"gfx[0-9a-f]{3,5}", gfx):
            apu = words.get("isIntegrated") == "1"
            found.append(Gpu(gfx=gfx, name=words.get("Name", ""), integrated=apu))
    return tuple(found)


def _agent(text: str) -> Gpu | None:
    """One agent. Its own fields are indented by two, those of its memory pools by six."""
    words: dict[str, str] = {}
    for name, value in re.findall(r"(?m)^  ([A-Z][A-Za-z ]{0,30}):[ \t]*(.*?)[ \t]*$", text):
        words.setdefault(name, value)
    gfx = words.get("Name", "")
    if words.get("Device Type") != "GPU" or not re.fullmatch(r"gfx[0-9a-f]{3,5}", gfx):
        return None
    node = words.get("Node", "")
    pool = r"(?m)^ +Segment: +GLOBAL; FLAGS: COARSE GRAINED *\n +Size: +([0-9]{1,12})\(0x"
    size = re.search(pool, text)
    return Gpu(
        gfx=gfx,
        name=words.get("Marketing Name", ""),
        memory=int(size[1]) << 10 if size else 0,
        integrated="APU" in words.get("Memory Properties", ""),
        node=int(node) if re.fullmatch(r"[0-9]{1,4}", node) else -1,
    )


def _kfd(host: Host) -> tuple[Gpu, ...]:
    """The GPUs among KFD's nodes. Inside a container only those that were given to it can be
    read."""
    folder = _PLACES["kfd"]
    names = sorted((name for name in host.entries(folder) if name.isdecimal()), key=int)
    found = (_node(host, f"{folder}/{name}", int(name)) for name in names)
    return tuple(gpu for gpu in found if gpu)


def _node(host: Host, folder: str, number: int) -> Gpu | None:
    words = _properties(host, f"{folder}/properties")
    gfx = gfx_name(words.get("gfx_target_version", 0))
    if not gfx or not words.get("simd_count") or words.get("vendor_id") != 0x1002:
        return None
    banks = (
        _properties(host, f"{folder}/mem_banks/{name}/properties")
        for name in host.entries(f"{folder}/mem_banks")
    )
    return Gpu(
        gfx=gfx,
        memory=sum(b.get("size_in_bytes", 0) for b in banks if str(b.get("heap_type")) in _VRAM),
        integrated=words.get("cpu_cores_count", 0) > 0,
        node=number,
    )


def _properties(host: Host, path: str) -> dict[str, int]:
    pairs = re.findall(r"(?m)^([a-z_0-9]+) ([0-9]{1,20})$", host.read_text(path) or "")
    return {name: int(value) for name, value in pairs}


def _merged(gpu: Gpu, nodes: tuple[Gpu, ...]) -> Gpu:
    """What rocminfo said of a GPU and what KFD adds to it."""
    node = next((one for one in nodes if one.node == gpu.node), Gpu(gfx=""))
    integrated = gpu.integrated or node.integrated
    return replace(gpu, memory=node.memory or gpu.memory, integrated=integrated)


def _as_overridden(gpu: Gpu, environ: Mapping[str, str]) -> Gpu:
    return replace(gpu, gfx=overriding(environ.get("HSA_OVERRIDE_GFX_VERSION", "")) or gpu.gfx)


def _named(gpu: Gpu) -> Gpu:
    """With a name for people (a CPU's own GPU has the CPU's), and integrated also where the table
    says so."""
    row = ROWS.get(gpu.gfx, {})
    name = "" if gpu.name.endswith("Processor") else gpu.name
    name = name or f"AMD {row.get('family', '')} GPU ({gpu.gfx})".replace("  ", " ")
    return replace(gpu, name=name, integrated=gpu.integrated or bool(row.get("apu")))


def _names(gpus: tuple[Gpu, ...]) -> str:
    return ", ".join(dict.fromkeys(_named(gpu).name for gpu in gpus))


def _seen(survey: Survey, names: str) -> Survey:
    why = f"{names} is here, but {survey.why}" if names else survey.why
    return replace(survey, seen=names, why=why)


def _driver(host: Host) -> str:
    version = (host.read_text(_PLACES["version"]) or "").strip()
    return f"amdgpu {version}" if re.fullmatch(r"[0-9][0-9.]{0,20}", version) else "amdgpu"


def _first(host: Host, paths: list[str]) -> str | None:
    return next((path for path in paths if host.exists(path)), None)


def _unanswered(done: Finished) -> Survey:
    """Why rocminfo did not list a GPU, in its own words where it has some."""
    lines = [
        line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", done.out + done.err).split("\n")
    ]
    if done.timed_out:
        why = f"rocminfo did not answer within {_LIMITS.seconds:.0f} seconds: the driver hangs"
        return Survey(why=why, hint=_HINTS["restart"])
    closed = next((line for line in lines if line.startswith("Unable to open /dev/kfd")), "")
    if any(word in closed for word in _DENIED):
        why = "this user may not open /dev/kfd"
        return Survey(why=why, hint=_HINTS["groups"])
    if closed:
        return Survey(why=f"rocminfo: {closed}", hint=_HINTS["restart"])
    if any("NOT loaded" in line for line in lines):
        return Survey(why="the driver amdgpu is not loaded", hint=_HINTS["driver"])
    if done.code:
        ended = done.signal or f"exit code {done.code}"
        return Survey(why=f"rocminfo does not work ({ended})", hint=_HINTS["rocminfo"])
    return Survey(why="rocminfo lists no GPU", hint=_HINTS["rocminfo"])


def _without_device_file(host: Host, nodes: tuple[Gpu, ...]) -> Survey:
    if nodes:
        return _seen(Survey(why="there is no /dev/kfd", hint=_HINTS["container"]), _names(nodes))
    return _nothing(host)


def _nothing(host: Host) -> Survey:
    """No GPU that the driver tells of: perhaps the bus has one."""
    cards = pci.displays(host, "amd")
    seen = ", ".join(dict.fromkeys(f"an AMD GPU (PCI id {card.device})" for card in cards))
    if any(card.driver for card in cards):
        why = "an AMD GPU is here with a driver that offers no compute (KFD)"
        return Survey(why=why, hint=_HINTS["old"], seen=seen)
    if cards:
        why = "an AMD GPU is here, but no driver for it is loaded"
        return Survey(why=why, hint=_HINTS["driver"], seen=seen)
    return Survey(why="no AMD GPU is here", hint=_HINTS["none"])
