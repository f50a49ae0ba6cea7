"""One proof of one subject, and what it says."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from llamabuild import prove, proving
from llamabuild.errors import ProofFailed
from llamabuild.events import silent
from tests.mutants.surroundings import Subject
from tests.mutants.table import Mutant

PASSED = "passed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a proof ended: its class (``passed``, a kind of ProofFailed, or the name of another
    exception, which is a defect of the proof), the check that failed, and the message."""

    kind: str
    check: str
    message: str
    seconds: float


def tried(subject: Subject, preload: Path | None, turn: str = "") -> Outcome:
    """Prove a subject as an attempt does. ``turn`` keeps repeated proofs apart."""
    started = time.monotonic()
    kind, check, message = PASSED, "", ""
    try:
        proving.audited(subject.build, subject.host, silent)
        prove.prove(
            subject.build,
            python=subject.python,
            host=subject.host,
            emit=silent,
            scratch=subject.folder / f"proof{turn}",
            gpu=subject.gpu,
            preload=preload,
        )
    except ProofFailed as failure:
        kind, check, message = failure.kind, failure.check, failure.message
    except Exception as error:  # noqa: BLE001 - a proof that breaks is a finding, not the end
        kind, message = type(error).__name__, str(error)
    seconds = time.monotonic() - started
    return Outcome(kind=kind, check=check, message=message, seconds=seconds)


def verdict(mutant: Mutant, outcome: Outcome) -> str:
    """``caught``, ``missed`` (it passed), or ``wrong class``."""
    if outcome.kind in mutant.expects:
        return "caught"
    return "missed" if outcome.kind == PASSED else "wrong class"
