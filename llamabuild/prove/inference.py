"""Run cases in a child process and hold what comes out against the reference.

The child is :mod:`llamabuild.prove.child`, in the Python where the wheel is installed. How it ends
is told apart: see :mod:`llamabuild.prove.kinds`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from llamabuild import data
from llamabuild.backends import Evidence
from llamabuild.host import Finished, Host, Limits
from llamabuild.prove import cases, crash, outcome
from llamabuild.prove.cases import Case
from llamabuild.prove.child import START
from llamabuild.prove.kinds import failed, last_line
from llamabuild.prove.weights import Floats

SECONDS = 120.0
"""Wall-clock limit of one child. A good one needs a few; emulators need more."""
FIRST_SECONDS = 900.0
"""The same for the first start on a device, when its driver may compile for minutes."""
MEMORY = 8 << 30
"""Address space of a child in bytes. With 16 threads it needs 0.3 GB, mostly stacks and arenas."""
ALL_LAYERS = 999
"""``gpu_layers`` for a run on the device."""

_CHILD = data.package("prove")
_OURS = {"OPENBLAS_NUM_THREADS": "1", "GGML_NO_BACKTRACE": "1"}
"""NumPy computes nothing in the child; an abort must not start a debugger."""
_PATIENT = {"OMP_WAIT_POLICY": "passive"}
"""Threads that wait for each other sleep instead of spinning. Where there are fewer cores than
threads want (a busy machine, a container's quota) spinning made a run ten times slower."""
_FOREIGN = ("LLAMA_", "PYTHON", "HF_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """What children are run with. ``preload`` is the crash reporter, ``memory`` bounds their
    address space in bytes (0: not at all, as GPU drivers reserve more than any machine has).
    ``patient`` is for all but measurements: threads that wait sleep. ``command`` is what the
    programs of a build are run with, where this machine does not run them by itself."""

    host: Host
    scratch: Path
    threads: int
    preload: Path | None = None
    memory: int = MEMORY
    seconds: float = SECONDS
    patient: bool = True
    command: tuple[str, ...] = ()

    @property
    def limits(self) -> Limits:
        """Time and memory of one child."""
        return Limits(seconds=self.seconds, memory=self.memory)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came out of a case, [rows, numbers], where it was computed, and the bytes of memory
    that it took on each device, in the order of the devices."""

    case: Case
    values: Floats
    evidence: Evidence
    memory: tuple[int, ...] = ()


def environment(runner: Runner, report: Path) -> dict[str, str]:
    """The children's environment: this process's without what would change the outcome (settings
    of llama.cpp, of Python), with the crash reporter."""
    clean = {
        name: value
        for name, value in runner.host.environ.items()
        if not name.startswith(_FOREIGN) and name != "GGML_BACKEND_PATH"
    }
    waiting = _PATIENT if runner.patient else {}
    return clean | _OURS | waiting | crash.environment(runner.preload, report)


def program(runner: Runner, argv: Sequence[str], report: Path) -> tuple[list[str], dict[str, str]]:
    """The command for a program of a build, and its environment."""
    prefix, _ = crash.arguments(runner.command, runner.preload, report)
    bare = replace(runner, preload=None) if runner.command else runner
    return [*prefix, *argv], environment(bare, report)


def report_for(runner: Runner, check: str) -> Path:
    """A fresh file name for the crash report of one child."""
    report = runner.scratch / f"{re.sub(r'[^A-Za-z0-9_.-]', '-', check)}.crash"
    report.unlink(missing_ok=True)
    return report


def run(
    python: Path,
    wanted: Sequence[Case],
    runner: Runner,
    *,
    place: str,
    gpu_layers: int,
    library: Path | None = None,
) -> Iterator[Answer]:
    """The answers to the cases, through the bindings of ``python`` or, without bindings, by
    ``library``. ``place`` is for messages.

    Raises ProofFailed for a child that fails, with the case that it failed at, after the answers
    that came before.
    """
    job = {
        "threads": runner.threads,
        "gpu_layers": gpu_layers,
        "library": str(library or ""),
        "cases": [_job(case, runner.scratch) for case in wanted],
    }
    finished, report = _child(python, job, runner, place)
    told = outcome.told(finished.out)
    check = f"{outcome.begun(told) or 'loading the library'} on the {place}"
    failure = outcome.ended(finished, check, report) or outcome.failure(told, check)
    start = next((line for line in told if "devices" in line), None)
    if start and not library and (others := outcome.strangers(start["libraries"], start["home"])):
        why = f"{', '.join(others)} was loaded instead of the library in {start['home']}"
        raise failed("wrong-library", check, why)
    done = {line["name"]: line for line in told if "done" in line}
    for case in (one for one in wanted if start and one.name in done):
        yield _answer(case, start or {}, done[case.name], runner.scratch, place)
    if failure:
        raise failure
    if missing := [case.name for case in wanted if case.name not in done]:
        words = last_line(finished.err) or last_line(finished.out)
        raise failed("load", check, f"{missing[0]} was not answered: {words}")


def time(
    python: Path,
    case: Case,
    runner: Runner,
    *,
    gpu_layers: int,
    runs: int,
    library: Path | None = None,
) -> tuple[tuple[float, float], ...]:
    """Seconds of a case's batch and of its other tokens, for each of the runs. Raises
    ProofFailed."""
    job = {
        "threads": runner.threads,
        "gpu_layers": gpu_layers,
        "library": str(library or ""),
        "cases": [_job(case, runner.scratch) | {"timed": runs}],
    }
    finished, report = _child(python, job, runner, case.name)
    told = outcome.told(finished.out)
    if failure := outcome.ended(finished, case.name, report) or outcome.failure(told, case.name):
        raise failure
    seconds = next((line["seconds"] for line in told if "seconds" in line), ())
    if not seconds:
        raise failed("load", case.name, f"no answer: {last_line(finished.err)}")
    return tuple((float(first), float(rest)) for first, rest in seconds)


def _child(
    python: Path, job: Mapping[str, Any], runner: Runner, name: str
) -> tuple[Finished, Path]:
    """How the child ended, and the file in which its crash is reported."""
    report = report_for(runner, name)
    finished = runner.host.run(
        [str(python), "-I", "-B", "-c", START, str(_CHILD)],
        limits=runner.limits,
        env=environment(runner, report),
        stdin=json.dumps(job),
    )
    return finished, report


def _job(case: Case, scratch: Path) -> dict[str, Any]:
    out = _out(case, scratch)
    out.unlink(missing_ok=True)
    pooled = {"encoder": "mean", "reranker": "rank"}.get(case.spec.family, "")
    return {
        "name": case.name,
        "model": str(cases.model_file(case.spec, scratch)),
        "sequences": case.sequences,
        "batch": case.batch,
        "cache": case.cache,
        "flash": case.flash,
        "unified": case.unified,
        "pooled": pooled,
        "out": str(out),
    }


def _out(case: Case, scratch: Path) -> Path:
    return scratch / f"{re.sub(r'[^A-Za-z0-9_]+', '-', case.name)}.rows"


def _answer(
    case: Case, start: Mapping[str, Any], done: Mapping[str, Any], scratch: Path, place: str
) -> Answer:
    path, check = _out(case, scratch), f"{case.name} on the {place}"
    values = np.fromfile(path, dtype="<f4") if path.exists() else np.empty(0, np.float32)
    path.unlink(missing_ok=True)
    if not values.size or values.size % case.rows:
        raise failed("wrong-numbers", check, f"{values.size} numbers for {case.rows} rows")
    evidence = replace(
        outcome.evidence_of(start["devices"], done["log"]), backends=tuple(start["backends"])
    )
    return Answer(
        case=case,
        values=values.reshape(case.rows, -1),
        evidence=evidence,
        memory=tuple(done.get("memory", ())),
    )
