"""The PCI bus as /sys shows it: ids as ``lspci -nn`` lists them for machines of these kinds."""

from __future__ import annotations

from llamabuild.backends import pci
from tests.unit.recorded import RecordedHost


def bus(*rows: str) -> dict[str, str]:
    """``/sys/bus/pci/devices`` from rows of "address class vendor:device driver"."""
    files: dict[str, str] = {}
    for row in rows:
        address, kind, ids, *driver = row.split()
        folder = f"/sys/bus/pci/devices/{address}"
        vendor, device = ids.split(":")
        files[f"{folder}/class"] = f"0x{kind}00\n"
        files[f"{folder}/vendor"] = f"0x{vendor}\n"
        files[f"{folder}/device"] = f"0x{device}\n"
        if driver:
            files[f"{folder}/driver/module"] = driver[0]
    return files


# A Meteor Lake laptop with an RTX 4060 whose driver is not installed.
LAPTOP = bus(
    "0000:00:00.0 0600 8086:7d01 igen6_edac",
    "0000:00:02.0 0300 8086:7d55 i915",
    "0000:00:04.0 1180 8086:7d03 proc_thermal_pci",
    "0000:00:08.0 0880 8086:7e4c",
    "0000:00:0a.0 1180 8086:7d0d intel_vsec",
    "0000:00:0b.0 1200 8086:7d1d intel_vpu",
    "0000:00:0d.0 0c03 8086:7ec0 xhci_hcd",
    "0000:01:00.0 0300 10de:28e0",
    "0000:01:00.1 0403 10de:22be snd_hda_intel",
    "0000:02:00.0 0108 144d:a80c nvme",
)
# A server with two MI300X and two H100, the board's own display controller, and an Ascend card.
SERVER = bus(
    "0000:03:00.0 0300 1a03:2000 ast",
    "0000:05:00.0 1200 1002:74a1 amdgpu",
    "0000:26:00.0 1200 1002:74a1 amdgpu",
    "0000:45:00.0 0302 10de:2330 nvidia",
    "0000:65:00.0 0302 10de:2330 nvidia",
    "0000:81:00.0 0207 15b3:1021 mlx5_core",
    "0000:c1:00.0 1200 19e5:d802 devdrv_device_driver",
)
# A virtual machine under QEMU, and one that a Data Center GPU Flex is passed into.
MACHINE = bus(
    "0000:00:00.0 0600 8086:1237",
    "0000:00:01.0 0300 1af4:1050 virtio-pci",
    "0000:00:02.0 0200 1af4:1000 virtio-pci",
)
PASSED_IN = MACHINE | bus("0000:00:05.0 0380 8086:56c0 i915")


def test_a_laptop_with_two_gpus_and_an_npu() -> None:
    host = RecordedHost(files=LAPTOP)
    assert [(one.id, one.accelerator, one.driver) for one in pci.functions(host)] == [
        ("8086:7d55", False, True),
        ("8086:7d1d", True, True),
        ("10de:28e0", False, False),
    ]
    assert [one.device for one in pci.displays(host, "intel")] == ["7d55"]
    (missing,) = pci.displays(host, "nvidia")
    assert not missing.driver
    assert pci.displays(host, "amd") == ()


def test_a_server_with_accelerators_of_three_makers() -> None:
    host = RecordedHost(files=SERVER)
    found = [(one.vendor, one.accelerator) for one in pci.functions(host)]
    assert found == [
        ("0x1a03", False),
        ("amd", True),
        ("amd", True),
        ("nvidia", False),
        ("nvidia", False),
        ("huawei", True),
    ]
    assert len(pci.displays(host, "nvidia")) == 2
    assert pci.displays(host, "amd") == ()


def test_a_virtual_gpu_is_nobodys() -> None:
    (virtual,) = pci.functions(RecordedHost(files=MACHINE))
    assert virtual.vendor == "0x1af4"
    assert virtual.driver
    assert [one.device for one in pci.displays(RecordedHost(files=PASSED_IN), "intel")] == ["56c0"]


def test_other_classes_are_found_when_asked_for() -> None:
    found = pci.of_classes(RecordedHost(files=LAPTOP), {"0x1180", "0x0880"})
    assert [one.id for one in found] == ["8086:7d03", "8086:7e4c", "8086:7d0d"]


def test_no_bus_and_unreadable_entries_are_no_devices() -> None:
    assert list(pci.functions(RecordedHost())) == []
    assert list(pci.functions(RecordedHost(os="windows"))) == []
    half = {"/sys/bus/pci/devices/0000:00:02.0/class": "0x030000\n"}
    (one,) = pci.functions(RecordedHost(files=half))
    assert (one.vendor, one.device, one.id) == ("", "", ":")
    garbage = {"/sys/bus/pci/devices/0000:00:02.0/class": "\x00\n"}
    assert list(pci.functions(RecordedHost(files=garbage))) == []
