"""Prove what llamabuild did not make: the same questions, and every answer is told.

A build of ours fails at its first wrong answer. Of a foreign one people want to know what works and
what does not: a case that fails is noted, and the rest goes on in a new process. What its release
does not know is not held against it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llamabuild import host
from llamabuild.backends import Evidence
from llamabuild.errors import ProofFailed
from llamabuild.events import Emit, Progress
from llamabuild.prove import cases, inference, models, reference, serving
from llamabuild.prove.cases import Case
from llamabuild.prove.inference import Answer, Runner

_GIVE_UP = 8
"""So many cases that end the process are enough: each may take its time limit."""
_UNKNOWN = re.compile(
    r"invalid ggml type|unknown (?:model architecture|type|tensor)|has invalid .*type"
    r"|unsupported (?:type|model)|not supported|wrong number of tensors|GGML_TYPE_",
    re.IGNORECASE,
)
_SERVED = ("F16", "Q8_0", "Q4_0", "Q4_K", "Q6_K")
"""Weight types that a server is asked with: each is a start of the program."""
_TIMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is to be proved, by what it offers: bindings in a Python environment (``python``), a
    ``library`` with libllama's functions, or a ``server``; empty where it has none."""

    name: str
    python: Path | None = None
    library: Path | None = None
    server: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came out of one case: ``kind`` is empty when it holds, "unknown" when this release does
    not know what the case needs, else the kind of failure."""

    case: str
    kind: str = ""
    why: str = ""
    error: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Everything that was found; ``evidence`` is of the last answer, None when there was none."""

    findings: tuple[Finding, ...]
    evidence: Evidence | None
    unasked: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[Finding, ...]:
        """What does not hold."""
        return tuple(one for one in self.findings if one.kind not in ("", "unknown"))

    @property
    def held(self) -> int:
        """How many cases hold."""
        return sum(not one.kind for one in self.findings)


def examine(subject: Subject, runner: Runner, emit: Emit) -> Examination:
    """Ask everything that can be asked of it, as its users would run it. Raises nothing for what
    the subject does."""
    if subject.python or subject.library:
        return _by_cases(subject, runner, emit)
    assert subject.server is not None
    return _by_server(subject.server, runner, emit)


def _by_cases(subject: Subject, runner: Runner, emit: Emit) -> Examination:
    every = cases.standard()
    wanted = [case for case in every if subject.python or _default(case)]
    unasked = tuple(case.name for case in every if case not in wanted)
    findings: list[Finding] = []
    evidence = None
    ends = 0
    while wanted and ends < _GIVE_UP:
        try:
            for answer in ask(subject, wanted, runner):
                findings.append(_judged(answer))
                evidence = answer.evidence
                wanted = wanted[1:]
                emit(_progress(len(findings), len(every) - len(unasked)))
        except ProofFailed as failure:
            begun = failure.check.startswith(wanted[0].name)
            found = _failed(wanted[0].name if begun else failure.check, failure)
            findings.append(found)
            ends += found.kind != "unknown"
            wanted = wanted[1:] if begun else []
    left = tuple(case.name for case in wanted)
    return Examination(findings=tuple(findings), evidence=evidence, unasked=(*unasked, *left))


def ask(subject: Subject, wanted: Sequence[Case], runner: Runner) -> Iterator[Answer]:
    """Answers of bindings or of a library. Raises ProofFailed."""
    python = subject.python or Path(host.python())
    library = None if subject.python else subject.library
    return inference.run(
        python,
        wanted,
        runner,
        place=subject.name,
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
    if answer.values.shape != wanted.values.shape:
        why = f"{answer.values.shape} numbers instead of {wanted.values.shape}"
        return Finding(case=name, kind="wrong-numbers", why=why)
    if wrong := reference.disagreement(answer.values, wanted):
        return Finding(case=name, kind=wrong[0], why=wrong[1])
    return Finding(case=name, error=reference.distance(answer.values, wanted.values).mean)


def _failed(name: str, failure: ProofFailed) -> Finding:
    unknown = failure.kind == "load" and _UNKNOWN.search(failure.message)
    kind = "unknown" if unknown else failure.kind
    return Finding(case=name, kind=kind, why=failure.message)


def _progress(done: int, total: int) -> Progress:
    return Progress(name="prove", done=done, total=total, unit="cases")


def _by_server(server: Path, runner: Runner, emit: Emit) -> Examination:
    every = cases.standard()
    wanted = [case for case in every if case.name in {f"{one} decoder" for one in _SERVED}]
    findings: list[Finding] = []
    evidence = None
    for case in wanted:
        try:
            found, evidence = served(server, case, runner)
        except ProofFailed as failure:
            found = _failed(case.name, failure)
        findings.append(found)
        emit(_progress(len(findings), len(wanted)))
    unasked = tuple(case.name for case in every if case not in wanted)
    return Examination(findings=tuple(findings), evidence=evidence, unasked=unasked)


def served(
    server: Path, case: Case, runner: Runner, *, prefix: Sequence[str] = (), forced: int = 4
) -> tuple[Finding, Evidence]:
    """What a server states about the last tokens of a case. Raises ProofFailed."""
    answers = serving.answers(
        prefix,
        server,
        cases.model_file(case.spec, runner.scratch),
        case.sequences,
        forced,
        runner,
        name=f"{case.name} over HTTP",
        gpu_layers=inference.ALL_LAYERS,
    )
    wanted = cases.expected(case)
    ends = _ends([len(tokens) for tokens in case.sequences], forced + 1)
    wrong = serving.disagreement(answers, wanted.values[ends], wanted.allowed)
    if wrong:
        return Finding(case=case.name, kind=wrong[0], why=wrong[1]), answers.evidence
    error = serving.distance(answers, wanted.values[ends]).mean
    return Finding(case=case.name, error=error), answers.evidence


def _ends(lengths: Sequence[int], count: int) -> list[int]:
    """The rows of the last ``count`` positions of sequences that follow each other.

    >>> _ends([3, 4], 2)
    [1, 2, 5, 6]
    """
    stops = [sum(lengths[: n + 1]) for n in range(len(lengths))]
    return [row for stop in stops for row in range(stop - count, stop)]


# --- how fast beside another ---------------------------------------------------------------------


def rates(
    subjects: Sequence[Subject], runner: Runner, *, rounds: int = 3
) -> tuple[tuple[float, float], ...]:
    """Tokens per second (a prompt of 256, then one by one) of each subject: the median of rounds in
    which they take turns, so that the ratio holds on a machine that others use too. Raises
    ProofFailed."""
    found: list[list[tuple[float, float]]] = [[] for _ in subjects]
    for _ in range(rounds):
        for rows, subject in zip(found, subjects, strict=True):
            rows.append(_rate(subject, runner))
    return tuple((_median(rows, 0), _median(rows, 1)) for rows in found)


def _rate(subject: Subject, runner: Runner) -> tuple[float, float]:
    tokens = tuple(models.prompt(models.SPEED, 256 + 32))
    case = Case(name="speed", spec=models.SPEED, sequences=(tokens,), batch=256)
    quick = replace(runner, patient=False)
    python = subject.python or Path(host.python())
    seconds = inference.time(
        python,
        case,
        quick,
        gpu_layers=inference.ALL_LAYERS,
        runs=_TIMED,
        library=None if subject.python else subject.library,
    )
    prompt, rest = (min(row[n] for row in seconds) for n in (0, 1))
    return 256 / prompt, 32 / rest


def _median(rows: Sequence[tuple[float, float]], column: int) -> float:
    ordered = sorted(row[column] for row in rows)
    return ordered[len(ordered) // 2]
