"""What was not made here, as a user meets it: small libraries that load, compute and fail as real
ones do."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from llamabuild import binaries, inspection
from llamabuild.events import Event, Progress
from llamabuild.host import Limits, LocalHost
from llamabuild.prove import cases, foreign
from llamabuild.prove.findings import Examination
from llamabuild.prove.foreign import Subject
from llamabuild.prove.inference import Runner
from tests.steps.test_cli import refused, run

pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(
        LocalHost().system()[0] != "linux" or not LocalHost().which("cc"),
        reason="needs Linux and a C compiler",
    ),
]
HOST = LocalHost()
STUB = """
#include <stdint.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>
typedef struct { char settings[200]; } params;
typedef struct { int32_t n, *token; float *embd; int32_t *pos, *n_seq; int32_t **seq; int8_t *out;
} batch;
static float row[1 << 16];
static char thing;
const char *ggml_version(void) { return "0.9.9"; }
const char *ggml_commit(void) { return "abc1234"; }
size_t ggml_backend_dev_count(void) { return 1; }
void *ggml_backend_dev_get(size_t n) { return &thing; }
const char *ggml_backend_dev_name(void *d) { return "CPU"; }
const char *ggml_backend_dev_description(void *d) { return "a stub"; }
void llama_log_set(void *f, void *data) {}
void llama_backend_init(void) { INIT }
const char *llama_print_system_info(void) { return ""; }
params llama_model_default_params(void) { params p = {0}; return p; }
params llama_context_default_params(void) { params p = {0}; return p; }
void *llama_model_load_from_file(const char *path, params p) { LOAD return &thing; }
void *llama_init_from_model(void *m, params p) { return &thing; }
void *llama_model_get_vocab(void *m) { return &thing; }
int32_t llama_vocab_n_tokens(void *v) { return 8; }
int32_t llama_model_n_embd(void *m) { return 8; }
void llama_set_embeddings(void *c, _Bool on) {}
void llama_set_n_threads(void *c, int32_t a, int32_t b) {}
batch llama_batch_init(int32_t n, int32_t embd, int32_t seqs) {
    batch b = {0, calloc(n, 4), NULL, calloc(n, 4), calloc(n, 4), calloc(n + 1, 8), calloc(n, 1)};
    for (int i = 0; i < n; i++) b.seq[i] = calloc(seqs, 4);
    return b;
}
void llama_batch_free(batch b) {}
int32_t llama_decode(void *c, batch b) { DECODE return 0; }
float *llama_get_logits_ith(void *c, int32_t i) { return row; }
void llama_free(void *c) {}
void llama_model_free(void *m) {}
"""


@pytest.fixture(autouse=True)
def _few_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handful is enough here, and the reference of all takes its time."""
    some = tuple(case for case in cases.standard() if case.name.endswith("products"))[:6]
    monkeypatch.setattr(cases, "standard", lambda: some)


