"""Children that crash, hang, cannot load or lie are told apart: real processes that end in every
way there is. What the real library computes is tested end to end (``tests/e2e/test_proof.py``)."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild.errors import ProofFailed
from llamabuild.host import LocalHost
from llamabuild.prove import cases, inference, tools
from llamabuild.prove.child import MARKER
from llamabuild.prove.inference import Runner

HOST = LocalHost()
pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(HOST.system()[0] == "windows", reason="the scripts are for POSIX"),
]

CASE = cases.standard()[0]


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(host=HOST, scratch=tmp_path, threads=2, seconds=20)


def program(path: Path, text: str, interpreter: str = "/bin/sh") -> Path:
    path.write_text(f"#!{interpreter}\n{text}\n")
    path.chmod(0o755)
    return path


def child_of(runner: Runner, python: Path) -> list[inference.Answer]:
    return list(inference.run(python, [CASE], runner, place="x", gpu_layers=0))


def told(*lines: dict[str, object]) -> str:
    """A script that tells these lines as the child would."""
    text = "\n".join(MARKER + json.dumps(line) for line in lines)
    return f"cat <<'END'\n{text}\nEND"


START = {
    "devices": ["CPU: x"],
    "backends": ["CPU"],
    "system": "",
    "libraries": [],
    "home": "/x",
    "log": "",
}


# --- children that end badly ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ILL", "illegal-instruction"),
        ("SEGV", "segfault"),
        ("BUS", "segfault"),
        ("FPE", "crash"),
        ("ABRT", "abort"),
    ],
)
def test_a_child_killed_by_a_fault_is_a_crash(name: str, kind: str, runner: Runner) -> None:
    python = program(runner.scratch / "python", f"kill -{name} $$")
    with pytest.raises(ProofFailed) as caught:
        child_of(runner, python)
    assert caught.value.kind == kind
    assert caught.value.check == "loading the library on the x"
    assert caught.value.crash is not None
    assert caught.value.crash.signal == f"SIG{name}"


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ("sleep 60", "timeout", "did not end in time"),
        ("kill -KILL $$", "memory", "memory"),
        ("echo 'terminate: std::bad_alloc' >&2; kill -ABRT $$", "memory", "bad_alloc"),
        (
            "echo 'GGML_ASSERT(galloc->hash_values != NULL) failed' >&2; kill -ABRT $$",
            "memory",
            "hash_values",
        ),
        ("echo 'libllama.so: bad' >&2; exit 1", "load", "libllama.so: bad"),
        (
            "echo 'libgomp.so.1: cannot open shared object file: No such file' >&2; exit 1",
            "library-missing",
            "libgomp.so.1",
        ),
        ("echo 'x: undefined symbol: llama_x' >&2; exit 127", "abi", "llama_x"),
        ("echo hello", "load", "was not answered: hello"),
        (f"echo '{MARKER}{{\"tok'", "load", "was not answered"),
        ("echo 'GGML_ASSERT(x > 0) failed' >&2; kill -ABRT $$", "abort", "GGML_ASSERT"),
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
        ("load", "libllama.so: bad", "load"),
        ("load", "libllama.so: undefined symbol: x", "abi"),
        ("load", "libx.so: cannot open shared object file", "library-missing"),
        ("load", "CUDA error: out of memory", "memory"),
        ("load", "CUDA error: no kernel image is available for execution on the device",
         "no-kernel-image"),
        ("load", "CUDA driver version is insufficient for CUDA runtime version", "driver"),
        ("abi", "llama_context_default_params: 120 bytes", "abi"),
        ("devices", "ggml found no back-end", "device-missing"),
        ("decode", "llama_decode returned -3", "wrong-numbers"),
    ],
)  # fmt: skip
def test_what_the_child_tells_itself_has_its_kind(
    stage: str, why: str, kind: str, runner: Runner
) -> None:
    answer: dict[str, object] = {"failed": stage, "why": why, "log": "last words\n"}
    python = program(runner.scratch / "python", told(answer))
    with pytest.raises(ProofFailed, match="last words") as caught:
        child_of(runner, python)
    assert caught.value.kind == kind


def test_what_was_begun_last_is_blamed(runner: Runner) -> None:
    script = told(START, {"begin": "one"}, {"done": True, "name": "one"}, {"begin": "two"})
    python = program(runner.scratch / "python", f"{script}\nkill -SEGV $$")
    with pytest.raises(ProofFailed, match="two on the x: SIGSEGV"):
        child_of(runner, python)


def test_a_library_from_elsewhere_is_no_proof_of_this_one(runner: Runner) -> None:
    start = {**START, "libraries": ["/x/lib/libllama.so", "/opt/libggml.so"]}
    python = program(runner.scratch / "python", told(start))
    with pytest.raises(ProofFailed, match=r"/opt/libggml\.so was loaded instead") as caught:
        child_of(runner, python)
    assert caught.value.kind == "wrong-library"


def test_a_case_without_an_answer_is_no_proof(runner: Runner) -> None:
    python = program(runner.scratch / "python", told(START))
    with pytest.raises(ProofFailed, match="was not answered"):
        child_of(runner, python)


def test_numbers_that_are_missing_are_wrong(runner: Runner) -> None:
    done = {"done": True, "name": CASE.name, "log": "", "memory": []}
    python = program(runner.scratch / "python", told(START, done))
    with pytest.raises(ProofFailed, match="0 numbers for") as caught:
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


# --- a bench that ends or answers badly ----------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "kind"),
    [("echo '[]'", "load"), ("echo nonsense", "load"), ("kill -ILL $$", "illegal-instruction")],
)
def test_a_bench_without_an_answer_fails(script: str, kind: str, runner: Runner) -> None:
    bench = program(runner.scratch / "llama-bench", script)
    with pytest.raises(ProofFailed) as caught:
        tools.measure(bench, runner.scratch / "m.gguf", runner, 0, name="CPU")
    assert caught.value.kind == kind


# --- a quantiser that loses too much -------------------------------------------------------------


def test_a_quantiser_that_writes_something_else_is_wrong(runner: Runner) -> None:
    """One that copies what it is given has no matrix of the type."""
    tool = program(runner.scratch / "llama-quantize", 'cp "$2" "$3"')
    with pytest.raises(ProofFailed, match="no matrix of its file is Q8_0") as caught:
        tools.quantises(tool, "Q8_0", runner)
    assert caught.value.kind == "wrong-numbers"


def test_a_quantiser_that_writes_no_file_is_wrong(runner: Runner) -> None:
    tool = program(runner.scratch / "llama-quantize", "exit 0")
    with pytest.raises(ProofFailed, match="cannot be read") as caught:
        tools.quantises(tool, "Q8_0", runner)
    assert caught.value.kind == "wrong-numbers"
