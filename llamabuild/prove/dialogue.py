"""Start any ``llama-server``, talk to it on the loopback interface, and say how that ended.

Only the protocol is relied on. Which arguments a program has is read from its ``--help``, whether
it is ready from ``/health``. The port is one that was free a moment ago: servers before 2025 cannot
tell which one the system gave them.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from llamabuild.backends import Evidence
from llamabuild.errors import ProofFailed
from llamabuild.host import Finished, Service
from llamabuild.prove import inference, outcome
from llamabuild.prove.inference import Runner
from llamabuild.prove.kinds import failed, last_line
from llamabuild.prove.stated import NotStatedError

_POLL = 0.02
_DYING = 5.0
"""Seconds that a process may take to be gone after its connection broke (core dumps)."""
_LARGEST = 1 << 26
"""Bytes of an answer; the largest proper one has a hundredth of that."""
_WISHES = (
    ("--offline", ("--offline",)),
    ("--no-webui", ("--no-webui",)),
    ("--cache-ram", ("--cache-ram", "0")),
    ("--fit ", ("--fit", "off")),
    ("trace (more info)", ("--log-verbosity", "4")),
)
"""Words of ``--help``, and arguments for servers that have them: nothing from the network, no web
page, no second cache, no settings but ours, and a log that tells where the layers are."""
_CPU_ONLY = (
    ("--no-kv-offload", ("--no-kv-offload",)),
    ("--no-op-offload", ("--no-op-offload",)),
)
_DEVICE = re.compile(
    r"common_param: +- (\S+) *: (.+?) \(\d+ MiB"
    r"|using device (\S+) \((.+?)\)(?: \([^()]*\))? - \d+ MiB"
)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What is started, with ``runner.command``: ``extra`` are further arguments of the program,
    ``check`` is the name in messages."""

    program: Path
    model: Path
    runner: Runner
    check: str
    gpu_layers: int
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A server that listens, until ``deadline`` (of ``time.monotonic``)."""

    port: int
    deadline: float

    def ask(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        """The answer to a POST. Raises NotStatedError for anything but JSON."""
        status, text = self.request(path, body)
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = None
        if status != http.HTTPStatus.OK or not isinstance(answer, dict | list):
            raise NotStatedError(f"HTTP {status}: {text[:200].strip()}")
        return answer

    def request(self, path: str, body: object = None) -> tuple[int, str]:
        """Status and text of a POST, or of a GET without body. Raises TimeoutError at the
        deadline, OSError or HTTPException for a broken connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self._left())
        try:
            text = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json", "Connection": "close"}
            connection.request("POST" if text else "GET", path, text, headers)
            with connection.getresponse() as response:
                return response.status, self._read(response).decode(errors="replace")
        finally:
            connection.close()

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        found = b""
        while part := response.read1(1 << 20):
            found += part
            self._left()
            if len(found) > _LARGEST:
                raise NotStatedError(f"an answer of more than {_LARGEST >> 20} MiB")
        return found

    def _left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def hold(server: Server, talk: Callable[[Line], _T]) -> tuple[_T, Evidence]:
    """What ``talk`` returns, and what the log shows; the server is gone afterwards. The whole
    life of the server has ``server.runner.seconds``. Raises ProofFailed for whatever goes wrong."""
    runner, name = server.runner, server.check
    report = inference.report_for(runner, name)
    port = free_port()
    line = Line(port=port, deadline=time.monotonic() + runner.seconds)
    own = [str(server.program), *_arguments(server, port)]
    argv, env = inference.program(runner, own, report)
    try:
        with runner.host.serve(argv, env=env, limits=runner.limits) as service:
            answer = _conversation(service, line, talk, name, report)
            return answer, outcome.evidence_of(devices(service.output()), service.output())
    except OSError as error:  # it could not even be started
        raise failed("load", name, str(error)) from error


def devices(log: str) -> tuple[str, ...]:
    """The devices that a server's log names, as ``name: description``.

    >>> devices("cmn  common_param:   - CPU     : AMD EPYC (24105 MiB, 24105 MiB free)\\n"
    ...         "llama_model_load_from_file_impl: using device CUDA0 (NVIDIA H200) - 9 MiB free\\n"
    ...         "llama_prepare: using device Vulkan0 (Some (LLVM)) (x id) - 9 MiB free")
    ('CPU: AMD EPYC', 'CUDA0: NVIDIA H200', 'Vulkan0: Some (LLVM)')
    """
    found = (match.groups("") for match in _DEVICE.finditer(log))
    return tuple(dict.fromkeys(f"{a or c}: {b or d}" for a, b, c, d in found))


def _arguments(server: Server, port: int) -> list[str]:
    """Raises ProofFailed for a program that cannot even say which arguments it has."""
    text = _help(server)
    wishes = _WISHES if server.gpu_layers else (*_WISHES, *_CPU_ONLY)
    granted = [word for known, words in wishes if known in text for word in words]
    return [
        *("--model", str(server.model), "--host", "127.0.0.1", "--port", str(port)),
        *("--threads", str(server.runner.threads), "-ngl", str(server.gpu_layers)),
        *granted,
        *server.extra,
    ]


def _help(server: Server) -> str:
    runner, name = server.runner, server.check
    report = inference.report_for(runner, name)
    try:
        argv, env = inference.program(runner, [str(server.program), "--help"], report)
        finished = runner.host.run(argv, limits=runner.limits, env=env)
    except OSError as error:
        raise failed("load", name, str(error)) from error
    text = f"{finished.out}\n{finished.err}"
    failure = outcome.ended(finished, name, report)
    if failure and "--port" not in text:
        raise failure
    return text


def free_port() -> int:
    """A port of the loopback interface that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _conversation(
    service: Service, line: Line, talk: Callable[[Line], _T], name: str, report: Path
) -> _T:
    """Raises ProofFailed for a server that dies, hangs or talks nonsense."""
    try:
        _ready(service, line)
        answer = talk(line)
        if service.code() is not None:
            raise NotStatedError("another program answered on its port")
    except TimeoutError as error:
        why = f"no answer in time: {last_line(service.output())}"
        raise failed("timeout", name, why) from error
    except (OSError, http.client.HTTPException, NotStatedError) as error:
        raise _blame(service, error, name, report) from error
    return answer


def _ready(service: Service, line: Line) -> None:
    """Return once the model is loaded; until then there is no answer, or "503"."""
    while service.code() is None:
        try:
            status, text = line.request("/health")
        except ConnectionRefusedError:
            status, text = int(http.HTTPStatus.SERVICE_UNAVAILABLE), ""
        if status == http.HTTPStatus.OK:
            return
        if status != http.HTTPStatus.SERVICE_UNAVAILABLE:
            raise NotStatedError(f"HTTP {status}: {text[:200].strip()}")
        time.sleep(_POLL)
    raise NotStatedError("the server ended before it listened")


def _blame(service: Service, error: Exception, name: str, report: Path) -> ProofFailed:
    """What a broken conversation stands for: how the server ended, or that it did not."""
    broken = isinstance(error, OSError | http.client.IncompleteRead)
    deadline = time.monotonic() + (_DYING if broken else 0)
    while service.code() is None and time.monotonic() < deadline:
        time.sleep(_POLL)
    code = service.code()
    if code is None:
        return failed("wrong-numbers", name, str(error) or type(error).__name__)
    finished = Finished(code=code, out=service.output(), err="")
    return outcome.ended(finished, name, report) or failed("load", name, str(error))
