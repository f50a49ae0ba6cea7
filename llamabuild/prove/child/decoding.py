"""Cases through llama.cpp's functions: batches in, rows of numbers out."""

from __future__ import annotations

import ctypes
import os
import time
from types import ModuleType
from typing import Any

from . import StageError, registry

_FLASH = {"auto": -1, "off": 0, "on": 1}
_CACHE = {"f16": 1, "q8_0": 8}
"""ggml's numbers of the types."""
_SLOT = 256
"""Contexts come in multiples of it."""


def infer(
    llama: ModuleType, case: dict[str, Any], job: dict[str, Any], before: list[int]
) -> list[int]:
    """Write the rows of a case; returns the bytes that it took on every device."""
    model, context = _load(llama, case, job)
    vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    rows = _pooled if case["pooled"] else _logits
    found = rows(llama, model, context, case, vocabulary)
    now = registry.free(llama)
    used = [max(0, before[n] - now[n]) for n in range(len(now))]
    with open(case["out"], "wb") as file:
        file.writelines(found)
    llama.llama_free(context)
    llama.llama_model_free(model)
    return used


def timed(llama: ModuleType, case: dict[str, Any], job: dict[str, Any]) -> list[list[float]]:
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
    if not job["library"]:
        model_params.n_gpu_layers = job["gpu_layers"]
    model = llama.llama_model_load_from_file(os.fsencode(case["model"]), model_params)
    if not model:
        raise StageError("load", "llama_model_load_from_file returned NULL")
    return model, _context(llama, model, case, job)


def _context(llama: ModuleType, model: object, case: dict[str, Any], job: dict[str, Any]) -> Any:  # noqa: ANN401 - a pointer
    params = llama.llama_context_default_params()
    if not job["library"]:
        _set(params, case, job)
    context = llama.llama_init_from_model(model, params)
    if not context:
        raise StageError("load", "llama_init_from_model returned NULL")
    if job["library"]:
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
