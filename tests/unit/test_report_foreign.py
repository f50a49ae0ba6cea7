"""The page about a foreign llama.cpp: every fact is told, and every failure with its next step."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from llamabuild.backends import Evidence
from llamabuild.errors import Crash
from llamabuild.examination import Beside, Examined, idle
from llamabuild.inspection import Part
from llamabuild.model import Device
from llamabuild.prove.findings import Examination, Finding, Unasked
from llamabuild.report import foreign

TRAP = Finding(
    case="IQ4_XS products",
    kind="illegal-instruction",
    why="SIGILL in libggml-cpu.so+0x10, an instruction of amx_int8",
    hint="Build without it",
    crash=Crash(signal="SIGILL", feature="amx_int8"),
)
WRONG = Finding(case="Q4_0 decoder", kind="wrong-numbers", why="mean 0.3", hint="Do not use it")
GOOD = Examined(
    path=Path("/opt/it"),
    kind="wheel",
    label="engine 1.2",
    version="ggml version 0.25.1",
    parts=(Part(path="core.so", features=("avx", "avx2"), device_code=("sass 90", "ptx 90")),),
    missing=(),
    doubts=(),
    held=75,
    asked=75,
    largest=5.5e-4,
    failures=(),
    unknown=(),
    unasked=(),
    devices=("CPU: EPYC",),
    buffers=("CPU_Mapped",),
    loaded=(),
    beside=Beside(key="ab" * 32, threads=2, its=(50.0, 20.0), ours=(100.0, 10.0)),
)


def test_all_is_well() -> None:
    page = foreign.page(GOOD)
    assert GOOD.failure is None
    assert "FAILS" not in page
    for words in (
        *("/opt/it", "a wheel, engine 1.2", "ggml version 0.25.1", "CPU: EPYC", "avx avx2"),
        *("sass 90, ptx 90", "75 of 75 cases hold; largest error 5.5e-04", "2 threads"),
        *("50 tokens/s  0.50 of ours (100)", "20 tokens/s  2.00 of ours (10)"),
    ):
        assert words in page


def test_failures_come_by_kind_each_with_its_next_step() -> None:
    bad = replace(GOOD, held=72, failures=(TRAP, WRONG, replace(TRAP, case="IQ4_XS decoder")))
    lines = foreign.page(bad).splitlines()
    fails = [line for line in lines if line.startswith("FAILS")]
    assert fails == ["FAILS (illegal-instruction):", "FAILS (wrong-numbers):"]
    assert sum("amx_int8" in line for line in lines) == 2
    assert [line for line in lines if line.startswith("  next:")] == [
        "  next: Build without it",
        "  next: Do not use it",
    ]
    assert any("llamabuild setup" in line for line in lines)


def test_the_failure_is_an_error_with_the_first_finding() -> None:
    failure = replace(GOOD, held=73, failures=(TRAP, WRONG)).failure
    assert failure is not None
    assert (failure.exit_code, failure.kind, failure.check) == (8, TRAP.kind, TRAP.case)
    assert failure.crash == TRAP.crash
    assert failure.message.startswith("2 of 75 do not hold; IQ4_XS products: SIGILL")


def test_what_was_not_asked_is_no_failure_and_is_told() -> None:
    unasked = Unasked(why="no bindings", cases=tuple(f"case {n}" for n in range(6)))
    unknown = Finding(case="MXFP4 decoder", kind="unknown", why="invalid ggml type")
    page = foreign.page(replace(GOOD, unasked=(unasked,), unknown=(unknown,)))
    assert "Unknown to this release: MXFP4 decoder" in page
    assert "no bindings:\n    case 0; case 1; case 2; case 3; 2 more" in page


def test_only_a_variant_that_was_chosen_can_lack_something() -> None:
    parts = (
        Part(path="libggml-cpu-spr.so", features=("amx_int8",), lacking=("amx_int8",)),
        Part(path="libggml-cpu-zen4.so", features=("avx_vnni",), lacking=("avx_vnni",)),
    )
    page = foreign.page(replace(GOOD, parts=parts, loaded=("libggml-cpu-zen4.so",)))
    assert "lacks avx_vnni" in page
    assert "lacks amx_int8" not in page
    assert "lacks amx_int8" in foreign.page(replace(GOOD, parts=parts))


def test_what_tools_said_cannot_steer_a_terminal() -> None:
    dirty = replace(
        GOOD,
        version="\x1b[31mred",
        failures=(replace(WRONG, why="a\x1b]0;b\x07\nc", hint="d\re"),),
        doubts=("\x1b[2J",),
        missing=("x needs \x1b[0m",),
        beside=Beside(why="\x1b[1m"),
    )
    assert "\x1b" not in foreign.page(dirty)
    assert "\r" not in foreign.page(dirty)


def test_as_json_it_is_versioned_and_complete() -> None:
    told = json.loads(foreign.as_json(replace(GOOD, failures=(TRAP,))))
    assert (told["version"], told["kind"]) == (1, "examination")
    found = told["examination"]
    assert found["path"] == "/opt/it"
    assert found["failures"][0]["crash"]["feature"] == "amx_int8"
    assert found["beside"]["ours"] == [100.0, 10.0]


def result(devices: tuple[str, ...], buffers: tuple[str, ...]) -> Examination:
    seen = Evidence(devices=devices, offloaded=0, layers=0, log="", buffers=buffers)
    return Examination(findings=(), evidence=seen)


def test_a_device_that_is_not_used_is_told() -> None:
    cpu = Device(backend="cpu", name="EPYC", architecture="x86_64")
    blas = Device(backend="blas", name="OpenBLAS", architecture="", kind="library")
    gpu = Device(backend="cuda", name="H200", architecture="90")
    alone, both = ("CPU: EPYC",), ("CUDA0: H200", "CPU: EPYC")
    assert not list(idle(result(alone, ("CPU",)), (cpu, blas)))
    (said,) = idle(result(alone, ("CPU",)), (cpu, gpu))
    assert "this machine has H200; this build does not use it" in said
    (said,) = idle(result(both, ("CPU",)), (cpu, gpu))
    assert "lists CUDA0: H200, and computed on the CPU" in said
    assert not list(idle(result(both, ("CPU", "CUDA0")), (cpu, gpu)))
