from __future__ import annotations

import pytest

from llamabuild import probe
from tests.unit.recorded import RecordedHost


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (RecordedHost(files={"/.dockerenv": ""}), "docker"),
        (RecordedHost(files={"/run/.containerenv": ""}), "podman"),
        (RecordedHost(environ={"KUBERNETES_SERVICE_HOST": "10.0.0.1"}), "kubernetes"),
        (RecordedHost(files={"/proc/1/cgroup": "0::/kubepods/besteffort/pod1\n"}), "kubepods"),
        (RecordedHost(environ={"container": "lxc"}), "lxc"),
        (RecordedHost(files={"/proc/1/cgroup": "0::/init.scope\n"}), ""),
    ],
)
def test_containers(host: RecordedHost, name: str) -> None:
    assert probe.container(host) == name


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"/proc/version": "Linux version 5.15.90.1-microsoft-standard-WSL2"}, "WSL 2"),
        ({"/sys/class/dmi/id/sys_vendor": "QEMU\n"}, "KVM/QEMU"),
        ({"/sys/class/dmi/id/sys_vendor": "Amazon EC2\n"}, "Amazon EC2"),
        ({"/sys/class/dmi/id/product_name": "VirtualBox\n"}, "VirtualBox"),
        ({"/proc/cpuinfo": "flags : fpu vme hypervisor lahf_lm"}, "a virtual machine"),
        ({"/sys/class/dmi/id/sys_vendor": "Dell Inc.\n"}, ""),
    ],
)
def test_virtual_machines(files: dict[str, str], name: str) -> None:
    assert probe.virtual_machine(RecordedHost(files=files)) == name
