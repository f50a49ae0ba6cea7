"""What a process told, what its log shows, and what its end stands for.

How processes end is told apart: see :mod:`llamabuild.prove.kinds`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llamabuild.backends import Evidence
from llamabuild.errors import Crash, ProofFailed
from llamabuild.host import Finished
from llamabuild.prove import crash, kinds
from llamabuild.prove.child import MARKER
from llamabuild.prove.kinds import failed, last_line

_KEYS = {
    "devices": frozenset({"devices", "backends", "libraries", "home"}),
    "begin": frozenset({"begin"}),
    "done": frozenset({"name", "log"}),
    "failed": frozenset({"failed", "why", "log"}),
}
"""Lines of the child by the word that each has, and what else must be in them."""
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers")
_BUFFER = re.compile(r"(\S+) model buffer size =")
"""``llama_model::load_tensors`` states one line a buffer."""


def told(out: str) -> list[dict[str, Any]]:
    """What the child told, line by line; a line that was cut off, or that the child would not
    write, tells nothing."""
    found = []
    for line in out.splitlines():
        if line.startswith(MARKER):
            try:
                said = json.loads(line.removeprefix(MARKER))
            except ValueError:
                continue
            if isinstance(said, dict) and _complete(said):
                found.append(said)
    return found


def _complete(said: Mapping[str, Any]) -> bool:
    """True for a line as the child writes it."""
    needed = next((keys for word, keys in _KEYS.items() if word in said), None)
    return needed is not None and said.keys() >= needed


def begun(told: Sequence[Mapping[str, Any]]) -> str:
    """The case that was begun last and is not done."""
    last = ""
    for line in told:
        last = line.get("begin", "" if "done" in line else last)
    return last


def failure(told: Sequence[Mapping[str, Any]], check: str) -> ProofFailed | None:
    """The failure that the child told itself."""
    wrong = next((line for line in told if "failed" in line), None)
    return _stage(wrong, check) if wrong else None


def _stage(answer: Mapping[str, Any], check: str) -> ProofFailed:
    """A failure that the child told itself; llama.cpp's last words say more than a return code."""
    log = str(answer["log"])
    words = kinds.complaint(log) or last_line(log)
    why = f"{answer['why']}: {words}" if words else str(answer["why"])
    if known := kinds.said(f"{answer['why']}\n{log}"):
        return failed(known[0], check, why)
    named = {"load": "load", "devices": "device-missing", "abi": "abi", "decode": "wrong-numbers"}
    return failed(named[answer["failed"]], check, why)


def evidence_of(devices: Sequence[str], log: str) -> Evidence:
    """What a library's log shows of where it ran."""
    found = _OFFLOADED.findall(log)
    offloaded, layers = map(int, found[-1]) if found else (0, 0)
    return Evidence(
        devices=tuple(devices), offloaded=offloaded, layers=layers, log=log, buffers=buffers(log)
    )


def buffers(log: str) -> tuple[str, ...]:
    """Where the weights are: ggml's names of their buffers tell which kernels compute with them.

    >>> buffers("load_tensors:   CPU model buffer size = 1 MiB\\n"
    ...         "load_tensors:   AMX model buffer size = 9.50 MiB\\n")
    ('AMX', 'CPU')
    """
    return tuple(sorted(set(_BUFFER.findall(log))))


def strangers(loaded: Sequence[str], home: str) -> tuple[str, ...]:
    """Libraries that are not below ``home``: something else than the build was loaded.

    >>> strangers(["/v/llama_cpp/lib/libllama.so", "/opt/libggml.so"], "/v/llama_cpp")
    ('/opt/libggml.so',)
    """
    inside = os.path.join(os.path.realpath(home), "")
    return tuple(path for path in loaded if not os.path.realpath(path).startswith(inside))


def ended(finished: Finished, check: str, report: Path) -> ProofFailed | None:
    """The failure that a child's end stands for, or None when it ended by itself and well."""
    if finished.timed_out:
        return failed("timeout", check, "it did not end in time and was killed")
    if finished.code == 0:
        return None
    text = f"{finished.err}\n{finished.out}"
    known = kinds.said(text)
    if finished.signal == "SIGKILL" or (known and known[0] == "memory"):
        return failed("memory", check, last_line(text) or "killed, most likely for its memory")
    if finished.signal:
        found = crash.read(report, finished.signal)
        kind = known[0] if known else kinds.of_signal(finished.signal, found)
        return failed(kind, check, _crashed(finished.signal, found, text), found)
    kind = known[0] if known else "load"
    return failed(
        kind, check, f"exit code {finished.code}: {known[1] if known else last_line(text)}"
    )


def _crashed(signal: str, found: Crash, text: str) -> str:
    where = f" in {found.where}" if found.where else ""
    feature = f", an instruction of {found.feature}" if found.feature else ""
    words = kinds.last_words(text)
    return f"{signal}{where}{feature}{f': {words}' if words else ''}"
