from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from llamabuild.errors import Crash
from llamabuild.host import Finished, Limits, LocalHost
from llamabuild.model import Compiler
from llamabuild.prove import crash

HOST = LocalHost()
LIMITS = Limits(seconds=30)

pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(HOST.system()[0] != "linux", reason="preloading is for Linux"),
    pytest.mark.skipif(HOST.system()[2] != "x86_64", reason="the instructions are x86-64's"),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler is installed"),
]

PROGRAM = r"""
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define TDPBSSD_OF_EQUAL_TILES __asm__ volatile(".byte 0xc4,0xe2,0x5b,0x5e,0xc0")
static int deeper(volatile int * n) { volatile int m[512]; m[0] = *n; return deeper(m) + m[0]; }
static void * fault(void * what) {
    if (!strcmp(what, "illegal")) TDPBSSD_OF_EQUAL_TILES;
    if (!strcmp(what, "null")) *(volatile int *) 8 = 1;
    if (!strcmp(what, "jump")) ((void (*)(void)) 16)();
    if (!strcmp(what, "misaligned")) __asm__ volatile("vmovaps 1(%%rsp),%%xmm0" ::: "xmm0");
    if (!strcmp(what, "divide")) __asm__ volatile("divl %0" :: "r"(0), "a"(1), "d"(0));
    if (!strcmp(what, "abort")) abort();
    if (!strcmp(what, "sent")) kill(getpid(), SIGSEGV);
    if (!strcmp(what, "overflow")) { int n = 1; deeper(&n); }
    return 0;
}
static void own(int number) { (void) number; _exit(5); }
int main(int count, char ** words) {
    pthread_t thread;
    if (!strcmp(words[1], "own")) { signal(SIGILL, own); words[1] = "illegal"; }
    if (count < 3) fault(words[1]);
    else { pthread_create(&thread, 0, fault, words[1]); pthread_join(thread, 0); }
    return 0;
}
"""


def compiler() -> Compiler:
    cc = shutil.which("cc") or ""
    return Compiler(family="gcc", version="0", target="", cc=cc, cxx=cc, digest="")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = crash.preload(compiler(), host=HOST, scratch=tmp_path_factory.mktemp("crash"))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    (folder / "faults.c").write_text(PROGRAM)
    argv = ["cc", "-O1", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-pthread", "-w"]
    made = HOST.run([*argv, str(folder / "faults.c"), "-o", str(folder / "faults")], limits=LIMITS)
    assert made.code == 0, made.err
    return folder / "faults"


def run(argv: list[str], library: Path, report: Path) -> Finished:
    env: Mapping[str, str] = {**os.environ, **crash.environment(library, report)}
    return HOST.run(argv, limits=LIMITS, env=env)


@pytest.mark.parametrize(
    ("what", "signal", "instruction", "feature"),
    [
        ("illegal", "SIGILL", "c4e25b5ec0", "amx_int8"),
        ("null", "SIGSEGV", "c7042508000000", ""),
        ("misaligned", "SIGSEGV", "c5f828442401", "avx"),
        ("divide", "SIGFPE", "f7", ""),
        ("overflow", "SIGSEGV", "", ""),
        ("abort", "SIGABRT", "", ""),
        ("sent", "SIGSEGV", "", ""),
    ],
)
@pytest.mark.parametrize("thread", ["", "thread"])
def test_a_fault_is_reported_and_still_ends_the_program(
    what: str,
    signal: str,
    instruction: str,
    feature: str,
    thread: str,
    program: Path,
    library: Path,
    tmp_path: Path,
) -> None:
    if what == "overflow" and thread:
        pytest.skip("only the main thread has a stack for it")
    ended = run([str(program), what, *filter(None, [thread])], library, tmp_path / "report")
    assert ended.signal == signal
    found = crash.read(tmp_path / "report", signal)
    assert found.signal == signal
    assert found.instruction.startswith(instruction)
    assert len(found.instruction) == 32
    assert found.feature == feature
    assert found.where
    if instruction:
        assert at(program, found.where, 16).hex() == found.instruction


def at(program: Path, where: str, count: int) -> bytes:
    """The bytes of the program's file that ``where`` speaks of."""
    name, _, offset = where.partition("+")
    assert name == program.name
    return program.read_bytes()[int(offset, 16) :][:count]


def test_a_jump_to_nowhere_has_no_instruction(program: Path, library: Path, tmp_path: Path) -> None:
    ended = run([str(program), "jump"], library, tmp_path / "report")
    assert ended.signal == "SIGSEGV"
    assert crash.read(tmp_path / "report", "SIGSEGV") == Crash(signal="SIGSEGV")


def test_a_program_keeps_its_own_handler(program: Path, library: Path, tmp_path: Path) -> None:
    assert run([str(program), "own"], library, tmp_path / "report").code == 5
    assert not (tmp_path / "report").exists()


def test_python_is_not_disturbed(library: Path, tmp_path: Path) -> None:
    code = "import threading, subprocess, sys; subprocess.run([sys.executable, '-c', '']); print(7)"
    ended = run([sys.executable, "-c", code], library, tmp_path / "report")
    assert (ended.code, ended.out.strip()) == (0, "7")
    assert not (tmp_path / "report").exists()


def test_faulthandler_and_the_report_live_together(library: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-X", "faulthandler", "-c", "import ctypes; ctypes.string_at(8)"]
    ended = run(argv, library, tmp_path / "report")
    assert ended.signal == "SIGSEGV"
    assert "Fatal Python error" in ended.err
    assert crash.read(tmp_path / "report", "SIGSEGV").where


def test_a_report_of_another_signal_is_not_believed(
    program: Path, library: Path, tmp_path: Path
) -> None:
    run([str(program), "divide"], library, tmp_path / "report")
    assert crash.read(tmp_path / "report", "SIGKILL") == Crash(signal="SIGKILL")


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_cut_off_line_is_passed_over(
    cut: int, program: Path, library: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    run([str(program), "illegal"], library, report)
    whole = crash.read(report, "SIGILL")
    with report.open("ab") as stream:
        stream.write(report.read_bytes()[:-cut] + b"\n\xff\x00{}\n")
    assert crash.read(report, "SIGILL") == whole
    report.write_bytes(report.read_bytes()[:cut])
    assert crash.read(report, "SIGILL") == Crash(signal="SIGILL")


def test_no_report_and_no_library() -> None:
    assert crash.read(Path("/nowhere/report"), "SIGILL") == Crash(signal="SIGILL")
    assert crash.environment(None, Path("report")) == {}


def test_a_compiler_that_does_not_work_means_no_evidence(tmp_path: Path) -> None:
    broken = Compiler(
        family="gcc", version="0", target="", cc="/nowhere/cc", cxx="/nowhere/cc", digest=""
    )
    assert crash.preload(broken, host=HOST, scratch=tmp_path) is None
