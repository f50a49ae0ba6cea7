"""AMD GPUs through ROCm (HIP): the driver says what is there, ROCm's files what can be built.

A GPU that no rocBLAS kernel serves is a device that lacks them: ggml would start on it and then
end. Making it count as a sibling (``HSA_OVERRIDE_GFX_VERSION``) is told as a way, never done. What
fits what is data (``hip.toml``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llamabuild.backends import hip_build, hip_probe
from llamabuild.backends.hip_build import Rocm
from llamabuild.backends.hip_facts import ROWS, TABLE, ever_served, runs_code, served
from llamabuild.backends.hip_probe import Gpu, Survey
from llamabuild.backends.interface import (
    NEVER,
    OWN,
    Doubt,
    Evidence,
    Fit,
    Found,
    Traits,
    any_driver,
    any_together,
    on_device,
)
from llamabuild.host import Host
from llamabuild.model import Absence, Device, Flag, Hardware, Requires, Toolchain

TITLE: Final = "AMD ROCm"
SWITCH: Final = "GGML_HIP"
_NAME: Final = "hip"
TRAITS: Final = Traits(family="cuda", toolkit=("rocm", "rocm"))
together = any_together
driver = any_driver
_HINTS: Final[dict[str, Any]] = TABLE["hint"]


def detect(host: Host) -> Found:
    """GPUs that a build would run on, and what making one still needs."""
    system = host.system()[0]
    if system not in ("linux", "windows"):
        hint = _HINTS.get(system, _HINTS["elsewhere"])
        return Found(absent=(_absence("AMD's ROCm is only for Linux and Windows", hint),))
    root = host.environ.get("HIP_PATH", "").replace("\\", "/").rstrip("/")
    windows = system == "windows"
    survey = hip_probe.survey_windows(host, root) if windows else hip_probe.survey(host)
    known = tuple(gpu for gpu in survey.gpus if gpu.known)
    strange = tuple(_strange(gpu) for gpu in survey.gpus if not gpu.known)
    if not survey.gpus:
        return Found(absent=(_absence(survey.why, survey.hint, survey.seen),))
    if not known:
        return Found(absent=strange)
    if variable := _hiding(host):
        names = ", ".join(dict.fromkeys(gpu.name for gpu in known))
        return Found(absent=(_absence(f"{variable} hides {names}", _HINTS["visible"], names),))
    found = _judged(host, known, survey, hip_build.rocm(host))
    return Found(devices=found.devices, tools=found.tools, absent=(*found.absent, *strange))


def flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:
    """Machine code for the GPUs of this machine, the ROCm that was found, no default left."""
    tools = {tool.name: tool for tool in toolchain.tools}
    version = tools["rocm"].version if "rocm" in tools else ""
    root = tools["rocm"].path.rpartition("/bin")[0] if "rocm" in tools else ""
    windows = hardware.os == "windows"
    value, why = _architectures(hardware, version)
    options = ("GPU_TARGETS",) if windows else ("CMAKE_HIP_ARCHITECTURES", "GPU_TARGETS")
    return (
        *(Flag(name=name, value=value, why=why) for name in options),
        *(Flag(name=f["name"], value=f["value"], why=f["why"]) for f in TABLE["flag"]),
        *(_rooted(root) if root else ()),
        *(() if windows else _language(root, {name: tool.path for name, tool in tools.items()})),
    )


def judge(evidence: Evidence) -> Doubt | None:
    """None when every layer ran on a ROCm device that ggml itself lists."""
    return on_device(evidence, "ROCm")


def fit(requires: Requires, device: Device) -> Fit:
    """Machine code is for one architecture, or for a family that has a generic one."""
    names = [name for kind, name in requires.device_code if kind == "gfx"]
    pace = max((runs_code(name, device.architecture) for name in names), default=OWN)
    if pace != NEVER:
        return Fit(pace=pace)
    missing = f"code for {device.architecture} missing: has {', '.join(sorted(names))}"
    return Fit(pace=NEVER, missing=(missing,))


def _absence(why: str, hint: str, seen: str = "") -> Absence:
    return Absence(what=_NAME, why=why, hint=hint, seen=seen)


def _strange(gpu: Gpu) -> Absence:
    why = f"{gpu.name}: {gpu.gfx} is not an architecture that llamabuild knows to work"
    return _absence(why, _HINTS["vulkan"], gpu.name)


def _hiding(host: Host) -> str:
    """The variable that hides every GPU from HIP: a list that begins with an invalid one."""
    hidden = (n for n in TABLE["places"]["hiding"] if host.environ.get(n, "").strip()[:1] == "-")
    return next(hidden, "")


def _judged(host: Host, gpus: tuple[Gpu, ...], survey: Survey, rocm: Rocm | None) -> Found:
    """Each GPU with what it lacks; a lack that several share is told once."""
    devices, absent = [], []
    judged = [(gpu, *_lacking(host, gpu, rocm)) for gpu in gpus]
    other = any(not lacks for _, lacks, _, _ in judged)
    for gpu, lacks, why, hint in judged:
        devices.append(_device(gpu, survey, lacks))
        if lacks:
            absent.append(_absence(why, _HINTS["another"] if other else hint, gpu.name))
    told = tuple({(one.why, one.hint): one for one in reversed(absent)}.values())[::-1]
    buildable = rocm is not None and any(not device.lacks for device in devices)
    tools = rocm.tools if rocm and buildable else ()
    return Found(devices=tuple(devices), tools=tools, absent=told)


def _lacking(host: Host, gpu: Gpu, rocm: Rocm | None) -> tuple[str, str, str]:
    """What a build for a GPU lacks, why that is so, and what to do; empty when nothing."""
    if rocm is None:
        why = f"{gpu.name} is here, but no ROCm to build with"
        hint = hip_build.sdk_hint(host) if ever_served(gpu.gfx) else _HINTS["vulkan"]
        return "ROCm's development files", why, hint
    if rocm.missing:
        why = f"{gpu.name} is here, but the ROCm in {rocm.root} lacks {rocm.missing}"
        return rocm.missing, why, rocm.hint
    if why := hip_build.without_kernels(gpu.gfx, rocm):
        lacks = f"rocBLAS kernels for {gpu.gfx}"
        return lacks, f"{gpu.name}: {why}", hip_build.detour(gpu.gfx, rocm)
    if host.system()[0] == "windows" and not _compiles_all(host, rocm.root):
        why = f"{gpu.name} is here; on Windows ggml wants the HIP SDK's clang for all of it"
        return "the HIP SDK's clang as CC and CXX", why, _HINTS["windows_compiler"]
    return "", "", ""


def _compiles_all(host: Host, root: str) -> bool:
    """True when the user chose the HIP SDK's own clang: CMake has no HIP language on Windows."""
    chosen = host.environ.get("CXX", "").replace("\\", "/").lower()
    return chosen.startswith(f"{root.lower()}/")


