"""The gate with a real preprocessor: small headers with all that llama.cpp's own do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llamabuild import abi
from llamabuild.abi import headers
from llamabuild.abi.declarations import Declarations
from llamabuild.errors import AbiMismatch
from llamabuild.host import LocalHost

pytestmark = pytest.mark.steps
CROSS = ("aarch64-linux-gnu-gcc", "x86_64-w64-mingw32-gcc")
COMPILERS = [name for name in ("gcc", "clang", "cc", *CROSS) if shutil.which(name)]
GGML = """\
#pragma once
#ifdef GGML_SHARED
#    if defined(_WIN32) && !defined(__MINGW32__)
#        define GGML_API __declspec(dllimport) extern
#    else
#        define GGML_API __attribute__ ((visibility ("default"))) extern
#    endif
#else
#    define GGML_API extern
#endif
#ifdef __GNUC__
#    define GGML_DEPRECATED(func, hint) func __attribute__((deprecated(hint)))
#else
#    define GGML_DEPRECATED(func, hint) func
#endif
#ifndef __GNUC__
#    define GGML_ATTRIBUTE_FORMAT(...)
#else
#    define GGML_ATTRIBUTE_FORMAT(...) __attribute__((format(printf, __VA_ARGS__)))
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#if UINTPTR_MAX == 0xFFFFFFFF
    #define GGML_MEM_ALIGN 4
#else
    #define GGML_MEM_ALIGN 16
#endif
#define GGML_MAX_OP_PARAMS 64
#define GGML_MAX_NAME 64
#ifdef __cplusplus
extern "C" {
#endif
_Noreturn
GGML_ATTRIBUTE_FORMAT(3, 4)
GGML_API void ggml_abort(const char * file, int line, const char * fmt, ...);
enum ggml_type { GGML_TYPE_F32 = 0, GGML_TYPE_F16 = 1, GGML_TYPE_COUNT };
struct ggml_tensor {
    enum ggml_type type;
    int64_t ne[4];
    int32_t op_params[GGML_MAX_OP_PARAMS / sizeof(int32_t)];
    char name[GGML_MAX_NAME];
    void * extra;
};
GGML_API void ggml_print(const struct ggml_tensor * tensor, FILE * file);
#ifdef __cplusplus
}
#endif
"""
LLAMA = """\
#ifndef LLAMA_H
#define LLAMA_H
#include "ggml.h"
#include <stdint.h>
#define LLAMA_API
#define DEPRECATED(func, hint) func
#define LLAMA_DEFAULT_SEED 0xFFFFFFFF
    struct llama_context;
    typedef int32_t llama_token;
    typedef bool (*llama_progress_callback)(float progress, void * user_data);
    struct llama_context_params {
        uint32_t n_ctx;             // text context, 0 = from model
        llama_progress_callback progress;
        bool embeddings;
    };
    LLAMA_API struct llama_context_params llama_context_default_params(void);
    LLAMA_API int32_t llama_decode(struct llama_context * ctx, const llama_token * tokens);
    DEPRECATED(LLAMA_API float * llama_get_logits(struct llama_context * ctx), "use another");
#endif
"""
BINDINGS = """\
import ctypes
GGML_TYPE_F16 = 1
GGML_MEM_ALIGN = 16
LLAMA_DEFAULT_SEED = 0xFFFFFFFF
progress = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_float, ctypes.c_void_p)
class llama_context_params(ctypes.Structure):
    _fields_ = [
        ("n_ctx", ctypes.c_uint32), ("progress", progress), ("embeddings", ctypes.c_bool)
    ]
@ctypes_function("llama_context_default_params", [], llama_context_params)
def llama_context_default_params(): ...
@ctypes_function(
    "llama_decode", [ctypes.c_void_p, ctypes.POINTER(ctypes.c_int32)], ctypes.c_int32
)
def llama_decode(ctx, tokens, /): ...
@ctypes_function("llama_get_logits", [ctypes.c_void_p], ctypes.POINTER(ctypes.c_float))
def llama_get_logits(ctx, /): ...
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in {"include/llama.h": LLAMA, "ggml/include/ggml.h": GGML}.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(text)
    return tmp_path / "tree"


@pytest.fixture
def bindings(tmp_path: Path) -> Path:
    folder = tmp_path / "llama_cpp"
    folder.mkdir()
    (folder / "llama_cpp.py").write_text(BINDINGS)
    return folder


def found(
    bindings: Path, tree: Path, cc: str = "cc", carried: Path | None = None
) -> tuple[str, ...]:
    return abi.mismatches(bindings, tree, cc=cc, host=LocalHost(), carried=carried)


def refused(bindings: Path, tree: Path, cc: str = "cc") -> AbiMismatch:
    with pytest.raises(AbiMismatch) as caught:
        abi.check(bindings, tree, cc=cc, host=LocalHost(), what="llama.cpp b1")
    assert caught.value.exit_code == 11
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value


