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
from llamabuild.prove import crash, inference, models, reference, server
from llamabuild.prove.inference import Runner
from tests.unit import values

pytestmark = pytest.mark.llama
HOST = LocalHost()
MODELS = {spec.type: models.generate(spec) for spec in models.SPECS}
EXPECTED = {kind: reference.expect(model) for kind, model in MODELS.items()}


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(host=HOST, scratch=tmp_path, threads=2, seconds=60)


def child_of(runner: Runner, python: Path, kind: str = "Q4_K") -> inference.Answer:
    path = runner.scratch / f"{kind}.gguf"
    models.write(MODELS[kind], path)
    return inference.run(python, path, EXPECTED[kind], runner, check="x", gpu_layers=0)


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


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_the_real_library_agrees(kind: str, python: Path, runner: Runner) -> None:
    answer = child_of(runner, python, kind)
    allowed = reference.tolerance(kind)
    check = inference.compare(answer, EXPECTED[kind], allowed, check=kind)
    # It must agree well within the limits: room is for other kernels, not for this one.
    assert 0 < check.error < allowed.mean / 3
    assert any(device.startswith("CPU") for device in answer.evidence.devices)
    assert "llama_kv_cache" in answer.evidence.log


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_a_model_with_one_flipped_scale_is_wrong(kind: str, python: Path, runner: Runner) -> None:
    """The sign bit of one scale (of one weight, for F16) in the file is turned."""
    tensors = dict(MODELS[kind].tensors)
    data = tensors["output.weight"].data.copy()
    row = data[100].view("u1")
    if kind == "F16":
        row[1:64:2] ^= 0x80
    else:
        row[models.BLOCKS[kind].scale + 1] ^= 0x80
    tensors["output.weight"] = replace(tensors["output.weight"], data=data)
    path = runner.scratch / "wrong.gguf"
    models.write(replace(MODELS[kind], tensors=tensors), path)
    answer = inference.run(python, path, EXPECTED[kind], runner, check="x", gpu_layers=0)
    with pytest.raises(ProofFailed) as caught:
        inference.compare(answer, EXPECTED[kind], reference.tolerance(kind), check="x")
    assert caught.value.kind == "wrong-numbers"


def test_a_file_that_is_cut_off_is_a_load_failure(python: Path, runner: Runner) -> None:
    path = runner.scratch / "cut.gguf"
    models.write(MODELS["Q4_0"], path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ProofFailed) as caught:
        inference.run(python, path, EXPECTED["Q4_0"], runner, check="x", gpu_layers=0)
    assert caught.value.kind == "load"


@pytest.mark.parametrize("mebibytes", [60, 100, 140, 180])
def test_too_little_memory_is_never_a_crash(mebibytes: int, python: Path, runner: Runner) -> None:
    """A failed allocation ends a process in many ways; none must be blamed on an instruction."""
    try:
        child_of(replace(runner, memory=mebibytes << 20), python)
    except ProofFailed as failure:
        assert failure.kind in ("memory", "load"), failure  # noqa: PT017 - it may also just fit
    else:
        assert mebibytes > 100


def build_of(tools: Path, scratch: Path) -> Build:
    prefix = scratch / "prefix"
    prefix.mkdir()
    (prefix / "bin").symlink_to(tools)
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
    assert sum(check.error > 0 for check in proof.checks) == len(models.SPECS)
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
    child_of(armed, python, "F16")
    path = runner.scratch / "IQ4_XS.gguf"
    models.write(MODELS["IQ4_XS"], path)
    ways: dict[str, Callable[[], object]] = {
        "child": lambda: child_of(armed, python, "IQ4_XS"),
        "server": lambda: server.check(
            tools / "llama-server", path, EXPECTED["IQ4_XS"], armed, name="x", gpu_layers=0
        ),
    }
    with pytest.raises(ProofFailed) as caught:
        ways[way]()
    assert caught.value.kind == "crash"
    assert caught.value.crash is not None
    assert caught.value.crash.signal == "SIGILL"
    assert caught.value.crash.where.startswith("trap.so+0x")
    assert caught.value.crash.instruction.startswith("0f0b")  # ud2


def test_the_server_leaves_no_port_open(
    tools: Path, python: Path, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: list[int] = []
    complete = server._complete

    def noted(port: int, expected: reference.Expected) -> tuple[int, ...]:
        ports.append(port)
        return complete(port, expected)

    monkeypatch.setattr(server, "_complete", noted)
    path = runner.scratch / "m.gguf"
    models.write(MODELS["Q4_K"], path)
    check = server.check(
        tools / "llama-server", path, EXPECTED["Q4_K"], runner, name="x", gpu_layers=0
    )
    assert "17 tokens" in check.detail
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", ports[0]))
