"""Structs of unknown layout: small C libraries made by the compiler of this machine are measured,
and handed their own defaults back."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from llamabuild.prove.child import opaque

pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler"),
]
measured = pytest.mark.skipif(
    os.name != "posix" or os.uname().machine != "x86_64", reason="sizes are measured on x86-64"
)

LIBRARY = """
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
struct model_params { void *devices; int32_t n_gpu_layers; float *split; %s bool mmap, lock; };
struct context_params { uint32_t n_ctx; %s float scale; void *data; bool perf; };
struct sampler_params { bool no_perf; };
struct quantize_params { int32_t threads, type; bool all, pure; void *matrix; };
struct batch { int32_t n; int32_t *token; float *embd; int32_t *pos, *n_seq; int32_t **seq;
  int8_t *logits; int32_t all_pos_0, all_pos_1, all_seq; };

struct model_params llama_model_default_params(void) {
  struct model_params p; memset(&p, 0, sizeof p); p.n_gpu_layers = 99; p.mmap = true; return p; }
struct context_params llama_context_default_params(void) {
  struct context_params p; memset(&p, 0, sizeof p); p.n_ctx = 512; p.scale = 1.5; p.perf = true;
  return p; }
struct sampler_params llama_sampler_chain_default_params(void) {
  struct sampler_params p = {true}; return p; }
struct quantize_params llama_model_quantize_default_params(void) {
  struct quantize_params p = {%s, 7, true, true, 0}; return p; }

void *llama_model_load_from_file(const char *path, struct model_params p) {
  return p.n_gpu_layers == 99 && p.mmap && !p.lock && !strcmp(path, "a model") ? malloc(8) : 0; }
void *llama_new_context_with_model(void *model, struct context_params p) {
  return model && p.n_ctx == 512 && p.scale == 1.5f && p.perf ? malloc(8) : 0; }
struct batch llama_batch_init(int32_t n, int32_t embd, int32_t seqs) {
  struct batch b = {0, malloc(4 * n), 0, malloc(4 * n), malloc(4 * n), 0, malloc(n), 1, 2, 3};
  return b; }
int32_t llama_decode(void *context, struct batch b) {
  return b.all_pos_0 == 1 && b.all_seq == 3 ? b.token[0] + b.token[b.n - 1] : -1; }
