"""Prove that a build computes on another machine: this one is the other one, on the loopback
interface, and what runs there computes with the same libraries."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

from llamabuild.backends import BACKENDS, Evidence
from llamabuild.host import Finished, Service
from llamabuild.model import Build, Check
from llamabuild.prove import dialogue, inference, outcome, served
from llamabuild.prove.cases import Case
from llamabuild.prove.inference import Runner
from llamabuild.prove.kinds import failed, last_line

_POLL = 0.02


def servers(names: tuple[str, ...]) -> tuple[str, ...]:
    """The back-ends, of these, that compute on other machines."""
    return tuple(name for name in names if BACKENDS[name].TRAITS.server)


def ask(
    build: Build, backend: str, wanted: tuple[Case, ...], runner: Runner
) -> Iterator[tuple[Check, Evidence]]:
    """The checks that ``llama-server`` passes when it gives every layer to the back-end's server.
    Raises ProofFailed."""
    folder = build.prefix / "bin"
    lender = BACKENDS[backend].TRAITS.server
    port = dialogue.free_port()
    report = inference.report_for(runner, lender)
    own = [str(folder / lender), "--host", "127.0.0.1", "--port", str(port)]
    argv, env = inference.program(runner, own, report)
    end = time.monotonic() + runner.seconds
    try:
        with runner.host.serve(argv, env=env, limits=runner.limits) as service:
            _ready(service, port, lender, end, report)
            for case in wanted:
                name = f"{case.name} through {lender}"
                check, evidence = served.ask(
                    folder / "llama-server",
                    case,
                    runner,
                    name=name,
                    gpu_layers=inference.ALL_LAYERS,
                    extra=("--rpc", f"127.0.0.1:{port}"),
                )
                if doubt := BACKENDS[backend].judge(evidence):
                    raise failed(doubt.kind, name, doubt.why)
                yield check, evidence
    except OSError as error:  # it could not even be started
        raise failed("load", lender, str(error)) from error


def _ready(service: Service, port: int, name: str, end: float, report: Path) -> None:
    """Return once it listens; ``end`` is of ``time.monotonic``. Raises ProofFailed."""
    while time.monotonic() < end:
        if (code := service.code()) is not None:
            finished = Finished(code=code, out=service.output(), err="")
            words = last_line(finished.out)
            raise outcome.ended(finished, name, report) or failed("load", name, words)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_POLL)
    raise failed("timeout", name, "it did not listen in time")
