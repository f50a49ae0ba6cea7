"""Prove what llamabuild did not make: the same questions, and every answer is told.

A build of ours fails at its first wrong answer. Of a foreign one people want to know what works and
what does not: a case that fails is noted, and the rest goes on in a new process. What its release
does not know is not held against it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llamabuild import host
from llamabuild.backends import Evidence
from llamabuild.errors import ProofFailed
from llamabuild.events import Emit, Progress, silent
from llamabuild.prove import cases, inference, reference, served
from llamabuild.prove.cases import Case
from llamabuild.prove.findings import Examination, Finding, Unasked
from llamabuild.prove.inference import Answer, Runner
from llamabuild.prove.kinds import failed

_GIVE_UP = 8
"""So many cases that end the process are enough; one that hangs counts as ``_HANGS``."""
_HANGS = 4
_SECONDS = 600.0
"""For all cases together, on whatever machine."""
_UNKNOWN = re.compile(
    r"invalid ggml type|unknown (?:model architecture|type|tensor)|has invalid .*type"
    r"|unsupported (?:type|model)|not supported|wrong number of tensors|GGML_TYPE_",
    re.IGNORECASE,
)
_SERVED = ("F16", "Q8_0", "Q4_0", "Q4_K", "Q6_K")
"""Weight types that a server is asked with: each is a start of the program."""
_FEW = ("F16 decoder", "Q4_K decoder")
"""Cases that say the most in the shortest time: whole networks, without and with quantised
weights."""

_FORCED = 4
"""Tokens that a server is given after the batch, one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is to be proved, by what it offers: bindings in a Python environment (``python``), a
    ``library`` with libllama's functions, or a ``server``; empty where it has none."""

    name: str
    python: Path | None = None
    library: Path | None = None
    server: Path | None = None


def examine(subject: Subject, runner: Runner, emit: Emit) -> Examination:
    """Ask everything that can be asked of it, as its users would run it. Raises nothing for what
    the subject does."""
    if not (subject.python or subject.library):
        assert subject.server is not None
        return _by_server(subject.server, _SERVED, runner, emit)
    found = _by_cases(subject, cases.standard(), runner, emit)
    if not subject.python and found.held == 0:
        return found
    if subject.python and subject.library and _misfit(found):
        more = examine(replace(subject, python=None), runner, emit)
        return replace(more, findings=(*found.findings, *more.findings))
    if subject.server:
        more = _by_server(subject.server, _SERVED[3:4], runner, silent)
        return replace(found, findings=(*found.findings, *more.findings))
    return found


def glance(subject: Subject, runner: Runner) -> Examination:
    """A few answers of it, to know whether it starts and computes. Raises nothing for what the
    subject does."""
    if subject.python or subject.library:
        few = tuple(case for case in cases.standard() if case.name in _FEW)
        return _by_cases(subject, few, runner, silent)
    assert subject.server is not None
    return _by_server(subject.server, _SERVED[3:4], runner, silent)


def _misfit(found: Examination) -> bool:
    """True for bindings that do not fit their library, which can still be asked without them."""
    return found.held == 0 and bool(found.failures) and found.failures[0].kind == "abi"


def _by_cases(subject: Subject, every: Sequence[Case], runner: Runner, emit: Emit) -> Examination:
    wanted = [case for case in every if subject.python or _default(case)]
    beside = Unasked(
        why="without Python bindings its settings are its defaults",
        cases=tuple(case.name for case in every if case not in wanted),
    )
    findings: list[Finding] = []
    shown: list[Evidence] = []
    total, lost, end = len(wanted), 0, time.monotonic() + _SECONDS
    while wanted and lost < _GIVE_UP and time.monotonic() < end:
        before = len(wanted)
        try:
            for answer in ask(subject, wanted, runner):
                findings.append(_judged(answer))
                shown.append(answer.evidence)
                wanted = wanted[1:]
                emit(_progress(total - len(wanted), total))
        except ProofFailed as failure:
            if failure.kind == "timeout" and len(wanted) < before:
                continue  # it got on: the next child has time of its own
            begun = bool(wanted) and failure.check.startswith(wanted[0].name)
            findings.append(_failed(wanted[0].name if begun else "loading it", failure))
            lost += _cost(findings[-1].kind) if begun else _GIVE_UP
            wanted = wanted[begun:]
    after = Unasked(why="given up after what went wrong", cases=tuple(one.name for one in wanted))
    return Examination(
        findings=tuple(findings),
        evidence=shown[-1] if shown else None,
        unasked=tuple(one for one in (beside, after) if one.cases),
    )


def _cost(kind: str) -> int:
    return {"unknown": 0, "timeout": _HANGS}.get(kind, 1)


def ask(subject: Subject, wanted: Sequence[Case], runner: Runner) -> Iterator[Answer]:
    """Answers of bindings or of a library. Raises ProofFailed."""
    python = subject.python or Path(host.python())
    library = None if subject.python else subject.library
    return inference.run(
        python,
        wanted,
        runner,
        place="build",
        gpu_layers=inference.ALL_LAYERS,
        library=library,
    )


def _default(case: Case) -> bool:
    """True when a library with its default settings can be asked: nobody knows the others."""
    usual = case.cache == "f16" and case.flash == "auto" and not case.pooled
    return usual and len(case.sequences) == 1


def _judged(answer: Answer) -> Finding:
    name = answer.case.name
    device = any(not buffer.startswith(("CPU", "AMX")) for buffer in answer.evidence.buffers)
    wanted = cases.expected(answer.case, device=device)
    if wrong := reference.disagreement(answer.values, wanted):
        return _wrong(name, *wrong)
    return Finding(case=name, error=reference.distance(answer.values, wanted.values).mean)


def _failed(name: str, failure: ProofFailed) -> Finding:
    unknown = failure.kind == "load" and _UNKNOWN.search(failure.message)
    return Finding(
        case=name,
        kind="unknown" if unknown else failure.kind,
        why=failure.message.removeprefix(f"{failure.check}: "),
        hint="" if unknown else failure.hint,
        crash=failure.crash,
    )


def _wrong(name: str, kind: str, why: str) -> Finding:
    return Finding(case=name, kind=kind, why=why, hint=failed(kind, name, why).hint)


def _progress(done: int, total: int) -> Progress:
    return Progress(name="prove", done=done, total=total, unit="cases")


def _by_server(server: Path, kinds: Sequence[str], runner: Runner, emit: Emit) -> Examination:
    every = cases.standard()
    wanted = [case for case in every if case.name in {f"{one} decoder" for one in kinds}]
    findings: list[Finding] = []
    evidence = None
    lost = 0
    for case in wanted:
        if lost >= _GIVE_UP:
            break
        try:
            name = _over_http(case)
            check, evidence = served.ask(
                server, case, runner, name=name, gpu_layers=inference.ALL_LAYERS, forced=_FORCED
            )
            found = Finding(case=name, error=check.error)
        except ProofFailed as failure:
            found = _failed(_over_http(case), failure)
            lost += _cost(found.kind) * _HANGS
        findings.append(found)
        emit(_progress(len(findings), len(wanted)))
    asked = {one.case for one in findings}
    unasked = tuple(case.name for case in every if _over_http(case) not in asked)
    why = "a server has its settings when it starts, and states probabilities of decoders only"
    return Examination(
        findings=tuple(findings),
        evidence=evidence,
        unasked=(Unasked(why=why, cases=unasked),),
    )


def _over_http(case: Case) -> str:
    return f"{case.name} over HTTP"
