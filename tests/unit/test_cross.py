from __future__ import annotations

from pathlib import Path

import pytest

from llamabuild import kits, recordings
from llamabuild.backends import cuda
from llamabuild.errors import ConfigError, ToolMissing, UnsupportedHardware
from llamabuild.host import Finished, Limits
from llamabuild.toolchains import cross
from llamabuild.toolchains.borrowed import BorrowingHost
from tests.unit.recorded import RecordedHost

MACHINES = Path(__file__).resolve().parents[1] / "machines"
DEBIAN = {"/etc/os-release": "ID=debian\n"}
CXX = "/usr/bin/aarch64-linux-gnu-g++"
BINARIES = ("cmake", "ninja", "ccache", "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++", "g++-13")
MINGW = "x86_64-w64-mingw32"
MACROS = "#define __GNUC__ 12\n#define __GNUC_MINOR__ 2\n#define __GNUC_PATCHLEVEL__ 0\n"
SAID: dict[str, Finished | str] = {
    "-dumpmachine": "aarch64-linux-gnu\n",
    "features.h": MACROS + "#define __GLIBC__ 2\n#define __GLIBC_MINOR__ 36\n",
    "-dM": MACROS,
    "-march=armv9.2-a+sme": Finished(code=1, out="", err="unknown"),
    "-march=": "",
    "-fopenmp": "",
    "cmake --version": "cmake version 3.28.0",
    "ninja --version": "1.11.1",
    "ccache --version": "ccache version 4.7",
}


def host(**change: object) -> RecordedHost:
    programs = {name: f"/usr/bin/{name}" for name in BINARIES}
    told = {"programs": programs, "files": DEBIAN, "answers": SAID, **change}
    return RecordedHost(**told)  # type: ignore[arg-type]


def test_the_compiler_named_after_the_architecture_is_taken(tmp_path: Path) -> None:
    options = ("-march=armv8.2-a+sve", "-march=armv9.2-a+sme")
    found = cross.detect("aarch64", options, host=host(), cache=tmp_path)
    (compiler,) = found.compilers
    assert (compiler.cxx, compiler.target) == (CXX, "aarch64-linux-gnu")
    assert compiler.accepts == {"-march=armv8.2-a+sve"}
    assert compiler.openmp
    assert [tool.name for tool in found.tools] == ["cmake", "ninja", "ccache"]
    assert [one.what for one in found.absent] == ["openssl"]


def test_nothing_that_was_compiled_is_executed(tmp_path: Path) -> None:
    mine = host()
    cross.detect("aarch64", ("-march=armv8.2-a+sve",), host=mine, cache=tmp_path)
    programs = {command.split()[0] for command in mine.started}
    assert programs <= {f"/usr/bin/{name}" for name in BINARIES} | {
        "/usr/bin/aarch64-linux-gnu-gcc"
    }


def test_without_a_cross_compiler_the_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match=r"riscv64-linux-gnu-g\+\+") as caught:
        cross.detect("riscv64", (), host=host(), cache=tmp_path)
    assert caught.value.hint == "Run: apt install g++-riscv64-linux-gnu"


def test_a_cross_compiler_that_does_not_work_is_said_to(tmp_path: Path) -> None:
    broken = {**SAID, "-dM": Finished(code=1, out="", err="cc1plus: not found")}
    with pytest.raises(ToolMissing, match="cc1plus"):
        cross.detect("aarch64", (), host=host(answers=broken), cache=tmp_path)


def test_a_chosen_compiler_for_something_else_is_refused(tmp_path: Path) -> None:
    native = {**SAID, "-dumpmachine": "x86_64-linux-gnu\n"}
    chosen = host(answers=native, environ={"CXX": "aarch64-linux-gnu-g++"})
    with pytest.raises(ConfigError, match="x86_64-linux-gnu") as caught:
        cross.detect("aarch64", (), host=chosen, cache=tmp_path)
    assert "CXX=aarch64-linux-gnu-g++" in caught.value.hint


def test_a_chosen_compiler_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="not on PATH"):
        cross.detect("aarch64", (), host=host(environ={"CXX": "nowhere-g++"}), cache=tmp_path)


@pytest.mark.parametrize("system", ["macos", "windows"])
def test_nothing_is_built_for_another_system(system: str) -> None:
    with pytest.raises(UnsupportedHardware, match=system):
        cross.check_system(system, "aarch64", host())
    with pytest.raises(UnsupportedHardware, match="Linux only"):
        cross.check_system(system, "aarch64", host(os=system))
    cross.check_system(system, "x86_64", host(os=system))


def test_windows_programs_are_built_on_linux_alone() -> None:
    cross.check_system("windows", "x86_64", host())
    for other in ("macos", "freebsd"):
        with pytest.raises(UnsupportedHardware, match=f"this machine runs {other}"):
            cross.check_system("windows", "x86_64", host(os=other))


def test_the_compiler_for_windows_is_the_one_that_is_brought_along(tmp_path: Path) -> None:
    kit = kits.folder(kits.kits("linux-x86_64")["zig-windows"], tmp_path)
    cxx = str(kit / "bin" / "zig-c++")
    gcc = {f"{MINGW}-{name}": f"/usr/bin/{MINGW}-{name}" for name in ("gcc", "g++")}
    programs = {name: f"/usr/bin/{name}" for name in ("cmake", "ninja")} | gcc
    answers = {**SAID, "-dumpmachine": "x86_64-windows-gnu\n"}
    with pytest.raises(ToolMissing, match="windows on x86_64 is here") as caught:
        cross.detect("x86_64", (), host=host(programs=programs), cache=tmp_path, system="windows")
    assert "brought along" in caught.value.hint
    there = host(programs=programs, answers=answers, files={**DEBIAN, cxx: ""})
    found = cross.detect("x86_64", (), host=there, cache=tmp_path, system="windows")
    assert [one.cxx for one in found.compilers] == [cxx]
    assert "not for windows" in found.absent[-1].why


