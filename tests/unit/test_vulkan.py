"""Vulkan: what is there, what a build lacks, and that no device is ever made up."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llamabuild.backends import Evidence, vulkan, vulkan_build, vulkan_probe
from llamabuild.backends.vulkan_probe import Gpu
from llamabuild.host import Finished, Host
from llamabuild.model import Absence, Device
from tests.unit import values
from tests.unit.mutations import mutated
from tests.unit.recorded import RecordedHost
from tests.unit.test_packages import RELEASES
from tests.unit.test_pci import bus

# vulkaninfo 1.3.239 --summary of Debian 12.
HEAD = """==========
VULKANINFO
==========

Vulkan Instance Version: 1.3.239


Instance Extensions: count = 2
-------------------------------
VK_EXT_debug_report                    : extension revision 10
VK_KHR_surface                         : extension revision 25

Instance Layers:
----------------

Devices:
========
"""
LAVAPIPE = """GPU0:
	apiVersion         = 1.3.230
	driverVersion      = 0.0.1
	vendorID           = 0x10005
	deviceID           = 0x0000
	deviceType         = PHYSICAL_DEVICE_TYPE_CPU
	deviceName         = llvmpipe (LLVM 15.0.6, 256 bits)
	driverID           = DRIVER_ID_MESA_LLVMPIPE
	driverName         = llvmpipe
	driverInfo         = Mesa 22.3.6 (LLVM 15.0.6)
	conformanceVersion = 1.3.1.1
	deviceUUID         = 6d657361-3232-2e33-2e36-000000000000
	driverUUID         = 6c6c766d-7069-7065-5555-494400000000
"""
# vulkaninfo 1.3.242 of a desktop with Mesa 23.1; older ones pack the version like this.
RADEON = """GPU1:
	apiVersion         = 4206834 (1.3.242)
	driverVersion      = 96477184 (0x5c02000)
	vendorID           = 0x1002
	deviceID           = 0x744c
	deviceType         = PHYSICAL_DEVICE_TYPE_DISCRETE_GPU
	deviceName         = AMD Radeon RX 7900 XTX (RADV NAVI31)
	driverID           = DRIVER_ID_MESA_RADV
	driverName         = radv
	driverInfo         = Mesa 23.1.2
"""
# vulkaninfo of Raspberry Pi OS 11 (Mesa 20.3.5) on a Raspberry Pi 4.
PI_4 = """GPU0:
	apiVersion         = 4194459 (1.0.155)
	driverVersion      = 83898373 (0x5003005)
	vendorID           = 0x14e4
	deviceID           = 0x002a
	deviceType         = PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU
	deviceName         = V3D 4.2
GPU1:
	apiVersion         = 4194306 (1.0.2)
	driverVersion      = 1 (0x0001)
	vendorID           = 0x10005
	deviceID           = 0x0000
	deviceType         = PHYSICAL_DEVICE_TYPE_CPU
	deviceName         = llvmpipe (LLVM 11.0.1, 128 bits)
	driverID           = DRIVER_ID_MESA_LLVMPIPE
	driverName         = llvmpipe
	driverInfo         = Mesa 20.3.5 (LLVM 11.0.1)
	conformanceVersion = 1.0.0.0
"""
# vulkaninfo 1.4.309 on Windows 11.
WINDOWS = """Devices:
========
GPU0:
        apiVersion         = 1.3.270
        driverVersion      = 2.0.294
        vendorID           = 0x1002
        deviceID           = 0x164e
        deviceType         = PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU
        deviceName         = AMD Radeon(TM) Graphics
        driverID           = DRIVER_ID_AMD_PROPRIETARY
        driverName         = AMD proprietary driver
        driverInfo         = 23.40.02 (AMD proprietary shader compiler)
        conformanceVersion = 1.3.3.1
GPU1:
        apiVersion         = 1.4.312
        driverVersion      = 581.57.0.0
        vendorID           = 0x10de
        deviceID           = 0x2488
        deviceType         = PHYSICAL_DEVICE_TYPE_DISCRETE_GPU
        deviceName         = NVIDIA GeForce RTX 3070
        driverID           = DRIVER_ID_NVIDIA_PROPRIETARY
        driverName         = NVIDIA
        driverInfo         = 581.57
        conformanceVersion = 1.4.1.3
