"""One inference run, in a process and a Python of its own, so that a crash is only a result.

A script, never imported: it runs with the Python in which the wheel under test is installed and
needs nothing but ``numpy`` and ``llama_cpp``. The job comes on stdin as JSON: ``model``,
``prompt`` (token ids), ``steps``, ``threads``, ``gpu_layers``, and ``logits``, the file for raw
float32 logits of every prompt position and every step. The last line of stdout is ``MARKER`` and
a JSON object; ``failed`` in it names the stage that did not work and ``why`` says the reason.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, cast

MARKER = "llamabuild-proof "


class StageError(Exception):
    """An expected failure: ``stage`` is "load", "devices" or "decode"."""

    def __init__(self, stage: str, why: str) -> None:
        super().__init__(why)
        self.stage = stage


def main() -> int:
    """Do the job on stdin; exit code 0 when an answer (good or bad) was printed."""
    job = json.loads(sys.stdin.read())
    log: list[str] = []
    try:
        answer = _answer(job, log)
    except StageError as error:
        answer = {"failed": error.stage, "why": str(error)}
    print("\n" + MARKER + json.dumps({**answer, "log": "".join(log)}), flush=True)
    return 0


def _answer(job: dict[str, Any], log: list[str]) -> dict[str, Any]:
    try:
        from llama_cpp import llama_cpp as llama
    except (ImportError, OSError, RuntimeError) as error:
        raise StageError("load", f"{type(error).__name__}: {error}") from error
    listen = llama.llama_log_callback(
        lambda _level, text, _data: log.append(text.decode(errors="replace"))
    )
    llama.llama_log_set(listen, ctypes.c_void_p(0))
    try:
        llama.llama_backend_init()
        devices = _devices(llama)
        tokens = _infer(llama, job)
        system = llama.llama_print_system_info().decode(errors="replace")
    finally:
        llama.llama_log_set(llama.llama_log_callback(), ctypes.c_void_p(0))
    return {"tokens": tokens, "devices": devices, "system": system}


def _devices(llama: ModuleType) -> list[str]:
    """What ggml lists, as ``name: description``. Back-ends that are files of their own must have
    been loaded by the package itself: nobody else would do it for its users."""
    folder = os.path.dirname(os.path.abspath(llama._lib._name))  # noqa: SLF001 - no public name
    count = _symbol(llama, folder, "ggml_backend_dev_count", ctypes.c_size_t)
    get = _symbol(llama, folder, "ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    told = [
        _symbol(llama, folder, f"ggml_backend_dev_{word}", ctypes.c_char_p, ctypes.c_void_p)
        for word in ("name", "description")
    ]
    found = [
        ": ".join(tell(get(n)).decode(errors="replace") for tell in told) for n in range(count())
    ]
    if not found:
        raise StageError("devices", f"ggml found no back-end, not even the CPU, in {folder}")
    return found


def _symbol(
    llama: ModuleType, folder: str, name: str, result: object, *arguments: object
) -> Callable[..., Any]:
    """A function of ggml. libllama's handle finds those of the libraries it is linked to, except
    on Windows, where they are looked up in the files beside it."""
    libraries = [llama._lib]  # noqa: SLF001 - as above
    if sys.platform == "win32":
        libraries += [ctypes.CDLL(path) for path in sorted(glob.glob(f"{folder}/*ggml*.dll"))]
    for library in libraries:
        if hasattr(library, name):
            function: Any = getattr(library, name)
            function.restype, function.argtypes = result, list(arguments)
            return cast("Callable[..., Any]", function)
    raise StageError("devices", f"{name} is in none of the libraries in {folder}")


def _infer(llama: ModuleType, job: dict[str, Any]) -> list[int]:
    """Decode the prompt in one batch, then greedily one token at a time; returns the tokens."""
    import numpy as np

    model, context = _load(llama, job)
    size = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    prompt: list[int] = job["prompt"]
    with open(job["logits"], "wb") as file:

        def decode(tokens: list[int], position: int) -> int:
            batch = llama.llama_batch_init(len(tokens), 0, 1)
            batch.n_tokens = len(tokens)
            for n, token in enumerate(tokens):
                batch.token[n], batch.pos[n] = token, position + n
                batch.n_seq_id[n], batch.seq_id[n][0], batch.logits[n] = 1, 0, 1
            code = llama.llama_decode(context, batch)
            llama.llama_batch_free(batch)
            if code != 0:
                raise StageError("decode", f"llama_decode returned {code}")
            rows = [llama.llama_get_logits_ith(context, n) for n in range(len(tokens))]
            values = np.stack([np.ctypeslib.as_array(row, shape=(size,)) for row in rows])
            file.write(values.astype("<f4").tobytes())
            return int(values[-1].argmax())

        chosen = [decode(prompt, 0)]
        for step in range(job["steps"]):
            chosen.append(decode(chosen[-1:], len(prompt) + step))
    llama.llama_free(context)
    llama.llama_model_free(model)
    return chosen


def _load(llama: ModuleType, job: dict[str, Any]) -> tuple[Any, Any]:
    """Model and context with the library's own defaults, so that users' code paths are proved.
    Without layers on a device nothing else goes there either: that run is about the CPU."""
    on_device = job["gpu_layers"] > 0
    model_params = llama.llama_model_default_params()
    model_params.n_gpu_layers = job["gpu_layers"]
    model = llama.llama_model_load_from_file(os.fsencode(job["model"]), model_params)
    if not model:
        raise StageError("load", "llama_model_load_from_file returned NULL")
    params = llama.llama_context_default_params()
    params.n_ctx = len(job["prompt"]) + job["steps"]
    params.n_threads = params.n_threads_batch = job["threads"]
    params.offload_kqv = params.op_offload = on_device
    context = llama.llama_init_from_model(model, params)
    if not context:
        raise StageError("load", "llama_init_from_model returned NULL")
    return model, context


if __name__ == "__main__":
    raise SystemExit(main())
