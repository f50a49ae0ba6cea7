"""Look: ask the machine and every back-end what is there. Never raises for what is absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from llamabuild import backends, toolchains
from llamabuild.backends import Found, cpu, cpu_features
from llamabuild.host import Host
from llamabuild.model import Cpu, Hardware, Toolchain

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


def probe(host: Host, *, cache: Path, tools: Host | None = None) -> tuple[Hardware, Toolchain]:
    """Everything that planning needs. ``cache`` is where facts about compilers are kept;
    ``tools`` is the host to ask for compilers, when that is another one.

    Raises ToolMissing when there is no cmake or ninja at all, not even from their wheels.
    """
    found = detect(host)
    options = cpu.all_compiler_options(host.system()[2])
    common = toolchains.detect(tools or host, options, cache=cache)
    return hardware(host, found, cache=cache), with_own_tools(common, found)


def detect(host: Host) -> dict[str, Found]:
    """What every back-end sees, by name."""
    return {name: module.detect(host) for name, module in backends.BACKENDS.items()}


def with_own_tools(toolchain: Toolchain, found: Mapping[str, Found]) -> Toolchain:
    """A toolchain and the tools that only one back-end needs, marked with its name."""
    own = (replace(tool, backend=name) for name, one in found.items() for tool in one.tools)
    return replace(toolchain, tools=(*toolchain.tools, *own))


def hardware(host: Host, found: Mapping[str, Found], *, cache: Path) -> Hardware:
    """Facts about the machine, with what the back-ends ``found``."""
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
            features=cpu_features.detect_features(host, arch),
        ),
        cores=usable,
        memory=memory.total,
        memory_available=memory.available,
        disk_free=host.disk_free(cache),
        container=container(host),
        virtual_machine=virtual_machine(host),
        devices=tuple(device for one in found.values() for device in one.devices),
        absent=tuple(absence for one in found.values() for absence in one.absent),
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
    """The hypervisor below this machine ("KVM/QEMU", "WSL 2" …), or an empty string."""
    if "microsoft" in (host.read_text("/proc/version") or "").lower():
        return "WSL 2"
    for file in ("sys_vendor", "product_name"):
        vendor = (host.read_text(f"/sys/class/dmi/id/{file}") or "").strip()
        for word, name in _HYPERVISORS.items():
            if word in vendor:
                return name
    flags = host.read_text("/proc/cpuinfo") or ""
    return "a virtual machine" if " hypervisor" in flags else ""
