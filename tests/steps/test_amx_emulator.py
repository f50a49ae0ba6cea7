"""The AMX emulator of the tests, against plain C and against what the CPU refuses.

With it, what GCC 12 makes of ggml's tile configuration dies here as it does on a CPU with AMX.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from llamabuild.host import Finished, Limits, LocalHost
from llamabuild.model import Compiler
from llamabuild.prove import crash
from llamabuild.toolchains import canary

HOST = LocalHost()
LIMITS = Limits(seconds=60)
SOURCES = Path(__file__).resolve().parent.parent / "amx"
CC, CXX = shutil.which("gcc") or "", shutil.which("g++") or ""


def accepted(option: str) -> bool:
    argv = [CXX, option, "-x", "c++", "-E", os.devnull]
    return bool(CXX) and HOST.run(argv, limits=LIMITS).code == 0


pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(HOST.system()[::2] != ("linux", "x86_64"), reason="Linux on x86-64 only"),
    pytest.mark.skipif(not accepted("-mamx-bf16"), reason="there is no GCC that knows AMX"),
]

# ggml's way to configure tiles, with the intrinsic as GCC 11 and 12 have it, and one use.
DROPPED = r"""
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
struct Config {
    uint8_t palette = 0, start_row = 0, reserved[14] = {0};
    uint16_t colsb[16] = {0};
    uint8_t rows[16] = {0};
};
inline void configure() {
    static thread_local bool done = false;
    if (done) return;
    alignas(64) Config tc = {};
    tc.palette = 1;
    tc.rows[0] = 8;   tc.colsb[0] = 64;
    tc.rows[1] = 8;   tc.colsb[1] = 64;
    tc.rows[2] = 16;  tc.colsb[2] = 32;
    tc.rows[3] = 16;  tc.colsb[3] = 32;
    tc.rows[4] = 16;  tc.colsb[4] = 64;
    __asm__ volatile("ldtilecfg\t%X0" :: "m"(*((const void **) &tc)));
    done = true;
}
__attribute__((noinline)) static void prepare() { configure(); }
__attribute__((noinline)) static void use() { __asm__ volatile("tilezero\t%tmm4"); }
int main() {
    if (syscall(SYS_arch_prctl, 0x1023, 18) != 0) return 77;
    prepare();
    use();
    return 0;
}
"""


def made(source: Path, result: Path, *options: str) -> Path:
    driver = CXX if source.suffix == ".cpp" else CC
    ended = HOST.run([driver, *options, str(source), "-o", str(result)], limits=LIMITS)
    assert ended.code == 0, ended.err
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("amx")


@pytest.fixture(scope="module")
def emulator(folder: Path) -> Path:
    options = ("-O3", "-march=native", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror")
    return made(SOURCES / "emulator.c", folder / "emulator.so", *options)


@pytest.fixture(scope="module")
def matmul(folder: Path) -> Path:
    options = ("-O2", "-pthread", "-Wall", "-Wextra", "-Werror")
    return made(SOURCES / "matmul.c", folder / "matmul", *options)


@pytest.fixture(scope="module")
def reporter(folder: Path) -> Path:
    compiler = Compiler(family="gcc", version="0", target="", cc=CC, cxx=CXX, digest="")
    library = crash.preload(compiler, host=HOST, scratch=folder)
    assert library is not None
    return library


def run(argv: list[str], *preload: Path, report: Path | None = None) -> Finished:
    env = {**os.environ, "LD_PRELOAD": ":".join(map(str, preload))}
    if report:
        env["LLAMABUILD_CRASH_REPORT"] = str(report)
    return HOST.run(argv, limits=LIMITS, env=env)


def test_all_integer_products_are_right_in_two_threads(matmul: Path, emulator: Path) -> None:
    ended = run([str(matmul), "shapes"], emulator)
    assert (ended.code, ended.out.strip()) == (0, "3072")


@pytest.mark.parametrize("what", ["bf16", "addressing"])
def test_the_rest_is_right(what: str, matmul: Path, emulator: Path) -> None:
    assert run([str(matmul), what], emulator).code == 0


def test_crash_reports_do_not_keep_the_kernel_from_granting_amx(
    matmul: Path, reporter: Path, tmp_path: Path
) -> None:
    # The kernel refuses AMX to a process whose signal stack is too small for the tiles; on a
    # machine without AMX both are refused.
    native = run([str(matmul), "addressing"])
    reported = run([str(matmul), "addressing"], reporter, report=tmp_path / "report")
    assert reported.code == native.code


@pytest.mark.parametrize("emulator_first", [True, False])
@pytest.mark.parametrize(
    ("what", "signal", "feature"),
    [
        ("unconfigured", "SIGILL", "amx_tile"),
        ("released", "SIGILL", "amx_tile"),
        ("misfit", "SIGILL", "amx_int8"),
        ("same", "SIGILL", "amx_int8"),
        ("rows", "SIGSEGV", "amx_tile"),
        ("colsb", "SIGSEGV", "amx_tile"),
        ("palette", "SIGSEGV", "amx_tile"),
        ("reserved", "SIGSEGV", "amx_tile"),
        ("half", "SIGSEGV", "amx_tile"),
    ],
)
def test_what_the_cpu_refuses_ends_the_program_and_is_reported(
    what: str,
    signal: str,
    feature: str,
    emulator_first: bool,
    matmul: Path,
    emulator: Path,
    reporter: Path,
    tmp_path: Path,
) -> None:
    libraries = (emulator, reporter) if emulator_first else (reporter, emulator)
    ended = run([str(matmul), what], *libraries, report=tmp_path / "report")
    assert ended.signal == signal
    found = crash.read(tmp_path / "report", signal)
    assert found.feature == feature
    assert found.where.startswith("matmul+")
    assert run([str(matmul), what], emulator).signal == signal


@pytest.mark.parametrize(
    ("options", "signal"),
    [
        (("-mavx512f",), "SIGILL"),
        ((), "SIGILL"),
        (("-mavx512f", "-fno-dse"), ""),
        (("-fno-dse",), ""),
    ],
)
def test_dropped_stores_end_as_on_a_cpu_with_amx(
    options: tuple[str, ...],
    signal: str,
    emulator: Path,
    reporter: Path,
    tmp_path: Path,
) -> None:
    if "-mavx512f" in options and "avx512f" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this CPU has no AVX-512")
    source = tmp_path / "dropped.cpp"
    source.write_text(DROPPED)
    flags = ("-O3", "-mamx-tile", *options)
    program = made(source, tmp_path / "dropped", *flags)
    ended = run([str(program)], emulator, reporter, report=tmp_path / "report")
    assert ended.signal == signal
    if signal:
        found = crash.read(tmp_path / "report", signal)
        assert found.instruction.startswith("c4e27b49e0")  # tilezero %tmm4
    else:
        assert ended.code == 0


def test_a_canary_gives_the_same_verdict_where_the_instruction_runs(
    emulator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = canary.judge(CC, CXX, host=HOST, scratch=tmp_path)
    monkeypatch.setenv("LD_PRELOAD", str(emulator))
    assert canary.judge(CC, CXX, host=HOST, scratch=tmp_path) == here
