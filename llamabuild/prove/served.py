"""Cases asked of a ``llama-server``: tokens and limits are those of the cases elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llamabuild.backends import Evidence
from llamabuild.model import Check
from llamabuild.prove import cases, reference, serving
from llamabuild.prove.cases import Case
from llamabuild.prove.inference import Runner
from llamabuild.prove.kinds import failed
from llamabuild.prove.reference import Distance, Expected
from llamabuild.prove.weights import Doubles

_FORCED = 2
"""Tokens after the batch, one by one."""
_HALF = frozenset({"F16", "BF16"})
"""Types whose kernels add up in half precision on processors with arithmetic for it."""


def ask(
    server: Path, case: Case, runner: Runner, *, name: str, gpu_layers: int = 0
) -> tuple[Check, Evidence]:
    """The check that a server's answer to a case passes, and where it ran. ``runner.command`` runs
    the server. Raises ProofFailed."""
    asked = _embedded if case.pooled else _completed
    return asked(server, case, runner, name, gpu_layers)


def _completed(
    server: Path, case: Case, runner: Runner, name: str, gpu_layers: int
) -> tuple[Check, Evidence]:
    """Log-probabilities of the end of every sequence."""
    answer = serving.answers(
        runner.command,
        server,
        cases.model_file(case.spec, runner.scratch),
        case.sequences,
        _FORCED,
        runner,
        name=name,
        extra=_settings(case),
        gpu_layers=gpu_layers,
    )
    wanted = _expected(case, gpu_layers)
    rows = wanted.values[ends([len(one) for one in case.sequences], _FORCED + 1)]
    if wrong := serving.disagreement(answer, rows, wanted.allowed):
        raise failed(wrong[0], name, wrong[1])
    return _check(name, serving.distance(answer, rows), wanted.allowed), answer.evidence


def _embedded(
    server: Path, case: Case, runner: Runner, name: str, gpu_layers: int
) -> tuple[Check, Evidence]:
    """States of length one."""
    answer = serving.embeddings(
        runner.command,
        server,
        cases.model_file(case.spec, runner.scratch),
        case.sequences,
        runner,
        name=name,
        gpu_layers=gpu_layers,
    )
    wanted = _expected(case, gpu_layers)
    rows = Expected(values=_unit(wanted.values), allowed=wanted.allowed)
    if answer.states.shape != rows.values.shape:
        why = f"{answer.states.shape} numbers instead of {rows.values.shape}"
        raise failed("wrong-numbers", name, why)
    if wrong := reference.disagreement(answer.states, rows):
        raise failed(wrong[0], name, wrong[1])
    found = reference.distance(answer.states, rows.values)
    return _check(name, found, rows.allowed), answer.evidence


def _expected(case: Case, gpu_layers: int) -> Expected:
    return cases.expected(case, device=gpu_layers > 0 or case.spec.type in _HALF)


def _settings(case: Case) -> tuple[str, ...]:
    return (
        *("--cache-type-k", case.cache, "--cache-type-v", case.cache),
        *("--flash-attn", case.flash),
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


def _check(name: str, found: Distance, allowed: Distance) -> Check:
    detail = (
        f"mean squared error {found.mean:.1e} of {allowed.mean:.1e}; "
        f"worst {found.worst:.1e} of {allowed.worst:.1e}"
    )
    return Check(name=name, detail=detail, error=found.mean)
