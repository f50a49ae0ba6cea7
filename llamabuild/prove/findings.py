"""What is found about a llama.cpp that was not made here, case by case."""

from __future__ import annotations

from dataclasses import dataclass

from llamabuild.backends import Evidence
from llamabuild.errors import Crash


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came out of one case: ``kind`` is empty when it holds, "unknown" when this release does
    not know what the case needs, else the kind of failure, with what to do about it and, after a
    crash, the instruction."""

    case: str
    kind: str = ""
    why: str = ""
    error: float = 0.0
    hint: str = ""
    crash: Crash | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unasked:
    """Cases that were not asked, and why."""

    why: str
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Everything that was found; ``evidence`` is of the last answer, None when there was
    none."""

    findings: tuple[Finding, ...]
    evidence: Evidence | None
    unasked: tuple[Unasked, ...] = ()

    @property
    def failures(self) -> tuple[Finding, ...]:
        """What does not hold."""
        return tuple(one for one in self.findings if one.kind not in ("", "unknown"))

    @property
    def unknown(self) -> tuple[Finding, ...]:
        """What this release does not know."""
        return tuple(one for one in self.findings if one.kind == "unknown")

    @property
    def held(self) -> int:
        """How many cases hold."""
        return sum(not one.kind for one in self.findings)