void llama_batch_free(struct batch b) { free(b.token); free(b.pos); free(b.n_seq); free(b.logits); }
bool numa_told = true;
void llama_backend_init(bool numa) { numa_told = numa; }
int32_t llama_n_vocab(void *model) { return model ? 320 : -1; }
"""


def compiled(
    folder: Path, name: str, model: str = "", context: str = "", threads: str = "4"
) -> str:
    source, made = folder / f"{name}.c", folder / f"lib{name}.so"
    source.write_text(LIBRARY % (model, context, threads))
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-w", "-o", made, source], check=True)
    return str(made)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("opaque")


@pytest.fixture(scope="module")
def plain(folder: Path) -> str:
    return compiled(folder, "plain")


# --- defaults go round ---------------------------------------------------------------------------


@pytest.mark.parametrize("more", ["", "char name[97];", "double tensor_split[16];"])
def test_defaults_of_unknown_size_are_handed_back_whole(more: str, folder: Path) -> None:
    library = opaque.open_library(compiled(folder, f"round{len(more)}", more, more))
    model = library.llama_model_load_from_file(b"a model", library.llama_model_default_params())
    assert model
    assert library.llama_init_from_model(model, library.llama_context_default_params())
    assert not library.llama_model_load_from_file(b"another", library.llama_model_default_params())


def test_a_batch_keeps_what_is_behind_its_known_fields(plain: str) -> None:
    library = opaque.open_library(plain)
    batch = library.llama_batch_init(3, 0, 1)
    batch.n_tokens = 3
    for n in range(3):
        batch.token[n] = 10 * (n + 1)
    assert library.llama_decode(None, batch) == 40
    library.llama_batch_free(batch)


def test_older_names_and_what_is_missing(plain: str) -> None:
    library = opaque.open_library(plain)
    library.llama_backend_init()
    assert ctypes.c_bool.in_dll(library._lib, "numa_told").value is False
    assert library.llama_vocab_n_tokens(library.llama_model_get_vocab(7)) == 320
    library.llama_set_n_threads(1, 2, 2)  # this library has no such function
    assert library.devices() == []
    for name in ("llama_get_logits_ith", "llama_print_system_info", "no_function"):
        with pytest.raises(AttributeError, match=name):
            getattr(library, name)


def test_a_setting_is_never_silently_without_effect(plain: str) -> None:
    params = opaque.open_library(plain).llama_model_default_params()
    with pytest.raises(AttributeError, match="n_gpu_layers"):
        params.n_gpu_layers = 0


def test_what_is_no_library_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "libllama.so").write_text("not a library")
    with pytest.raises(OSError, match="libllama"):
        opaque.open_library(str(tmp_path / "libllama.so"))


# --- do bindings fit? ----------------------------------------------------------------------------


class Model(ctypes.Structure):
    _fields_ = [
        ("devices", ctypes.c_void_p),
        ("n_gpu_layers", ctypes.c_int32),
        ("split", ctypes.c_void_p),
        ("mmap", ctypes.c_bool),
        ("lock", ctypes.c_bool),
    ]


class Context(ctypes.Structure):
    _fields_ = [
        ("n_ctx", ctypes.c_uint32),
        ("scale", ctypes.c_float),
        ("data", ctypes.c_void_p),
        ("perf", ctypes.c_bool),
    ]


class Sampler(ctypes.Structure):
    _fields_ = [("no_perf", ctypes.c_bool)]


class Quantize(ctypes.Structure):
    _fields_ = [
        ("threads", ctypes.c_int32),
        ("type", ctypes.c_int32),
        ("all", ctypes.c_bool),
        ("pure", ctypes.c_bool),
        ("matrix", ctypes.c_void_p),
    ]


def bindings(path: str, **structs: Any) -> ModuleType:
    """Bindings as llama-cpp-python makes them: functions of a library with their types."""
    library = ctypes.CDLL(path)
    found = {}
    for name, struct in zip(opaque.PARAMS, (Model, Context, Sampler, Quantize), strict=True):
        found[name] = library[name]
        found[name].restype = structs.get(struct.__name__, struct)
    return cast("ModuleType", SimpleNamespace(**found, llama_decode=library["llama_decode"]))


@measured
@pytest.mark.parametrize("count", [1, 16, 17, 24, 25, 100, 168, 500, 1000])
def test_every_size_is_measured(count: int, folder: Path) -> None:
    source, made = folder / f"size{count}.c", folder / f"size{count}.so"
    source.write_text(
        f"struct p {{ unsigned char x[{count}]; }};"
        f"struct p get(void) {{ struct p p;"
        f" for (int n = 0; n < {count}; n++) p.x[n] = n; return p; }}"
    )
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", made, source], check=True)
    wanted = count if count > 16 else 0
    assert opaque.size_written(ctypes.CDLL(str(made)).get) == wanted


@measured
def test_bindings_fit_the_library_that_they_were_made_for(plain: str) -> None:
    assert opaque.abi_differences(bindings(plain), plain) == []
    assert opaque.abi_differences(bindings(plain), opaque.open_library(plain)) == []
    assert opaque.abi_differences(bindings(plain), ctypes.CDLL(plain)) == []


@measured
def test_a_field_more_is_named_with_its_struct(plain: str, folder: Path) -> None:
    other = compiled(folder, "other", context="double rope_base;")
    assert opaque.abi_differences(bindings(plain), other) == [
        "llama_context_default_params: 24 bytes in the bindings, 40 in the library"
    ]
    smaller = type("Small", (ctypes.Structure,), {"_fields_": [("n", ctypes.c_int64)]})
    assert opaque.abi_differences(bindings(plain, Quantize=smaller), plain) == [
        "llama_model_quantize_default_params: 8 bytes in the bindings, 24 in the library"
    ]
    larger = type("Large", (ctypes.Structure,), {"_fields_": [("x", ctypes.c_int64 * 3)]})
    assert opaque.abi_differences(bindings(plain, Sampler=larger), plain) == [
        "llama_sampler_chain_default_params: 24 bytes in the bindings, at most 16 in the library"
    ]


@measured
def test_a_truth_value_that_is_none_shows_shifted_fields(folder: Path) -> None:
    fields = [("all", ctypes.c_bool), ("more", ctypes.c_int32), *Quantize._fields_[3:]]
    shifted = type("Shifted", (ctypes.Structure,), {"_fields_": fields})
    assert ctypes.sizeof(shifted) == ctypes.sizeof(Quantize)
    library = compiled(folder, "shifted", threads="-1")
    assert opaque.abi_differences(bindings(library, Quantize=shifted), library) == [
        "llama_model_quantize_default_params: all is neither true nor false but 255"
    ]


def test_missing_functions_are_named(plain: str, folder: Path) -> None:
    source, made = folder / "few.c", folder / "libfew.so"
    source.write_text("void llama_free(void *context) {}")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", made, source], check=True)
    wanted = [f"there is no {name}" for name in sorted((*opaque.PARAMS, "llama_decode"))]
    assert opaque.abi_differences(bindings(plain), str(made)) == wanted
