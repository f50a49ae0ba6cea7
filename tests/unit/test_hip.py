"""ROCm: what is there, what a build lacks, and that no GPU is ever made up."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamabuild.backends import Evidence, hip, hip_build, hip_facts, hip_probe
from llamabuild.host import Finished, Host
from llamabuild.model import Device, Flag, Hardware, Tool
from tests.unit import values
from tests.unit.mutations import mutated
from tests.unit.recorded import RecordedHost

KFD = "/sys/class/kfd/kfd/topology/nodes"
# Linux 6.x, as AMD's device plugin for Kubernetes keeps them: a CPU node, an MI210, a partition of
# an MI300X; then a Radeon RX 7900 XTX (tinygrad's mock of KFD). Shortened.
CPU_NODE = """cpu_cores_count 64
simd_count 0
mem_banks_count 1
caches_count 0
io_links_count 5
lds_size_in_kb 0
wave_front_size 0
gfx_target_version 0
vendor_id 0
device_id 0
location_id 0
domain 0
drm_render_minor 0
max_engine_clk_ccompute 2450
"""
MI210_NODE = """cpu_cores_count 0
simd_count 416
mem_banks_count 1
caches_count 217
io_links_count 4
lds_size_in_kb 64
wave_front_size 64
simd_per_cu 4
gfx_target_version 90010
vendor_id 4098
device_id 29711
location_id 25344
domain 0
drm_render_minor 128
hive_id 12609507387757274807
local_mem_size 0
fw_version 92
unique_id 1801979520617338022
num_xcc 1
max_engine_clk_ccompute 2450
"""
MI300X_NODE = MI210_NODE.replace("90010", "90402").replace("29711", "29857")
NAVI31_NODE = """cpu_cores_count 0
simd_count 192
mem_banks_count 1
gfx_target_version 110000
vendor_id 4098
device_id 29772
local_mem_size 0
unique_id 11673270660693242239
"""
NAVI32_NODE = NAVI31_NODE.replace("110000", "110001").replace("29772", "29822")
RAPHAEL_NODE = NAVI31_NODE.replace("110000", "100306").replace("29772", "5056")
# Vega 10 of an old kernel: no gfx_target_version yet (before Linux 5.12).
OLD_NODE = "cpu_cores_count 0\nsimd_count 256\nvendor_id 4098\ndevice_id 26720\n"
BANK = "heap_type 1\nsize_in_bytes 17163091968\nflags 0\nwidth 2048\nmem_clk_max 945\n"

ROCMINFO_HEAD = """\x1b[37mROCk module version 6.14.14 is loaded\x1b[0m
=====================
HSA System Attributes
=====================
Runtime Version:         1.18
Runtime Ext Version:     1.15
System Timestamp Freq.:  1000.000000MHz
Machine Model:           LARGE
System Endianness:       LITTLE
Mwaitx:                  DISABLED
XNACK enabled:           NO
DMAbuf Support:          YES
VMM Support:             YES

==========
HSA Agents
==========
*******
Agent 1
*******
  Name:                    AMD Ryzen 7 9800X3D 8-Core Processor
  Uuid:                    CPU-XX
  Marketing Name:          AMD Ryzen 7 9800X3D 8-Core Processor
  Vendor Name:             CPU
  Feature:                 None specified
  Profile:                 FULL_PROFILE
  Node:                    0
  Device Type:             CPU
  Cache Info:
    L1:                      49152(0xc000) KB
  Internal Node ID:        0
  Compute Unit:            16
  Memory Properties:
  Features:                None
  Pool Info:
    Pool 1
      Segment:                 GLOBAL; FLAGS: FINE GRAINED
      Size:                    31908624(0x1e6e310) KB
      Accessible by all:       TRUE
    Pool 4
      Segment:                 GLOBAL; FLAGS: COARSE GRAINED
      Size:                    31908624(0x1e6e310) KB
      Accessible by all:       TRUE
  ISA Info:
"""
NAVI32_AGENT = """*******
Agent 2
*******
  Name:                    gfx1101
  Uuid:                    GPU-0123456789abcdef
  Marketing Name:          AMD Radeon RX 7800 XT
  Vendor Name:             AMD
  Feature:                 KERNEL_DISPATCH
  Profile:                 BASE_PROFILE
  Float Round Mode:        NEAR
  Node:                    1
  Device Type:             GPU
  Cache Info:
    L1:                      32(0x20) KB
    L2:                      4096(0x1000) KB
    L3:                      65536(0x10000) KB
  Chip ID:                 29822(0x747e)
  Compute Unit:            60
  Memory Properties:
  Features:                KERNEL_DISPATCH
  Wavefront Size:          32(0x20)
  Workgroup Max Size per Dimension:
    x                        1024(0x400)
  Pool Info:
    Pool 1
      Segment:                 GLOBAL; FLAGS: COARSE GRAINED
      Size:                    16760832(0xffc000) KB
      Allocatable:             TRUE
      Accessible by all:       FALSE
    Pool 2
      Segment:                 GLOBAL; FLAGS: EXTENDED FINE GRAINED
      Size:                    16760832(0xffc000) KB
      Accessible by all:       FALSE
    Pool 3
      Segment:                 GROUP
      Size:                    64(0x40) KB
  ISA Info:
    ISA 1
      Name:                    amdgcn-amd-amdhsa--gfx1101
      Machine Models:          HSA_MACHINE_MODEL_LARGE
    ISA 2
      Name:                    amdgcn-amd-amdhsa--gfx11-generic
      FBarrier Max Size:       32
"""
RAPHAEL_AGENT = """*******
Agent 3
*******
  Name:                    gfx1036
  Uuid:                    GPU-XX
  Marketing Name:          AMD Ryzen 7 9800X3D 8-Core Processor
  Vendor Name:             AMD
  Feature:                 KERNEL_DISPATCH
  Node:                    2
  Device Type:             GPU
  Compute Unit:            2
  Memory Properties:       APU
  Pool Info:
    Pool 1
      Segment:                 GLOBAL; FLAGS: COARSE GRAINED
      Size:                    15954312(0xf37188) KB
  ISA Info:
    ISA 1
      Name:                    amdgcn-amd-amdhsa--gfx1036
"""
DONE = "*** Done ***             \n"
# ROCm 7.2.1's rocminfo for a Radeon RX 7800 XT beside a Ryzen 7 9800X3D, shortened.
ROCMINFO = ROCMINFO_HEAD + NAVI32_AGENT + RAPHAEL_AGENT + DONE
# ROCm 6.1.0's rocminfo for a user outside the group render, with its colours.
DENIED = (
    "\x1b[37mROCk module version 6.7.0 is loaded\x1b[0m\n"
    "\x1b[31mUnable to open /dev/kfd read-write: Permission denied\x1b[0m\n"
    '\x1b[31muser is not member of "render" group, the default DRM access group. Users must be '
    'a member of the "render" group or another DRM access group in order for ROCm applications '
    "to run successfully.\x1b[0m\n"
)
NOT_LOADED = "\x1b[31mROCk module is NOT loaded, possibly no GPU devices\x1b[0m\n"

# ROCm 7.2.1 in /opt/rocm.
CLANG = """AMD clang version 22.0.0git (https://github.com/RadeonOpenCompute/llvm-project roc-7.2.1)
Target: x86_64-unknown-linux-gnu
Thread model: posix
InstalledDir: /opt/rocm-7.2.1/lib/llvm/bin
"""
KERNELS = (
    *("gfx908", "gfx90a", "gfx942", "gfx950", "gfx1030", "gfx1100", "gfx1101", "gfx1102"),
    *("gfx1150", "gfx1151", "gfx1200", "gfx1201"),
)


def rocm(root: str = "/opt/rocm", version: str = "7.2.53211", lib: str = "lib") -> dict[str, str]:
    """The files of a ROCm that a build is made with."""
    cmake = f"{root}/{lib}/cmake"
    text = (
        '# This is a basic version file\n\nset(PACKAGE_VERSION "{}")\n\nif(PACKAGE_VERSION ...)\n'
    )
    packages = {"hip": version, "hip-lang": version, "hipblas": "3.2.0", "rocblas": "5.2.0"}
    library = f"{root}/{lib}/rocblas/library"
    files = {f"{cmake}/{name}/{name}-config.cmake": "include(x)" for name in packages}
    files |= {
        f"{cmake}/{name}/{name}-config-version.cmake": text.format(number)
        for name, number in packages.items()
    }
    files |= {f"{library}/TensileLibrary_lazy_{gfx}.dat": "" for gfx in KERNELS}
    files |= {f"{library}/Kernels.so-000-gfx90a-xnack+.hsaco": "", f"{library}/x_gfx11-2.co": ""}
    files |= {f"{root}/bin/hipconfig": "", f"{root}/amdgcn/bitcode/ocml.bc": ""}
    return files | {f"{root}/lib/llvm/bin/clang++": ""}


ROCM = rocm() | {"/opt/rocm/.info/version": "7.2.1-81\n"}
DEVICE = {"/dev/kfd": "", "/sys/module/amdgpu/version": "6.14.14\n"}
NODES = {
    f"{KFD}/0/properties": CPU_NODE,
    f"{KFD}/1/properties": NAVI32_NODE,
    f"{KFD}/1/mem_banks/0/properties": BANK,
    f"{KFD}/2/properties": RAPHAEL_NODE,
    f"{KFD}/2/mem_banks/0/properties": BANK.replace("17163091968", "16337215488"),
}
DESKTOP = DEVICE | NODES | ROCM
CARD = {
    "/sys/bus/pci/devices/0000:03:00.0/class": "0x030000\n",
    "/sys/bus/pci/devices/0000:03:00.0/vendor": "0x1002\n",
    "/sys/bus/pci/devices/0000:03:00.0/device": "0x744c\n",
}


def machine(
    rocminfo: Finished | str | None = ROCMINFO,
    *,
    files: dict[str, str] | None = None,
    clang: Finished | str = CLANG,
    environ: dict[str, str] | None = None,
    os: str = "linux",
    hipconfig: Finished | str = "",
) -> RecordedHost:
    said = {"clang++ --version": clang, "hipconfig --hipclangpath": hipconfig}
    return RecordedHost(
        files=DESKTOP if files is None else files,
        programs={} if rocminfo is None else {"rocminfo": "/opt/rocm/bin/rocminfo"},
        answers=said if rocminfo is None else {"rocminfo": rocminfo, **said},
        environ=environ,
        os=os,
    )


def why(host: Host) -> str:
    """The first reason, where no device is there."""
    found = hip.detect(host)
    assert not found.devices
    assert not found.tools
    assert all(one.what == "hip" and one.why and one.hint for one in found.absent)
    return found.absent[0].why


def lacking(host: Host) -> tuple[Device, str, str]:
    """The first device, which lacks something, with the reason and the hint told for it."""
    found = hip.detect(host)
    assert all(one.lacks for one in found.devices)
    assert not found.tools
    assert all(one.what == "hip" and one.why and one.hint and one.seen for one in found.absent)
    return found.devices[0], found.absent[0].why, found.absent[0].hint


def test_a_desktop_with_a_card_and_a_gpu_in_the_cpu() -> None:
    found = hip.detect(machine())
    assert found.devices == (
        Device(
            backend="hip",
            name="AMD Radeon RX 7800 XT",
            architecture="gfx1101",
            memory=17163091968,
            driver="amdgpu 6.14.14",
            vendor="amd",
            kind="discrete",
        ),
        Device(
            backend="hip",
            name="AMD RDNA2 GPU (gfx1036)",
            architecture="gfx1036",
            memory=16337215488,
            driver="amdgpu 6.14.14",
            vendor="amd",
            kind="integrated",
            lacks="rocBLAS kernels for gfx1036",
        ),
    )
    assert [(tool.name, tool.version) for tool in found.tools] == [
        ("rocm", "7.2.1"),
        ("hip", "7.2.53211"),
        ("hipblas", "3.2.0"),
        ("rocblas", "5.2.0"),
        ("hip-clang", "22.0.0"),
        ("rocm-device-libs", ""),
    ]
    assert all(tool.digest for tool in found.tools if tool.version)
    (missing,) = found.absent
    assert "not for gfx1036 (AMD never had them)" in missing.why
    assert missing.hint == "Nothing to do: another AMD GPU is used."


def test_a_server_without_rocminfo_is_read_from_the_kernel() -> None:
    files = DEVICE | ROCM
    for number, text in enumerate([CPU_NODE, CPU_NODE, MI210_NODE, MI210_NODE]):
        files |= {f"{KFD}/{number}/properties": text}
        files |= {f"{KFD}/{number}/mem_banks/0/properties": BANK.replace("17163", "68702")}
    host = machine(None, files=files)
    found = hip.detect(host)
    assert [(one.name, one.architecture, one.memory, one.kind) for one in found.devices] == [
        ("AMD CDNA2 GPU (gfx90a)", "gfx90a", 68702091968, "discrete")
    ] * 2
    assert host.started == ["/opt/rocm/lib/llvm/bin/clang++ --version"]


def test_kernels_of_other_systems() -> None:
    # Old kernels do not tell the architecture; rocminfo does. Memory comes from its pool then.
    old = DEVICE | ROCM | {f"{KFD}/0/properties": CPU_NODE, f"{KFD}/1/properties": OLD_NODE}
    found = hip.detect(machine(files=old))
    assert [(d.architecture, d.memory >> 10) for d in found.devices] == [
        ("gfx1101", 16760832),
        ("gfx1036", 15954312),
    ]
    # WSL has no KFD, but the host's device; rocminfo is the only one to ask.
    wsl = {"/dev/dxg": ""} | ROCM
    assert hip.detect(machine(files=wsl)).devices[0].driver == "amdgpu"
    assert why(machine(None, files=wsl)) == "no AMD GPU is here"
    # An MI300A answers for CPU cores and GPU in one node.
    apu = MI300X_NODE.replace("cpu_cores_count 0", "cpu_cores_count 24")
    files = DEVICE | ROCM | {f"{KFD}/0/properties": apu}
    assert hip.detect(machine(None, files=files)).devices[0].kind == "integrated"


def test_without_an_amd_gpu_nothing_is_started() -> None:
    for files in ({}, ROCM, {"/dev/dxg": ""}):
        host = machine(None, files=files)
        assert why(host) == "no AMD GPU is here"
        assert host.started == []


def test_a_card_without_its_driver_is_told() -> None:
    host = machine(None, files=CARD)
    assert why(host) == "an AMD GPU is here, but no driver for it is loaded"
    assert hip.detect(host).absent[0].seen == "an AMD GPU (PCI id 744c)"
    assert "modprobe amdgpu" in hip.detect(host).absent[0].hint
    bound = CARD | {"/sys/bus/pci/devices/0000:03:00.0/driver/module": ""}
    assert "offers no compute (KFD)" in why(machine(None, files=bound))


def test_a_container_that_was_not_given_the_device() -> None:
    host = machine(files={k: v for k, v in DESKTOP.items() if k != "/dev/kfd"})
    assert why(host).endswith("is here, but there is no /dev/kfd")
    assert "--device=/dev/kfd" in hip.detect(host).absent[0].hint
    assert host.started == []


@pytest.mark.parametrize(
    ("answer", "said", "todo"),
    [
        (Finished(code=1, out=DENIED, err=""), "this user may not open /dev/kfd", "render,video"),
        (Finished(code=0, out="", err=DENIED), "this user may not open /dev/kfd", "usermod -aG"),
        (
            Finished(code=1, out=DENIED.replace("Permission denied", "Invalid argument"), err=""),
            "rocminfo: Unable to open /dev/kfd read-write: Invalid argument",
            "dmesg",
        ),
        (Finished(code=1, out=NOT_LOADED, err=""), "amdgpu is not loaded", "modprobe amdgpu"),
        (
            Finished(code=-9, out=ROCMINFO, err="", timed_out=True),
            "did not answer within 5 seconds",
            "Restart",
        ),
        (Finished(code=-11, out="", err=""), "rocminfo does not work (SIGSEGV)", "Run `rocminfo`"),
        (Finished(code=127, out="", err="no such file"), "(exit code 127)", "Run `rocminfo`"),
        (Finished(code=-6, out=ROCMINFO, err=""), "(SIGABRT)", "Run `rocminfo`"),
        (ROCMINFO.replace(DONE, ""), "rocminfo lists no GPU", "Run `rocminfo`"),
        (ROCMINFO_HEAD + DONE, "rocminfo lists no GPU", "Run `rocminfo`"),
        ("Speicherzugriffsfehler\n", "rocminfo lists no GPU", "Run `rocminfo`"),
        ("", "rocminfo lists no GPU", "Run `rocminfo`"),
    ],
)
def test_a_driver_that_cannot_be_used_says_why(
    answer: Finished | str, said: str, todo: str
) -> None:
    host = machine(answer)
    assert said in why(host)
    (absent,) = hip.detect(host).absent
    assert absent.seen == "AMD RDNA3 GPU (gfx1101), AMD RDNA2 GPU (gfx1036)"
    assert todo in absent.hint


@pytest.mark.parametrize("variable", ["HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"])
def test_gpus_that_the_user_hides(variable: str) -> None:
    assert why(machine(environ={variable: "-1"})).startswith(f"{variable} hides AMD Radeon RX 7800")
    assert hip.detect(machine(environ={variable: "0"})).devices


def test_an_architecture_that_is_not_known_is_no_device() -> None:
    new = ROCMINFO.replace("gfx1101", "gfx1399").replace(RAPHAEL_AGENT, "")
    assert "gfx1399 is not an architecture that llamabuild knows" in why(machine(new))
    both = hip.detect(machine(ROCMINFO.replace("gfx1036", "gfx1399")))
    assert [one.architecture for one in both.devices] == ["gfx1101"]
    assert "gfx1399" in both.absent[0].why


# --- ROCm ----------------------------------------------------------------------------------------


def test_without_rocm_the_gpu_lacks_it() -> None:
    device, reason, hint = lacking(machine(files=DEVICE | NODES))
    assert device.lacks == "ROCm's development files"
    assert reason == "AMD Radeon RX 7800 XT is here, but no ROCm to build with"
    assert "hip-runtime-amd" in hint
    debian = {"/etc/os-release": "ID=debian\n"}
    assert "amdrocm-core-sdk" in lacking(machine(files=DEVICE | NODES | debian))[2]
    fedora = {"/etc/os-release": "ID=fedora\n"}
    hint = lacking(machine(files=DEVICE | NODES | fedora))[2]
    assert hint.startswith("Run: dnf install rocm-hip-devel")


@pytest.mark.parametrize(
    ("gone", "missing", "package"),
    [
        ("/cmake/hipblas/", "hipblas's development files", "hipblas-dev"),
        ("/cmake/rocblas/", "rocblas's development files", "rocblas-dev"),
        ("/cmake/hip-lang/", "HIP's CMake language package", "hip-dev"),
        ("/clang++", "its clang", "hipcc rocm-llvm"),
    ],
)
def test_each_missing_piece_is_named_with_its_package(
    gone: str, missing: str, package: str
) -> None:
    system = {"/etc/os-release": 'ID=ubuntu\nVERSION_ID="24.04"\n'}
    files = {path: text for path, text in (DESKTOP | system).items() if gone not in path}
    device, reason, hint = lacking(machine(files=files))
    assert device.lacks == missing
    assert reason.endswith(f"the ROCm in /opt/rocm lacks {missing}")
    assert hint == f"Run: apt install {package}"
    core = {path: text for path, text in files.items() if not path.endswith("/version")}
    core |= {"/opt/rocm/.info/version": "10.0.0\n"}
    assert lacking(machine(files=core))[2] == "Run: apt install amdrocm-core-sdk"


def test_a_distributions_own_rocm() -> None:
    """Ubuntu 26.04: ROCm 7.0 in /usr, its clang among the others, kernels below a version."""
    lib = "lib/x86_64-linux-gnu"
    files = {
        path: text
        for path, text in rocm("/usr", "7.0.51831", lib).items()
        if "/rocblas/library/" not in path and "/llvm/" not in path and "bitcode" not in path
    }
    files |= {
        f"/usr/{lib}/rocblas/5.0.2/library/TensileLibrary_lazy_gfx1101.dat": "",
        f"/usr/{lib}/rocblas/5.0.2/library/gfx1036/TensileLibrary.dat": "",
        "/usr/lib/llvm-20/bin/clang++": "",
        "/usr/lib/llvm-21/bin/clang++": "",
        "/usr/lib/llvm-21/lib/clang/21/amdgcn/bitcode/ocml.bc": "",
        "/etc/os-release": "ID=ubuntu\n",
    }
    clang = "Ubuntu clang version 21.1.2 (2ubuntu6)\nTarget: x86_64-pc-linux-gnu\n"
    host = machine(files=DEVICE | NODES | files, clang=clang)
    found = hip.detect(host)
    assert [device.lacks for device in found.devices] == ["", ""]
    paths = {tool.name: tool.path for tool in found.tools}
    assert paths["hip-clang"] == "/usr/lib/llvm-21/bin/clang++"
    assert paths["rocm"] == "/usr/bin/hipconfig"
    assert paths["rocm-device-libs"] == "/usr/lib/llvm-21/lib/clang/21/amdgcn/bitcode/ocml.bc"
    without = {path: text for path, text in files.items() if "hipblas" not in path}
    assert lacking(machine(files=DEVICE | NODES | without))[2] == "Run: apt install libhipblas-dev"


def test_hipconfig_is_asked_where_no_clang_stands_in_its_place() -> None:
    files = {path: text for path, text in DESKTOP.items() if "clang" not in path}
    files |= {"/usr/lib/llvm-99/bin/clang++": ""}
    host = machine(files=files, hipconfig="/usr/lib/llvm-99/bin")
    assert hip.detect(host).tools[4].path == "/usr/lib/llvm-99/bin/clang++"
    for answer in ("", "nonsense\nand more", "/nowhere", Finished(code=-9, out="", err="")):
        host = machine(files=files, hipconfig=answer)
        assert lacking(host)[0].lacks == "its clang"


@pytest.mark.parametrize(
    "clang",
    [
        Finished(code=-11, out="", err="Segmentation fault"),
        Finished(code=-9, out=CLANG, err="", timed_out=True),
        Finished(code=1, out=CLANG, err=""),
        "gcc (Debian 12.2.0-14) 12.2.0",
        "",
    ],
)
def test_a_clang_that_does_not_work_is_none(clang: Finished | str) -> None:
    assert lacking(machine(clang=clang))[0].lacks == "its clang"


def test_too_old_a_hip_is_told_first() -> None:
    old = rocm(version="5.7.31921")
    device, _, hint = lacking(machine(files=DEVICE | NODES | old))
    assert device.lacks == "HIP 6.1 or newer (here is 5.7.31921)"
    assert "amdrocm-core-sdk" in hint
    fresh = machine(files=DEVICE | NODES | rocm(version="6.1.40091"))
    assert any(not device.lacks for device in hip.detect(fresh).devices)


@pytest.mark.parametrize(
    ("roots", "environ", "taken"),
    [
        (["/opt/rocm", "/opt/rocm-6.4.1"], {}, "/opt/rocm"),
        (["/opt/rocm-6.4.1", "/opt/rocm-6.10.0"], {}, "/opt/rocm-6.10.0"),
        (["/opt/rocm/core-7.14", "/opt/rocm-6.4.1"], {}, "/opt/rocm/core-7.14"),
        (["/opt/rocm", "/home/u/rocm"], {"ROCM_PATH": "/home/u/rocm/"}, "/home/u/rocm"),
        (["/opt/rocm", "/home/u/rocm"], {"HIP_PATH": "/home/u/rocm"}, "/home/u/rocm"),
        (["/opt/rocm"], {"ROCM_PATH": "/gone"}, "/opt/rocm"),
        (["/usr"], {}, "/usr"),
    ],
)
def test_where_rocm_is_looked_for(roots: list[str], environ: dict[str, str], taken: str) -> None:
    files = {path: text for root in roots for path, text in rocm(root).items()}
    found = hip_build.rocm(machine(files=files, environ=environ))
    assert found is not None
    assert found.root == taken
    assert found.missing == ""


# --- rocBLAS -------------------------------------------------------------------------------------


def only(gfx: str) -> str:
    return (ROCMINFO_HEAD + NAVI32_AGENT + DONE).replace("gfx1101", gfx)


@pytest.mark.parametrize(
    ("gfx", "override"),
    [
        ("gfx1031", "10.3.0"),
        ("gfx1103", "11.0.2"),
        ("gfx1152", "11.5.0"),
        ("gfx906", ""),
        ("gfx90c", ""),
        ("gfx1010", ""),
    ],
)
def test_a_gpu_without_kernels_is_told_the_way_and_it_is_not_gone(gfx: str, override: str) -> None:
    device, reason, hint = lacking(machine(only(gfx)))
    assert device.lacks == f"rocBLAS kernels for {gfx}"
    assert f"not for {gfx}" in reason
    assert "Use Vulkan" in hint
    assert ("HSA_OVERRIDE_GFX_VERSION" in hint) == bool(override)
    assert override in hint
    assert device.architecture == gfx, "another identity is the user's choice"


def test_what_amd_once_served_is_told() -> None:
    assert "(AMD has them up to ROCm 6.3)" in lacking(machine(only("gfx906")))[1]
    assert "(AMD has them from ROCm 7.14 on)" in lacking(machine(only("gfx1103")))[1]


def test_an_identity_that_the_user_chose_is_built_for() -> None:
    environ = {"HSA_OVERRIDE_GFX_VERSION": "10.3.0"}
    files = DEVICE | ROCM | {f"{KFD}/1/properties": RAPHAEL_NODE}
    (device,) = hip.detect(machine(None, files=files, environ=environ)).devices
    assert (device.architecture, device.lacks) == ("gfx1030", "")
    strange = {"HSA_OVERRIDE_GFX_VERSION": "yes"}
    (device,) = hip.detect(machine(None, files=files, environ=strange)).devices
    assert device.architecture == "gfx1036"


def test_without_a_look_at_the_kernels_amds_list_decides() -> None:
    files = {path: text for path, text in DESKTOP.items() if "/rocblas/library/" not in path}
    found = hip.detect(machine(files=files))
    assert [bool(device.lacks) for device in found.devices] == [False, True]
    assert "rocBLAS of ROCm 7.2.1 is not known to have kernels for gfx1036" in found.absent[0].why
    assert "another AMD GPU is used" in found.absent[0].hint


# --- Windows and others --------------------------------------------------------------------------

# hipInfo of the HIP SDK 6.2 for a Radeon RX 6950 XT, shortened.
HIPINFO = """
--------------------------------------------------------------------------------
device#                               0
Name:                                 AMD Radeon RX 6950 XT
pciBusID:                             16
multiProcessorCount:                  40
memoryBusWidth:                       0
totalGlobalMem:                       0.16 GB
major:                                10
minor:                                3
isIntegrated:                         0
gcnArchName:                          gfx1030
peers:
non-peers:                            device#0

memInfo.total:                        0.16 GB
memInfo.free:                         0.02 GB (14%)
"""
SDK = "C:/Program Files/AMD/ROCm/6.2"
WINDOWS = {
    "C:/Windows/System32/amdhip64_6.dll": "",
    f"{SDK}/bin/hipInfo.exe": "",
    f"{SDK}/bin/clang++.exe": "",
    f"{SDK}/bin/rocblas/library/TensileLibrary_lazy_gfx1030.dat": "",
    **{path: text for path, text in rocm(SDK, "6.2.41512").items() if "/cmake/" in path},
}
CHOSEN = {"HIP_PATH": SDK.replace("/", "\\") + "\\", "CXX": f"{SDK}/bin/clang++.exe"}


def windows(
    hipinfo: Finished | str = HIPINFO,
    files: dict[str, str] | None = None,
    environ: dict[str, str] | None = None,
) -> RecordedHost:
    return RecordedHost(
        files=WINDOWS if files is None else files,
        answers={"hipInfo.exe": hipinfo, "clang++.exe --version": CLANG},
        environ=CHOSEN if environ is None else environ,
        os="windows",
    )


def test_windows_builds_with_the_sdks_clang_only() -> None:
    found = hip.detect(windows())
    assert [(d.name, d.architecture, d.memory, d.lacks) for d in found.devices] == [
        ("AMD Radeon RX 6950 XT", "gfx1030", 0, "")
    ]
    assert found.absent == ()
    device, _, hint = lacking(windows(environ={"HIP_PATH": SDK}))
    assert device.lacks == "the HIP SDK's clang as CC and CXX"
    assert "Set CC" in hint


def test_windows_says_what_is_missing() -> None:
    assert why(windows(files={})) == "no AMD driver with HIP is installed"
    driver = {"C:/Windows/System32/amdhip64.dll": ""}
    assert "not the HIP SDK" in why(windows(files=driver))
    assert "not the HIP SDK" in why(windows(environ={}))
    failed = 'checkHipErrors() HIP API error = 0100 "no ROCm-capable device is detected"\n'
    assert (
        why(windows(Finished(code=1, out=failed, err=""))) == "the HIP SDK's hipInfo lists no GPU"
    )
    hung = Finished(code=-9, out=HIPINFO, err="", timed_out=True)
    assert why(windows(hung)) == "hipInfo did not answer within 5 seconds"
    part = {path: text for path, text in WINDOWS.items() if "hipblas" not in path}
    assert "HIP SDK" in lacking(windows(files=part))[2]
    none = {path: text for path, text in WINDOWS.items() if "/cmake/" not in path}
    assert lacking(windows(files=none))[0].lacks == "ROCm's development files"


@pytest.mark.parametrize(("os", "todo"), [("macos", "Metal"), ("freebsd", "Vulkan")])
def test_elsewhere_rocm_does_not_exist(os: str, todo: str) -> None:
    host = machine(os=os)
    assert why(host) == "AMD's ROCm is only for Linux and Windows"
    assert todo in hip.detect(host).absent[0].hint
    assert host.started == []


# --- flags ---------------------------------------------------------------------------------------


def planned(host: Host, *extra: Device, os: str = "linux") -> dict[str, Flag]:
    found = hip.detect(host)
    hardware: Hardware = replace(values.hardware(), os=os, devices=(*found.devices, *extra))
    own = tuple(replace(tool, backend="hip") for tool in found.tools)
    known = values.toolchain()
    flags = hip.flags(hardware, replace(known, tools=(*known.tools, *own)))
    assert all(flag.why for flag in flags)
    assert len({flag.name for flag in flags}) == len(flags)
    return {flag.name: flag for flag in flags}


def test_what_a_desktop_is_built_with() -> None:
    flags = planned(machine())
    assert {name: flag.value for name, flag in flags.items()} == {
        "CMAKE_HIP_ARCHITECTURES": "gfx1101",
        "GPU_TARGETS": "gfx1101",
        "GGML_HIP_GRAPHS": True,
        "GGML_HIP_NO_VMM": True,
        "GGML_HIP_MMQ_MFMA": True,
        "GGML_HIP_RCCL": False,
        "GGML_HIP_EXPORT_METRICS": False,
        "GGML_CUDA_FA": True,
        "GGML_CUDA_FORCE_MMQ": False,
        "GGML_CUDA_FORCE_CUBLAS": False,
        "GGML_CUDA_NO_PEER_COPY": False,
        "hip_ROOT": "/opt/rocm",
        "hipblas_ROOT": "/opt/rocm",
        "rocblas_ROOT": "/opt/rocm",
        "CMAKE_INSTALL_RPATH_USE_LINK_PATH": True,
        "CMAKE_HIP_PLATFORM": "amd",
        "HIP_PLATFORM": "amd",
        "CMAKE_HIP_COMPILER": "/opt/rocm/lib/llvm/bin/clang++",
        "CMAKE_HIP_COMPILER_ROCM_ROOT": "/opt/rocm",
        "CMAKE_HIP_FLAGS": "--rocm-path=/opt/rocm --rocm-device-lib-path=/opt/rocm/amdgcn/bitcode",
    }
    assert flags["GPU_TARGETS"].why == "machine code for AMD Radeon RX 7800 XT"


def test_architectures_are_the_union_of_what_can_be_built_for() -> None:
    def device(gfx: str, lacks: str = "") -> Device:
        return Device(backend="hip", name=gfx, architecture=gfx, lacks=lacks)

    extra = (device("gfx90a"), device("gfx90a"), device("gfx906"), device("gfx803", "kernels"))
    flags = planned(machine(), *extra)
    assert flags["CMAKE_HIP_ARCHITECTURES"].value == "gfx906;gfx90a;gfx1101"


def test_without_a_gpu_everything_that_amd_serves_is_built_for() -> None:
    bare = values.hardware()
    known = values.toolchain()
    flags = {flag.name: flag.value for flag in hip.flags(bare, known)}
    assert str(flags["CMAKE_HIP_ARCHITECTURES"]).split(";")[:2] == ["gfx908", "gfx90a"]
    assert flags["CMAKE_HIP_PLATFORM"] == "amd"
    assert "CMAKE_HIP_COMPILER" not in flags
    older = replace(known, tools=(Tool(name="rocm", version="6.2.4", path="/opt/rocm/bin"),))
    flags = {flag.name: flag.value for flag in hip.flags(bare, older)}
    assert "gfx900" in str(flags["GPU_TARGETS"])
    assert "gfx1201" not in str(flags["GPU_TARGETS"])
    assert flags["hip_ROOT"] == "/opt/rocm"


def test_windows_has_no_hip_language() -> None:
    flags = planned(windows(), os="windows")
    assert flags["GPU_TARGETS"].value == "gfx1030"
    assert flags["hip_ROOT"].value == SDK
    assert not [name for name in flags if name.startswith("CMAKE_HIP")]


def test_options_that_cuda_also_sets_have_its_values() -> None:
    from llamabuild.backends import cuda

    theirs = {flag.name: flag.value for flag in cuda.flags(values.hardware(), values.toolchain())}
    mine = {name: flag.value for name, flag in planned(machine()).items()}
    shared = set(theirs) & set(mine)
    assert len(shared) >= 4
    assert {name: mine[name] for name in shared} == {name: theirs[name] for name in shared}


# --- tables --------------------------------------------------------------------------------------


def test_the_table_holds_together() -> None:
    rows = hip_facts.TABLE["gfx"]
    assert len({row["name"] for row in rows}) == len(rows)
    for row in rows:
        gfx = row["name"]
        assert re.fullmatch(r"gfx[0-9a-f]{3,4}", gfx)
        assert row["cards"]
        assert all(other in hip_facts.ROWS and other != gfx for other in row["as"])
        assert hip_facts.overriding(hip_facts.override_of(gfx)) == gfx
        if row.get("last"):
            assert hip_facts.numbers(row["first"]) <= hip_facts.numbers(row["last"])
    for hint in hip_facts.TABLE["hint"].values():
        assert hint.endswith((".", ")"))


@given(st.integers(-5, 10**7))
def test_every_number_has_a_name_or_none(target: int) -> None:
    name = hip_facts.gfx_name(target)
    assert name == "" or re.fullmatch(r"gfx[0-9]{2,3}[0-9a-f]", name)


# --- proof ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "offloaded", "layers", "good"),
    [
        (("ROCm0: AMD Radeon RX 7800 XT", "CPU: x"), 3, 3, True),
        (("ROCm0: AMD Radeon RX 7800 XT", "CPU: x"), 2, 3, False),
        (("ROCm0: AMD Radeon RX 7800 XT",), 0, 0, False),
        (("Vulkan0: AMD Radeon", "CPU: ROCm"), 3, 3, False),
        (("CUDA0: x",), 3, 3, False),
        ((), 3, 3, False),
    ],
)
def test_only_a_run_on_the_gpu_is_a_run_on_the_gpu(
    devices: tuple[str, ...], offloaded: int, layers: int, good: bool
) -> None:
    held = ("ROCm0", "CPU")
    evidence = Evidence(devices=devices, offloaded=offloaded, layers=layers, log="", buffers=held)
    assert (hip.judge(evidence) is None) == good
    assert hip.judge(replace(evidence, buffers=("CPU",)))


# --- garbage -------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(mutated(ROCMINFO))
def test_a_broken_rocminfo_makes_up_no_gpu(text: str) -> None:
    gpus = hip_probe.parse_rocminfo(text)
    assert len(gpus) <= len(re.findall(r"(?m)^Agent [0-9]+", text))
    for gpu in gpus:
        assert gpu.gfx in text
        assert gpu.name in text
        assert gpu.memory == 0 or f"{gpu.memory >> 10}(0x" in text


@settings(max_examples=300, deadline=None)
@given(mutated(HIPINFO))
def test_a_broken_hipinfo_makes_up_no_gpu(text: str) -> None:
    gpus = hip_probe.parse_hipinfo(text)
    assert len(gpus) <= len(re.findall(r"(?m)^device#", text))
    assert all(gpu.gfx in text and gpu.name in text for gpu in gpus)


@settings(max_examples=200, deadline=None)
@given(mutated(NAVI32_NODE), mutated(BANK), mutated(ROCMINFO), mutated(CLANG), st.booleans())
def test_detection_never_raises_and_tools_have_devices(
    node: str, bank: str, rocminfo: str, clang: str, asked: bool
) -> None:
    broken = {f"{KFD}/1/properties": node, f"{KFD}/1/mem_banks/0/properties": bank}
    host = machine(rocminfo if asked else None, files=DESKTOP | broken, clang=clang)
    found = hip.detect(host)
    assert found.devices or found.absent
    assert len(found.devices) <= 3
    assert all(one.architecture in hip_facts.ROWS and one.name for one in found.devices)
    assert bool(found.tools) == any(not one.lacks for one in found.devices)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_an_answer(text: str) -> None:
    assert hip_probe.parse_rocminfo(text) == ()
    assert hip_probe.parse_hipinfo(text) == ()
    assert hip_build.clang_version(text) == ""
    hip_facts.numbers(text)
    files = DEVICE | {f"{KFD}/0/properties": text, f"{KFD}/x/properties": NAVI31_NODE}
    assert why(machine(text, files=files))
