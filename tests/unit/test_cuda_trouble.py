"""CUDA: a driver that is not there, or not well, and what helps."""

from __future__ import annotations

import json

import pytest

from llamabuild.backends import cuda, cuda_probe
from llamabuild.host import Finished
from llamabuild.model import Absence
from tests.unit.recorded import RecordedHost
from tests.unit.test_cuda import CUBLAS, DRIVER, H200, NO_NVML, SMI, machine

PCI = "/sys/bus/pci/devices/0000:01:00.0"
CARD = {f"{PCI}/class": "0x030000\n", f"{PCI}/vendor": "0x10de\n", f"{PCI}/device": "0x1c03\n"}
HELD = {**CARD, f"{PCI}/driver/x": ""}
DOCKER = {"/.dockerenv": ""}
HUNG = Finished(code=-9, out="", err="", timed_out=True)
# nvidia-smi 535 and 550, as pasted in reports.
TALK = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that "
    "the latest NVIDIA driver is installed and running.\n\n"
)
MISMATCH = (
    "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 535.1\n"
)
LOST = (
    "Unable to determine the device handle for GPU 0000:0B:00.0: GPU is lost.  Reboot the system "
    "to recover this GPU\n"
)
# /proc/device-tree/compatible of a Jetson AGX Orin kit, /etc/nv_tegra_release of JetPack 5.1.2.
ORIN = {
    "/proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0",
    "/etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, "
    "EABI: aarch64, DATE: Tue Aug  1 19:57:35 UTC 2023\n",
}


def only(host: RecordedHost) -> Absence:
    found = cuda.detect(host)
    assert found.devices == ()
    assert found.tools == ()
    (one,) = found.absent
    assert one.what == "cuda"
    assert one.hint
    return one


def bus(driver: str) -> dict[str, str]:
    return {**HELD, f"/sys/bus/pci/drivers/{driver}/0000:01:00.0/x": ""}


@pytest.mark.parametrize(
    ("files", "said", "hint"),
    [
        (CARD, "10de:1c03) is here without NVIDIA's driver", "Install NVIDIA's driver"),
        (HELD, "10de:1c03) is here without NVIDIA's driver", "Install NVIDIA's driver"),
        (bus("nouveau"), "nouveau drives it, which has no CUDA", "Install NVIDIA's driver"),
        (bus("vfio-pci"), "set aside for virtual machines", "Install NVIDIA's driver"),
        (bus("i915"), "is here without NVIDIA's driver", "Install NVIDIA's driver"),
        (CARD | DOCKER, "container was not given the NVIDIA GPU (PCI 10de:1c03)", "--gpus all"),
        ({**DOCKER, "/usr/local/cuda/bin/nvcc": ""}, "container without an NV", "--gpus all"),
        ({**CARD, "/run/.containerenv": ""}, "was not given", "podman run --device nvidia.com/gpu"),
        (DOCKER, "no NVIDIA GPU is seen", "Install NVIDIA's driver"),
        ({"/dev/dxg": ""}, "Windows shows WSL 2 no NVIDIA GPU", "in Windows, none inside WSL"),
        ({}, "no NVIDIA GPU is seen", "Install NVIDIA's driver"),
    ],
)
def test_without_a_driver_the_reason_is_looked_for(
    files: dict[str, str], said: str, hint: str
) -> None:
    host = machine(files=files, nvcc="")
    one = only(host)
    assert said in one.why
    assert hint in one.hint
    assert bool(one.seen) == ("PCI 10de" in one.why)
    assert host.started == []


@pytest.mark.parametrize("os", ["macos", "freebsd"])
def test_where_cuda_cannot_be(os: str) -> None:
    host = RecordedHost(os=os)
    assert "only for Linux and Windows" in only(host).why
    assert host.started == []


def test_a_container_sees_the_hosts_driver_in_proc_and_not_its_devices() -> None:
    host = machine(NO_NVML, files=DRIVER | DOCKER | CARD)
    assert "was not given" in only(host).why
    assert host.started == []
    pod = machine(files=DRIVER | CARD, environ={"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert "nvidia.com/gpu: 1" in only(pod).hint
    inside = DRIVER | DOCKER | CUBLAS | {"/dev/nvidiactl": ""}
    assert cuda.detect(machine(files=inside)).devices


@pytest.mark.parametrize(
    ("os_release", "hint"),
    [
        ("ID=ubuntu\nID_LIKE=debian\n", "sudo ubuntu-drivers install"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "sudo ubuntu-drivers install"),
        ("ID=debian\n", "apt install nvidia-driver"),
        ("ID=arch\n", "pacman -S nvidia-open"),
        ("ID=fedora\n", "akmod-nvidia"),
    ],
)
def test_how_to_get_a_driver(os_release: str, hint: str) -> None:
    assert hint in only(machine(files={**CARD, "/etc/os-release": os_release}, nvcc="")).hint


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("Driver/library version mismatch", "Restart the machine"),
        ("RM has detected an NVML/RM version mismatch.", "Restart the machine"),
        ("Unknown Error", "In a container: start it anew"),
        ("Insufficient Permissions", "may not use /dev/nvidia"),
        ("Driver Not Loaded", "modprobe nvidia"),
        ("GPU access blocked by the operating system", "wsl --update"),
        ("NVML Shared Library Not Found", "Install the rest of the driver"),
        ("Something nobody has heard of", "Run `nvidia-smi`"),
    ],
)
def test_what_nvml_says_gets_the_step_that_helps(said: str, hint: str) -> None:
    one = only(machine(json.dumps({"error": said})))
    assert said in one.why
    assert hint in one.hint
    assert one.seen


