"""Ask NVIDIA's driver what GPUs are there.

Nothing here raises, and no parser makes up a GPU: only whole, plausible answers count.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec

from llamabuild import data
from llamabuild.backends.answers import last_object
from llamabuild.backends.cuda_facts import TABLE, known_cuda
from llamabuild.host import Finished, Host, Limits, python

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


def loaded(host: Host) -> bool:
    """True when a driver can be asked; a process is started only then. Every WSL 2 has /dev/dxg,
    and NVIDIA's files beside it only where Windows has NVIDIA's driver."""
    places = TABLE["places"]
    if any(host.exists(path) for path in places["driver"]) or jetson(host):
        return True
    return host.exists("/dev/dxg") and any(host.exists(path) for path in places["wsl"])


def survey(host: Host) -> Survey:
    """Ask NVML in a child; where that fails, nvidia-smi. Never raises."""
    child = data.package("backends/cuda_child.py")
    done = host.run([python(), "-I", str(child)], limits=_LIMITS)
    answer = parse_survey(done.out)
    if answer and answer.gpus:
        return _filled(answer, host)
    if module := jetson(host):
        driver = answer.driver if answer and answer.driver else _linux_for_tegra(host)
        return Survey(driver=driver, cuda=answer.cuda if answer else "", gpus=(module,))
    if answer and not answer.error:
        return answer
    said = None
    if smi := _smi(host):
        said = host.run([smi, *_SMI], limits=_LIMITS)
        other = parse_smi(said.out)
        if other.gpus:
            return _filled(other, host)
    return Survey(error=_why_unanswered(done, answer, said))


def jetson(host: Host) -> Gpu | None:
    """The GPU of a Jetson module, by the device tree: older systems of it have no NVML, or one
    that says little. Only where its driver shows itself too."""
    chips = (host.read_text("/proc/device-tree/compatible") or "").split("\0")
    row = next((TABLE["tegra"][chip] for chip in chips if chip in TABLE["tegra"]), None)
    if not row or not any(host.exists(path) for path in TABLE["places"]["jetson"]):
        return None
    memory = host.memory().total
    return Gpu(name=f"NVIDIA {row['name']}", capability=row["capability"], memory=memory)


def parse_survey(text: str) -> Survey | None:
    """The child's JSON; None when it is not what the child prints. Only whole answers count."""
    return last_object(text, Survey)


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


def _smi(host: Host) -> str | None:
    there = (path for path in TABLE["places"]["smi"] if host.exists(path))
    return host.which("nvidia-smi") or next(there, None)


def _filled(answer: Survey, host: Host) -> Survey:
    """With the CUDA version that its driver is known for, where nobody said it, and with the
    machine's memory for GPUs that share it: NVML knows no size of their own."""
    gpus = tuple(
        msgspec.structs.replace(gpu, memory=host.memory().total)
        if not gpu.memory and gpu.capability in TABLE["integrated"]
        else gpu
        for gpu in answer.gpus
    )
    cuda = answer.cuda or known_cuda(answer.driver)
    return msgspec.structs.replace(answer, cuda=cuda, gpus=gpus)


def _linux_for_tegra(host: Host) -> str:
    """NVIDIA's name for a Jetson's system ("L4T 35.4.1"), or an empty string."""
    text = host.read_text("/etc/nv_tegra_release") or ""
    found = re.match(r"# R([0-9]{1,3}) \(release\), REVISION: ([0-9]{1,3}(?:\.[0-9]{1,3})?)", text)
    return f"L4T {found[1]}.{found[2]}" if found else ""


def _why_unanswered(done: Finished, answer: Survey | None, smi: Finished | None) -> str:
    """What NVML said or did, and what nvidia-smi said, as far as it is a known saying."""
    library = "NVIDIA's management library (NVML)"
    if answer:
        why = f"{library} does not work: {answer.error}"
    elif done.timed_out:
        why = f"{library} did not answer within {_LIMITS.seconds:.0f} seconds"
    elif done.code:
        why = f"{library} could not be asked: {done.signal or f'exit code {done.code}'}"
    else:
        why = f"{library} gave no answer that can be understood"
    if smi and smi.timed_out:
        return f"{why}; nvidia-smi did not answer"
    said = (row["says"] for row in TABLE["trouble"] if smi and row["says"] in smi.out + smi.err)
    known = next(said, "")
    return f"{why}; nvidia-smi says: {known}" if known and known not in why else why