def test_a_compiler_for_linux_makes_no_windows_programs(tmp_path: Path) -> None:
    answers = {**SAID, "-dumpmachine": "x86_64-linux-gnu\n"}
    programs = {name: f"/usr/bin/{name}" for name in ("cmake", "ninja", "gcc", "g++")}
    chosen = host(programs=programs, answers=answers, environ={"CC": "gcc", "CXX": "g++"})
    with pytest.raises(ConfigError, match="not for x86_64-w64-mingw32"):
        cross.detect("x86_64", (), host=chosen, cache=tmp_path, system="windows")


def test_what_windows_needs_of_cmake() -> None:
    told = {flag.name: flag.value for flag in cross.flags("x86_64", host(), "windows")}
    assert told["CMAKE_SYSTEM_NAME"] == "Windows"
    assert told["CMAKE_FIND_ROOT_PATH"] == f"/usr/{MINGW}"


def test_an_architecture_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedHardware, match="vax"):
        cross.detect("vax", (), host=host(), cache=tmp_path)


def test_every_recorded_linux_machine_has_a_row() -> None:
    known = [recordings.read(path).machine for path in MACHINES.glob("*.json")]
    arches = {one.arch for one in known if one.os == "linux"}
    assert len(arches) > 4
    assert arches <= set(cross.architectures())


def test_cmake_is_told_the_system_and_where_libraries_are() -> None:
    told = {flag.name: flag.value for flag in cross.flags("ppc64le", host())}
    assert told["CMAKE_SYSTEM_NAME"] == "Linux"
    assert told["CMAKE_SYSTEM_PROCESSOR"] == "ppc64le"
    assert told["CMAKE_FIND_ROOT_PATH"] == "/usr/powerpc64le-linux-gnu"
    assert told["CMAKE_FIND_ROOT_PATH_MODE_PROGRAM"] == "NEVER"
    assert cross.flags("x86_64", host()) == ()


def test_the_c_library_is_the_one_that_is_linked_with(tmp_path: Path) -> None:
    (compiler,) = cross.detect("aarch64", (), host=host(), cache=tmp_path).compilers
    assert cross.libc(compiler, host()) == "glibc 2.36"


def test_another_c_library_is_refused_and_an_older_one_is_said() -> None:
    with pytest.raises(UnsupportedHardware, match="musl"):
        cross.check_libc("musl", "glibc 2.36")
    assert "2.9" in cross.check_libc("glibc 2.9", "glibc 2.36")
    assert cross.check_libc("", "glibc 2.36") == cross.check_libc("glibc 3.1", "glibc 2.36") == ""


NVCC = "/opt/cuda/bin/nvcc"
TOOLKIT = {
    NVCC: "",
    "/opt/cuda/version.json": '{"cuda_nvcc": {"version": "13.0.48"}}',
    "/opt/cuda/include/cublas_api.h": "#define CUBLAS_VER_MAJOR 13\n",
    "/opt/cuda/lib64/libcudart.so": "",
}


def lender(**more: str) -> RecordedHost:
    said = {
        "--version": "Cuda compilation tools, release 13.0, V13.0.48\n",
        "--dryrun": '#$ INCLUDES="-I/opt/cuda/include"\n#$ LIBRARIES= "-L/opt/cuda/lib64"\n',
    }
    return RecordedHost(files={**TOOLKIT, **more}, answers=said, environ={"CUDA_HOME": "/opt/cuda"})


def test_devices_are_the_machines_and_toolkits_are_the_lenders() -> None:
    machine = recordings.read(MACHINES / "h200.json").machine
    found = cuda.detect(BorrowingHost(machine, lender()))
    assert {device.name for device in found.devices} == {"NVIDIA H200"}
    nvcc = next(tool for tool in found.tools if tool.name == "nvcc")
    assert (nvcc.path, nvcc.version) == (NVCC, "13.0.48")


def test_the_lenders_devices_are_not_the_machines() -> None:
    machine = recordings.read(MACHINES / "zen5.json").machine
    there = lender(**{"/proc/driver/nvidia/version": "", "/dev/nvidiactl": ""})
    assert cuda.detect(BorrowingHost(machine, there)).devices == ()


def test_what_hides_the_lenders_devices_hides_none_of_the_machine() -> None:
    machine = recordings.read(MACHINES / "h200.json").machine
    here = RecordedHost(environ={"CUDA_VISIBLE_DEVICES": "", "PATH": "/bin", "CUDA_HOME": "/c"})
    assert BorrowingHost(machine, here).environ == {"PATH": "/bin", "CUDA_HOME": "/c"}


def test_each_question_goes_to_the_one_who_knows() -> None:
    machine = recordings.read(MACHINES / "h200.json").machine
    both = BorrowingHost(machine, lender())
    assert both.system()[1] == machine.os_version
    assert both.libc() == "glibc 2.36"
    assert both.exists("/dev/nvidiactl")
    assert not both.exists("/usr/local/cuda-13.0/bin/nvcc")
    assert both.which("nvidia-smi") == "/usr/bin/nvidia-smi"
    assert both.which("nvcc") is None
    assert both.stamp(NVCC)
    assert both.digest(NVCC)
    assert both.read_text("/opt/cuda/version.json")
    assert "nvcc" in both.entries("/opt/cuda/bin")
    assert both.run([NVCC, "--version"], limits=Limits(seconds=1)).out.startswith("Cuda")
