"""How fast it is beside another: both take turns, in the child that also proves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llamabuild.host import Host, python
from llamabuild.prove import inference, models
from llamabuild.prove.cases import Case
from llamabuild.prove.foreign import Subject
from llamabuild.prove.inference import Runner

_PROMPT, _REST = 256, 32
_TIMED = 3


def rates(
    subjects: Sequence[Subject], runner: Runner, *, rounds: int = 3
) -> tuple[tuple[float, float], ...]:
    """Tokens per second (a prompt of 256, then one by one) of each subject: the best of rounds in
    which they take turns, because what others do on the machine only ever makes it slower. Raises
    ProofFailed."""
    found: list[list[tuple[float, float]]] = [[] for _ in subjects]
    for _ in range(rounds):
        for rows, subject in zip(found, subjects, strict=True):
            rows.append(_rate(subject, runner))
    return tuple((max(row[0] for row in rows), max(row[1] for row in rows)) for rows in found)


def busy(host: Host) -> bool:
    """True when others use more than half of the machine: threads that wait for each other then
    measure the others, and one thread alone says more."""
    load = (host.read_text("/proc/loadavg") or "0").split()[0]
    return float(load) > host.cores()[2] / 2


def _rate(subject: Subject, runner: Runner) -> tuple[float, float]:
    tokens = tuple(models.prompt(models.SPEED, _PROMPT + _REST))
    case = Case(name="speed", spec=models.SPEED, sequences=(tokens,), batch=_PROMPT)
    quick = replace(runner, patient=False)
    interpreter = subject.python or Path(python())
    seconds = inference.time(
        interpreter,
        case,
        quick,
        gpu_layers=inference.ALL_LAYERS,
        runs=_TIMED,
        library=None if subject.python else subject.library,
    )
    prompt, rest = (min(row[n] for row in seconds) for n in (0, 1))
    return _PROMPT / prompt, _REST / rest