"""


def gpu(**about: Any) -> dict[str, Any]:
    """What the child prints of a Radeon, or of another device as far as it differs."""
    radeon = {
        "name": "AMD Radeon RX 7900 XTX (RADV NAVI31)",
        "kind": "DISCRETE_GPU",
        "vendor": 0x1002,
        "device": 0x744C,
        "api": "1.3.242",
        "driver": "Mesa 23.1.2",
        "driver_id": 3,
        "memory": 25753026560,
        "storage16": True,
        "twin": 0,
    }
    return radeon | about


def answer(*gpus: dict[str, Any], api: str = "1.3.239") -> str:
    return json.dumps({"api": api, "gpus": list(gpus)}) + "\n"


# What the child printed on Debian 12 with lavapipe, word for word.
SOFTWARE = (
    '{"api": "1.3.239", "gpus": [{"name": "llvmpipe (LLVM 15.0.6, 256 bits)", "kind": "CPU", '
    '"vendor": 65541, "device": 0, "api": "1.3.230", "driver": "Mesa 22.3.6 (LLVM 15.0.6)", '
    '"driver_id": 13, "memory": 2147483648, "storage16": true, "twin": 0}]}\n'
)
LLVMPIPE = json.loads(SOFTWARE)["gpus"][0]
INTEL = gpu(
    name="Intel(R) Arc(tm) Graphics (MTL)",
    kind="INTEGRATED_GPU",
    vendor=0x8086,
    device=0x7D55,
    api="1.4.305",
    driver="Mesa 25.0.7-0ubuntu0.24.04.2",
    driver_id=6,
    memory=16481132544,
)
NVIDIA = gpu(
    name="NVIDIA GeForce RTX 4060 Laptop GPU",
    vendor=0x10DE,
    device=0x28E0,
    api="1.4.312",
    driver="580.82.09",
    driver_id=4,
    memory=8585740288,
    twin=1,
)
DOZEN = gpu(
    name="Microsoft Direct3D12 (NVIDIA GeForce GTX 1660 SUPER)",
    vendor=0x10DE,
    device=0x21C4,
    api="1.2.354",
    driver="Mesa 26.2.0-devel (git-8aa0199f35)",
    driver_id=23,
)
SWIFTSHADER = gpu(name="SwiftShader Device (Subzero)", kind="CPU", vendor=0x1AE0, device=0xC0DE)
ERROR = '{"error": "creating an instance failed: incompatible driver"}\n'
NO_LIBRARY = '{"error": "libvulkan.so.1: wrong ELF class: ELFCLASS32"}\n'
LOADER = {"/usr/lib/x86_64-linux-gnu/libvulkan.so.1": ""}
ICD = {"/usr/share/vulkan/icd.d/radeon_icd.x86_64.json": "{}"}
GLSLC = (
    "shaderc 2023.2-1\nspirv-tools 2022.4+1.3.236.0-1\nglslang 11.13.0-1\n\nTarget: SPIR-V 1.0\n"
)
SDK_GLSLC = """shaderc v2023.8 v2025.3-10-gc7e73e8
spirv-tools v2025.4 v2022.4-970-g19042c89
glslang 11.1.0-1302-gd213562e

