"""Metal: which Mac has a GPU for ggml, what a build lacks, and that no GPU is ever made up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild.backends import Evidence, apple, metal
from llamabuild.host import Finished, Memory
from llamabuild.model import Device, Tool, Toolchain
from tests.unit import values
from tests.unit.recorded import RecordedHost

SYSCTL = Path(__file__).parents[1] / "machines" / "sysctl"

# system_profiler SPDisplaysDataType -json of a MacBook Air with M1 and macOS 13.
M1 = """{
  "SPDisplaysDataType" : [
    {
      "_name" : "kHW_AppleM1Item",
      "spdisplays_mtlgpufamilysupport" : "spdisplays_metal3",
      "spdisplays_ndrvs" : [
        {
          "_name" : "Color LCD",
          "_spdisplays_display-product-id" : "a047",
          "_spdisplays_display-serial-number" : "0",
          "_spdisplays_display-vendor-id" : "610",
          "_spdisplays_pixels" : "2880 x 1800",
          "spdisplays_connection_type" : "spdisplays_internal",
          "spdisplays_main" : "spdisplays_yes"
        }
      ],
      "spdisplays_vendor" : "sppci_vendor_Apple",
      "sppci_bus" : "spdisplays_builtin",
      "sppci_cores" : "7",
      "sppci_device_type" : "spdisplays_gpu",
      "sppci_model" : "Apple M1"
    }
  ]
}
"""
# The same of macOS 11, which has another word for what the GPU can.
M1_BIG_SUR = """{
  "SPDisplaysDataType" : [
    {
      "_name" : "kHW_AppleM1Item",
      "spdisplays_metalfamily" : "spdisplays_mtlgpufamilyapple7",
      "spdisplays_vendor" : "sppci_vendor_Apple",
      "sppci_bus" : "spdisplays_builtin",
      "sppci_cores" : "8",
      "sppci_device_type" : "spdisplays_gpu",
      "sppci_model" : "Apple M1"
    }
  ]
}
"""
# A MacBook Pro 16" of 2019, composed from the fields and values of such machines.
INTEL = """{
  "SPDisplaysDataType" : [
    {
      "_name" : "kHW_IntelUHDGraphics630Item",
      "_spdisplays_vram" : "1536 MB",
      "spdisplays_device-id" : "0x3e9b",
      "spdisplays_metal" : "spdisplays_supported",
      "spdisplays_vendor" : "Intel",
      "spdisplays_vram_shared" : "1536 MB",
      "sppci_bus" : "spdisplays_builtin",
      "sppci_device_type" : "spdisplays_gpu",
      "sppci_model" : "Intel UHD Graphics 630"
    },
    {
      "_name" : "kHW_AMDRadeonPro5500MItem",
      "spdisplays_device-id" : "0x7340",
      "spdisplays_mtlgpufamilysupport" : "spdisplays_metal3",
      "spdisplays_vendor" : "sppci_vendor_amd",
      "spdisplays_vram" : "8 GB",
      "sppci_bus" : "spdisplays_pcie_device",
      "sppci_device_type" : "spdisplays_gpu",
      "sppci_model" : "AMD Radeon Pro 5500M"
    }
  ]
}
"""
TOOLS = "/Library/Developer/CommandLineTools\n"
PROFILER = "system_profiler SPDisplaysDataType -json"
SDK = "xcrun --sdk macosx --show-sdk-version"


class Mac(RecordedHost):
    def __init__(
        self,
        answers: dict[str, Finished | str],
        *,
        arch: str = "aarch64",
        version: str = "15.1",
    ) -> None:
        super().__init__(os="macos", answers=answers)
        self.arch, self.version = arch, version

    def system(self) -> tuple[str, str, str]:
        return "macos", self.version, self.arch

    def memory(self) -> Memory:
        return Memory(total=16 << 30, available=9 << 30)


def answers(name: str = "m1", profiler: Finished | str = M1) -> dict[str, Finished | str]:
    return {
        "sysctl hw.optional machdep.cpu": (SYSCTL / f"{name}.txt").read_text(),
        PROFILER: profiler,
        "xcode-select -p": TOOLS,
        SDK: "15.2\n",
    }


# --- what is there -------------------------------------------------------------------------------


def test_a_mac_with_apple_silicon() -> None:
    found = metal.detect(Mac(answers()))
    assert found.devices == (
        Device(
            backend="metal",
            name="Apple M1",
            architecture="",
            memory=16 << 30,
            driver="Metal 3",
            vendor="apple",
            kind="integrated",
        ),
    )
    (tool,) = found.tools
    assert (tool.name, tool.version, tool.path) == (apple.SDK, "15.2", TOOLS.strip())
    assert tool.digest
    assert found.absent == ()


def test_an_older_macos_has_other_words() -> None:
    (device,) = metal.detect(Mac(answers(profiler=M1_BIG_SUR))).devices
    assert (device.name, device.driver) == ("Apple M1", "Metal (Apple 7)")


@pytest.mark.parametrize(
    "profiler",
    [
        Finished(code=0, out='{\n  "SPDisplaysDataType" : [ ]\n}\n', err=""),
        Finished(code=1, out=M1, err=""),
        Finished(code=-9, out="", err="", timed_out=True),
        Finished(code=127, out="", err="not found"),
        Finished(code=0, out="Graphics/Displays:\n", err=""),
    ],
)
def test_without_system_profiler_the_cpu_names_the_chip(profiler: Finished) -> None:
    (device,) = metal.detect(Mac(answers("m4", profiler))).devices
    assert (device.name, device.driver) == ("Apple M4 Max", "")


def test_a_virtual_machine_has_no_gpu_for_ggml() -> None:
    told = answers(profiler='{"SPDisplaysDataType" : []}')
    told["sysctl hw.optional machdep.cpu"] = "machdep.cpu.brand_string: Apple M1 (Virtual)\n"
    host = Mac(told)
    found = metal.detect(host)
    assert found.devices == ()
    assert "virtual machine (Apple M1 (Virtual))" in found.absent[0].why
    assert len(host.started) == 1


def test_a_chip_that_nobody_names() -> None:
    found = metal.detect(Mac({}))
    assert found.devices == ()
    assert "names no Apple GPU" in found.absent[0].why
    assert "system_profiler" in found.absent[0].hint


def test_an_intel_mac() -> None:
    found = metal.detect(Mac({PROFILER: INTEL}, arch="x86_64"))
    assert found.devices == ()
    (absence,) = found.absent
    assert absence.seen == "Intel UHD Graphics 630, AMD Radeon Pro 5500M"
    assert absence.why.startswith(absence.seen)
    assert "MoltenVK" in absence.hint


def test_an_intel_mac_that_does_not_name_its_gpu() -> None:
    (absence,) = metal.detect(Mac({}, arch="x86_64")).absent
    assert absence.why.startswith("the GPU of this Intel Mac")


def test_an_intel_python_on_apple_silicon() -> None:
    told: dict[str, Finished | str] = {"sysctl -n sysctl.proc_translated": "1\n", PROFILER: M1}
    host = Mac(told, arch="x86_64")
    (absence,) = metal.detect(host).absent
    assert "an Intel program under Rosetta" in absence.why
    assert "arm64" in absence.hint
    assert host.started == ["sysctl -n sysctl.proc_translated"]


@pytest.mark.parametrize("os", ["linux", "windows", "freebsd"])
def test_elsewhere_there_is_no_metal(os: str) -> None:
    host = RecordedHost(os=os)
    (absence,) = metal.detect(host).absent
    assert "only on macOS" in absence.why
    assert absence.hint
    assert host.started == []


# --- what a build needs --------------------------------------------------------------------------

NO_TOOLS = Finished(
    code=2,
    out="",
    err="xcode-select: error: unable to get active developer directory, use `xcode-select --switch "
    "path/to/Xcode.app` to set one (or see `man xcode-select`)\n",
)
NO_SDK = Finished(
    code=1,
    out="",
    err='xcodebuild: error: SDK "macosx" cannot be located.\n'
    "xcrun: error: unable to lookup item 'SDKVersion' in SDK 'macosx'\n",
)
NO_LICENCE = Finished(
    code=69,
    out="",
    err="You have not agreed to the Xcode license agreements. Please run 'sudo xcodebuild "
    "-license' from within a Terminal window to review and agree to the Xcode and Apple SDKs "
    "license.\n",
)
XCODE = "/Applications/Xcode.app/Contents/Developer\n"


@pytest.mark.parametrize(
    ("folder", "sdk", "lacks", "hint"),
    [
        (NO_TOOLS, "15.2\n", "Xcode's command line tools", "xcode-select --install"),
        (Finished(code=0, out="", err=""), "15.2\n", "Xcode's command", "xcode-select --install"),
        (TOOLS, NO_SDK, "a working macOS SDK", "xcode-select --install"),
        (XCODE, NO_SDK, "a working macOS SDK", "xcode-select --reset"),
        (XCODE, NO_LICENCE, "a working macOS SDK", "xcodebuild -license accept"),
        (TOOLS, "N/A\n", "a working macOS SDK", "xcode-select --install"),
        (TOOLS, Finished(code=-9, out="15.2\n", err="", timed_out=True), "a working", "xcode"),
    ],
)
def test_a_gpu_that_cannot_be_built_for(
    folder: Finished | str, sdk: Finished | str, lacks: str, hint: str
) -> None:
    found = metal.detect(Mac(answers() | {"xcode-select -p": folder, SDK: sdk}))
    (device,), (absence,) = found.devices, found.absent
    assert device.lacks.startswith(lacks)
    assert found.tools == ()
    assert absence.what == "metal"
    assert absence.seen == "Apple M1"
    assert hint in absence.hint


def test_without_the_tools_xcrun_opens_no_window() -> None:
    host = Mac(answers() | {"xcode-select -p": NO_TOOLS})
    metal.detect(host)
    assert not any("xcrun" in command for command in host.started)


@pytest.mark.parametrize(
    ("system", "sdk", "target"),
    [
        ("15.3.1", "15.2", "15.0"),
        ("15.0", "14.5", "14.5"),
        ("14.7.1", "15.0", "14.0"),
        ("13.6", "14.2", "13.3"),
        ("13.2.1", "13.1", "13.0"),
        ("12.7", "13.1", "12.0"),
        ("26.1", "26.0", "26.0"),
        ("26.1", "15.5", "15.5"),
        ("16.0", "26.0", "26.0"),
        ("15.1", "", "15.0"),
        ("", "15.2", "0.0"),
    ],
)
def test_which_macos_a_build_is_for(system: str, sdk: str, target: str) -> None:
    assert apple.deployment_target(system, sdk) == target


# --- options -------------------------------------------------------------------------------------


def flags(arch: str = "aarch64", version: str = "15.1") -> dict[str, bool | str]:
    hardware = replace(values.hardware(), os="macos", os_version=version, arch=arch)
    toolchain = Toolchain(tools=(Tool(name=apple.SDK, version="15.2"),))
    found = metal.flags(hardware, toolchain)
    assert all(flag.why for flag in found)
    assert found == metal.flags(hardware, toolchain)
    return {flag.name: flag.value for flag in found}


def test_options() -> None:
    assert flags() == {
        "GGML_METAL_EMBED_LIBRARY": True,
        "GGML_METAL_NDEBUG": False,
        "GGML_METAL_SHADER_DEBUG": False,
        "GGML_METAL_MACOSX_VERSION_MIN": "",
        "GGML_METAL_STD": "",
        "CMAKE_OSX_DEPLOYMENT_TARGET": "15.0",
        "CMAKE_OSX_ARCHITECTURES": "arm64",
    }
    assert flags(arch="x86_64")["CMAKE_OSX_ARCHITECTURES"] == "x86_64"


# --- proof ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MTL0: Apple M1", "Metal: Apple M1"])
def test_a_run_on_the_gpu(name: str) -> None:
    held = (f"{name.partition(':')[0]}_Mapped",)
    devices = (name, "CPU: Apple M1")
    good = Evidence(devices=devices, offloaded=3, layers=3, log="", buffers=held)
    assert metal.judge(good) is None
    doubt = metal.judge(replace(good, offloaded=2))
    assert doubt is not None
    assert (doubt.kind, doubt.why) == ("silent-cpu", "2 of 3 layers were given to the device")


def test_a_run_without_the_gpu() -> None:
    doubt = metal.judge(Evidence(devices=("CPU: Apple M1",), offloaded=3, layers=3, log=""))
    assert doubt is not None
    assert doubt.why == "ggml lists no MTL device (listed: CPU: Apple M1)"


# --- laws ----------------------------------------------------------------------------------------

junk = st.one_of(
    st.text(),
    st.sampled_from(["null", "[]", "{}", '{"SPDisplaysDataType": 1}', "[" * 100_000]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(lambda value: json.dumps({"SPDisplaysDataType": value})),
    st.lists(
        st.dictionaries(
            st.sampled_from(["_name", "sppci_model", "spdisplays_metalfamily"]),
            st.none() | st.text() | st.integers() | st.just("Apple M3 Pro"),
        )
    ).map(lambda value: json.dumps({"SPDisplaysDataType": value})),
)


@given(junk, st.text(), st.text(), st.text())
def test_no_gpu_is_made_up(profiler: str, cpu: str, folder: str, sdk: str) -> None:
    told: dict[str, Finished | str] = {
        "sysctl hw.optional": cpu,
        PROFILER: profiler,
        "xcode-select": folder,
        "xcrun": sdk,
    }
    for arch in ("aarch64", "x86_64"):
        found = metal.detect(Mac(told, arch=arch))
        assert found.devices or found.absent
        for device in found.devices:
            assert arch == "aarch64"
            assert device.name in profiler or device.name in cpu
            assert device.name.startswith("Apple ")
