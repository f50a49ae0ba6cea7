"""The proof against the real library: it is right, and mutants of model and kernels are caught."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llamabuild import prove, wheels
from llamabuild.errors import ProofFailed
from llamabuild.events import Event, Progress
from llamabuild.host import Limits, LocalHost
from llamabuild.model import Build
from llamabuild.prove import cases, crash, files, greedy, inference, models, reference, weights
from llamabuild.prove.cases import Case
from llamabuild.prove.dialogue import Line
from llamabuild.prove.inference import Runner
from tests.unit import values

pytestmark = pytest.mark.llama
HOST = LocalHost()
CASES = {case.name: case for case in cases.standard()}
TEXT = reference.text(models.SERVED, cases.decoded(models.SERVED))


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(host=HOST, scratch=tmp_path, threads=2, seconds=60)


def child_of(runner: Runner, python: Path, *wanted: Case) -> list[inference.Answer]:
    return list(inference.run(python, wanted, runner, place="CPU", gpu_layers=0))


@pytest.fixture(scope="module")
def tools(artifact: dict[str, Any]) -> Path:
    """The folder of the artifact's programs."""
    return Path(artifact["artifact"]["path"]) / "bin"


@pytest.fixture(scope="module")
def python(artifact: dict[str, Any], cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the artifact's wheel."""
    wheel = Path(artifact["wheel"])
    folder = tmp_path_factory.mktemp("proof") / "venv"
    needed = wheels.requirements_of(wheel)
    made = wheels.environment(folder, needed, house=cache / "requirements", host=HOST)
    wheels.install(wheel, made, HOST)
    return made


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_real_library_agrees_well_within_the_limits(
    threads: int, python: Path, runner: Runner
) -> None:
    """Room is for other kernels, not for these."""
    answers = child_of(replace(runner, threads=threads), python, *CASES.values())
    assert [answer.case.name for answer in answers] == list(CASES)
    for answer in answers:
        wanted = cases.expected(answer.case)
        found = reference.distance(answer.values, wanted.values)
        assert found.mean < 0.6 * wanted.allowed.mean, answer.case.name
        assert found.worst < 0.8 * wanted.allowed.worst, answer.case.name
        assert answer.evidence.buffers
    assert any(device.startswith("CPU") for device in answers[0].evidence.devices)


@pytest.mark.parametrize("kind", sorted(weights.TYPES))
def test_a_model_with_one_flipped_bit_is_wrong(kind: str, python: Path, runner: Runner) -> None:
    """The sign of one scale (of one weight, where there is none) in the file is turned."""
    case = CASES[f"{kind} products"]
    model = models.generate(case.spec)
    data = model.tensors["output.weight"].data.copy()
    row = data[100].view("u1")
    known = weights.TYPES[kind]
    last = {"float": data.itemsize - 1, "packed": len(row) - 1, "quantise": 1}
    row[last.get(known.form, known.scale + 1)] ^= 0x80
    tensors = {**model.tensors, "output.weight": replace(model.tensors["output.weight"], data=data)}
    files.write(replace(model, tensors=tensors), cases.model_file(case.spec, runner.scratch))
    (answer,) = child_of(runner, python, case)
    wrong = reference.disagreement(answer.values, cases.expected(case))
    assert wrong is not None
    assert wrong[0] == "wrong-numbers"


def test_a_file_that_is_cut_off_is_a_load_failure(python: Path, runner: Runner) -> None:
    case = CASES["Q4_0 decoder"]
    path = cases.model_file(case.spec, runner.scratch)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ProofFailed) as caught:
        child_of(runner, python, case)
    assert caught.value.kind == "load"


@pytest.mark.parametrize("mebibytes", [60, 100, 140, 180])
def test_too_little_memory_is_never_a_crash(mebibytes: int, python: Path, runner: Runner) -> None:
    """A failed allocation ends a process in many ways; none must be blamed on an instruction."""
    try:
        child_of(replace(runner, memory=mebibytes << 20), python, CASES["Q4_K decoder"])
    except ProofFailed as failure:
        assert failure.kind in ("memory", "load"), failure  # noqa: PT017 - it may also just fit
    else:
        assert mebibytes > 100


def build_of(tools: Path, scratch: Path) -> Build:
    prefix = scratch / "prefix"
    prefix.symlink_to(tools.parent)
    return Build(
        plan=values.plan(),
        prefix=prefix,
        wheel=scratch / "a.whl",
        log=scratch / "build.log",
        seconds=0.0,
        effective={},
    )


