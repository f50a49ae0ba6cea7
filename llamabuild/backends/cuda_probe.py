"""Ask NVIDIA's driver and toolkit what is there.

Nothing here raises, and no parser makes up a GPU: only whole, plausible answers count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from llamabuild import data, digest
from llamabuild.backends.cuda_facts import TABLE, known_cuda
from llamabuild.host import Finished, Host, Limits, python
from llamabuild.model import Tool

_LIMITS: Final = Limits(seconds=5)
_SMI: Final = (
    "--query-gpu=name,compute_cap,memory.total,driver_version",
    "--format=csv,noheader,nounits",
)


class Gpu(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A GPU as the driver describes it. ``memory`` is bytes, ``slices`` counts MIG instances."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    capability: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,2}\.[0-9]$")]
    memory: Annotated[int, msgspec.Meta(ge=0)] = 0
    mig: bool = False
    slices: int = 0


class Survey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a driver answers: its version, the CUDA version it knows ("13.0"), and its GPUs."""

    driver: str = ""
    cuda: str = ""
    gpus: tuple[Gpu, ...] = ()
    lost: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolkit:
    """An nvcc and what was found with it; ``missing`` says what a build still lacks."""

    version: str
    tools: tuple[Tool, ...]
    missing: str = ""


def survey(host: Host) -> Survey:
    """Ask NVML in a child; where that fails, nvidia-smi. Never raises."""
    child = data.package("backends/cuda_child.py")
    done = host.run([python(), "-I", str(child)], limits=_LIMITS)
    answer = parse_survey(done.out)
    if answer and (answer.gpus or not answer.error):
        return answer
    if module := tegra(host):
        return Survey(gpus=(module,))
    said = None
    if smi := _smi(host):
        said = host.run([smi, *_SMI], limits=_LIMITS)
        other = parse_smi(said.out)
        if other.gpus:
            return other
    return Survey(error=_why_unanswered(done, answer, said))


def toolkit(host: Host, nvcc: str) -> Toolkit:
    """The toolkit of an nvcc and the libraries beside it."""
    said = host.run([nvcc, "--version"], limits=_LIMITS)
    version = nvcc_version(said.out)
    if not version:
        return Toolkit(version="", tools=(), missing=f"{nvcc} does not work")
    dryrun = host.run([nvcc, "--dryrun", "-v", "x.cu"], limits=_LIMITS)
    folders, places = nvcc_folders(dryrun.err + dryrun.out), TABLE["places"]
    root = nvcc.rpartition("/bin/")[0]
    header = _first(host, [*folders["I"], f"{root}/include", *places["include"]], "cublas_api.h")
    stub = _first(host, [*folders["L"], *places["library"]], "libcuda.so")
    tools = [Tool(name="nvcc", version=version, path=nvcc, digest=digest.of_value(said.out))]
    if header:
        tools.append(_cublas(host, header))
    if stub:
        tools.append(Tool(name="libcuda", version="", path=stub))
    missing = "" if header else f"the CUDA {version} toolkit here has no cuBLAS headers"
    return Toolkit(version=version, tools=tuple(tools), missing=missing)


def tegra(host: Host) -> Gpu | None:
    """The GPU of a Jetson module, by the device tree: older systems of it have no NVML."""
    chips = (host.read_text("/proc/device-tree/compatible") or "").split("\0")
    row = next((TABLE["tegra"][chip] for chip in chips if chip in TABLE["tegra"]), None)
    if not row:
        return None
    memory = host.memory().total
    return Gpu(name=f"NVIDIA {row['name']}", capability=row["capability"], memory=memory)


def parse_survey(text: str) -> Survey | None:
    """The child's JSON; None when it is not what the child prints. Only whole answers count."""
    line = next((line for line in reversed(text.splitlines()) if line.startswith("{")), "")
    try:
        return msgspec.json.decode(line.encode(errors="replace"), type=Survey)
    except (msgspec.DecodeError, RecursionError):
        return None


def parse_smi(text: str) -> Survey:
    """The CSV answer of nvidia-smi. A line that does not name a capability is no device.

    >>> parse_smi("NVIDIA H200, 9.0, 143771, 550.54.14").gpus
    (Gpu(name='NVIDIA H200', capability='9.0', memory=150754820096, mig=False, slices=0),)
    >>> parse_smi('Field "compute_cap" is not a valid field to query.').gpus
    ()
    """
    gpus, driver = [], ""
    for line in text.splitlines():
        fields = [field.strip() for field in line.rsplit(",", 3)]
        if len(fields) != 4 or not re.fullmatch(r"[0-9]{1,2}\.[0-9]", fields[1]):
            continue
        if not fields[0] or fields[0].startswith("["):
            continue
        memory = int(fields[2]) << 20 if re.fullmatch(r"[0-9]{1,9}", fields[2]) else 0
        gpus.append(Gpu(name=fields[0], capability=fields[1], memory=memory))
        driver = fields[3] if re.fullmatch(r"[0-9]+(\.[0-9]+)+", fields[3]) else driver
    return Survey(driver=driver, cuda=known_cuda(driver), gpus=tuple(gpus))


def nvcc_version(text: str) -> str | None:
    """The toolkit's version from ``nvcc --version``.

    >>> nvcc_version("Cuda compilation tools, release 13.0, V13.0.88"), nvcc_version("garbage")
    ('13.0.88', None)
    """
    found = re.search(r"release [0-9.]+, V([0-9]{1,4}\.[0-9]{1,4}(?:\.[0-9]{1,6})?)", text)
    return found[1] if found else None


def nvcc_folders(dryrun: str) -> dict[str, list[str]]:
    """Where nvcc looks for headers ("I") and libraries ("L"), from ``nvcc --dryrun``.

    >>> nvcc_folders('#$ INCLUDES="-I/c/include"  \\n#$ LIBRARIES=  "-L/c/stubs" "-L/c/lib"')
    {'I': ['/c/include'], 'L': ['/c/stubs', '/c/lib']}
    """
    lines = re.findall(r"(?m)^#\$ (?:INCLUDES|LIBRARIES)=.*$", dryrun)
    pairs = [pair for line in lines for pair in re.findall(r'"-([IL])([^"]+)"', line)]
    return {kind: [path for k, path in pairs if k == kind] for kind in "IL"}


def _smi(host: Host) -> str | None:
    there = (path for path in TABLE["places"]["smi"] if host.exists(path))
    return host.which("nvidia-smi") or next(there, None)


def _why_unanswered(done: Finished, answer: Survey | None, smi: Finished | None) -> str:
    """The clearest reason that anybody gave."""
    library = "NVIDIA's management library (NVML)"
    if answer:
        return f"{library} does not work: {answer.error}"
    for row in TABLE["trouble"]:
        if smi and row["says"] in smi.out + smi.err:
            return f"nvidia-smi says: {row['says']}"
    if done.timed_out:
        return f"{library} did not answer within {_LIMITS.seconds:.0f} seconds"
    return f"{library} could not be asked: {done.signal or f'exit code {done.code}'}"


def _first(host: Host, folders: list[str], name: str) -> str | None:
    paths = (f"{folder}/{name}" for folder in folders)
    return next((path for path in paths if host.exists(path)), None)


def _cublas(host: Host, header: str) -> Tool:
    text = host.read_text(header) or ""
    parts = re.findall(r"CUBLAS_VER_(?:MAJOR|MINOR|PATCH)\s+([0-9]+)", text)
    version = ".".join(parts)
    return Tool(name="cublas", version=version, path=header, digest=digest.of_value(text))
