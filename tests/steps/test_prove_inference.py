"""Children that crash, hang, cannot load or lie are told apart; the real library is right.

The first half runs real processes that end in every way there is. The second half needs a built
llama.cpp: LLAMABUILD_TEST_LIBS names the folder of its libraries and tools, LLAMABUILD_TEST_PYTHON
an interpreter whose llama_cpp uses them.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import prove
from llamabuild.errors import ProofFailed
from llamabuild.events import Event, Progress
from llamabuild.host import Limits, LocalHost
from llamabuild.model import Build
from llamabuild.prove import crash, inference, models, reference, server
from llamabuild.prove.child import MARKER
from llamabuild.prove.inference import Runner
from tests.unit import values

HOST = LocalHost()
pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(HOST.system()[0] == "windows", reason="the scripts are for POSIX"),
]

MODELS = {spec.type: models.generate(spec) for spec in models.SPECS}
EXPECTED = {kind: reference.expect(model) for kind, model in MODELS.items()}


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(host=HOST, scratch=tmp_path, threads=2, seconds=20)


def program(path: Path, text: str, interpreter: str = "/bin/sh") -> Path:
    path.write_text(f"#!{interpreter}\n{text}\n")
    path.chmod(0o755)
    return path


def child_of(runner: Runner, python: Path, kind: str = "Q4_K") -> inference.Answer:
    path = runner.scratch / f"{kind}.gguf"
    models.write(MODELS[kind], path)
    return inference.run(python, path, EXPECTED[kind], runner, check="x", gpu_layers=0)


# --- children that end badly ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ILL", "SEGV", "BUS", "FPE", "ABRT"])
def test_a_child_killed_by_a_fault_is_a_crash(name: str, runner: Runner) -> None:
    python = program(runner.scratch / "python", f"kill -{name} $$")
    with pytest.raises(ProofFailed) as caught:
        child_of(runner, python)
    assert caught.value.kind == "crash"
    assert caught.value.check == "x"
    assert caught.value.crash is not None
    assert caught.value.crash.signal == f"SIG{name}"


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ("sleep 60", "timeout", "did not end in time"),
        ("kill -KILL $$", "memory", "memory"),
        ("echo 'terminate: std::bad_alloc' >&2; kill -ABRT $$", "memory", "bad_alloc"),
        ("echo 'libllama.so: cannot open' >&2; exit 1", "load", "cannot open"),
        ("echo hello", "load", "no answer: hello"),
        (f"echo '{MARKER}{{\"tok'", "load", "no answer"),
        ("echo 'GGML_ASSERT(x > 0) failed' >&2; kill -ABRT $$", "crash", "GGML_ASSERT"),
    ],
)
def test_every_other_end_has_its_kind(script: str, kind: str, words: str, runner: Runner) -> None:
    python = program(runner.scratch / "python", script)
    with pytest.raises(ProofFailed) as caught:
        child_of(replace(runner, seconds=1), python)
    assert caught.value.kind == kind
    assert words in caught.value.message
    assert caught.value.hint


def test_an_interpreter_that_is_not_there_is_a_load_failure(runner: Runner) -> None:
    with pytest.raises(ProofFailed) as caught:
        child_of(runner, runner.scratch / "no-python")
    assert caught.value.kind == "load"


def test_a_python_without_the_wheel_is_a_load_failure(runner: Runner) -> None:
    bare = program(runner.scratch / "python", f'exec "{sys.executable}" -S "$@"')
    with pytest.raises(ProofFailed, match="No module named 'llama_cpp'") as caught:
        child_of(runner, bare)
    assert caught.value.kind == "load"


@pytest.mark.parametrize(
    ("stage", "why", "kind"),
    [
        ("load", "libllama.so: undefined symbol", "load"),
        ("load", "CUDA error: out of memory", "memory"),
        ("devices", "ggml found no back-end", "wrong-device"),
        ("decode", "llama_decode returned -3", "wrong-numbers"),
    ],
)
def test_what_the_child_tells_itself_has_its_kind(
    stage: str, why: str, kind: str, runner: Runner
) -> None:
    answer = json.dumps({"failed": stage, "why": why, "log": "last words\n"})
    python = program(runner.scratch / "python", f"printf '%s\\n' '{MARKER}{answer}'")
    with pytest.raises(ProofFailed, match="last words") as caught:
        child_of(runner, python)
    assert caught.value.kind == kind


def test_logits_that_are_missing_are_wrong(runner: Runner) -> None:
    answer = json.dumps({"tokens": [1], "devices": ["CPU: x"], "system": "", "log": ""})
    python = program(runner.scratch / "python", f"printf '%s\\n' '{MARKER}{answer}'")
    with pytest.raises(ProofFailed, match="0 logits instead of") as caught:
        child_of(runner, python)
    assert caught.value.kind == "wrong-numbers"


def test_settings_of_this_process_do_not_reach_the_child(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LLAMA_CPP_LIB_PATH", "LLAMA_ARG_THREADS", "PYTHONPATH", "GGML_BACKEND_PATH"):
        monkeypatch.setenv(name, "/elsewhere")
    monkeypatch.setenv("GGML_VK_VISIBLE_DEVICES", "0")
    env = inference.environment(runner, runner.scratch / "report")
    assert "/elsewhere" not in env.values()
    assert env["GGML_VK_VISIBLE_DEVICES"] == "0"


# --- servers that end or answer badly ------------------------------------------------------------

SERVER = """
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def reply(self, text):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())
    def do_GET(self): self.reply("ok")
    def do_POST(self):
        {post}
{start}
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(f"listening on http://127.0.0.1:{{server.server_address[1]}}", flush=True)
server.serve_forever()
"""


def served(
    runner: Runner, *, start: str = "", post: str = "self.reply('{\"tokens\": [1]}')"
) -> ProofFailed:
    text = SERVER.format(start=start, post=post)
    tool = program(runner.scratch / "llama-server", text, interpreter=sys.executable)
    model = runner.scratch / "m.gguf"
    with pytest.raises(ProofFailed) as caught:
        server.check(tool, model, EXPECTED["Q4_K"], runner, name="server", gpu_layers=0)
    return caught.value


def test_a_server_with_other_tokens_is_wrong(runner: Runner) -> None:
    assert served(runner).kind == "wrong-numbers"


def test_a_server_that_talks_nonsense_is_wrong(runner: Runner) -> None:
    failure = served(runner, post='self.reply("<html>")')
    assert (failure.kind, "HTTP 200: <html>" in failure.message) == ("wrong-numbers", True)


def test_a_server_that_crashes_while_it_answers_is_a_crash(runner: Runner) -> None:
    failure = served(runner, post="os.kill(os.getpid(), signal.SIGSEGV)")
    assert failure.kind == "crash"
    assert failure.crash is not None
    assert failure.crash.signal == "SIGSEGV"


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        ("os.kill(os.getpid(), signal.SIGILL)", "crash"),
        ("sys.exit('cannot load the model')", "load"),
        ("sys.exit(0)", "load"),
    ],
)
def test_a_server_that_ends_before_it_listens(start: str, kind: str, runner: Runner) -> None:
    assert served(runner, start=start).kind == kind


@pytest.mark.parametrize("where", ["start", "post"])
def test_a_server_that_hangs_is_ended(
    where: str, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_PATIENCE", 1.0)
    note = runner.scratch / "pid"
    hang = f"open({str(note)!r}, 'w').write(str(os.getpid())); import time; time.sleep(60)"
    failure = served(runner, **{where: hang})
    assert failure.kind == "timeout"
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_a_server_that_cannot_start_is_a_load_failure(runner: Runner) -> None:
    with pytest.raises(ProofFailed) as caught:
        server.check(
            runner.scratch / "none",
            runner.scratch / "m.gguf",
            EXPECTED["Q4_K"],
            runner,
            name="server",
            gpu_layers=0,
        )
    assert caught.value.kind == "load"


# --- a bench that ends or answers badly ----------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "kind"),
    [("echo '[]'", "load"), ("echo nonsense", "load"), ("kill -ILL $$", "crash")],
)
def test_a_bench_without_an_answer_fails(script: str, kind: str, runner: Runner) -> None:
    bench = program(runner.scratch / "llama-bench", script)
    place = prove.Place(name="CPU", gpu_layers=0, backends=("cpu",))
    with pytest.raises(ProofFailed) as caught:
        prove.measure(bench, runner.scratch / "m.gguf", runner, place)
    assert caught.value.kind == kind


# --- the real library ----------------------------------------------------------------------------


@pytest.fixture
def libraries() -> Path:
    found = os.environ.get("LLAMABUILD_TEST_LIBS")
    if not found:
        pytest.skip("LLAMABUILD_TEST_LIBS does not name a folder with llama.cpp's libraries")
    return Path(found)


@pytest.fixture
def python(libraries: Path) -> Path:
    found = os.environ.get("LLAMABUILD_TEST_PYTHON")
    if not found:
        pytest.skip(f"LLAMABUILD_TEST_PYTHON names no Python whose llama_cpp uses {libraries}")
    return Path(found)


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


def build_of(libraries: Path, scratch: Path) -> Build:
    prefix = scratch / "prefix"
    prefix.mkdir()
    (prefix / "bin").symlink_to(libraries)
    return Build(
        plan=values.plan(),
        prefix=prefix,
        wheel=scratch / "a.whl",
        log=scratch / "build.log",
        seconds=0.0,
        effective={},
    )


def test_a_whole_proof(libraries: Path, python: Path, tmp_path: Path) -> None:
    told: list[Event] = []
    proof = prove.prove(
        build_of(libraries, tmp_path),
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
    assert 0 < proof.seconds < 120  # 2 s alone; the rest is for a busy machine


def test_a_tool_that_is_planned_but_missing_fails(
    libraries: Path, python: Path, tmp_path: Path
) -> None:
    build = build_of(libraries, tmp_path)
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
    way: str, trap: Path, libraries: Path, python: Path, runner: Runner
) -> None:
    """It loads, other types pass, and only computing with this one ends the process."""
    armed = replace(runner, preload=trap)
    child_of(armed, python, "F16")
    path = runner.scratch / "IQ4_XS.gguf"
    models.write(MODELS["IQ4_XS"], path)
    ways: dict[str, Callable[[], object]] = {
        "child": lambda: child_of(armed, python, "IQ4_XS"),
        "server": lambda: server.check(
            libraries / "llama-server", path, EXPECTED["IQ4_XS"], armed, name="x", gpu_layers=0
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
    libraries: Path, python: Path, runner: Runner, monkeypatch: pytest.MonkeyPatch
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
        libraries / "llama-server", path, EXPECTED["Q4_K"], runner, name="x", gpu_layers=0
    )
    assert "17 tokens" in check.detail
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", ports[0]))
