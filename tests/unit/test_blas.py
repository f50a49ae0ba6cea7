"""BLAS: which library is used, where it is, and what a build of it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild.backends import Evidence, apple, blas
from llamabuild.host import Finished
from llamabuild.model import Device, Toolchain
from tests.unit import values
from tests.unit.recorded import RecordedHost

# openblas_config.h of Debian 12's libopenblas-pthread-dev 0.3.21.
CONFIG = """#ifndef OPENBLAS_CONFIG_H
#define OPENBLAS_CONFIG_H
#define OPENBLAS_OS_LINUX 1
#define OPENBLAS_ARCH_X86_64 1
#define OPENBLAS_GEMM_MULTITHREAD_THRESHOLD 4
#define OPENBLAS_VERSION " OpenBLAS 0.3.21 "
"""
# mkl_version.h of oneMKL 2024.2.
MKL_VERSION = """#define __INTEL_MKL_BUILD_DATE 20240605
#define __INTEL_MKL__ 2024
#define __INTEL_MKL_MINOR__ 0
#define __INTEL_MKL_UPDATE__ 2
#define INTEL_MKL_VERSION 20240002
"""
DEBIAN = {
    "/usr/include/x86_64-linux-gnu/openblas-pthread/cblas.h": "#include <openblas_config.h>\n",
    "/usr/include/x86_64-linux-gnu/openblas-pthread/openblas_config.h": CONFIG,
    "/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so": "",
    "/usr/lib/x86_64-linux-gnu/libopenblas.so": "",
    "/etc/os-release": "ID=debian\n",
}
# openblas-devel of Fedora: the plain library computes with one thread.
FEDORA = {
    "/usr/include/openblas/cblas.h": "",
    "/usr/include/openblas/openblas_config.h": CONFIG.replace("0.3.21", "0.3.26"),
    "/usr/lib64/libopenblas.so": "",
    "/usr/lib64/libopenblaso.so": "",
    "/usr/lib64/libopenblasp.so": "",
    "/etc/os-release": "ID=fedora\n",
}
BLIS = {
    "/usr/include/x86_64-linux-gnu/blis-pthread/blis.h": "",
    "/usr/include/x86_64-linux-gnu/blis-pthread/cblas.h": "",
    "/usr/lib/x86_64-linux-gnu/blis-pthread/libblis.so": "",
}
MKL = {
    "/opt/intel/oneapi/mkl/latest/include/mkl.h": "",
    "/opt/intel/oneapi/mkl/latest/include/mkl_version.h": MKL_VERSION,
    "/opt/intel/oneapi/mkl/latest/lib/libmkl_core.so": "",
}
AOCL = {
    "/opt/AMD/aocl/gcc/include/blis.h": '#define BLIS_VERSION_STRING "AOCL-BLAS 5.0"\n',
    "/opt/AMD/aocl/gcc/include/cblas.h": "",
    "/opt/AMD/aocl/gcc/lib/libblis-mt.so": "",
}
NVPL = {
    "/usr/include/nvpl_blas.h": "",
    "/usr/lib/aarch64-linux-gnu/libnvpl_blas_lp64_gomp.so": "",
}
TOOLS = {"xcode-select -p": "/Library/Developer/CommandLineTools\n"}


class Machine(RecordedHost):
    def __init__(
        self,
        files: dict[str, str] | None = None,
        *,
        os: str = "linux",
        version: str = "6.1",
        arch: str = "x86_64",
        environ: dict[str, str] | None = None,
        answers: dict[str, Finished | str] | None = None,
    ) -> None:
        super().__init__(files=files, os=os, environ=environ, answers=answers)
        self.told = os, version, arch

    def system(self) -> tuple[str, str, str]:
        return self.told


def mac(version: str, sdk: str, arch: str = "aarch64") -> Machine:
    answers: dict[str, Finished | str] = {**TOOLS, "--show-sdk-version": f"{sdk}\n"}
    return Machine(os="macos", version=version, arch=arch, answers=answers)


def flags(host: Machine) -> dict[str, bool | str]:
    found = blas.detect(host)
    os, version, arch = host.system()
    hardware = replace(values.hardware(), os=os, os_version=version, arch=arch)
    hardware = replace(hardware, devices=found.devices)
    toolchain = Toolchain(tools=found.tools)
    told = blas.flags(hardware, toolchain)
    assert all(flag.why for flag in told)
    return {flag.name: flag.value for flag in told}


# --- what is there -------------------------------------------------------------------------------


def test_openblas_of_debian() -> None:
    host = Machine(DEBIAN)
    found = blas.detect(host)
    assert found.devices == (
        Device(backend="blas", name="OpenBLAS", architecture="", kind="library"),
    )
    assert [tool.version for tool in found.tools] == ["0.3.21", "0.3.21"]
    assert found.tools[0].digest
    assert host.started == []
    assert flags(host) == {
        "GGML_BLAS_VENDOR": "OpenBLAS",
        "BLAS_INCLUDE_DIRS": "/usr/include/x86_64-linux-gnu/openblas-pthread",
        "BLAS_LIBRARIES": "/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so",
        "GGML_ACCELERATE": False,
    }


def test_the_library_with_threads_is_taken() -> None:
    assert flags(Machine(FEDORA))["BLAS_LIBRARIES"] == "/usr/lib64/libopenblasp.so"


@pytest.mark.parametrize(
    ("machine", "vendor", "include"),
    [
        (Machine(BLIS), "FLAME", "/usr/include/x86_64-linux-gnu/blis-pthread"),
        (
            Machine(MKL, environ={"MKLROOT": "/opt/intel/oneapi/mkl/latest"}),
            "Intel10_64lp",
            "/opt/intel/oneapi/mkl/latest/include",
        ),
        (
            Machine(AOCL, environ={"AOCL_ROOT": "/opt/AMD/aocl/gcc/"}),
            "AOCL_mt",
            "/opt/AMD/aocl/gcc/include",
        ),
        (Machine(NVPL, arch="aarch64"), "NVPL", "/usr/include"),
    ],
)
def test_other_libraries(machine: Machine, vendor: str, include: str) -> None:
    told = flags(machine)
    assert told["GGML_BLAS_VENDOR"] == vendor
    assert told["BLAS_INCLUDE_DIRS"] == include
    assert ("BLAS_LIBRARIES" in told) == (vendor != "Intel10_64lp")


def test_mkl_is_several_libraries_that_cmake_puts_together() -> None:
    found = blas.detect(Machine(MKL, environ={"MKLROOT": "/opt/intel/oneapi/mkl/latest"}))
    assert {tool.version for tool in found.tools} == {"20240002"}
    assert blas.detect(Machine(MKL)).devices == ()  # FindBLAS needs the variable too


def test_what_the_environment_names_comes_first() -> None:
    files = {
        **DEBIAN,
        "/opt/openblas/include/cblas.h": "",
        "/opt/openblas/include/openblas_config.h": CONFIG,
        "/opt/openblas/lib/libopenblas.so": "",
    }
    told = flags(Machine(files, environ={"OPENBLAS_ROOT": "/opt/openblas"}))
    assert told["BLAS_LIBRARIES"] == "/opt/openblas/lib/libopenblas.so"
    told = flags(Machine(files, environ={"OPENBLAS_ROOT": "/nowhere"}))
    assert told["BLAS_LIBRARIES"] == "/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so"


def test_windows() -> None:
    files = {
        "C:/OpenBLAS/include/cblas.h": "",
        "C:/OpenBLAS/include/openblas_config.h": CONFIG,
        "C:/OpenBLAS/lib/libopenblas.lib": "",
    }
    host = Machine(files, os="windows", environ={"OPENBLAS_ROOT": "C:\\OpenBLAS"})
    assert flags(host)["BLAS_LIBRARIES"] == "C:/OpenBLAS/lib/libopenblas.lib"


@pytest.mark.parametrize("gone", [name for name in DEBIAN if "openblas-pthread" in name])
def test_half_a_library_is_none(gone: str) -> None:
    files = {name: text for name, text in DEBIAN.items() if name != gone}
    found = blas.detect(Machine(files))
    assert found.devices == ()
    (absence,) = found.absent
    assert absence.what == "blas"
    assert absence.hint == "Run: apt install libopenblas-dev"


def test_another_library_s_header_is_not_openblas() -> None:
    files = {"/usr/include/cblas.h": "", "/usr/lib64/libopenblas.so": ""}
    assert blas.detect(Machine(files)).devices == ()


def test_nvpl_is_for_arm_only() -> None:
    assert blas.detect(Machine(NVPL)).devices == ()


# --- macOS ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ["aarch64", "x86_64"])
def test_accelerate_is_used_without_asking(arch: str) -> None:
    host = mac("14.5", "14.4", arch)
    found = blas.detect(host)
    assert found.devices == (Device(backend="blas", name="Accelerate", architecture=""),)
    assert [tool.name for tool in found.tools] == [apple.SDK]
    assert flags(host) == {
        "GGML_BLAS_VENDOR": "Apple",
        "GGML_ACCELERATE": True,
        "CMAKE_OSX_DEPLOYMENT_TARGET": "14.0",
        "CMAKE_OSX_ARCHITECTURES": "arm64" if arch == "aarch64" else "x86_64",
    }


def test_an_old_macos_has_another_accelerate() -> None:
    found = blas.detect(mac("13.2.1", "13.1"))
    assert found.devices == ()
    assert "13.3" in found.absent[0].why


def test_an_old_sdk_does_not_know_it() -> None:
    found = blas.detect(mac("13.6", "13.1"))
    assert "SDK of macOS 13.3" in found.devices[0].lacks
    assert found.tools == ()
    assert found.absent[0].hint


def test_no_command_line_tools() -> None:
    found = blas.detect(Machine(os="macos", version="15.1", arch="aarch64"))
    assert found.devices[0].lacks == "Xcode's command line tools"
    assert found.absent[0].hint == "Run: xcode-select --install"


# --- the rest ------------------------------------------------------------------------------------


def test_one_build_is_linked_with_one_library() -> None:
    openblas = Device(backend="blas", name="OpenBLAS", architecture="", kind="library")
    assert blas.together((openblas, openblas)) is None
    assert blas.together(()) is None
    why = blas.together((openblas, replace(openblas, name="BLIS")))
    assert why == "a build is linked with one of OpenBLAS and BLIS"


def test_a_run_is_judged_by_the_list_of_devices() -> None:
    good = Evidence(devices=("BLAS: OpenBLAS", "CPU: x"), offloaded=0, layers=3, log="")
    assert blas.judge(good) is None
    doubt = blas.judge(replace(good, devices=("CPU: x",)))
    assert doubt is not None
    assert (doubt.kind, "lists no BLAS" in doubt.why) == ("silent-cpu", True)
    there = replace(good, devices=("CPU: x",), backends=("BLAS", "CPU"))
    doubt = blas.judge(there)
    assert doubt is not None
    assert doubt.kind == "device-missing"


def test_the_table() -> None:
    rows = blas.table().library
    assert len({row.name for row in rows}) == len({row.vendor for row in rows}) == len(rows)
    for row in rows:
        assert row.find == (row.vendor == "Intel10_64lp")
        places = (*row.includes, *row.libraries)
        assert any("{root}" in place for place in places) == bool(row.env)


every = sorted({*DEBIAN, *FEDORA, *BLIS, *MKL, *AOCL, *NVPL} - {"/etc/os-release"})
roots = ["/opt/intel/oneapi/mkl/latest", "/opt/AMD/aocl/gcc", "", "\\", "N/A", "\x00"]


@given(
    st.dictionaries(st.sampled_from(every), st.text()),
    st.dictionaries(
        st.sampled_from(["MKLROOT", "AOCL_ROOT", "CONDA_PREFIX"]), st.sampled_from(roots)
    ),
    st.sampled_from(["linux", "windows"]),
    st.sampled_from(["x86_64", "aarch64", "mips"]),
)
def test_no_library_is_made_up(
    files: dict[str, str], environ: dict[str, str], os: str, arch: str
) -> None:
    host = Machine(files, os=os, arch=arch, environ=environ)
    found = blas.detect(host)
    assert bool(found.devices) != bool(found.absent)
    for tool in found.tools:
        assert host.exists(tool.path)
    told = flags(host)
    for name in ("BLAS_INCLUDE_DIRS", "BLAS_LIBRARIES"):
        assert name not in told or host.exists(str(told[name]))
