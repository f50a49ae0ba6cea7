"""Do the job on stdin and tell what came of it."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, cast

from . import MARKER, StageError, decoding, opaque, registry


def main() -> int:
    """Do the job on stdin; exit code 0 when an answer (good or bad) was printed."""
    job = json.loads(sys.stdin.read())
    log: list[str] = []
    name = ""
    try:
        llama = _library(job["library"]) if job["library"] else _bindings()
        for name, answer in _answers(llama, job, log):
            _tell(**answer, name=name, log="".join(log))
            log.clear()
    except StageError as error:
        _tell(failed=error.stage, why=str(error), name=name, log="".join(log))
    return 0


def _tell(**what: object) -> None:
    print("\n" + MARKER + json.dumps(what), flush=True)


def _bindings() -> ModuleType:
    try:
        from llama_cpp import llama_cpp
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise StageError("load", f"{type(error).__name__}: {error}") from error
    return cast("ModuleType", llama_cpp)


def _library(path: str) -> Any:  # noqa: ANN401 - it stands for the bindings' module
    try:
        return opaque.open_library(path)
    except OSError as error:
        raise StageError("load", f"{type(error).__name__}: {error}") from error


def _answers(
    llama: ModuleType, job: dict[str, Any], log: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The start, and the end of each case, with what is told of it."""

    def hear(_level: int, text: bytes, _data: object) -> None:
        log.append(text.decode(errors="replace"))
        sys.stderr.write(log[-1])  # what a process said before it crashed is all that is left

    listen = llama.llama_log_callback(hear)
    llama.llama_log_set(listen, ctypes.c_void_p(0))
    try:
        yield "start", _start(llama, job["library"])
        for case in job["cases"]:
            _tell(begin=case["name"])
            if case.get("timed"):
                yield case["name"], {"done": True, "seconds": decoding.timed(llama, case, job)}
            else:
                used = decoding.infer(llama, case, job, registry.free(llama))
                yield case["name"], {"done": True, "memory": used}
    finally:
        llama.llama_log_set(llama.llama_log_callback(), ctypes.c_void_p(0))


def _start(llama: ModuleType, library: str) -> dict[str, Any]:
    """What was loaded. Bindings that do not fit their library are found before they write into
    memory that is not theirs."""
    if not library:
        differing = opaque.abi_differences(llama, llama._lib)  # noqa: SLF001 - no public name
        if differing:
            raise StageError("abi", "; ".join(differing))
    llama.llama_backend_init()
    return {
        "devices": registry.devices(llama),
        "backends": registry.backends(llama),
        "libraries": registry.libraries(),
        "home": os.path.dirname(os.path.abspath(library or str(llama.__file__))),
    }
