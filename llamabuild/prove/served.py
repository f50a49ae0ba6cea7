"""Cases asked of a ``llama-server``: tokens and limits are those of the cases elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llamabuild.backends import Evidence
from llamabuild.model import Check
from llamabuild.prove import cases, reference, serving
from llamabuild.prove.cases import Case
from llamabuild.prove.dialogue import Server
from llamabuild.prove.inference import Runner
from llamabuild.prove.kinds import failed
from llamabuild.prove.reference import Distance, Expected
from llamabuild.prove.weights import Doubles

_FORCED = 2
"""Tokens after the batch, one by one."""
_HALF = frozenset({"F16", "BF16"})
"""Types whose kernels add up in half precision on processors with arithmetic for it."""


def ask(
    program: Path,
    case: Case,
    runner: Runner,
    *,
    name: str,
    gpu_layers: int = 0,
    forced: int = _FORCED,
    extra: tuple[str, ...] = (),
) -> tuple[Check, Evidence]:
    """The check that a server's answer to a case passes, and where it ran. ``forced`` tokens of a
    decoder's sequences follow the batch one by one; ``extra`` are arguments of the program.
    Raises ProofFailed."""
    server = Server(
        program=program,
        model=cases.model_file(case.spec, runner.scratch),
        runner=runner,
        check=name,
        gpu_layers=gpu_layers,
        extra=(*_settings(case), *extra),
    )
    wanted = cases.expected(case, device=gpu_layers > 0 or case.spec.type in _HALF)
    found, evidence = (
        _embedded(server, case, wanted) if case.pooled else _completed(server, case, wanted, forced)
    )
    detail = (
        f"mean squared error {found.mean:.1e} of {wanted.allowed.mean:.1e}; "
        f"worst {found.worst:.1e} of {wanted.allowed.worst:.1e}"
    )
    return Check(name=name, detail=detail, error=found.mean), evidence


def _completed(
    server: Server, case: Case, wanted: Expected, forced: int
) -> tuple[Distance, Evidence]:
    """How far log-probabilities of the end of every sequence are off."""
    answer = serving.answers(server, case.sequences, forced)
    rows = wanted.values[ends([len(one) for one in case.sequences], forced + 1)]
    if wrong := serving.disagreement(answer, rows, wanted.allowed):
        raise failed(wrong[0], server.check, wrong[1])
    return serving.distance(answer, rows), answer.evidence


def _embedded(server: Server, case: Case, wanted: Expected) -> tuple[Distance, Evidence]:
    """How far states of length one are off."""
    answer = serving.embeddings(server, case.sequences)
    rows = Expected(values=_unit(wanted.values), allowed=wanted.allowed)
    if wrong := reference.disagreement(answer.states, rows):
        raise failed(wrong[0], server.check, wrong[1])
    return reference.distance(answer.states, rows.values), answer.evidence


def _settings(case: Case) -> tuple[str, ...]:
    """Arguments for what is not every server's default: older ones take other words for it."""
    cache = ("--cache-type-k", case.cache, "--cache-type-v", case.cache)
    return (
        *(cache if case.cache != "f16" else ()),
        *(("--flash-attn", case.flash) if case.flash != "auto" else ()),
    )


def _unit(rows: Doubles) -> Doubles:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float64)


def ends(lengths: list[int], count: int) -> list[int]:
    """The rows of the last ``count`` positions of sequences that follow each other.

    >>> ends([3, 4], 2)
    [1, 2, 5, 6]
    """
    stops = [sum(lengths[: n + 1]) for n in range(len(lengths))]
    return [row for stop in stops for row in range(stop - count, stop)]
