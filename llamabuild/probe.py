"""Look: ask the machine and every back-end what is there. Never raises for what is absent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from llamabuild import toolchains
from llamabuild.backends import BACKENDS, Found, cpu, cpu_features, npus
from llamabuild.host import Host, Limits, RecordedHost
from llamabuild.model import Absence, Cpu, Feature, Hardware, Toolchain

_HYPERVISORS = {
    "QEMU": "KVM/QEMU",
    "Amazon EC2": "Amazon EC2",
    "Google Compute Engine": "Google Compute Engine",
    "VMware": "VMware",
    "VirtualBox": "VirtualBox",
    "Microsoft Corporation": "Hyper-V",
    "Xen": "Xen",
}
_CONTAINERS = (("/.dockerenv", "docker"), ("/run/.containerenv", "podman"))


def probe(
    host: Host, *, cache: Path, tools: Host | None = None, asked: str = "auto"
) -> tuple[Hardware, Toolchain]:
    """Everything that planning needs. ``cache`` is where facts about compilers are kept;
    ``tools`` is the host to ask for compilers, when that is another one; ``asked`` is the
    toolchain that is wanted.

    Raises ToolMissing when there is no cmake or ninja at all, not even from their wheels.
    """
    options = cpu.all_compiler_options(host.system()[2])
    # Most of the time is spent waiting for vendors' programs.
    with ThreadPoolExecutor(max_workers=len(BACKENDS) + 1) as pool:
        features = pool.submit(cpu_features.detect_features, host, host.system()[2])
        waiting = {name: pool.submit(one.detect, host) for name, one in BACKENDS.items()}
        common = toolchains.detect(tools or host, options, cache=cache, asked=asked)
        bare = hardware(host, cache=cache)
        found = {name: one.result() for name, one in waiting.items()}
    return with_found(bare, found, features.result()), with_own_tools(common, found)


def replay(host: RecordedHost, common: Toolchain) -> tuple[Hardware, Toolchain]:
    """What a probe of a recorded machine with these compilers and tools concludes: the same
    questions, one after the other, and no process."""
    found = {name: one.detect(host) for name, one in BACKENDS.items()}
    features = cpu_features.detect_features(host, host.system()[2])
    bare = hardware(host, cache=Path(os.sep))
    return with_found(bare, found, features), with_own_tools(common, found)


def with_own_tools(toolchain: Toolchain, found: Mapping[str, Found]) -> Toolchain:
    """A toolchain and the tools that only one back-end needs, marked with its name."""
    own = (replace(tool, backend=name) for name, one in found.items() for tool in one.tools)
    return replace(toolchain, tools=(*toolchain.tools, *own))


def with_found(
    bare: Hardware, found: Mapping[str, Found], features: tuple[Feature, ...]
) -> Hardware:
    """A machine with what the back-ends ``found`` and the CPU can do."""
    return replace(
        bare,
        cpu=replace(bare.cpu, features=features),
        devices=tuple(device for one in found.values() for device in one.devices),
        absent=(*(absence for one in found.values() for absence in one.absent), *bare.absent),
    )


def hardware(host: Host, *, cache: Path) -> Hardware:
    """Facts about the machine that ask no back-end."""
    os, version, arch = host.system()
    vendor, name = cpu_features.identify(host)
    physical, logical, usable = host.cores()
    memory = host.memory()
    return Hardware(
        os=os,
        os_version=version,
        arch=arch,
        libc=host.libc(),
        cpu=Cpu(
            vendor=vendor,
            name=name,
            physical_cores=physical,
            logical_cores=logical,
        ),
        cores=usable,
        memory=memory.total,
        memory_available=memory.available,
        disk_free=host.disk_free(cache),
        container=container(host),
        virtual_machine=virtual_machine(host),
        absent=(*_foreign(host), *npus.detect(host)),
    )


def container(host: Host) -> str:
    """The container this process runs in ("docker", "podman", "kubernetes" …), or empty."""
    for path, name in _CONTAINERS:
        if host.exists(path):
            return name
    if host.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    control = host.read_text("/proc/1/cgroup") or ""
    for word in ("docker", "kubepods", "lxc", "containerd"):
        if word in control:
            return word
    return host.environ.get("container", "")


def virtual_machine(host: Host) -> str:
    """What stands between this program and the machine ("KVM/QEMU", "WSL 2", "Rosetta 2" …), or
    an empty string."""
    if emulator := translated(host):
        return emulator
    if "microsoft" in (host.read_text("/proc/version") or "").lower():
        return "WSL 2"
    for file in ("sys_vendor", "product_name"):
        vendor = (host.read_text(f"/sys/class/dmi/id/{file}") or "").strip()
        for word, name in _HYPERVISORS.items():
            if word in vendor:
                return name
    flags = host.read_text("/proc/cpuinfo") or ""
    return "a virtual machine" if " hypervisor" in flags else ""


def translated(host: Host) -> str:
    """The translator that runs this Python when it is a program for another architecture than the
    machine's, or an empty string. What it builds would be translated too.

    macOS answers ``sysctl.proc_translated`` (Apple, "About the Rosetta translation environment");
    on Windows a program for another architecture sees both in its environment.
    """
    system, _, arch = host.system()
    if system == "macos" and arch == "x86_64":
        asked = host.run(["sysctl", "-n", "sysctl.proc_translated"], limits=Limits(seconds=5))
        return "Rosetta 2" if asked.out.strip() == "1" else ""
    if system == "windows" and arch == "x86_64":
        native = host.environ.get("PROCESSOR_ARCHITEW6432", "")
        identifier = host.environ.get("PROCESSOR_IDENTIFIER", "")
        return "Windows on Arm" if "ARM" in f"{native} {identifier}".upper() else ""
    return ""


def _foreign(host: Host) -> tuple[Absence, ...]:
    """Why a translated Python is not the right one to build with."""
    emulator = translated(host)
    if not emulator:
        return ()
    return (
        Absence(
            what="python",
            why=f"this Python is an x86-64 program that {emulator} translates: what it builds "
            "would be translated too, and could not use the machine's own instructions",
            hint="Install a Python for arm64 and run llamabuild with it.",
            seen=emulator,
        ),
    )
