"""Prove what this machine cannot run by itself: under an emulator, through ``llama-server``.

There is no Python of the other architecture, so that the bindings are not asked; the server is,
with its log-probabilities. Every weight type goes through its kernels, for batches and for single
tokens. Under emulation time says nothing, and no speed is measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from llamabuild.backends import BACKENDS, Evidence
from llamabuild.events import Emit, Progress
from llamabuild.model import Build, Check, Proof
from llamabuild.prove import cases, reference, served, tools
from llamabuild.prove.cases import Case
from llamabuild.prove.inference import Runner
from llamabuild.prove.kinds import failed
from llamabuild.toolchains import runner as runners

_WHOLE = ("F16", "Q8_0", "Q4_0", "Q4_K", "Q6_K", "IQ4_XS")
"""Weight types of whole networks; exact products are asked of every type."""


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
    emulator = runners.name(runner.command)
    return Proof(
        reference=f"{reference.NAME}, {len(wanted)} cases over HTTP",
        device=f"{', '.join(devices)} under {emulator}",
        checks=tuple(checks),
        speed=(),
        seconds=time.monotonic() - started,
        unrun=("the Python bindings",),
    )


def _cases() -> tuple[Case, ...]:
    every = cases.standard()
    whole = {f"{kind} decoder" for kind in _WHOLE}
    return tuple(
        case
        for case in every
        if case.spec.family in ("products", "encoder")
        or case.name in whole
        or (case.flash != "auto" and case.spec.family == "decoder" and not case.unified)
    )


def _checks(
    build: Build, wanted: tuple[Case, ...], runner: Runner
) -> Iterator[tuple[Check, Evidence | None]]:
    for tool in tools.expected(build):
        yield tools.starts(tool, build.prefix, runner), None
    server = build.prefix / "bin" / build.plan.program("llama-server")
    for case in wanted:
        check, evidence = served.ask(server, case, runner, name=case.name)
        if doubt := BACKENDS[build.plan.backends[-1]].judge(evidence):
            raise failed(doubt.kind, case.name, doubt.why)
        yield check, evidence
