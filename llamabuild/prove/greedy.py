"""``llama-server`` must generate the reference's tokens over HTTP, on the loopback interface."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from llamabuild.model import Check
from llamabuild.prove import dialogue, reference
from llamabuild.prove.dialogue import Line, Server
from llamabuild.prove.inference import Runner
from llamabuild.prove.kinds import failed
from llamabuild.prove.reference import Text
from llamabuild.prove.stated import NotStatedError

_PATIENCE = 60.0
"""Seconds at most for start and answer; a good server needs well under one."""
_SETTINGS = ("--ctx-size", "256", "--parallel", "1")


def check(
    program: Path, model: Path, wanted: Text, runner: Runner, *, name: str, gpu_layers: int
) -> Check:
    """Ask for the expected tokens. The server is gone afterwards, whatever happens.

    Raises ProofFailed: whatever a process can end with, or "load", "timeout", "wrong-numbers".
    """
    server = Server(
        program=program,
        model=model,
        runner=replace(runner, seconds=min(_PATIENCE, runner.seconds)),
        check=name,
        gpu_layers=gpu_layers,
        extra=_SETTINGS,
    )
    started = time.monotonic()
    tokens, _ = dialogue.hold(server, lambda line: _generated(line, wanted))
    if why := reference.differing(tokens, wanted.tokens):
        raise failed("wrong-numbers", name, why)
    seconds = time.monotonic() - started
    return Check(name=name, detail=f"{len(tokens)} tokens over HTTP in {seconds:.1f} s")


def _generated(line: Line, wanted: Text) -> tuple[int, ...]:
    body = {
        "prompt": wanted.prompt,
        "n_predict": len(wanted.tokens),
        "temperature": 0,
        "cache_prompt": False,
        "return_tokens": True,
    }
    answer = line.ask("/completion", body)
    try:
        return tuple(int(token) for token in answer["tokens"])
    except (ValueError, KeyError, TypeError) as error:
        raise NotStatedError(f"no tokens in {str(answer)[:200]}") from error
