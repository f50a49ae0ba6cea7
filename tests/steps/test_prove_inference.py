"""Children that crash, hang, cannot load or lie are told apart: real processes that end in every
way there is. What the real library computes is tested end to end (``tests/e2e/test_proof.py``)."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import prove
from llamabuild.errors import ProofFailed
from llamabuild.host import LocalHost
from llamabuild.prove import inference, models, reference, server
from llamabuild.prove.child import MARKER
from llamabuild.prove.inference import Runner

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
