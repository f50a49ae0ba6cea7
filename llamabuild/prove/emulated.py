"""Prove what this machine cannot run by itself: under an emulator, through ``llama-server``.

There is no Python of the other architecture, so that the bindings are not asked; the server is,
with its log-probabilities. Every weight type goes through its kernels, for batches and for single
tokens. Under emulation time says nothing, and no speed is measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from llamabuild.backends import BACKENDS, Evidence
from llamabuild.events import Emit, Progress
from llamabuild.model import Build, Check, Proof
from llamabuild.prove import cases, reference, serving, tools
from llamabuild.prove.cases import Case
from llamabuild.prove.inference import Runner
from llamabuild.prove.kinds import failed
from llamabuild.prove.reference import Distance, Expected
from llamabuild.prove.weights import Doubles

_FORCED = 2
"""Tokens after the batch, one by one."""
_WHOLE = ("F16", "Q8_0", "Q4_0", "Q4_K", "Q6_K", "IQ4_XS")
"""Weight types of whole networks; exact products are asked of every type."""
_FLASH = {"auto": "auto", "on": "on", "off": "off"}
_HALF = frozenset({"F16", "BF16"})
"""Types whose kernels add up in half precision on processors with arithmetic for it."""


def prove(build: Build, *, runner: Runner, emit: Emit) -> Proof:
    """Prove a build that ``runner.command`` runs. Raises ProofFailed for the first check that does
    not hold."""
    started = time.monotonic()
    wanted = _cases()
    names = tools.expected(build)
    total = len(names) + len(wanted)
    checks: list[Check] = []
    devices: dict[str, None] = {}
    for check, evidence in _checks(build, wanted, runner):
        checks.append(check)
        devices |= dict.fromkeys(evidence.devices if evidence else ())
        emit(Progress(name="prove", done=len(checks), total=total, unit="checks"))
    emulator = Path(runner.command[0]).name
    return Proof(
        reference=f"{reference.NAME}, {len(wanted)} cases over HTTP",
        device=f"{', '.join(devices)} (under {emulator}; not run: the Python bindings)",
        checks=tuple(checks),
        speed=(),
        seconds=time.monotonic() - started,
    )


def _cases() -> tuple[Case, ...]:
    every = cases.standard()
    whole = {f"{kind} decoder" for kind in _WHOLE}
    return tuple(
        case
        for case in every
        if case.spec.family in ("products", "encoder")
        or case.name in whole
        or (case.flash != "auto" and case.spec.family == "decoder")
    )


def _checks(
    build: Build, wanted: tuple[Case, ...], runner: Runner
) -> Iterator[tuple[Check, Evidence | None]]:
    for tool in tools.expected(build):
        yield tools.starts(tool, build.prefix, runner), None
    server = build.prefix / "bin" / "llama-server"
    for case in wanted:
        ask = _embedded if case.pooled else _completed
        yield ask(server, case, runner, build.plan.backends[-1])


def _completed(server: Path, case: Case, runner: Runner, backend: str) -> tuple[Check, Evidence]:
    """Log-probabilities of the end of every sequence."""
    answer = serving.answers(
        runner.command,
        server,
        cases.model_file(case.spec, runner.scratch),
        case.sequences,
        _FORCED,
        runner,
        name=case.name,
        extra=_settings(case),
        gpu_layers=0,
    )
    wanted = _expected(case)
    rows = wanted.values[ends([len(one) for one in case.sequences], _FORCED + 1)]
    _judge(case, answer.evidence, backend)
    if wrong := serving.disagreement(answer, rows, wanted.allowed):
        raise failed(wrong[0], case.name, wrong[1])
    return _check(case, serving.distance(answer, rows), wanted.allowed), answer.evidence


def _embedded(server: Path, case: Case, runner: Runner, backend: str) -> tuple[Check, Evidence]:
    """States of length one."""
    answer = serving.embeddings(
        runner.command,
        server,
        cases.model_file(case.spec, runner.scratch),
        case.sequences,
        runner,
        name=case.name,
        gpu_layers=0,
    )
    wanted = _expected(case)
    rows = Expected(values=_unit(wanted.values), allowed=wanted.allowed)
    _judge(case, answer.evidence, backend)
    if answer.states.shape != rows.values.shape:
        why = f"{answer.states.shape} numbers instead of {rows.values.shape}"
        raise failed("wrong-numbers", case.name, why)
    if wrong := reference.disagreement(answer.states, rows):
        raise failed(wrong[0], case.name, wrong[1])
    found = reference.distance(answer.states, rows.values)
    return _check(case, found, rows.allowed), answer.evidence


def _expected(case: Case) -> Expected:
    return cases.expected(case, device=case.spec.type in _HALF)


def _settings(case: Case) -> tuple[str, ...]:
    return (
        *("--cache-type-k", case.cache, "--cache-type-v", case.cache),
        *("--flash-attn", _FLASH[case.flash]),
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


def _judge(case: Case, evidence: Evidence, backend: str) -> None:
    if doubt := BACKENDS[backend].judge(evidence):
        raise failed(doubt.kind, case.name, doubt.why)


def _check(case: Case, found: Distance, allowed: Distance) -> Check:
    detail = (
        f"mean squared error {found.mean:.1e} of {allowed.mean:.1e}; "
        f"worst {found.worst:.1e} of {allowed.worst:.1e}"
    )
    return Check(name=case.name, detail=detail, error=found.mean)