def _device(gpu: Gpu, survey: Survey, lacks: str) -> Device:
    return Device(
        backend=_NAME,
        name=gpu.name,
        architecture=gpu.gfx,
        memory=gpu.memory,
        driver=survey.driver,
        vendor="amd",
        kind="integrated" if gpu.integrated else "discrete",
        lacks=lacks,
    )


def _architectures(hardware: Hardware, rocm: str) -> tuple[str, str]:
    """The GPUs of this machine that can be built for; where there are none, all of AMD's list.
    CMake's language takes them, and HIP's package, which would else ask for what is plugged in."""
    mine = [one for one in hardware.devices if one.backend == _NAME and not one.lacks]
    present = {device.architecture for device in mine}
    if not present:
        present = {name for name in ROWS if served(name, rocm or "99")}
        why = "no GPU is here to build for: every architecture that AMD's ROCm serves"
    else:
        why = f"machine code for {', '.join(dict.fromkeys(device.name for device in mine))}"
    return ";".join(sorted(present, key=lambda name: (len(name), name))), why


def _rooted(root: str) -> tuple[Flag, ...]:
    """One ROCm for all packages, and a result that finds its libraries again."""
    why = "the ROCm that was looked at, whatever others are installed"
    return (
        *(Flag(name=f"{name}_ROOT", value=root, why=why) for name in ("hip", "hipblas", "rocblas")),
        Flag(
            name="CMAKE_INSTALL_RPATH_USE_LINK_PATH",
            value=True,
            why="the result finds ROCm's libraries, in a folder that the loader may not know",
        ),
    )


def _language(root: str, paths: Mapping[str, str]) -> tuple[Flag, ...]:
    """CMake's HIP language, without asking hipconfig or HIPCXX: with nvcc on the machine hipconfig
    answers "nvidia". A distribution's clang does not find ROCm by itself."""
    bitcode = paths.get("rocm-device-libs", "").rpartition("/")[0]
    options = f"--rocm-path={root}" if root else ""
    options += f" --rocm-device-lib-path={bitcode}" if root and bitcode else ""
    found = (
        ("CMAKE_HIP_PLATFORM", "amd", "HIP can also mean NVIDIA's compiler"),
        ("HIP_PLATFORM", "amd", "HIP can also mean NVIDIA's compiler"),
        ("CMAKE_HIP_COMPILER", paths.get("hip-clang", ""), "ROCm's clang, whatever HIPCXX says"),
        ("CMAKE_HIP_COMPILER_ROCM_ROOT", root, "the ROCm of that clang"),
        ("CMAKE_HIP_FLAGS", options, "the ROCm and the bitcode of that clang"),
    )
    return tuple(Flag(name=name, value=value, why=why) for name, value, why in found if value)
