"""Look: ask the machine and every back-end what is there. Never raises for what is absent."""

from __future__ import annotations

from pathlib import Path

from llamabuild import backends, toolchains
from llamabuild.backends import cpu, cpu_features
from llamabuild.host import Host
from llamabuild.model import Absence, Cpu, Hardware, Toolchain

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


def probe(host: Host, *, cache: Path) -> tuple[Hardware, Toolchain]:
    """Everything that planning needs. ``cache`` is where facts about compilers are kept.

    Raises ToolMissing when there is no cmake or ninja at all, not even from their wheels.
    """
    tools = toolchains.detect(host, cpu.all_compiler_options(host.system()[2]), cache=cache)
    return hardware(host, cache=cache), tools


def hardware(host: Host, *, cache: Path) -> Hardware:
    """Facts about the machine."""
    os, version, arch = host.system()
    found = [module.detect(host) for module in backends.BACKENDS.values()]
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
        devices=tuple(device for one in found for device in one.devices),
        absent=_absences(found),
    )


def _absences(found: list[backends.Found]) -> tuple[Absence, ...]:
    return tuple(absence for one in found for absence in one.absent)


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
