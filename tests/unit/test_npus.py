"""NPUs are seen and said to be unused; nothing is taken for an NPU that is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild.backends import npus
from llamabuild.host import Host
from tests.unit.recorded import RecordedHost
from tests.unit.test_pci import LAPTOP, MACHINE, PASSED_IN, SERVER, bus


class Arm(RecordedHost):
    """A recorded machine whose processor is ARM."""

    def system(self) -> tuple[str, str, str]:
        return (*super().system()[:2], "aarch64")


TREE = "/proc/device-tree/compatible"
# Classes and ids as lspci -nn lists them.
RYZEN_AI = bus(
    "0000:c1:00.0 0380 1002:1586 amdgpu",
    "0000:c3:00.0 1300 1022:14ec",
    "0000:c4:00.1 1180 1022:17f0 amdxdna",
    "0000:c4:00.7 1180 1022:15e4 pcie_mp2_amd",
)
PHOENIX = bus("0000:c7:00.1 1180 1022:1502 amdxdna")
CORAL = bus("0000:03:00.0 0880 1ac1:089a apex", "0000:04:00.0 0880 1ac1:089a apex")
HAILO = bus("0001:01:00.0 0b40 1e60:2864 hailo")
GAUDI = bus("0000:19:00.0 1200 1da3:1020 habanalabs", "0000:33:00.0 1200 1da3:1020 habanalabs")
FPGA = bus("0000:07:00.0 1200 8086:09c4")
NEXT = bus("0000:00:0b.0 1200 8086:ffff")


def seen(host: Host) -> list[str]:
    found = npus.detect(host)
    assert all(one.what == "npu" and one.hint and one.seen in one.why for one in found)
    return [one.seen for one in found]


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (LAPTOP, "Intel's NPU (AI Boost)"),
        (bus("0000:00:0b.0 1200 8086:643e intel_vpu"), "Intel's NPU (AI Boost)"),
        (RYZEN_AI, "AMD's NPU (XDNA, Ryzen AI)"),
        (PHOENIX, "AMD's NPU (XDNA, Ryzen AI)"),
        (CORAL, "a Google Coral Edge TPU"),
        (HAILO, "a Hailo-8"),
        (GAUDI, "an accelerator that llamabuild does not know (PCI 1da3:1020)"),
        (FPGA, "an accelerator that llamabuild does not know (PCI 8086:09c4)"),
        (NEXT, "an accelerator that llamabuild does not know (PCI 8086:ffff)"),
    ],
)
def test_what_hangs_on_the_bus_is_told_once(files: dict[str, str], name: str) -> None:
    host = RecordedHost(files=files)
    assert seen(host) == [name]
    assert host.started == []


def test_the_reasons_are_those_of_the_tree() -> None:
    (intel,) = npus.detect(RecordedHost(files=LAPTOP))
    assert intel.why == (
        "Intel's NPU (AI Boost) is here, but llama.cpp reaches it only through OpenVINO "
        "(GGML_OPENVINO), which llamabuild does not build"
    )
    (amd,) = npus.detect(RecordedHost(files=RYZEN_AI))
    assert "llama.cpp has no back-end for it" in amd.why


@pytest.mark.parametrize(
    ("tree", "name"),
    [
        # Lenovo ThinkPad T14s, Radxa ROCK 5B, Orange Pi 5, Quartz64: the kernel's .dts files.
        ("lenovo,thinkpad-t14s\0qcom,x1e78100\0qcom,x1e80100\0", "Qualcomm's NPU (Hexagon)"),
        ("radxa,rock-5b\0rockchip,rk3588\0", "Rockchip's NPU (RKNPU)"),
        ("xunlong,orangepi-5\0rockchip,rk3588s\0", "Rockchip's NPU (RKNPU)"),
        ("pine64,quartz64-a\0rockchip,rk3566\0", "Rockchip's NPU (RKNPU)"),
    ],
)
def test_boards_are_known_by_their_device_tree(tree: str, name: str) -> None:
    assert seen(Arm(files={TREE: tree})) == [name]


def test_a_raspberry_pi_has_none() -> None:
    assert seen(Arm(files={TREE: "raspberrypi,5-model-b\0brcm,bcm2712\0"})) == []


def test_hexagon_is_known_by_its_device_and_by_windows_own_name_for_the_processor() -> None:
    assert seen(Arm(files={"/dev/fastrpc-cdsp": ""})) == ["Qualcomm's NPU (Hexagon)"]
    name = "ARMv8 (64-bit) Family 8 Model 1 Revision 201, Qualcomm Technologies Inc"
    windows = Arm(environ={"PROCESSOR_IDENTIFIER": name}, os="windows")
    assert seen(windows) == ["Qualcomm's NPU (Hexagon)"]
    intel = {"PROCESSOR_IDENTIFIER": "Intel64 Family 6 Model 170 Stepping 4, GenuineIntel"}
    assert seen(RecordedHost(environ=intel, os="windows")) == []


def test_only_a_mac_with_apples_chip_has_the_neural_engine() -> None:
    assert seen(Arm(os="macos")) == ["the Apple Neural Engine"]
    assert seen(RecordedHost(os="macos")) == []
    assert seen(Arm(os="linux")) == []


@pytest.mark.parametrize("files", [{}, SERVER, MACHINE, PASSED_IN])
def test_gpus_and_accelerators_with_a_back_end_are_no_npus(files: dict[str, str]) -> None:
    assert npus.detect(RecordedHost(files=files)) == ()


@given(
    st.one_of(st.sampled_from(["0x120000\n", "0x118000\n", "0x12"]), st.text(max_size=9)),
    st.one_of(st.sampled_from(["0x8086\n", "0x1002\n", "0x1022\n"]), st.text(max_size=5)),
    st.text(max_size=3),
)
def test_garbage_on_the_bus_is_no_npu(kind: str, vendor: str, device: str) -> None:
    folder = "/sys/bus/pci/devices/0000:00:0b.0"
    texts = {"class": kind, "vendor": vendor, "device": device}
    host = RecordedHost(files={f"{folder}/{name}": text for name, text in texts.items()})
    assert npus.detect(host) == ()


@given(st.text(max_size=60))
def test_garbage_in_the_device_tree_is_no_npu(text: str) -> None:
    assert npus.detect(Arm(files={TREE: text})) == ()