@pytest.mark.parametrize(
    ("smi", "hint"),
    [
        (TALK, "Secure Boot"),
        (MISMATCH, "Restart the machine"),
        (LOST, "fell off the bus"),
        ("No devices were found\n", "dmesg | grep NVRM"),
        ('Field "compute_cap" is not a valid field to query.\n', "Update NVIDIA's driver"),
        (HUNG, "the driver hangs"),
        ("\x00\udcff[N/A], [N/A], [N/A], [N/A]", "Run `nvidia-smi`"),
    ],
)
def test_what_nvidia_smi_says_gets_the_step_that_helps(smi: str | Finished, hint: str) -> None:
    host = RecordedHost(
        files=DRIVER,
        programs={"nvidia-smi": "/usr/bin/nvidia-smi"},
        answers={"cuda_child.py": "garbage", "nvidia-smi": smi},
    )
    assert hint in only(host).hint


def test_gpus_that_do_not_answer_are_named() -> None:
    answer = {"driver": "580.65.06", "cuda": "13.0", "gpus": [], "lost": ["GPU 0: GPU is lost"]}
    one = only(machine(json.dumps(answer)))
    assert one.why == "no GPU works: GPU 0: GPU is lost"
    assert "fell off the bus" in one.hint
    found = cuda.detect(machine(json.dumps({**answer, "gpus": [H200]})))
    assert [device.name for device in found.devices] == ["NVIDIA H200"]
    assert [(one.why, one.seen) for one in found.absent] == [("GPU 0: GPU is lost",) * 2]


WSL = {"/dev/dxg": "", "/usr/lib/wsl/lib/libcuda.so.1": ""}


def test_inside_wsl_the_driver_is_that_of_windows() -> None:
    one = only(machine(json.dumps({"error": "N/A"}), files=WSL))
    assert "(WSL 2)" in one.why
    assert "in Windows, none inside WSL" in one.hint


def test_nvidia_smi_of_wsl_is_found_where_it_is() -> None:
    host = RecordedHost(
        files={**WSL, "/usr/lib/wsl/lib/nvidia-smi": ""},
        answers={"cuda_child.py": NO_NVML, "nvidia-smi": SMI},
    )
    assert [one.architecture for one in cuda.detect(host).devices] == ["89", "86"]


@pytest.mark.parametrize("node", ["/dev/nvhost-gpu", "/dev/nvgpu/igpu0/ctrl", "/dev/nvmap"])
def test_a_jetson_without_nvml_is_known_by_its_device_tree(node: str) -> None:
    host = machine(NO_NVML, files={**ORIN, **CUBLAS, node: ""})
    (device,) = cuda.detect(host).devices
    assert (device.name, device.architecture) == ("NVIDIA Orin", "87")
    assert (device.kind, device.lacks, device.vendor) == ("integrated", "", "nvidia")
    assert device.driver == "L4T 35.4.1"
    assert device.memory == host.memory().total


def test_nvml_of_a_jetson_may_say_little() -> None:
    # JetPack 6: driver 540.4.0, CUDA 12.6, a GPU of which most is "Not Supported".
    answer = {"driver": "540.4.0", "cuda": "12.6", "gpus": [], "lost": ["GPU 0: Not Supported"]}
    host = machine(json.dumps(answer), files={**ORIN, **CUBLAS, "/dev/nvmap": ""})
    assert cuda.detect(host).devices[0].driver == "540.4.0 (CUDA 12.6)"
    full = {"name": "Orin (nvgpu)", "capability": "8.7", "memory": 0}
    told = machine(json.dumps({**answer, "gpus": [full], "lost": []}), files=DRIVER | CUBLAS)
    (device,) = cuda.detect(told).devices
    assert (device.name, device.memory) == ("Orin (nvgpu)", told.memory().total)


def test_a_tegra_without_nvidias_driver_is_no_device() -> None:
    host = machine(files=ORIN, nvcc="")
    assert "no NVIDIA driver is loaded" in only(host).why
    assert host.started == []
    assert "--runtime nvidia" in only(machine(files=ORIN | DOCKER)).hint


def test_the_toolkit_for_a_jetson_is_its_own() -> None:
    host = machine(NO_NVML, files={**ORIN, "/dev/nvmap": ""}, nvcc="")
    (one,) = cuda.detect(host).absent
    assert one.hint == "Run: sudo apt install nvidia-jetpack"


@pytest.mark.parametrize(
    "text", ["", "# R35", "R35 (release), REVISION: 4.1", "# R (release), REVISION: x"]
)
def test_a_broken_release_file_names_no_release(text: str) -> None:
    files = {**ORIN, "/etc/nv_tegra_release": text, "/dev/nvmap": ""}
    assert cuda_probe.survey(machine(NO_NVML, files=files)).driver == ""
