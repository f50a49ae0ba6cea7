"""Servers that die, hang, lie or talk nonsense are told apart: real processes that do so."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter, TokenType

from llamabuild.errors import ProofFailed
from llamabuild.host import LocalHost
from llamabuild.model import Check
from llamabuild.prove import greedy, serving
from llamabuild.prove.dialogue import Server
from llamabuild.prove.inference import Runner
from llamabuild.prove.reference import Distance, Text
from llamabuild.prove.serving import Served

HOST = LocalHost()
pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(HOST.system()[0] == "windows", reason="the scripts are for POSIX"),
]
LOGITS = np.linspace(-2, 2, 8)
PROBABILITIES = serving.log_softmax(LOGITS[None, :])[0].tolist()
"""Of the last token of every prompt, whatever it is."""

SERVER = """#!{python} -IB
import http.server, json, os, signal, sys, time
if "--help" in sys.argv:
    sys.exit(print("--port N  --offline"))
port = int(sys.argv[sys.argv.index("--port") + 1])
row = {row}

def stated(row, token=7):
    top = [dict(id=n, logprob=x) for n, x in enumerate(row)]
    return dict(tokens=[token], completion_probabilities=[dict(id=token, top_logprobs=top)])

class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *told):
        pass
    def do_GET(self):
        self.say(200, dict(status="ok"))
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompts = body.get("prompt", [[]])
        {deed}
    def say(self, status, answer):
        self.send(status, json.dumps(answer).encode())
    def drip(self):
        time.sleep(0.05)
        self.wfile.write(b" ")
    def send(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

{start}
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
RIGHT = "self.say(200, [dict(stated(row), index=n) for n in range(len(prompts))])"


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(host=HOST, scratch=tmp_path, threads=2, seconds=20)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file with eight tokens and nothing else."""
    path = tmp_path / "model.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_token_list([f"w{n}" for n in range(len(LOGITS))])
    writer.add_token_types([TokenType.NORMAL] * len(LOGITS))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def asked(program: Path, model: Path, runner: Runner) -> Server:
    return Server(program=program, model=model, runner=runner, check="x", gpu_layers=0)


def server_that(runner: Runner, deed: str, start: str = "") -> Path:
    program = runner.scratch / "server"
    text = SERVER.format(python=sys.executable, row=PROBABILITIES, deed=deed, start=start)
    program.write_text(text)
    program.chmod(0o755)
    return program


def served(runner: Runner, model: Path, deed: str, start: str = "") -> Served:
    program = server_that(runner, deed, start)
    return serving.answers(asked(program, model, runner), [[3, 4, 5], [6, 7]], 1)


def test_what_a_server_states_is_what_comes_back(runner: Runner, model: Path) -> None:
    found = served(runner, model, RIGHT)
    logits = np.tile(LOGITS, (4, 1))
    assert found.tokens == (7, 7, 7, 7)
    assert serving.disagreement(found, logits, Distance(mean=1e-12, worst=1e-5)) is None
    wrong = serving.disagreement(found, logits[:, ::-1], Distance(mean=1e-3, worst=0.1))
    assert wrong is not None
    assert wrong[0] == "wrong-numbers"


def test_a_server_that_has_no_numbers(runner: Runner, model: Path) -> None:
    found = served(runner, model, f"row[2] = None; {RIGHT}")
    wrong = serving.disagreement(found, np.tile(LOGITS, (4, 1)), Distance(mean=1, worst=9))
    assert wrong == ("nan", "4 of 32 log-probabilities")


@pytest.mark.parametrize(
    ("deed", "kind", "words"),
    [
        ("self.say(200, [dict(content='hello')] * 2)", "wrong-numbers", "without probabilities"),
        ("self.say(200, dict(content='hello'))", "wrong-numbers", "1 answers to 2 prompts"),
        ("self.say(200, [stated(row[:5], 4)] * 2)", "wrong-numbers", "of 5 tokens, not of 8"),
        ("self.say(200, [stated(row, 2)] * 2)", "wrong-numbers", "token 2 was chosen, but 7"),
        ("self.say(200, 'yes')", "wrong-numbers", 'HTTP 200: "yes"'),
        ("self.say(400, dict(error='no tokens'))", "wrong-numbers", "HTTP 400.*no tokens"),
        ("self.send(200, b'{\"a\": ')", "wrong-numbers", "HTTP 200"),
        ("self.send(200, b'[' * 100000)", "wrong-numbers", "HTTP 200"),
        ("self.send(200, bytes(range(256)))", "wrong-numbers", "HTTP 200"),
        ("self.wfile.write(b'nonsense\\n\\n')", "wrong-numbers", "nonsense"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "segfault", "SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGILL)", "illegal-instruction", "SIGILL"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "memory", "memory"),
        ("print('std::bad_alloc', flush=True); os.abort()", "memory", "bad_alloc"),
        ("os._exit(3)", "load", "exit code 3"),
    ],
)
def test_every_bad_answer_has_its_kind(
    deed: str, kind: str, words: str, runner: Runner, model: Path
) -> None:
    with pytest.raises(ProofFailed, match=words) as caught:
        served(runner, model, deed)
    assert caught.value.kind == kind
    assert caught.value.check == "x"
    assert caught.value.hint


@pytest.mark.parametrize(
    "deed",
    [
        "time.sleep(60)",
        "self.send_response(200); self.end_headers(); [self.drip() for _ in range(9999)]",
    ],
    ids=["silent", "one byte after the other"],
)
def test_a_server_that_does_not_come_to_an_end(deed: str, runner: Runner, model: Path) -> None:
    with pytest.raises(ProofFailed, match="no answer in time") as caught:
        served(replace(runner, seconds=2), model, deed)
    assert caught.value.kind == "timeout"


@pytest.mark.parametrize(
    ("start", "kind", "words"),
    [
        ("sys.exit('error: failed to load model')", "load", "failed to load model"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "segfault", "SIGSEGV"),
        ("time.sleep(60)", "timeout", "no answer in time"),
        ("Handler.do_GET = lambda self: self.say(500, {})", "wrong-numbers", "HTTP 500"),
        ("Handler.do_GET = lambda self: self.say(503, {})", "timeout", "no answer in time"),
    ],
)
def test_every_bad_start_has_its_kind(
    start: str, kind: str, words: str, runner: Runner, model: Path
) -> None:
    with pytest.raises(ProofFailed, match=words) as caught:
        served(replace(runner, seconds=2), model, RIGHT, start)
    assert caught.value.kind == kind


def test_what_is_no_program_cannot_be_loaded(runner: Runner, model: Path) -> None:
    with pytest.raises(ProofFailed) as caught:
        serving.answers(asked(runner.scratch / "none", model, runner), [[3]], 0)
    assert caught.value.kind == "load"


def test_states_come_back_one_request_each(runner: Runner, model: Path) -> None:
    deed = "self.say(200, [dict(index=0, embedding=[[float(x) for x in body['input']]])])"
    program = server_that(runner, deed)
    found = serving.embeddings(asked(program, model, runner), [[3, 4], [5, 6]])
    assert found.states.tolist() == [[3, 4], [5, 6]]


# --- generated text ------------------------------------------------------------------------------

TEXT = Text(prompt=(3, 4), tokens=(5, 6), margin=1.0)


def generated(runner: Runner, model: Path, deed: str) -> Check:
    program = server_that(runner, deed)
    return greedy.check(program, model, TEXT, runner, name="text", gpu_layers=0)


def test_the_tokens_of_the_reference_pass(runner: Runner, model: Path) -> None:
    check = generated(runner, model, "self.say(200, dict(tokens=[5, 6]))")
    assert (check.name, check.detail[:19]) == ("text", "2 tokens over HTTP ")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("dict(tokens=[5, 7])", "token 2 of 2 is 7, not 6"),
        ("dict(tokens=[5])", "1 tokens instead of 2"),
        ("dict(tokens=['x'])", "no tokens in"),
        ("dict(content='hello')", "no tokens in .*hello"),
        ("[1]", "no tokens in"),
    ],
)
def test_other_tokens_are_wrong(answer: str, words: str, runner: Runner, model: Path) -> None:
    with pytest.raises(ProofFailed, match=words) as caught:
        generated(runner, model, f"self.say(200, {answer})")
    assert caught.value.kind == "wrong-numbers"


def test_a_server_that_hangs_is_ended(
    runner: Runner, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(greedy, "_PATIENCE", 1.0)
    note = runner.scratch / "pid"
    deed = f"open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(ProofFailed) as caught:
        generated(runner, model, deed)
    assert caught.value.kind == "timeout"
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