Target: SPIR-V 1.0
"""
CORE = """#define VK_HEADER_VERSION 275
#define VK_HEADER_VERSION_COMPLETE VK_MAKE_API_VERSION(0, 1, 3, VK_HEADER_VERSION)
"""
HEADERS = {"/usr/include/vulkan/vulkan_core.h": CORE}
LIBRARY = {"/usr/lib/x86_64-linux-gnu/libvulkan.so": ""}
SPIRV = {
    "/usr/share/cmake/SPIRV-Headers/SPIRV-HeadersConfig.cmake": "include(x)",
    "/usr/share/cmake/SPIRV-Headers/SPIRV-HeadersConfigVersion.cmake": (
        'set(PACKAGE_VERSION "1.5.5")'
    ),
}
BUILD = HEADERS | LIBRARY | SPIRV
ALL = LOADER | ICD | BUILD
DEBIAN = {"/etc/os-release": RELEASES["debian-12"]}
AMD_CARD = bus("0000:03:00.0 0300 1002:744c amdgpu")
HUNG = Finished(code=-9, out="", err="", timed_out=True)
CRASHED = Finished(code=-11, out="", err="")
BOTH = answer(LLVMPIPE, gpu(twin=1))


def machine(
    child: Finished | str = BOTH,
    *,
    files: dict[str, str] | None = None,
    vulkaninfo: Finished | str | None = None,
    glslc: str | None = GLSLC,
    environ: dict[str, str] | None = None,
    os: str = "linux",
) -> RecordedHost:
    programs = {"vulkaninfo": "/usr/bin/vulkaninfo"} if vulkaninfo is not None else {}
    programs |= {"glslc": "/usr/bin/glslc"} if glslc is not None else {}
    return RecordedHost(
        files=ALL if files is None else files,
        programs=programs,
        answers={
            "vulkan_child.py": child,
            "vulkaninfo --summary": vulkaninfo or "",
            "glslc --version": glslc or "",
        },
        environ=environ,
        os=os,
    )


def absence(host: Host) -> Absence:
    found = vulkan.detect(host)
    assert not found.devices
    assert not found.tools
    (one,) = found.absent
    assert one.what == "vulkan"
    assert one.why
    assert one.hint
    return one


def why(host: Host) -> str:
    return absence(host).why


def names(host: Host) -> list[str]:
    return [device.name for device in vulkan.detect(host).devices]


# --- devices -------------------------------------------------------------------------------------


def test_a_gpu_with_all_it_needs_is_a_device_and_software_is_not() -> None:
    host = machine()
    found = vulkan.detect(host)
    assert found.devices == (
        Device(
            backend="vulkan",
            name="AMD Radeon RX 7900 XTX (RADV NAVI31)",
            architecture="",
            memory=25753026560,
            driver="Mesa 23.1.2 (Vulkan 1.3.242)",
            vendor="amd",
            kind="discrete",
        ),
    )
    versions = [(tool.name, tool.version) for tool in found.tools]
    assert versions == [
        ("glslc", "2023.2"),
        ("vulkan-headers", "1.3.275"),
        ("spirv-headers", "1.5.5"),
    ]
    assert found.absent == ()
    assert not any("vulkaninfo" in command for command in host.started)


def test_a_laptop_has_two_devices_of_two_makers() -> None:
    found = vulkan.detect(machine(answer(INTEL, NVIDIA, LLVMPIPE)))
    about = [(device.vendor, device.kind, device.memory) for device in found.devices]
    assert about == [("intel", "integrated", 16481132544), ("nvidia", "discrete", 8585740288)]


@pytest.mark.parametrize(
    ("vendor", "word"),
    [
        (0x10DE, "nvidia"),
        (0x1002, "amd"),
        (0x8086, "intel"),
        (0x106B, "apple"),
        (0x5143, "qualcomm"),
        (0x13B5, "arm"),
        (0x1010, "imagination"),
        (0x14E4, "broadcom"),
        (0x1ED5, "moorethreads"),
        (0x1414, ""),
        (0, ""),
    ],
)
def test_makers_are_known_by_their_id(vendor: int, word: str) -> None:
    (device,) = vulkan.detect(machine(answer(gpu(vendor=vendor)))).devices
    assert device.vendor == word


def test_a_gpu_in_wsl_is_its_makers() -> None:
    (device,) = vulkan.detect(machine(answer(DOZEN))).devices
    assert (device.vendor, device.kind) == ("nvidia", "discrete")


def test_one_gpu_with_two_drivers_is_one_device_with_the_driver_that_ggml_takes() -> None:
    radv = gpu(twin=0)
    amdvlk = gpu(name="AMD Radeon RX 7900 XTX", driver="AMDVLK", driver_id=2, twin=0)
    unknown = gpu(name="other", driver_id=99, twin=0)
    for order in ([amdvlk, radv], [radv, amdvlk], [unknown, amdvlk, radv]):
        assert names(machine(answer(*order))) == [radv["name"]]
    assert names(machine(answer(unknown | {"name": "native"}, DOZEN | {"twin": 0}))) == [
        DOZEN["name"]
    ]
    assert len(names(machine(answer(radv, gpu(twin=1))))) == 2


def test_a_virtual_gpu_serves_for_want_of_a_real_one_and_only_the_first() -> None:
    virtual = gpu(name="in a VM", kind="VIRTUAL_GPU")
    found = vulkan.detect(machine(answer(LLVMPIPE, virtual, virtual)))
    assert [(device.name, device.kind) for device in found.devices] == [("in a VM", "")]
    old = gpu(name="older", kind="VIRTUAL_GPU", api="1.1.0")
    assert "needed and older knows an older version" in why(machine(answer(old, virtual)))
    assert names(machine(answer(virtual, gpu()))) == [gpu()["name"]]


def test_software_is_used_only_when_it_is_asked_for() -> None:
    for text in (SOFTWARE, answer(SWIFTSHADER), answer(gpu(kind="CPU", vendor=0x8086))):
        one = absence(machine(text))
        assert "is software: it computes on the CPU" in one.why
        assert one.hint == "To use it all the same: GGML_VK_VISIBLE_DEVICES=0"
        assert one.why.startswith(one.seen)
        asked = machine(text, environ={"GGML_VK_VISIBLE_DEVICES": "0"})
        (device,) = vulkan.detect(asked).devices
        assert (device.kind, device.vendor) == ("software", "")
        assert device.driver.endswith(", only with GGML_VK_VISIBLE_DEVICES set)")


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("0", ["llvmpipe (LLVM 15.0.6, 256 bits)"]),
        ("1", ["AMD Radeon RX 7900 XTX (RADV NAVI31)"]),
        ("1,0,1", ["AMD Radeon RX 7900 XTX (RADV NAVI31)", "llvmpipe (LLVM 15.0.6, 256 bits)"]),
        (" 0 1", ["llvmpipe (LLVM 15.0.6, 256 bits)", "AMD Radeon RX 7900 XTX (RADV NAVI31)"]),
        ("1,none", ["AMD Radeon RX 7900 XTX (RADV NAVI31)"]),
    ],
)
def test_a_choice_of_devices_is_read_as_ggml_reads_it(visible: str, expected: list[str]) -> None:
    assert names(machine(environ={"GGML_VK_VISIBLE_DEVICES": visible})) == expected


@pytest.mark.parametrize("visible", ["", "none", "-1", "2", "1,2", "99999999999999999999"])
def test_one_wrong_choice_and_ggml_has_no_device(visible: str) -> None:
    one = absence(machine(environ={"GGML_VK_VISIBLE_DEVICES": visible}))
    assert "GGML_VK_VISIBLE_DEVICES does not select usable devices only" in one.why
    assert "Unset" in one.hint
    assert "AMD Radeon" in one.seen


def test_what_ggml_refuses_is_no_device() -> None:
    old = absence(machine(answer(gpu(api="1.1.70", storage16=False), LLVMPIPE)))
    assert old.why.startswith("Vulkan 1.2 is needed and AMD Radeon RX 7900 XTX (RADV NAVI31) knows")
    assert old.seen == "AMD Radeon RX 7900 XTX (RADV NAVI31)"
    weak = absence(machine(answer(gpu(storage16=False))))
    assert "no 16-bit storage" in weak.why
    shown = machine(answer(gpu(), api="1.1.126"), files=ALL | AMD_CARD)
    assert why(shown) == "Vulkan 1.2 is needed and the loader is 1.1.126"


# --- what a build lacks --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left_out", "lacks", "package"),
    [
        ("glslc", "glslc", "glslc"),
        ("headers", "Vulkan headers", "libvulkan-dev"),
        ("library", "Vulkan library", "libvulkan-dev"),
        ("spirv", "SPIR-V headers", "spirv-headers"),
    ],
)
def test_a_device_says_what_a_build_for_it_lacks(left_out: str, lacks: str, package: str) -> None:
    parts = {"headers": HEADERS, "library": LIBRARY, "spirv": SPIRV}
    kept = [part for name, part in parts.items() if name != left_out]
    files = {path: text for part in (LOADER, ICD, DEBIAN, *kept) for path, text in part.items()}
    found = vulkan.detect(machine(files=files, glslc=None if left_out == "glslc" else GLSLC))
    assert [device.lacks for device in found.devices] == [lacks]
    assert found.tools == ()
    (one,) = found.absent
    assert one.what == "vulkan"
    assert "a build for it is not possible here" in one.why
    assert one.hint == f"Run: apt install {package}"
    assert one.seen == found.devices[0].name


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ("debian-12", "apt install glslc libvulkan-dev spirv-headers"),
        ("fedora-41", "dnf install glslc vulkan-headers vulkan-loader-devel spirv-headers-devel"),
        ("arch", "pacman -S shaderc vulkan-headers vulkan-icd-loader spirv-headers"),
        ("alpine-3.20", "apk add shaderc vulkan-headers vulkan-loader-dev spirv-headers"),
        ("opensuse-tumbleweed", "zypper install shaderc vulkan-headers vulkan-devel spirv-headers"),
    ],
)
def test_one_command_brings_all_that_is_missing(release: str, command: str) -> None:
    files = LOADER | ICD | {"/etc/os-release": RELEASES[release]}
    found = vulkan.detect(machine(files=files, glslc=None))
    (device,) = found.devices
    assert device.lacks == "glslc, Vulkan headers, Vulkan library, SPIR-V headers"
    assert found.absent[0].hint == f"Run: {command}"


@pytest.mark.parametrize(
    ("patch", "lacks"),
    # Ubuntu 22.04's, the last without and the first with all that is used, Debian 12's.
    [(204, "newer Vulkan headers"), (229, "newer Vulkan headers"), (230, ""), (239, "")],
)
def test_headers_that_would_not_compile_are_refused(patch: int, lacks: str) -> None:
    core = CORE.replace("275", str(patch))
    found = vulkan.detect(machine(files=ALL | DEBIAN | {"/usr/include/vulkan/vulkan_core.h": core}))
    assert [device.lacks for device in found.devices] == [lacks]
    if lacks:
        assert f"(1.3.{patch}) is too old: 1.3.230 is needed" in found.absent[0].why
        assert "Debian 12" in found.absent[0].hint


def test_headers_without_a_version_are_no_good() -> None:
    for core, lacks in (("", "Vulkan headers"), ("#define X\n", "newer Vulkan headers")):
        files = ALL | {"/usr/include/vulkan/vulkan_core.h": core}
        assert vulkan.detect(machine(files=files)).devices[0].lacks == lacks


@pytest.mark.parametrize("said", ["", "glslc: error while loading shared libraries", "2023"])
def test_a_glslc_that_does_not_work_is_none(said: str) -> None:
    found = vulkan.detect(machine(glslc=said))
    assert [device.lacks for device in found.devices] == ["glslc"]
    assert "/usr/bin/glslc does not work" in found.absent[0].why


@pytest.mark.parametrize(
    ("said", "version"),
    [
        (GLSLC, "2023.2"),
        # The Vulkan SDK 1.4.328, Arch, Gentoo.
        (SDK_GLSLC, "2023.8"),
        ("2026.3\n1:1.4.357.0\n1:1.4.357.0\n\nTarget: SPIR-V 1.0\n", "2026.3"),
        ("shaderc-2020.0\n\nTarget: SPIR-V 1.0\n", "2020.0"),
        ("2026.3\n", None),
        ("Segmentation fault\n", None),
    ],
)
def test_shader_compilers_say_their_version_in_several_ways(said: str, version: str | None) -> None:
    assert vulkan_build.glslc_version(said) == version


def test_the_vulkan_sdk_comes_first() -> None:
    sdk = {
        "/sdk/include/vulkan/vulkan_core.h": CORE.replace("275", "300"),
        "/sdk/lib/libvulkan.so": "",
        "/sdk/lib/cmake/SPIRV-Headers/SPIRV-HeadersConfig.cmake": "",
    }
    found = vulkan.detect(machine(files=ALL | sdk, environ={"VULKAN_SDK": "/sdk"}))
    assert [tool.version for tool in found.tools if tool.name == "vulkan-headers"] == ["1.3.300"]
    alone = machine(files=LOADER | sdk, environ={"VULKAN_SDK": "/sdk"})
    assert vulkan.detect(alone).devices[0].lacks == ""


def test_windows_builds_with_the_sdk() -> None:
    sdk = {
        "C:/VulkanSDK/include/vulkan/vulkan_core.h": CORE,
        "C:/VulkanSDK/Lib/vulkan-1.lib": "",
        "C:/VulkanSDK/lib/cmake/SPIRV-Headers/SPIRV-HeadersConfig.cmake": "",
    }
    loader = {"C:/Windows/System32/vulkan-1.dll": ""}
    environ = {"VULKAN_SDK": "C:/VulkanSDK"}
    ready = machine(answer(NVIDIA), files=loader | sdk, environ=environ, os="windows")
    assert vulkan.detect(ready).devices[0].lacks == ""
    bare = vulkan.detect(machine(answer(NVIDIA), files=loader, glslc=None, os="windows"))
    assert bare.absent[0].hint == "Run: winget install KhronosGroup.VulkanSDK"


# --- nothing there, and why ----------------------------------------------------------------------


@pytest.mark.parametrize("os", ["linux", "macos", "windows", "plan9"])
def test_without_a_loader_nothing_is_started(os: str) -> None:
    host = machine(files={}, os=os)
    assert "no Vulkan loader" in why(host)
    assert host.started == []


def test_the_bus_says_which_drivers_to_install() -> None:
    one = absence(machine(files=DEBIAN | AMD_CARD))
    assert one.why == ("no Vulkan loader (libvulkan) is installed; the PCI bus shows a GPU of AMD")
    assert one.hint == "Run: apt install libvulkan1 mesa-vulkan-drivers"
    assert one.seen == "a GPU of AMD"
    arch = {"/etc/os-release": RELEASES["arch"]}
    two = bus("0000:00:02.0 0300 8086:a780 i915", "0000:01:00.0 0300 10de:2684")
    assert absence(machine(files=arch | two)).hint == (
        "Run: pacman -S vulkan-icd-loader vulkan-intel nvidia-utils"
    )
    virtual = bus("0000:00:01.0 0300 1af4:1050 virtio-pci")
    assert "PCI" not in why(machine(files=DEBIAN | virtual))


@pytest.mark.parametrize(
    ("os", "path", "environ"),
    [
        ("macos", "/opt/homebrew/lib/libMoltenVK.dylib", {}),
        ("windows", "C:/Windows/System32/vulkan-1.dll", {}),
        ("linux", "/sdk/lib/libvulkan.so.1", {"VULKAN_SDK": "/sdk"}),
        ("linux", "/own/libvulkan.so.1", {"LD_LIBRARY_PATH": ":/own"}),
    ],
)
def test_the_loader_is_found_where_systems_keep_it(
    os: str, path: str, environ: dict[str, str]
) -> None:
    host = machine(files={path: ""}, environ=environ, os=os)
    assert vulkan_probe.loaders(host) == [path]
    assert vulkan.detect(host).devices


def test_switched_off_by_the_user() -> None:
    host = machine(environ={"GGML_DISABLE_VULKAN": "1"})
    assert why(host) == "GGML_DISABLE_VULKAN is set"
    assert host.started == []


@pytest.mark.parametrize("child", [NO_LIBRARY, ERROR, CRASHED, "", "garbage {", "[]"])
def test_vulkaninfo_is_asked_where_the_child_fails(child: Finished | str) -> None:
    found = vulkan.detect(machine(child, vulkaninfo=HEAD + LAVAPIPE + RADEON))
    (device,) = found.devices
    assert device.name == "AMD Radeon RX 7900 XTX (RADV NAVI31)"
    assert device.driver == "Mesa 23.1.2 (Vulkan 1.3.242)"
    assert (device.vendor, device.kind, device.memory) == ("amd", "discrete", 0)


def test_vulkaninfo_of_windows_and_of_a_raspberry_pi() -> None:
    assert [(one.vendor, one.kind) for one in vulkan_probe.parse_summary(WINDOWS)] == [
        (0x1002, "INTEGRATED_GPU"),
        (0x10DE, "DISCRETE_GPU"),
    ]
    one = absence(machine(CRASHED, vulkaninfo=HEAD + PI_4))
    assert one.why == "Vulkan 1.2 is needed and V3D 4.2 knows an older version only"
    assert one.seen == "V3D 4.2"


@pytest.mark.parametrize(
    ("child", "expected"),
    [
        (ERROR, "Vulkan does not work: creating an instance failed: incompatible driver"),
        (CRASHED, "Vulkan could not be asked: SIGSEGV"),
        ("", "Vulkan could not be asked: exit code 0"),
        (Finished(code=127, out="", err=""), "Vulkan could not be asked: exit code 127"),
        (answer(), "Vulkan lists no device"),
    ],
)
def test_why_vulkan_has_no_device(child: Finished | str, expected: str) -> None:
    failed = Finished(code=1, out="Cannot create Vulkan instance.\n", err="ERROR_INCOMPATIBLE")
    assert why(machine(child, vulkaninfo=failed)) == expected
    assert why(machine(child)) == expected
    assert why(machine(child, files=LOADER)) == "no Vulkan driver is installed"
    windows = {"C:/Windows/System32/vulkan-1.dll": ""}
    assert why(machine(child, files=windows, os="windows")) == expected


def test_a_hanging_driver_is_named_and_not_asked_twice() -> None:
    host = machine(HUNG, vulkaninfo=HEAD + RADEON)
    assert "did not answer within 5 seconds" in why(host)
    assert len(host.started) == 1


def test_drivers_that_the_user_chose_are_those_that_count() -> None:
    named = {"VK_DRIVER_FILES": "/mine.json:/gone.json"}
    mine = machine(answer(), files=LOADER | {"/mine.json": "{}"}, environ=named)
    assert why(mine) == "Vulkan lists no device"
    assert vulkan_probe.manifests(mine) == ["mine.json"]
    gone = machine(answer(), files=LOADER | ICD, environ={"VK_ICD_FILENAMES": "/gone.json"})
    assert why(gone) == "no Vulkan driver is installed"


def test_an_installed_driver_that_does_not_show_the_gpu() -> None:
    files = LOADER | ICD | DEBIAN | AMD_CARD
    one = absence(machine(SOFTWARE, files=files))
    assert one.why.endswith("slowly; the PCI bus shows a GPU of AMD")
    assert "--device /dev/dri" in one.hint
    there = files | {"/dev/dri/renderD128": "", "/dev/dri/card0": ""}
    assert "usermod -aG render,video" in absence(machine(answer(), files=there)).hint
    without = {path: text for path, text in files.items() if path not in ICD}
    assert absence(machine(SOFTWARE, files=without)).hint == "Run: apt install mesa-vulkan-drivers"


# --- flags and proof -----------------------------------------------------------------------------


def test_debugging_aids_are_off() -> None:
    flags = vulkan.flags(values.hardware(), values.toolchain())
    assert {flag.name for flag in flags} == {
        "GGML_VULKAN_CHECK_RESULTS",
        "GGML_VULKAN_DEBUG",
        "GGML_VULKAN_MEMORY_DEBUG",
        "GGML_VULKAN_SHADER_DEBUG_INFO",
        "GGML_VULKAN_VALIDATE",
        "GGML_VULKAN_RUN_TESTS",
    }
    assert all(flag.value is False and flag.why for flag in flags)


@pytest.mark.parametrize(
    ("devices", "offloaded", "layers", "buffers", "doubt"),
    [
        (("Vulkan0: llvmpipe", "CPU: x"), 3, 3, ("CPU", "Vulkan0"), ""),
        (("Vulkan0: llvmpipe", "CPU: x"), 0, 3, ("Vulkan0",), "silent-cpu"),
        (("Vulkan0: llvmpipe", "CPU: x"), 3, 3, ("CPU",), "silent-cpu"),
        (("Vulkan0: llvmpipe",), 0, 0, ("Vulkan0",), "silent-cpu"),
        (("CUDA0: x", "CPU: Vulkan"), 3, 3, ("CUDA0",), "silent-cpu"),
        # What a build lists on a machine with lavapipe alone when nothing selects it.
        (("CPU: AMD EPYC",), 3, 3, ("CPU",), "silent-cpu"),
        ((), 0, 3, (), "device-missing"),
    ],
)
def test_only_a_run_on_the_gpu_is_a_run_on_the_gpu(
    devices: tuple[str, ...], offloaded: int, layers: int, buffers: tuple[str, ...], doubt: str
) -> None:
    evidence = Evidence(
        devices=devices, offloaded=offloaded, layers=layers, log="", buffers=buffers
    )
    said = vulkan.judge(evidence)
    assert (said.kind if said else "") == doubt


# --- garbage -------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(mutated(HEAD + LAVAPIPE + RADEON))
def test_a_broken_summary_makes_up_no_device(text: str) -> None:
    gpus = vulkan_probe.parse_summary(text)
    assert len(gpus) <= len(re.findall(r"(?m)^GPU[0-9]+:", text))
    for one in gpus:
        assert all(part in text for part in (one.name, one.kind, one.api, one.driver))


@settings(max_examples=300, deadline=None)
@given(mutated(answer(LLVMPIPE, gpu(twin=1))))
def test_a_broken_answer_of_the_child_makes_up_no_device(text: str) -> None:
    survey = vulkan_probe.parse_survey(text)
    if survey is not None:
        assert len(survey.gpus) <= text.count('"kind"')
        assert all(json.dumps(one.name)[1:-1] in text for one in survey.gpus if one.name.isascii())


@settings(max_examples=300, deadline=None)
@given(
    mutated(BOTH),
    mutated(HEAD + LAVAPIPE + RADEON),
    mutated(GLSLC),
    mutated(CORE),
    st.one_of(st.none(), st.text(alphabet="012, -x", max_size=5)),
)
def test_detection_never_raises_and_tools_mean_a_build(
    child: str, summary: str, glslc: str, core: str, visible: str | None
) -> None:
    host = machine(
        child,
        vulkaninfo=summary,
        glslc=glslc,
        files=ALL | {"/usr/include/vulkan/vulkan_core.h": core},
        environ={} if visible is None else {"GGML_VK_VISIBLE_DEVICES": visible},
    )
    found = vulkan.detect(host)
    lacking = any(device.lacks for device in found.devices)
    assert len(found.tools) == (3 if found.devices and not lacking else 0)
    assert bool(found.absent) == (lacking or not found.devices)


@settings(max_examples=300, deadline=None)
@example("{}", "")
@given(st.text(max_size=200), st.text(max_size=10))
def test_any_text_is_an_answer(text: str, visible: str) -> None:
    assert vulkan_probe.parse_summary(text) == ()
    assert vulkan_probe.parse_survey(text) is None
    assert vulkan_build.glslc_version(text) is None
    assert vulkan_build.header_version(text) == "unknown"
    assert vulkan.usable((), visible) == ()


@given(
    st.lists(
        st.builds(
            Gpu,
            name=st.just("x"),
            kind=st.sampled_from(["CPU", "DISCRETE_GPU", "INTEGRATED_GPU", "VIRTUAL_GPU", "OTHER"]),
            api=st.sampled_from(["1.0.2", "1.1.70", "1.2.0", "1.4.328"]),
            driver_id=st.integers(0, 30),
            storage16=st.booleans(),
            twin=st.integers(-1, 4),
        ),
        max_size=5,
    )
)
def test_what_is_chosen_by_itself_is_never_software_nor_unsupported(gpus: list[Gpu]) -> None:
    for one in vulkan.usable(tuple(gpus), None):
        assert one in gpus
        assert one.kind != "CPU"
        assert one.storage16
        assert one.api in ("1.2.0", "1.4.328")
