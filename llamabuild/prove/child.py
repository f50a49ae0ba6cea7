"""Inference in a process and a Python of its own, so that a crash is only a result.

A script, never imported: it runs with the Python in which the wheel under test is installed and
needs nothing but ``llama_cpp``, or not even that where the job names a ``library``: then libllama
is used without bindings and with its default settings. The job comes on stdin as JSON: ``threads``,
``gpu_layers``, and ``cases``, each with ``name``, ``model``, ``sequences`` (token ids), ``batch``
(tokens of every sequence that go in the first batch), ``cache``, ``flash``, ``pooled`` and ``out``,
the file for raw float32 rows: logits of every position, or one state for each sequence. Where there
is ``timed``, the batch and the rest are timed instead, so many times, and nothing is written.

What it tells on stdout are lines of ``MARKER`` and a JSON object: first ``devices``, ``libraries``
(files mapped as libllama and libggml) and ``home`` (where they should be); then ``begin`` with a
name before each case and ``done`` after it; ``failed`` names the stage that did not work. What was
begun last is what a crash belongs to.
"""

from __future__ import annotations

import ctypes
import glob
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, cast

MARKER = "llamabuild-proof "
_FLASH = {"auto": -1, "off": 0, "on": 1}
_CACHE = {"f16": 1, "q8_0": 8}
"""ggml's numbers of the types."""
_SLOT = 256
"""Contexts come in multiples of it."""


class StageError(Exception):
    """An expected failure: ``stage`` is "load", "abi", "devices" or "decode"."""

    def __init__(self, stage: str, why: str) -> None:
        super().__init__(why)
        self.stage = stage


def main() -> int:
    """Do the job on stdin; exit code 0 when an answer (good or bad) was printed."""
    job = json.loads(sys.stdin.read())
    log: list[str] = []
    name = ""
    try:
        llama = _library(job["library"]) if job.get("library") else _bindings()
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
        return _opaque().open_library(path)
    except OSError as error:
        raise StageError("load", f"{type(error).__name__}: {error}") from error


