"""``llama-server`` must give the reference's tokens over HTTP, on the loopback interface."""

from __future__ import annotations

import http.client
import json
import re
import time
from pathlib import Path

from llamabuild.errors import ProofFailed
from llamabuild.host import Finished, Service
from llamabuild.model import Check
from llamabuild.prove import inference, reference
from llamabuild.prove.inference import Runner
from llamabuild.prove.kinds import failed, last_line
from llamabuild.prove.reference import Text

_LISTENING = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")
_POLL = 0.02
_PATIENCE = 60.0
"""Seconds at most for start and answer; a good server needs well under one."""
_DYING = 5.0
"""Seconds that a process may take to be gone after its connection broke (core dumps)."""


class _UnansweredError(Exception):
    """The server runs but does not do what it should; the text says what."""


def check(
    server: Path, model: Path, wanted: Text, runner: Runner, *, name: str, gpu_layers: int
) -> Check:
    """Ask for the expected tokens. The server is gone afterwards, whatever happens.

    Raises ProofFailed: "crash" with evidence, "load", "timeout", "memory" or "wrong-numbers".
    """
    report = inference.report_for(runner, name)
    started = time.monotonic()
    try:
        with runner.host.serve(
            arguments(server, model, runner.threads, gpu_layers),
            env=inference.environment(runner, report),
            limits=runner.limits,
        ) as service:
            tokens = _ask(service, wanted, name, report, min(_PATIENCE, runner.seconds))
    except OSError as error:  # it could not even be started
        raise failed("load", name, str(error)) from error
    if why := reference.differing(tokens, wanted.tokens):
        raise failed("wrong-numbers", name, why)
    seconds = time.monotonic() - started
    return Check(name=name, detail=f"{len(tokens)} tokens over HTTP in {seconds:.1f} s")


def arguments(server: Path, model: Path, threads: int, gpu_layers: int) -> list[str]:
    """The command: nothing from the network, no web page, one slot, and a port that the system
    chooses while the server binds it, so that there is no race for one."""
    device = [] if gpu_layers else ["--no-kv-offload", "--no-op-offload"]
    return [
        *(str(server), "--model", str(model), "--host", "127.0.0.1", "--port", "0"),
        *("--offline", "--no-ui", "--parallel", "1", "--threads-http", "2", "--cache-ram", "0"),
        *("--ctx-size", "256", "--threads", str(threads), "--gpu-layers", str(gpu_layers)),
        *("--fit", "off", *device),
    ]


def _ask(
    service: Service, wanted: Text, name: str, report: Path, patience: float
) -> tuple[int, ...]:
    """The server's tokens. Raises ProofFailed for a server that dies, hangs or talks nonsense."""
    deadline = time.monotonic() + patience
    try:
        port = _ready(service, deadline)
        return _complete(port, wanted)
    except TimeoutError as error:
        why = f"no answer within {patience:.0f} s: {last_line(service.output())}"
        raise failed("timeout", name, why) from error
    except (OSError, http.client.HTTPException, _UnansweredError) as error:
        raise _blame(service, error, name, report) from error


def _ready(service: Service, deadline: float) -> int:
    """The port, once the model is loaded."""
    while time.monotonic() < deadline:
        if service.code() is not None:
            raise _UnansweredError("the server ended before it listened")
        found = _LISTENING.search(service.output())
        if found and _request(int(found[1]), "GET", "/health")[0] == http.HTTPStatus.OK:
            return int(found[1])
        time.sleep(_POLL)
    raise TimeoutError


def _complete(port: int, wanted: Text) -> tuple[int, ...]:
    body = {
        "prompt": wanted.prompt,
        "n_predict": len(wanted.tokens),
        "temperature": 0,
        "cache_prompt": False,
        "return_tokens": True,
    }
    status, answer = _request(port, "POST", "/completion", body)
    try:
        return tuple(int(token) for token in json.loads(answer)["tokens"])
    except (ValueError, KeyError, TypeError) as error:
        raise _UnansweredError(f"HTTP {status}: {answer[:200].decode(errors='replace')}") from error


def _request(port: int, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _blame(service: Service, error: Exception, name: str, report: Path) -> ProofFailed:
    """What a broken conversation stands for: how the server ended, or that it did not."""
    broken = not isinstance(error, _UnansweredError)
    deadline = time.monotonic() + (_DYING if broken else 0)
    while service.code() is None and time.monotonic() < deadline:
        time.sleep(_POLL)
    code = service.code()
    if code is None:
        return failed("wrong-numbers", name, str(error) or type(error).__name__)
    finished = Finished(code=code, out=service.output(), err="")
    return inference.ended(finished, name, report) or failed("load", name, str(error))
