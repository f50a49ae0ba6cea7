"""NVIDIA GPUs through CUDA: NVML says what is there, nvcc what can be built.

Every GPU with a working driver is a device; what a build for it lacks here (a toolkit that fits GPU
and driver, cuBLAS) is said with it. What fits what is data (``cuda.toml``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from llamabuild.backends import cuda_fit, cuda_hints, cuda_probe, cuda_toolkits, cuda_trouble
from llamabuild.backends.cuda_architectures import architectures, code
from llamabuild.backends.cuda_build import Toolkit
from llamabuild.backends.cuda_facts import (
    ROWS,
    TABLE,
    best_toolkit,
    compatible,
    numbers,
    one_toolkit,
    outgrown,
    runs,
    wanted,
)
from llamabuild.backends.cuda_host import host_flags
from llamabuild.backends.cuda_probe import Gpu, Survey
from llamabuild.backends.cuda_toolkits import Passed
from llamabuild.backends.cuda_trouble import absence
from llamabuild.backends.interface import Doubt, Evidence, Found, Traits, on_device
from llamabuild.host import Host
from llamabuild.model import Absence, Device, Flag, Hardware, Toolchain

TITLE: Final = "NVIDIA CUDA"
SWITCH: Final = "GGML_CUDA"
TRAITS: Final = Traits(
    family="cuda",
    kit=cuda_toolkits.kit,
    kit_variable="CUDA_HOME",
    toolkit=("cu", "nvcc"),
)
driver = cuda_fit.driver
fit = cuda_fit.fit
_NAME: Final = "cuda"
_DRIVERS: Final = [row for row in TABLE["toolkit"] if "driver" in row]
_NO_TOOLKIT: Final = ("the CUDA toolkit (nvcc and cuBLAS)", "there is no nvcc to build for it")


def detect(host: Host) -> Found:
    """GPUs with a working driver. A process is started only where a driver is loaded."""
    if not cuda_probe.loaded(host):
        return Found(absent=(cuda_trouble.no_driver(host),))
    if not cuda_probe.jetson(host) and (outside := cuda_trouble.without_gpu(host)):
        return Found(absent=(outside,))
    survey = cuda_probe.survey(host)
    if not survey.gpus:
        return Found(absent=(cuda_trouble.silent(host, survey),))
    lost = tuple(cuda_trouble.lost(one) for one in survey.lost)
    names = ", ".join(dict.fromkeys(gpu.name for gpu in survey.gpus))
    if _hidden(host.environ.get("CUDA_VISIBLE_DEVICES")):
        why = f"CUDA_VISIBLE_DEVICES hides {names}"
        return Found(absent=(absence(why, "Unset CUDA_VISIBLE_DEVICES.", names), *lost))
    idle = tuple(filter(None, (_idle(host, gpu, survey) for gpu in survey.gpus)))
    able = tuple(gpu for gpu in survey.gpus if not _idle(host, gpu, survey))
    found = _buildable(host, able, survey) if able else Found()
    return Found(
        devices=found.devices,
        tools=found.tools,
        absent=(*found.absent, *dict.fromkeys(idle), *lost),
    )


def flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:
    """Code for the GPUs of this machine, and nothing left to a default. Which nvcc is taken needs
    no option: the build has its folder first on PATH."""
    tools = {tool.name: tool for tool in toolchain.tools}
    version = tools["nvcc"].version if "nvcc" in tools else ""
    devices = [one for one in hardware.devices if one.backend == _NAME and not one.lacks]
    own = architectures(devices, version)
    usual = (Flag(name=f["name"], value=f["value"], why=f["why"]) for f in TABLE["flag"])
    stub = "libcuda" in tools
    places = tools["cuda-wheels"].places if "cuda-wheels" in tools else ()
    return (
        *own,
        *(flag for flag in usual if flag.name not in {one.name for one in own}),
        Flag(
            name="GGML_CUDA_NO_VMM",
            value=not stub,
            why="the driver's virtual memory calls make one large pool"
            if stub
            else "no libcuda.so to link with here; memory comes from a plain pool",
        ),
        *_runtime(hardware, tools["cudart"].path if "cudart" in tools else "", places),
        *host_flags(toolchain, version),
    )


def together(devices: tuple[Device, ...]) -> str | None:
    """None when one toolkit compiles for all the GPUs and is not too new for any driver."""
    if not devices or one_toolkit((one.architecture, one.driver) for one in devices):
        return None
    names = ", ".join(dict.fromkeys(one.name for one in devices))
    return f"no CUDA toolkit serves all of {names}"


def judge(evidence: Evidence) -> Doubt | None:
    """None when every layer ran on a CUDA device that ggml itself lists."""
    return on_device(evidence, "CUDA")


def _hidden(visible: str | None) -> bool:
    """True when CUDA_VISIBLE_DEVICES hides every GPU: CUDA stops at the first invalid one."""
    return visible is not None and (not visible.strip() or visible.strip().startswith("-"))


def _idle(host: Host, gpu: Gpu, survey: Survey) -> Absence | None:
    """Why no build would run on a GPU, whatever it is built with."""
    if gpu.mig and not gpu.slices:
        why = f"{gpu.name} is in MIG mode and has no instance"
        return absence(why, "Create one (nvidia-smi mig -cgi) or switch MIG off.", gpu.name)
    if numbers(gpu.capability) < (5,):
        why = f"{gpu.name} has compute capability {gpu.capability}; ggml needs 5.0"
        return absence(why, "Nothing to do: the GPU is too old.", gpu.name)
    if gpu.capability not in ROWS:
        why = f"{gpu.name}: {compatible('', gpu.capability)}"
        return absence(why, "Use Vulkan, or a newer llamabuild.", gpu.name)
    if not wanted(gpu.capability, survey.cuda):
        knows = f"its driver {survey.driver} knows CUDA {survey.cuda}"
        why = f"{gpu.name}: {knows}, and no toolkit that can build ggml for it goes with that"
        return absence(why, f"Update the driver. {cuda_hints.driver(host)}", gpu.name)
    return None


def _buildable(host: Host, gpus: Sequence[Gpu], survey: Survey) -> Found:
    """The GPUs as devices, each with what it lacks, and the toolkit that serves them best."""
    choice = cuda_toolkits.choose(host, [gpu.capability for gpu in gpus], survey.cuda)
    toolkit = choice.toolkit
    lacks = {gpu: _lack(gpu, survey, toolkit) for gpu in gpus}
    devices = tuple(_device(gpu, survey, lacks[gpu][0]) for gpu in gpus)
    usable = toolkit is not None and any(not one.lacks for one in devices)
    return Found(
        devices=devices,
        tools=toolkit.tools if toolkit and usable else (),
        absent=(
            *_lacking(host, lacks, survey, toolkit),
            *(_better(host, gpus, survey, toolkit) if toolkit and usable else ()),
            *map(_passed, choice.passed),
        ),
    )


def _lack(gpu: Gpu, survey: Survey, toolkit: Toolkit | None) -> tuple[str, str]:
    """What a build for a GPU lacks here, and why; both empty when nothing. What is missing in a
    toolkit that would not serve the GPU is not worth mending."""
    if not toolkit:
        return _NO_TOOLKIT
    if toolkit.missing and not outgrown(toolkit.version, gpu.capability):
        return toolkit.missing, toolkit.why
    served = code(gpu.capability, toolkit.version, survey.cuda)
    return ("", "") if served.word else (wanted(gpu.capability, survey.cuda), served.why)


def _lacking(
    host: Host, lacks: dict[Gpu, tuple[str, str]], survey: Survey, toolkit: Toolkit | None
) -> Iterator[Absence]:
    """One absence for each thing that is lacking, with the GPUs that lack it."""
    for lack in dict.fromkeys(one for one in lacks.values() if one[0]):
        names = ", ".join(dict.fromkeys(gpu.name for gpu, own in lacks.items() if own == lack))
        hint = _hint(host, [gpu.capability for gpu in lacks], survey, toolkit)
        if served := [gpu for gpu, own in lacks.items() if not own[0]]:
            hint = f"{hint.rstrip('.')}; {_leave_out(survey, served)}"
        yield absence(f"{names} is here, but {lack[1]}", hint, names)


def _hint(host: Host, capabilities: Sequence[str], survey: Survey, toolkit: Toolkit | None) -> str:
    if not toolkit:
        return cuda_hints.toolkit(host, capabilities, survey.cuda)
    hopeless = all(outgrown(toolkit.version, one) for one in capabilities)
    if toolkit.missing and not hopeless:
        return cuda_hints.missing(host, toolkit, capabilities, survey.cuda)
    install = cuda_hints.toolkit(host, capabilities, survey.cuda)
    if hopeless or runs(survey.cuda, toolkit.version):
        return install
    major = numbers(toolkit.version)[:1]
    needed = [row["driver"] for row in _DRIVERS if numbers(row["version"])[:1] == major]
    update = f"Update the driver to {needed[0]} or newer" if needed else "Update the driver"
    return f"{update}, or use an older toolkit. {install}"


def _leave_out(survey: Survey, served: Sequence[Gpu]) -> str:
    """How to run on the other GPUs: ggml ends when it meets one that it has no code for."""
    if survey.lost:
        return "without it, let CUDA_VISIBLE_DEVICES list the others only when running"
    places = (str(place) for place, gpu in enumerate(survey.gpus) if gpu in served)
    visible = f"CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES={','.join(places)}"
    return f"without it, run what is built with {visible}"


def _better(host: Host, gpus: Sequence[Gpu], survey: Survey, toolkit: Toolkit) -> Iterator[Absence]:
    """What another toolkit would do better for GPUs that are newer than this one."""
    best = best_toolkit([gpu.capability for gpu in gpus], survey.cuda)
    for gpu in dict.fromkeys(gpus):
        made = code(gpu.capability, toolkit.version, survey.cuda).makeshift
        if made and best:
            hint = cuda_hints.exact(host, best)
            yield Absence(what=f"CUDA {best}", why=f"{gpu.name} runs {made}", hint=hint)


def _passed(one: Passed) -> Absence:
    hint = f"To take it all the same: export CUDACXX={one.place.nvcc}"
    return Absence(
        what=f"CUDA {one.place.version}".strip(),
        why=f"{one.place.root} is passed over: {one.why}",
        hint="Mend it or remove it." if one.broken else hint,
    )


def _device(gpu: Gpu, survey: Survey, lacks: str) -> Device:
    known = f" (CUDA {survey.cuda})" if survey.cuda else ""
    return Device(
        backend=_NAME,
        name=f"{gpu.name} (MIG)" if gpu.mig else gpu.name,
        architecture=gpu.capability.replace(".", ""),
        memory=gpu.memory,
        driver=(survey.driver + known).strip(),
        vendor="nvidia",
        kind="integrated" if gpu.capability in TABLE["integrated"] else "discrete",
        lacks=lacks,
    )


def _runtime(hardware: Hardware, cudart: str, places: tuple[str, ...]) -> tuple[Flag, ...]:
    """How the result finds CUDA's libraries again: CMake leaves a toolkit's folder out of RPATH,
    even with ``CMAKE_INSTALL_RPATH_USE_LINK_PATH``. Those of a toolkit of wheels are at ``places``
    seen from the result, which names no folder of this machine then."""
    folder = cudart.rpartition("/")[0]
    known = not folder or folder in TABLE["places"]["library"] or " " in folder
    if hardware.os != "linux" or (known and not places):
        return ()
    why = "the result finds CUDA's libraries, in a folder that the loader may not know"
    names = ("CMAKE_SHARED_LINKER_FLAGS", "CMAKE_MODULE_LINKER_FLAGS")
    found = tuple(rf"\$ORIGIN/{place}" for place in places) or (folder,)
    value = " ".join(f"-Wl,-rpath,{place}" for place in found)
    return tuple(Flag(name=name, value=value, why=why) for name in names)
