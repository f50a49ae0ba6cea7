"""libllama by ctypes, without its headers and without bindings: any release since the end of 2023.

Needs nothing but Python 3.8. The structs of settings, whose fields change with nearly every
release, are never looked into. They are blocks of bytes larger than any release's: the library
fills one with its defaults and gets it back. All calling conventions that ggml has been ported to
allow that, because structs of more than 16 bytes

* are returned through a hidden pointer to room that the caller provides, and
* are passed in memory: on the stack (System V on x86-64, where no other argument of these functions
  is on the stack) or by reference (AArch64, Windows), and more bytes than needed do no harm.

Only ``llama_batch`` is looked into: its first seven fields have been the same since September 2023.
The price is that no setting can be changed except those with a function of their own.
"""

from __future__ import annotations

import ctypes
import glob
import os
import sys
import sysconfig
from collections.abc import Callable
from types import ModuleType
from typing import Any, cast

ROOM = 1024
"""Bytes of a block. ``llama_context_params``, the largest, has grown to 168."""
_MARKS = (0xAA, 0x55)
_CFUNCTION: Any = ctypes._CFuncPtr  # type: ignore[attr-defined]  # noqa: SLF001 - no public name
PARAMS = (
    "llama_model_default_params",
    "llama_context_default_params",
    "llama_sampler_chain_default_params",
    "llama_model_quantize_default_params",
)
"""Functions without arguments that return a struct of defaults."""


class Params(ctypes.Structure):
    """Settings that nobody here can read. To set one is an error, not silently without effect."""

    _fields_ = [("block", ctypes.c_uint8 * ROOM)]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name}: the settings of a library without bindings are its defaults")


class Batch(ctypes.Structure):
    """``llama_batch``; older releases have more fields behind these."""

    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.POINTER(ctypes.c_float)),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
        ("behind", ctypes.c_uint8 * 64),
    ]


_Log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_Handle, _Int, _Text = ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p
_Row = ctypes.POINTER(ctypes.c_float)
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "llama_log_set": (None, _Log, _Handle),
    "llama_print_system_info": (_Text,),
    "llama_model_default_params": (Params,),
    "llama_context_default_params": (Params,),
    "llama_model_load_from_file": (_Handle, _Text, Params),
    "llama_init_from_model": (_Handle, _Handle, Params),
    "llama_vocab_n_tokens": (_Int, _Handle),
    "llama_model_n_embd": (_Int, _Handle),
    "llama_set_embeddings": (None, _Handle, ctypes.c_bool),
    "llama_batch_init": (Batch, _Int, _Int, _Int),
    "llama_batch_free": (None, Batch),
    "llama_decode": (_Int, _Handle, Batch),
    "llama_get_logits_ith": (_Row, _Handle, _Int),
    "llama_get_embeddings_ith": (_Row, _Handle, _Int),
    "llama_get_embeddings_seq": (_Row, _Handle, _Int),
    "llama_free": (None, _Handle),
    "llama_model_free": (None, _Handle),
}
"""Result and arguments, from ``include/llama.h``."""
_OLDER = {
    "llama_model_load_from_file": "llama_load_model_from_file",
    "llama_init_from_model": "llama_new_context_with_model",
    "llama_vocab_n_tokens": "llama_n_vocab",
    "llama_model_n_embd": "llama_n_embd",
    "llama_model_free": "llama_free_model",
}
"""Their names before January 2025."""


class Library:
    """One libllama. Its attributes are the functions of ``llama.h`` by their names of today, and
    the few other names that bindings have for it; AttributeError for what this release lacks."""

    llama_log_callback = _Log

    def __init__(self, path: str) -> None:
        self.folder = os.path.dirname(os.path.abspath(path))
        if sys.platform == "win32":
            os.add_dll_directory(self.folder)
        self._lib = ctypes.CDLL(os.path.abspath(path))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        for symbol in (name, _OLDER.get(name, name)) if name in _FUNCTIONS else ():
            if hasattr(self._lib, symbol):
                return _typed(self._lib, symbol, *_FUNCTIONS[name])
        raise AttributeError(f"this library has no function {name}")

    def llama_backend_init(self) -> None:
        """Start it, and load the back-ends that are files beside it if it has none inside. Until
        February 2024 there was one argument (NUMA: no); later releases do not look at it."""
        _typed(self._lib, "llama_backend_init", None, ctypes.c_bool)(False)
        load = self.ggml("ggml_backend_load_all_from_path", None, _Text)
        if load and not self.devices():
            load(os.fsencode(self.folder))

    def llama_model_get_vocab(self, model: int) -> int:
        """The vocabulary. Until January 2025 a model was its own."""
        if not hasattr(self._lib, "llama_model_get_vocab"):
            return model
        return cast("int", _typed(self._lib, "llama_model_get_vocab", _Handle, _Handle)(model))

    def llama_set_n_threads(self, context: int, one: int, batch: int) -> None:
        """Threads for single tokens and for batches; without effect before February 2024."""
        if hasattr(self._lib, "llama_set_n_threads"):
            _typed(self._lib, "llama_set_n_threads", None, _Handle, _Int, _Int)(context, one, batch)

    def devices(self) -> list[str]:
        """What ggml lists, as ``name: description``; just names before October 2024."""
        size = ctypes.c_size_t
        count = self.ggml("ggml_backend_dev_count", size)
        if count is None:
            older = self.ggml("ggml_backend_reg_get_count", size)
            name = self.ggml("ggml_backend_reg_get_name", _Text, size)
            return [name(n).decode() for n in range(older())] if older and name else []
        get: Any = self.ggml("ggml_backend_dev_get", _Handle, size)
        words: list[Any] = [
            self.ggml(f"ggml_backend_dev_{word}", _Text, _Handle)
            for word in ("name", "description")
        ]
        return [": ".join(tell(get(n)).decode() for tell in words) for n in range(count())]

    def ggml(self, name: str, result: type | None, *arguments: type) -> Callable[..., Any] | None:
        """A function of ggml, or None. A handle finds the functions of the libraries that it is
        linked to, except on Windows."""
        beside = sorted(glob.glob(f"{self.folder}/*ggml*.dll")) if sys.platform == "win32" else []
        for library in (self._lib, *map(ctypes.CDLL, beside)):
            if hasattr(library, name):
                return _typed(library, name, result, *arguments)
        return None


