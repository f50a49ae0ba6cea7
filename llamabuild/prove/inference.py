"""Run a model in a child process and hold what comes out against the reference.

The child is :mod:`llamabuild.prove.child`, in the Python where the wheel is installed. How it
ends is told apart: it crashed, could not load, hung, ran out of memory, computed something else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llamabuild import data
from llamabuild.backends import Evidence
from llamabuild.errors import Crash, ProofFailed
from llamabuild.host import Finished, Host, Limits
from llamabuild.model import Check
from llamabuild.prove import crash, reference
from llamabuild.prove.child import MARKER
from llamabuild.prove.models import Floats
from llamabuild.prove.reference import Distance, Expected

SECONDS = 120.0
"""Wall-clock limit of one child. A good one needs half a second; emulators and cold drivers
(a first CUDA start may compile for the device) need more."""
MEMORY = 8 << 30
"""Address space of a child in bytes. With 16 threads it needs 0.3 GB, mostly stacks and arenas."""
ALL_LAYERS = 999
"""``gpu_layers`` for a run on the device."""

_SCRIPT = data.package("prove/child.py")
_OURS = {"OPENBLAS_NUM_THREADS": "1", "GGML_NO_BACKTRACE": "1"}
"""NumPy computes nothing in the child; an abort must not start a debugger."""
_PATIENT = {"OMP_WAIT_POLICY": "passive"}
"""Threads that wait for each other sleep instead of spinning. Where there are fewer cores than
threads want (a busy machine, a container's quota) spinning made a run ten times slower."""
_FOREIGN = ("LLAMA_", "PYTHON", "HF_")
_OUT_OF_MEMORY = re.compile(
    r"bad_alloc|out of memory|MemoryError|failed to allocate|cannot allocate memory(?! in static)"
    r"|Thread creation failed|mem_buffer != NULL",
    re.IGNORECASE,
)
_LAST_WORDS = re.compile(r".*(?:GGML_ASSERT|GGML_ABORT|what\(\):).*")
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers")
_HINTS = {
    "crash": "Build without the CPU feature that is named, or with another compiler.",
    "load": "Look at the message: a library is missing, or does not fit this system.",
    "timeout": "If the machine is busy, run again; else this build hangs.",
    "memory": "Free some memory and run again.",
    "wrong-numbers": "Do not use this build: try another compiler or fewer CPU features.",
    "wrong-device": "Check the driver and that the device is visible to this process.",
}


_BUFFER = re.compile(r"(\S+) model buffer size =")
"""``llama_model::load_tensors`` states one line a buffer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """What children are run with. ``preload`` is the crash reporter, ``memory`` bounds their
    address space in bytes (0: not at all, as GPU drivers reserve more than any machine has)."""

    host: Host
    scratch: Path
    threads: int
    preload: Path | None = None
    memory: int = MEMORY
    seconds: float = SECONDS

    @property
    def limits(self) -> Limits:
        """Time and memory of one child."""
        return Limits(seconds=self.seconds, memory=self.memory)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a child computed and where."""

    tokens: tuple[int, ...]
    logits: Floats
    evidence: Evidence
    system: str


def environment(runner: Runner, report: Path, *, patient: bool = True) -> dict[str, str]:
    """The children's environment: this process's without what would change the outcome (settings
    of llama.cpp, of Python), with the crash reporter. ``patient`` is for all but measurements."""
    clean = {
        name: value
        for name, value in runner.host.environ.items()
        if not name.startswith(_FOREIGN) and name != "GGML_BACKEND_PATH"
    }
    return clean | _OURS | (_PATIENT if patient else {}) | crash.environment(runner.preload, report)


def report_for(runner: Runner, check: str) -> Path:
    """A fresh file name for the crash report of one child."""
    report = runner.scratch / f"{re.sub(r'[^A-Za-z0-9_.-]', '-', check)}.crash"
    report.unlink(missing_ok=True)
    return report


def run(
    python: Path, model: Path, expected: Expected, runner: Runner, *, check: str, gpu_layers: int
) -> Answer:
    """One run of ``model`` over the expected prompt and number of steps. Raises ProofFailed."""
    report = report_for(runner, check)
    logits = model.with_suffix(".logits")
    logits.unlink(missing_ok=True)
    job = {
        "model": str(model),
        "logits": str(logits),
        "prompt": expected.prompt,
        "steps": len(expected.tokens) - 1,
        "threads": runner.threads,
        "gpu_layers": gpu_layers,
    }
    finished = runner.host.run(
        [str(python), "-I", "-B", str(_SCRIPT)],
        limits=runner.limits,
        env=environment(runner, report),
        stdin=json.dumps(job),
    )
    if failure := ended(finished, check, report):
        raise failure
    answer = _parsed(finished, check)
    if "failed" in answer:
        raise _stage(answer, check)
    return Answer(
        tokens=tuple(answer["tokens"]),
        logits=_read(logits, expected, check),
        evidence=_evidence(answer),
        system=answer["system"],
    )


def compare(answer: Answer, expected: Expected, allowed: Distance, *, check: str) -> Check:
    """The check that was passed. Raises ProofFailed(kind="wrong-numbers")."""
    if why := reference.disagreement(answer.logits, answer.tokens, expected, allowed):
        raise failed("wrong-numbers", check, why)
    found = reference.distance(answer.logits, expected.logits)
    detail = (
        f"{len(expected.prompt)} tokens in one batch, {len(expected.tokens)} greedy tokens; "
        f"worst logit off by {found.worst:.3f}; "
        f"weights in {', '.join(buffers(answer.evidence.log))}"
    )
    return Check(name=check, detail=detail, error=found.mean)


def buffers(log: str) -> tuple[str, ...]:
    """Where the weights are: ggml's names of their buffers tell which kernels compute with them.

    >>> buffers("load_tensors:   CPU model buffer size = 1 MiB\\n"
    ...         "load_tensors:   AMX model buffer size = 9.50 MiB\\n")
    ('AMX', 'CPU')
    """
    return tuple(sorted(set(_BUFFER.findall(log))))


def ended(finished: Finished, check: str, report: Path) -> ProofFailed | None:
    """The failure that a child's end stands for, or None when it ended by itself and well."""
    if finished.timed_out:
        return failed("timeout", check, "it did not end in time and was killed")
    if finished.code == 0:
        return None
    text = f"{finished.err}\n{finished.out}"
    if finished.signal == "SIGKILL" or _OUT_OF_MEMORY.search(text):
        return failed("memory", check, last_line(text) or "killed, most likely for its memory")
    if finished.signal:
        found = crash.read(report, finished.signal)
        where = f" in {found.where}" if found.where else ""
        feature = f", an instruction of {found.feature}" if found.feature else ""
        words = _LAST_WORDS.search(text)
        said = f": {words[0].strip()}" if words else ""
        return failed("crash", check, f"{finished.signal}{where}{feature}{said}", found)
    return failed("load", check, f"exit code {finished.code}: {last_line(text)}")


def failed(kind: str, check: str, why: str, found: Crash | None = None) -> ProofFailed:
    """A ProofFailed with the words that go with its kind."""
    return ProofFailed(f"{check}: {why}", _HINTS[kind], kind=kind, check=check, crash=found)


def last_line(text: str) -> str:
    """The last line that is not blank.

    >>> last_line("one\\n two \\n\\n")
    'two'
    """
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _parsed(finished: Finished, check: str) -> dict[str, Any]:
    line = next((x for x in finished.out.splitlines()[::-1] if x.startswith(MARKER)), "")
    try:
        answer: dict[str, Any] = json.loads(line.removeprefix(MARKER))
    except ValueError:
        why = f"no answer: {last_line(finished.err) or last_line(finished.out)}"
        raise failed("load", check, why) from None
    return answer


def _stage(answer: Mapping[str, Any], check: str) -> ProofFailed:
    """A failure that the child told itself; llama.cpp's last words say more than a return code."""
    words = last_line(str(answer["log"]))
    why = f"{answer['why']}: {words}" if words else str(answer["why"])
    if _OUT_OF_MEMORY.search(f"{answer['why']}\n{answer['log']}"):
        return failed("memory", check, why)
    kinds = {"load": "load", "devices": "wrong-device", "decode": "wrong-numbers"}
    return failed(kinds[answer["failed"]], check, why)


def _read(path: Path, expected: Expected, check: str) -> Floats:
    logits = np.fromfile(path, dtype="<f4") if path.exists() else np.empty(0, np.float32)
    if logits.size != expected.logits.size:
        why = f"{logits.size} logits instead of {expected.logits.size}"
        raise failed("wrong-numbers", check, why)
    return logits.reshape(expected.logits.shape)


def _evidence(answer: Mapping[str, Any]) -> Evidence:
    found = _OFFLOADED.findall(answer["log"])
    offloaded, layers = map(int, found[-1]) if found else (0, 0)
    return Evidence(
        devices=tuple(answer["devices"]), offloaded=offloaded, layers=layers, log=answer["log"]
    )