def numbers(read: Declarations) -> dict[str, int]:
    """The header's own: a compiler may leave some of its names defined."""
    return {key: value for key, value in read.constants.items() if key[:4] in ("GGML", "LLAM")}


@pytest.mark.parametrize("cc", COMPILERS)
def test_every_compiler_gives_the_same_declarations(bindings: Path, tree: Path, cc: str) -> None:
    read = headers.read(tree, ["llama.h"], cc=cc, host=LocalHost())
    own = headers.read(tree, ["llama.h"], cc="cc", host=LocalHost())
    assert (read.records, read.functions) == (own.records, own.functions)
    assert numbers(read) == numbers(own)
    assert read.constants["GGML_MEM_ALIGN"] == 16
    assert read.functions.keys() == {
        *("ggml_abort", "ggml_print", "llama_decode", "llama_get_logits"),
        "llama_context_default_params",
    }
    assert found(bindings, tree, cc) == ()
    abi.check(bindings, tree, cc=cc, host=LocalHost())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "bool embeddings;",
            "bool logits_all; bool embeddings;",
            (
                "llama_context_params: field 3 is embeddings (bool) in the bindings and logits_all "
                "(bool) in the header"
            ),
        ),
        ("uint32_t n_ctx;", "uint64_t n_ctx;", "llama_context_params: field 1 is n_ctx (uint32)"),
        ("int32_t llama_decode(", "int32_t llama_process(", "llama_decode is declared by the"),
        (
            ", const llama_token * tokens)",
            ")",
            "llama_decode takes 2 arguments in the bindings and 1",
        ),
        ("0xFFFFFFFF", "0xFFFFFFFE", "LLAMA_DEFAULT_SEED is 4294967295 in the bindings and"),
    ],
)
def test_a_doctored_header_is_refused(
    bindings: Path, tree: Path, old: str, new: str, said: str
) -> None:
    header = tree / "include/llama.h"
    assert LLAMA.count(old) == 1
    header.write_text(LLAMA.replace(old, new))
    error = refused(bindings, tree)
    assert error.message.startswith(f"the Python bindings do not fit llama.cpp b1: {said}")
    assert len(error.mismatches) == 1


def test_a_message_names_three_and_the_error_all(bindings: Path, tree: Path) -> None:
    (tree / "include/llama.h").write_text('#include "ggml.h"\n')
    (bindings / "llama_cpp.py").write_text(
        BINDINGS.replace("GGML_TYPE_F16 = 1", "GGML_TYPE_F16 = 3")
    )
    error = refused(bindings, tree)
    assert error.message.endswith("; and 1 more")
    assert len(error.mismatches) == 4


def test_what_was_wrong_before_is_no_reason(bindings: Path, tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "own")
    (bindings / "llama_cpp.py").write_text(
        BINDINGS.replace('("n_ctx", ctypes.c_uint32)', '("n_ctx", ctypes.c_int32)')
    )
    assert len(found(bindings, tree)) == 1
    assert found(bindings, tree, carried=tmp_path / "own") == ()
    longer = LLAMA.replace("bool embeddings;", "bool embeddings; bool more;")
    (tree / "include/llama.h").write_text(longer)
    assert len(found(bindings, tree, carried=tmp_path / "own")) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('#include "not-there.h"\n', "not-there.h"),
        ("#error not for you\n", "not for you"),
        ("#include <vector>\n", "vector"),
        ("typedef __int128 wide;\n", "they are not understood"),
        ("struct s { int a : 3; };\n", "they are not understood"),
        ("namespace llama { }\n", "they are not understood"),
    ],
)
def test_headers_that_cannot_be_read_are_refused(
    bindings: Path, tree: Path, text: str, said: str
) -> None:
    (tree / "include/llama.h").write_text(LLAMA + text)
    error = refused(bindings, tree)
    assert "cannot be compared with the bindings" in error.message
    assert said in error.message


def test_the_systems_own_headers_are_not_read(bindings: Path, tree: Path) -> None:
    (tree / "include/llama.h").write_text(LLAMA.replace("<stdint.h>", "<pthread.h>"))
    assert "pthread.h" in refused(bindings, tree).message


def test_what_is_not_there_is_named(bindings: Path, tree: Path) -> None:
    assert "cannot preprocess" in refused(bindings, tree, "no-such-compiler").message
    (bindings / "mtmd_cpp.py").write_text("import ctypes\n")
    error = refused(bindings, tree)
    assert "has no mtmd.h and no mtmd-helper.h, which the bindings restate" in error.message
    (bindings / "llama_cpp.py").write_text(BINDINGS + "class x(ctypes.Structure):\n  _pack_ = 1\n")
    assert "llama_cpp.py, line" in refused(bindings, tree).message
    (bindings / "llama_cpp.py").unlink()
    assert "has no llama_cpp.py" in refused(bindings, tree).message