def open_library(path: str) -> Library:
    """libllama, or what else exports its functions. Raises OSError when the loader refuses it."""
    return Library(path)


def _typed(
    library: ctypes.CDLL, name: str, result: type | None, *arguments: type
) -> Callable[..., Any]:
    """The function as an object of its own: who else uses the library keeps his types."""
    function = ctypes.CFUNCTYPE(result, *arguments)
    return cast("Callable[..., Any]", function((name, library)))


# --- do bindings fit a library? ------------------------------------------------------------------


def size_written(function: Callable[..., object]) -> int:
    """The size in bytes of the struct that a function without arguments returns, without what
    padding it has at its end; 0 for at most 16 bytes, which are returned in registers.

    Raises NotImplementedError where the hidden pointer is not the first argument of a function.
    """
    return _end(_twice(function))


def abi_differences(bindings: ModuleType, library: Library | ctypes.CDLL | str) -> list[str]:
    """Where ``bindings`` (the module ``llama_cpp.llama_cpp``) and ``library`` (a path, or what was
    opened) do not fit, in words: functions that are missing, structs of another size, fields
    that the library does not set, truth values that are neither 0 nor 1.

    Fields that have changed places with others of their size are not seen. Structs are only looked
    at on x86-64. A process finds one library of a name: a path to a library that needs another
    libggml than the bindings is for a process of its own.
    """
    if isinstance(library, str):
        library = open_library(library)
    opened = library._lib if isinstance(library, Library) else library  # noqa: SLF001 - our own
    found = [f"there is no {name}" for name in _declared(bindings) if not hasattr(opened, name)]
    for name in PARAMS if _pointer_comes_first() else ():
        if hasattr(bindings, name) and hasattr(opened, name):
            why = _misfit(getattr(bindings, name).restype, _twice(getattr(opened, name)))
            found += [f"{name}: {why}"] if why else []
    return found


def _declared(bindings: ModuleType) -> list[str]:
    """The C functions that bindings have looked up in their library."""
    functions = (value for value in vars(bindings).values() if isinstance(value, _CFUNCTION))
    return sorted({str(function.__name__) for function in functions})


def _twice(function: Callable[..., object]) -> list[tuple[int, int]]:
    """The bytes of the struct that a function returns, in room that was filled in two ways. Those
    that still are ``_MARKS`` have not been written."""
    if not _pointer_comes_first():
        raise NotImplementedError("only on x86-64 is the size of a returned struct measured")
    call = ctypes.CFUNCTYPE(_Handle, _Handle)(
        ctypes.cast(cast("Any", function), _Handle).value or 0
    )
    rooms = [ctypes.create_string_buffer(bytes([mark]) * ROOM, ROOM) for mark in _MARKS]
    for room in rooms:
        call(ctypes.addressof(room))
    return list(zip(rooms[0].raw, rooms[1].raw))  # noqa: B905 - Python 3.8 has no "strict"


def _pointer_comes_first() -> bool:
    machine = os.uname().machine if hasattr(os, "uname") else sysconfig.get_platform()
    return ctypes.sizeof(_Handle) == 8 and machine.lower().endswith(("x86_64", "amd64"))


def _end(found: list[tuple[int, int]]) -> int:
    return max((n + 1 for n, pair in enumerate(found) if pair != _MARKS), default=0)


def _misfit(struct: type[ctypes.Structure], found: list[tuple[int, int]]) -> str:
    """How a struct of the bindings differs from what the library returned."""
    declared, end, step = ctypes.sizeof(struct), _end(found), ctypes.alignment(struct)
    padded = -(-end // step) * step
    if end == 0 and declared > 16:
        return f"{declared} bytes in the bindings, at most 16 in the library"
    if end > 0 and padded != declared:
        return f"{declared} bytes in the bindings, {padded} in the library"
    if end > 0:
        for name, kind, *_ in struct._fields_:
            where = getattr(struct, name)
            values = found[where.offset : where.offset + where.size]
            if _MARKS in values:
                return f"{name} is not set by the library"
            if kind is ctypes.c_bool and values[0] not in ((0, 0), (1, 1)):
                return f"{name} is neither true nor false but {values[0][0]}"
    return ""