def stub(folder: Path, *options: str, name: str = "libllama.so", **bodies: str) -> Path:
    """A library with all functions; what they do can be said for some."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "stub.c"
    source.write_text(STUB)
    defined = [f"-D{word}={bodies.get(word, '')}" for word in ("INIT", "LOAD", "DECODE")]
    argv = [
        *("cc", "-shared", "-fPIC", "-w", *defined, str(source)),
        *("-o", str(folder / name), *options),
    ]
    made = HOST.run(argv, limits=Limits(seconds=60))
    assert made.code == 0, made.err
    source.unlink()
    return folder / name


def examined(library: Path, scratch: Path, seconds: float = 20.0) -> Examination:
    scratch.mkdir()
    runner = Runner(host=HOST, scratch=scratch, threads=1, seconds=seconds)
    return foreign.examine(Subject(name="stub", library=library), runner, lambda _: None)


def test_wrong_numbers_of_every_case_are_told(tmp_path: Path) -> None:
    found = examined(stub(tmp_path / "x"), tmp_path / "s")
    assert found.held == 0
    assert {one.kind for one in found.findings} == {"wrong-numbers"}
    assert len(found.findings) == len(cases.standard())
    assert all(one.hint for one in found.failures)
    assert found.evidence is not None
    assert found.evidence.devices == ("CPU: a stub",)


def test_a_crash_is_one_case_and_the_rest_goes_on(tmp_path: Path) -> None:
    body = "static int n; if (n++ == 1) abort();"
    found = examined(stub(tmp_path / "x", LOAD=body), tmp_path / "s")
    kinds = [one.kind for one in found.findings]
    assert kinds == ["wrong-numbers", "abort"] * (len(kinds) // 2)
    assert len(kinds) == len(cases.standard())


def test_what_hangs_is_given_up_soon(tmp_path: Path) -> None:
    begun = time.monotonic()
    found = examined(stub(tmp_path / "x", DECODE="sleep(100);"), tmp_path / "s", seconds=2)
    assert [one.kind for one in found.findings] == ["timeout", "timeout"]
    assert sum(len(one.cases) for one in found.unasked) == len(cases.standard()) - 2
    assert time.monotonic() - begun < 10


def test_what_is_only_slow_gets_the_time_that_it_needs(tmp_path: Path) -> None:
    """Six models of 1.2 s each are too much for a child of 3 s, but none of them hangs."""
    found = examined(stub(tmp_path / "x", LOAD="usleep(1200000);"), tmp_path / "s", seconds=3)
    assert [one.kind for one in found.findings] == ["wrong-numbers"] * 6


def test_what_cannot_start_is_asked_nothing_more(tmp_path: Path) -> None:
    found = examined(stub(tmp_path / "x", INIT="abort();"), tmp_path / "s")
    assert [(one.case, one.kind) for one in found.findings] == [("loading it", "abort")]
    assert found.evidence is None


def test_a_progress_is_told(tmp_path: Path) -> None:
    told: list[Event] = []
    (tmp_path / "s").mkdir()
    runner = Runner(host=HOST, scratch=tmp_path / "s", threads=1, seconds=20)
    foreign.examine(Subject(name="x", library=stub(tmp_path / "x")), runner, told.append)
    assert [one.done for one in told if isinstance(one, Progress)] == [1, 2, 3, 4, 5, 6]


def test_what_it_is_made_of_and_calls_itself(tmp_path: Path) -> None:
    stub(tmp_path / "x", "-Wl,-rpath,$ORIGIN:/home/somebody/lib:")
    found = binaries.find(tmp_path / "x", host=HOST, work=tmp_path / "w", house=tmp_path / "h")
    assert inspection.ask(found, HOST).version == "ggml version 0.9.9, ggml commit abc1234"
    made = inspection.look(found, (), HOST)
    assert [part.path for part in made.parts] == ["libllama.so"]
    said = " ".join(made.doubts)
    assert "/home/somebody/lib" in said
    assert "the current directory" in said
    assert str(tmp_path) not in said


def test_a_library_that_is_missing_is_named(tmp_path: Path) -> None:
    helper = stub(tmp_path / "away", name="libhelper-of-it.so")
    stub(tmp_path / "x", "-Wl,--no-as-needed", str(helper))
    helper.unlink()
    found = binaries.find(tmp_path / "x", host=HOST, work=tmp_path / "w", house=tmp_path / "h")
    (said,) = inspection.look(found, (), HOST).missing
    assert "libhelper-of-it.so" in said
    (failure,) = examined(tmp_path / "x" / "libllama.so", tmp_path / "s").findings
    assert failure.kind == "library-missing"
    assert "libhelper-of-it.so" in failure.why


def test_the_command_line(tmp_path: Path) -> None:
    """The page on stdout, one line on stderr, exit code 8; nothing is written there."""
    stub(tmp_path / "x", INIT="__builtin_trap();")
    before = sorted((tmp_path / "x").iterdir())
    ended = run("prove", str(tmp_path / "x"), cache=tmp_path / "c")
    refused(ended, 8, "loading it")
    assert "FAILS (illegal-instruction):" in ended.stdout
    assert "ggml version 0.9.9" in ended.stdout
    assert sorted((tmp_path / "x").iterdir()) == before
    asked = run("prove", "--json", str(tmp_path / "x"), cache=tmp_path / "c")
    assert asked.returncode == 8
    assert json.loads(asked.stdout)["examination"]["failures"][0]["kind"] == "illegal-instruction"


def test_what_cannot_be_proved_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    cut = tmp_path / "libllama.so"
    cut.write_bytes(stub(tmp_path / "x").read_bytes()[:4000])
    cache = tmp_path / "c"
    refused(run("prove", str(tmp_path / "empty"), cache=cache), 2, "no libllama")
    refused(run("prove", str(tmp_path / "absent"), cache=cache), 2, "no file or folder")
    refused(run("prove", str(cut), cache=cache), 6, "truncated or damaged")
    argv = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")]
    assert HOST.run(argv, limits=Limits(seconds=60)).code == 0
    refused(run("prove", str(tmp_path / "venv"), cache=cache), 2, "llama_cpp")
    refused(run("prove", "no-such-artifact", cache=cache), 2, "llamabuild store ls")