def _answers(
    llama: ModuleType, job: dict[str, Any], log: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    def hear(_level: int, text: bytes, _data: object) -> None:
        log.append(text.decode(errors="replace"))
        sys.stderr.write(log[-1])  # what a process said before it crashed is all that is left

    listen = llama.llama_log_callback(hear)
    llama.llama_log_set(listen, ctypes.c_void_p(0))
    try:
        if not job.get("library"):
            differing = _opaque().abi_differences(llama, llama._lib)  # noqa: SLF001 - as below
            if differing:
                raise StageError("abi", "; ".join(differing))
        llama.llama_backend_init()
        system = llama.llama_print_system_info().decode(errors="replace")
        home = os.path.dirname(os.path.abspath(job.get("library") or str(llama.__file__)))
        start = {"devices": _devices(llama), "system": system, "libraries": _libraries()}
        start["backends"] = _backends(llama)
        yield "start", {**start, "home": home}
        for case in job["cases"]:
            _tell(begin=case["name"])
            if case.get("timed"):
                yield case["name"], {"done": True, "seconds": _timed(llama, case, job)}
            else:
                used = _infer(llama, case, job, _free(llama))
                yield case["name"], {"done": True, "memory": used}
    finally:
        llama.llama_log_set(llama.llama_log_callback(), ctypes.c_void_p(0))


def _opaque() -> ModuleType:
    """The module beside this script, which knows libllama without its headers."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "opaque.py")
    spec = importlib.util.spec_from_file_location("opaque", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["opaque"] = module
    spec.loader.exec_module(module)
    return module


def _libraries() -> list[str]:
    """The files that this process has as libllama, libggml and the like; none where the system
    does not tell."""
    try:
        with open("/proc/self/maps") as maps:
            paths = {line.split(maxsplit=5)[-1].strip() for line in maps if "/" in line}
    except OSError:
        return []
    return sorted(
        path for path in paths if os.path.basename(path).startswith(("libllama", "libggml"))
    )


def _devices(llama: ModuleType) -> list[str]:
    """What ggml lists, as ``name: description``. Back-ends that are files of their own must have
    been loaded by the package itself: nobody else would do it for its users."""
    if hasattr(llama, "devices"):
        return list(llama.devices())
    told = [
        _symbol(llama, f"ggml_backend_dev_{word}", ctypes.c_char_p, ctypes.c_void_p)
        for word in ("name", "description")
    ]
    found = [": ".join(tell(one).decode(errors="replace") for tell in told) for one in _each(llama)]
    if not found:
        raise StageError("devices", "ggml found no back-end, not even the CPU")
    return found


def _backends(llama: ModuleType) -> list[str]:
    """The back-ends that ggml has, with or without a device; none in releases that cannot say."""
    try:
        count = _symbol(llama, "ggml_backend_reg_count", ctypes.c_size_t)
        get = _symbol(llama, "ggml_backend_reg_get", ctypes.c_void_p, ctypes.c_size_t)
        name = _symbol(llama, "ggml_backend_reg_name", ctypes.c_char_p, ctypes.c_void_p)
    except StageError:
        return []
    return [name(get(n)).decode(errors="replace") for n in range(count())]


def _each(llama: ModuleType) -> list[int]:
    """Ggml's devices, as pointers."""
    count = _symbol(llama, "ggml_backend_dev_count", ctypes.c_size_t)
    get = _symbol(llama, "ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    return [get(n) for n in range(count())]


def _free(llama: ModuleType) -> list[int]:
    """Free bytes on every device, in the order of the devices; none in releases without."""
    size = ctypes.POINTER(ctypes.c_size_t)
    try:
        ask = _symbol(llama, "ggml_backend_dev_memory", None, ctypes.c_void_p, size, size)
    except StageError:
        return []
    found = []
    for device in _each(llama):
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        ask(device, ctypes.byref(free), ctypes.byref(total))
        found.append(free.value)
    return found


def _symbol(llama: ModuleType, name: str, result: object, *arguments: object) -> Callable[..., Any]:
    """A function of ggml. libllama's handle finds those of the libraries it is linked to, except
    on Windows, where they are looked up in the files beside it."""
    folder = os.path.dirname(os.path.abspath(llama._lib._name))  # noqa: SLF001 - no public name
    libraries = [llama._lib]  # noqa: SLF001 - as above
    if sys.platform == "win32":
        libraries += [ctypes.CDLL(path) for path in sorted(glob.glob(f"{folder}/*ggml*.dll"))]
    for library in libraries:
        if hasattr(library, name):
            function: Any = getattr(library, name)
            function.restype, function.argtypes = result, list(arguments)
            return cast("Callable[..., Any]", function)
    raise StageError("devices", f"{name} is in none of the libraries in {folder}")


def _infer(
    llama: ModuleType, case: dict[str, Any], job: dict[str, Any], before: list[int]
) -> list[int]:
    """Write the rows of a case; returns the bytes that it took on every device."""
    model, context = _load(llama, case, job)
    vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    rows = _pooled if case["pooled"] else _logits
    found = rows(llama, model, context, case, vocabulary)
    now = _free(llama)
    used = [max(0, before[n] - now[n]) for n in range(len(now))]
    with open(case["out"], "wb") as file:
        file.writelines(found)
    llama.llama_free(context)
    llama.llama_model_free(model)
    return used


def _timed(llama: ModuleType, case: dict[str, Any], job: dict[str, Any]) -> list[list[float]]:
    """Seconds of the batch and of the rest, for each of the runs; the first, for warming up, is
    left out."""
    model, context = _load(llama, case, job)
    tokens, first = case["sequences"][0], case["batch"]
    found = []
    for _ in range(case["timed"] + 1):
        marks = [time.perf_counter()]
        _decode(llama, context, [(token, n, 0) for n, token in enumerate(tokens[:first])])
        llama.llama_get_logits_ith(context, 0)
        marks.append(time.perf_counter())
        for n, token in enumerate(tokens[first:], first):
            _decode(llama, context, [(token, n, 0)])
            llama.llama_get_logits_ith(context, 0)
        marks.append(time.perf_counter())
        found.append([marks[1] - marks[0], marks[2] - marks[1]])
        llama.llama_free(context)
        context = _context(llama, model, case, job)
    llama.llama_free(context)
    llama.llama_model_free(model)
    return found[1:]


def _logits(
    llama: ModuleType, model: object, context: object, case: dict[str, Any], vocabulary: int
) -> list[bytes]:
    """Logits of every position, sequence after sequence."""
    del model
    sequences, first = case["sequences"], case["batch"]
    found = [[b""] * len(tokens) for tokens in sequences]
    for places in _batches([len(tokens) for tokens in sequences], first):
        batch = [(sequences[n][position], position, n) for n, position in places]
        _decode(llama, context, batch)
        for row, (n, position) in enumerate(places):
            logits = llama.llama_get_logits_ith(context, row)
            if not logits:
                raise StageError("decode", f"there are no logits of token {row} of a batch")
            found[n][position] = ctypes.string_at(logits, 4 * vocabulary)
    return [row for rows in found for row in rows]


def _batches(lengths: list[int], first: int) -> list[list[tuple[int, int]]]:
    """(sequence, position) of every token of every batch: sequences take turns."""

    def at(position: int) -> list[tuple[int, int]]:
        return [(n, position) for n, length in enumerate(lengths) if position < length]

    opening = [place for position in range(first) for place in at(position)]
    return [opening, *(at(position) for position in range(first, max(lengths)))]


def _pooled(
    llama: ModuleType, model: object, context: object, case: dict[str, Any], vocabulary: int
) -> list[bytes]:
    """One state (or score) for each sequence, all from one batch."""
    del vocabulary
    sequences = case["sequences"]
    places = _batches([len(tokens) for tokens in sequences], case["batch"])[0]
    _decode(llama, context, [(sequences[n][position], position, n) for n, position in places])
    size = 1 if case["pooled"] == "rank" else llama.llama_model_n_embd(model)
    found = [llama.llama_get_embeddings_seq(context, n) for n in range(len(sequences))]
    if not all(found):
        raise StageError("decode", "there is no pooled state of a sequence")
    return [ctypes.string_at(row, 4 * size) for row in found]


def _decode(llama: ModuleType, context: object, tokens: list[tuple[int, int, int]]) -> None:
    """One batch of (token, position, sequence), with the result of every token."""
    batch = llama.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for n, (token, position, sequence) in enumerate(tokens):
        batch.token[n], batch.pos[n] = token, position
        batch.n_seq_id[n], batch.seq_id[n][0], batch.logits[n] = 1, sequence, 1
    code = llama.llama_decode(context, batch)
    llama.llama_batch_free(batch)
    if code != 0:
        raise StageError("decode", f"llama_decode returned {code}")


def _load(llama: ModuleType, case: dict[str, Any], job: dict[str, Any]) -> tuple[Any, Any]:
    """Model and context with the library's own defaults where a case does not say otherwise, so
    that users' code paths are proved. Without layers on a device nothing else goes there either:
    that run is about the CPU."""
    model_params = llama.llama_model_default_params()
    if not job.get("library"):
        model_params.n_gpu_layers = job["gpu_layers"]
    model = llama.llama_model_load_from_file(os.fsencode(case["model"]), model_params)
    if not model:
        raise StageError("load", "llama_model_load_from_file returned NULL")
    return model, _context(llama, model, case, job)


def _context(llama: ModuleType, model: object, case: dict[str, Any], job: dict[str, Any]) -> Any:  # noqa: ANN401 - a pointer
    params = llama.llama_context_default_params()
    if not job.get("library"):
        _set(params, case, job)
    context = llama.llama_init_from_model(model, params)
    if not context:
        raise StageError("load", "llama_init_from_model returned NULL")
    if job.get("library"):
        llama.llama_set_n_threads(context, job["threads"], job["threads"])
    return context


def _set(params: Any, case: dict[str, Any], job: dict[str, Any]) -> None:  # noqa: ANN401 - a struct
    on_device = job["gpu_layers"] > 0
    params.n_seq_max = len(case["sequences"])
    longest = max(len(tokens) for tokens in case["sequences"])
    params.n_ctx = -(-longest // _SLOT) * _SLOT * len(case["sequences"])
    params.n_threads = params.n_threads_batch = job["threads"]
    params.offload_kqv = params.op_offload = on_device
    params.type_k = params.type_v = _CACHE[case["cache"]]
    params.flash_attn_type = _FLASH[case["flash"]]
    params.embeddings = bool(case["pooled"])
    params.kv_unified = case["unified"]


if __name__ == "__main__":
    raise SystemExit(main())