def test_a_whole_proof(tools: Path, python: Path, tmp_path: Path) -> None:
    told: list[Event] = []
    proof = prove.prove(
        build_of(tools, tmp_path),
        python=python,
        host=HOST,
        emit=told.append,
        scratch=tmp_path / "proof",
    )
    steps = [event for event in told if isinstance(event, Progress)]
    assert [step.done for step in steps] == list(range(1, steps[-1].total + 1))
    assert {step.unit for step in steps} == {"checks"}
    assert steps[-1].total == len(proof.checks) + len(proof.speed)
    over_http = 2
    assert sum(check.error > 0 for check in proof.checks) == len(CASES) + over_http
    assert proof.device.startswith("CPU")
    assert all(speed.prompt > 0 and speed.generate > 0 for speed in proof.speed)
    assert proof.seconds > 0


def test_a_tool_that_is_planned_but_missing_fails(
    tools: Path, python: Path, tmp_path: Path
) -> None:
    build = build_of(tools, tmp_path)
    build = replace(build, plan=replace(build.plan, targets=("llama", "llama-absent")))
    with pytest.raises(ProofFailed, match="llama-absent starts") as caught:
        prove.prove(
            build, python=python, host=HOST, emit=lambda _: None, scratch=tmp_path / "proof"
        )
    assert caught.value.kind == "load"


TRAP = """
#include <stddef.h>
void ggml_vec_dot_iq4_xs_q8_K(int n, float * s, size_t bs, const void * x, size_t bx,
                              const void * y, size_t by, int nrc) { __builtin_trap(); }
"""


@pytest.fixture
def trap(runner: Runner) -> Path:
    """The crash reporter with a real illegal instruction in the place of one quantised kernel."""
    compiler = HOST.which("cc")
    if HOST.system()[0] != "linux" or HOST.system()[2] != "x86_64" or not compiler:
        pytest.skip("needs Linux on x86-64 and a C compiler")
    if "amx" in (HOST.read_text("/proc/cpuinfo") or ""):
        pytest.skip("an AMX build has another kernel for this type")
    source = runner.scratch / "trap.c"
    source.write_text(TRAP)
    library = runner.scratch / "trap.so"
    reporter = Path(crash.__file__).with_name("crash.c")
    options = ("-std=gnu11", "-O1", "-fPIC", "-shared")
    argv = [compiler, *options, str(reporter), str(source), "-o", str(library)]
    made = HOST.run(argv, limits=Limits(seconds=60))
    assert made.code == 0, made.err
    return library


@pytest.mark.parametrize("way", ["child", "server"])
def test_a_kernel_that_crashes_is_caught_with_evidence(
    way: str, trap: Path, tools: Path, python: Path, runner: Runner
) -> None:
    """It loads, other types pass, and only computing with this one ends the process."""
    armed = replace(runner, preload=trap)
    child_of(armed, python, CASES["F16 decoder"])
    path = cases.model_file(CASES["IQ4_XS decoder"].spec, runner.scratch)
    ways: dict[str, Callable[[], object]] = {
        "child": lambda: child_of(armed, python, CASES["IQ4_XS decoder"]),
        "server": lambda: greedy.check(
            tools / "llama-server", path, TEXT, armed, name="x", gpu_layers=0
        ),
    }
    with pytest.raises(ProofFailed) as caught:
        ways[way]()
    assert caught.value.kind == "illegal-instruction"
    assert caught.value.crash is not None
    assert caught.value.crash.signal == "SIGILL"
    assert caught.value.crash.where.startswith("trap.so+0x")
    assert caught.value.crash.instruction.startswith("0f0b")  # ud2


def test_the_server_leaves_no_port_open(
    tools: Path, python: Path, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: list[int] = []
    generated = greedy._generated

    def noted(line: Line, wanted: reference.Text) -> tuple[int, ...]:
        ports.append(line.port)
        return generated(line, wanted)

    monkeypatch.setattr(greedy, "_generated", noted)
    path = cases.model_file(models.SERVED, runner.scratch)
    check = greedy.check(tools / "llama-server", path, TEXT, runner, name="x", gpu_layers=0)
    assert "17 tokens" in check.detail
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", ports[0]))
