"""What to install, as a command where this machine's package manager has it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from llamabuild import packages
from llamabuild.backends.cuda_build import Toolkit
from llamabuild.backends.cuda_facts import TABLE, best_toolkit, compatible, runs
from llamabuild.host import Host

_PACKAGES: Final[dict[str, dict[str, str]]] = TABLE["packages"]
_REPOSITORY: Final = "From NVIDIA's package repository (its page CUDA Downloads sets it up)."


def driver(host: Host) -> str:
    """How to get NVIDIA's driver."""
    told = _release(host)
    kind = "driver"
    if "ubuntu" in f"{told.get('ID', '')} {told.get('ID_LIKE', '')}":
        kind = "driver-ubuntu"
    elif told.get("ID") == "debian":
        kind = "driver-debian"
    return f"{packages.install(host, _PACKAGES[kind]).rstrip('.')}, then restart."


def toolkit(host: Host, capabilities: Iterable[str], known: str) -> str:
    """How to get a toolkit that serves the GPUs and that a driver which knows CUDA ``known`` runs:
    the distribution's own where it does, else the best of NVIDIA's."""
    wanted = tuple(dict.fromkeys(capabilities))
    told = _release(host)
    own = TABLE["distribution"].get(f"{told.get('ID', '')} {told.get('VERSION_ID', '')}", "")
    if own and runs(known, own) and not any(compatible(own, one) for one in wanted):
        return packages.install(host, _PACKAGES["toolkit"])
    if host.exists("/etc/nv_tegra_release"):
        return "Run: sudo apt install nvidia-jetpack"
    best = best_toolkit(wanted, known)
    return exact(host, best) if best else "Update NVIDIA's driver first."


def exact(host: Host, version: str) -> str:
    """How to get the toolkit of one version."""
    if packages.manager(host) == "pacman" and version == str(TABLE["toolkit"][-1]["version"]):
        return packages.install(host, _PACKAGES["newest"])
    return _nvidias(host, "exact", version)


def missing(host: Host, found: Toolkit, capabilities: Iterable[str], known: str) -> str:
    """How to get what a toolkit lacks."""
    if found.fix == "cublas" and found.nvcc.startswith(("/usr/bin/", "/usr/lib/")):
        return packages.install(host, _PACKAGES["toolkit"])
    if found.fix == "cublas":
        return _nvidias(host, "cublas", found.version)
    if found.fix == "glibc":
        newer = str(TABLE["glibc"][-1]["mended"])
        words = f"CUDA {newer} or newer does"
        mend = 'or mend its header as llama.cpp\'s docs/build.md says ("Old CUDA and New glibc")'
        return f"{words}, where driver and GPU allow it; {mend}."
    return toolkit(host, capabilities, known)


def _nvidias(host: Host, name: str, version: str) -> str:
    """The packages of NVIDIA's repository with a version in their names."""
    short = ".".join(version.split(".")[:2])
    words = {"version": short, "dashed": short.replace(".", "-")}
    named: dict[str, Any] = {k: text.format(**words) for k, text in _PACKAGES[name].items()}
    text = packages.install(host, named)
    return f"{_REPOSITORY} {text}" if packages.manager(host) in ("apt", "dnf", "zypper") else text


def _release(host: Host) -> dict[str, str]:
    """What ``/etc/os-release`` tells, by name."""
    text = host.read_text("/etc/os-release") or ""
    pairs = re.findall(r"(?m)^([A-Z_]+)=(.*)$", text)
    return {name: value.strip().strip("\"'").lower() for name, value in pairs}
