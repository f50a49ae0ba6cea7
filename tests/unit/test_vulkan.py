"""Vulkan: what is there, what a build lacks, and that no device is ever made up."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamabuild.backends import Evidence, vulkan, vulkan_build
from llamabuild.host import Finished, Host
from llamabuild.model import Device
from tests.unit import values
from tests.unit.recorded import RecordedHost

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
OLD = RADEON.replace("1.3.242", "1.1.70").replace("RX 7900 XTX", "HD 7970")
VIRTUAL = RADEON.replace("DISCRETE_GPU", "VIRTUAL_GPU").replace("RX 7900 XTX", "in a VM")
LOADER = {"/usr/lib/x86_64-linux-gnu/libvulkan.so.1": ""}
ICD = {"/usr/share/vulkan/icd.d/radeon_icd.x86_64.json": "{}"}
GLSLC = (
    "shaderc 2023.2-1\nspirv-tools 2022.4+1.3.236.0-1\nglslang 11.13.0-1\n\nTarget: SPIR-V 1.0\n"
)
CORE = """#define VK_HEADER_VERSION 275
#define VK_HEADER_VERSION_COMPLETE VK_MAKE_API_VERSION(0, 1, 3, VK_HEADER_VERSION)
#define VK_EXT_LAYER_SETTINGS_EXTENSION_NAME "VK_EXT_layer_settings"
"""
HEADERS = {"/usr/include/vulkan/vulkan_core.h": CORE}
SPIRV = {
    "/usr/share/cmake/SPIRV-Headers/SPIRV-HeadersConfig.cmake": "include(x)",
    "/usr/share/cmake/SPIRV-Headers/SPIRV-HeadersConfigVersion.cmake": (
        'set(PACKAGE_VERSION "1.5.5")'
    ),
}
ALL = LOADER | ICD | HEADERS | SPIRV


def machine(
    summary: Finished | str = HEAD + LAVAPIPE + RADEON,
    *,
    files: dict[str, str] | None = None,
    vulkaninfo: bool = True,
    glslc: bool = True,
    environ: dict[str, str] | None = None,
    os: str = "linux",
) -> RecordedHost:
    programs = {"vulkaninfo": "/usr/bin/vulkaninfo"} if vulkaninfo else {}
    programs |= {"glslc": "/usr/bin/glslc"} if glslc else {}
    return RecordedHost(
        files=ALL if files is None else files,
        programs=programs,
        answers={"vulkaninfo --summary": summary, "glslc --version": GLSLC},
        environ=environ,
        os=os,
    )


def why(host: Host) -> str:
    found = vulkan.detect(host)
    assert not found.devices
    assert not found.tools
    assert found.absent[0].what == "vulkan"
    assert all(one.why and one.hint for one in found.absent)
    return found.absent[0].why


def test_a_gpu_with_all_it_needs_is_a_device_and_software_is_not() -> None:
    found = vulkan.detect(machine())
    assert found.devices == (
        Device(
            backend="vulkan",
            name="AMD Radeon RX 7900 XTX (RADV NAVI31)",
            architecture="",
            driver="Mesa 23.1.2 (Vulkan 1.3.242)",
        ),
    )
    versions = [(tool.name, tool.version) for tool in found.tools]
    assert versions == [
        ("glslc", "2023.2"),
        ("vulkan-headers", "1.3.275"),
        ("spirv-headers", "1.5.5"),
    ]
    assert found.absent == ()


@pytest.mark.parametrize("os", ["linux", "macos", "windows", "plan9"])
def test_without_a_loader_nothing_is_started(os: str) -> None:
    host = machine(files={}, os=os)
    assert "no Vulkan loader" in why(host)
    assert host.started == []


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
    files = HEADERS | SPIRV | {path: ""}
    assert vulkan.detect(machine(files=files, environ=environ, os=os)).devices


def test_switched_off_by_the_user() -> None:
    host = machine(environ={"GGML_DISABLE_VULKAN": "1"})
    assert why(host) == "GGML_DISABLE_VULKAN is set"
    assert host.started == []


def test_without_vulkaninfo_the_drivers_are_named() -> None:
    host = machine(vulkaninfo=False)
    assert "radeon_icd.x86_64.json" in why(host)
    assert "vulkan-tools" in vulkan.detect(host).absent[0].hint
    assert why(machine(vulkaninfo=False, files=LOADER)) == "no Vulkan driver is installed"
    named = {"VK_DRIVER_FILES": "/mine.json:/gone.json"}
    mine = machine(vulkaninfo=False, files=LOADER | {"/mine.json": "{}"}, environ=named)
    assert "(mine.json)" in why(mine)
    assert mine.started == []


def test_a_hanging_driver_is_named() -> None:
    hung = Finished(code=-9, out="", err="", timed_out=True)
    assert "did not answer within 5 seconds" in why(machine(hung))


@pytest.mark.parametrize("files", [ALL, LOADER])
def test_a_failing_vulkaninfo_is_no_device(files: dict[str, str]) -> None:
    failed = Finished(
        code=1, out="Cannot create Vulkan instance.\n", err="ERROR_INCOMPATIBLE_DRIVER"
    )
    expected = "vulkaninfo lists no device" if files == ALL else "no Vulkan driver is installed"
    assert why(machine(failed, files=files)) == expected


def test_software_is_used_only_when_it_is_asked_for() -> None:
    assert "is software: it computes on the CPU" in why(machine(HEAD + LAVAPIPE))
    asked = machine(HEAD + LAVAPIPE, environ={"GGML_VK_VISIBLE_DEVICES": "0"})
    assert vulkan.detect(asked).devices[0].name.startswith("llvmpipe")
    wrong = machine(HEAD + LAVAPIPE, environ={"GGML_VK_VISIBLE_DEVICES": "3"})
    assert "selects none of the usable devices" in why(wrong)


def test_ggml_asks_for_vulkan_1_2_and_takes_one_odd_device_for_want_of_a_gpu() -> None:
    assert "Vulkan 1.2 is needed" in why(machine(HEAD + OLD))
    found = vulkan.detect(machine(HEAD + LAVAPIPE + VIRTUAL + VIRTUAL.replace("GPU1", "GPU2")))
    assert [device.name for device in found.devices] == ["AMD Radeon in a VM (RADV NAVI31)"]


@pytest.mark.parametrize(
    ("files", "glslc", "missing", "package"),
    [
        (ALL, False, "glslc", "apt install glslc"),
        (LOADER | SPIRV, True, "vulkan-headers", "apt install libvulkan-dev"),
        (LOADER | HEADERS, True, "spirv-headers", "apt install spirv-headers"),
    ],
)
def test_each_missing_piece_is_named_with_its_package(
    files: dict[str, str], glslc: bool, missing: str, package: str
) -> None:
    host = machine(files=files, glslc=glslc)
    assert f"these are missing: {missing}" in why(host)
    first, second = vulkan.detect(host).absent
    assert second.what == missing
    assert package in second.hint
    assert package in first.hint


def test_headers_that_would_not_compile_are_refused() -> None:
    old = CORE.replace("VK_EXT_layer_settings", "x").replace("275", "239")
    host = machine(files=ALL | {"/usr/include/vulkan/vulkan_core.h": old})
    assert "vulkan-headers" in why(host)
    assert "(1.3.239) is too old" in vulkan.detect(host).absent[1].why


def test_the_vulkan_sdk_comes_first() -> None:
    sdk = {"/sdk/include/vulkan/vulkan_core.h": CORE.replace("275", "300")}
    found = vulkan.detect(machine(files=ALL | sdk, environ={"VULKAN_SDK": "/sdk"}))
    assert [tool.version for tool in found.tools if tool.name == "vulkan-headers"] == ["1.3.300"]


def test_debugging_aids_are_off() -> None:
    flags = vulkan.flags(values.hardware(), values.toolchain())
    assert flags
    assert all(flag.value is False and flag.why for flag in flags)


@pytest.mark.parametrize(
    ("devices", "offloaded", "layers", "good"),
    [
        (("Vulkan0: llvmpipe", "CPU: x"), 3, 3, True),
        (("Vulkan0: llvmpipe", "CPU: x"), 0, 3, False),
        (("Vulkan0: llvmpipe",), 0, 0, False),
        (("CUDA0: x", "CPU: Vulkan"), 3, 3, False),
        ((), 0, 3, False),
    ],
)
def test_only_a_run_on_the_gpu_is_a_run_on_the_gpu(
    devices: tuple[str, ...], offloaded: int, layers: int, good: bool
) -> None:
    evidence = Evidence(devices=devices, offloaded=offloaded, layers=layers, log="")
    assert (vulkan.judge(evidence) is None) == good


# --- garbage -------------------------------------------------------------------------------------


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """The text with a piece cut out, doubled or replaced by anything, up to four times."""
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 60)))
        middle = draw(st.one_of(st.just(""), st.just(text[start:end] * 2), st.text(max_size=12)))
        text = text[:start] + middle + text[end:]
    return text


@settings(max_examples=300, deadline=None)
@given(mutated(HEAD + LAVAPIPE + RADEON))
def test_a_broken_summary_makes_up_no_device(text: str) -> None:
    gpus = vulkan.parse_summary(text)
    assert len(gpus) <= len(re.findall(r"(?m)^GPU[0-9]+:", text))
    for gpu in gpus:
        assert all(part in text for part in (gpu.name, gpu.kind, gpu.api, gpu.driver))


@settings(max_examples=300, deadline=None)
@given(mutated(HEAD + LAVAPIPE + RADEON), mutated(GLSLC), mutated(CORE))
def test_detection_never_raises_and_devices_have_tools(summary: str, glslc: str, core: str) -> None:
    host = RecordedHost(
        files=ALL | {"/usr/include/vulkan/vulkan_core.h": core},
        programs={"vulkaninfo": "/usr/bin/vulkaninfo", "glslc": "/usr/bin/glslc"},
        answers={"vulkaninfo": summary, "glslc": glslc},
        environ={},
    )
    found = vulkan.detect(host)
    assert len(found.tools) == (3 if found.devices else 0)
    assert found.devices or found.absent


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200), st.text(max_size=10))
def test_any_text_is_an_answer(text: str, visible: str) -> None:
    assert vulkan.parse_summary(text) == ()
    assert vulkan_build.glslc_version(text) is None
    assert vulkan_build.header_version(text) == "unknown"
    assert vulkan.usable((), visible) == ()
