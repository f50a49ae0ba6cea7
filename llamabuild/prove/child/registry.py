"""What ggml says of itself: its back-ends, their devices and memory, and the files it came from."""

from __future__ import annotations

import ctypes
import glob
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, cast

from . import StageError


def libraries() -> list[str]:
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


def devices(llama: ModuleType) -> list[str]:
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


def backends(llama: ModuleType) -> list[str]:
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


def free(llama: ModuleType) -> list[int]:
    """Free bytes on every device, in the order of the devices; none in releases without."""
    size = ctypes.POINTER(ctypes.c_size_t)
    try:
        ask = _symbol(llama, "ggml_backend_dev_memory", None, ctypes.c_void_p, size, size)
    except StageError:
        return []
    found = []
    for device in _each(llama):
        left, total = ctypes.c_size_t(), ctypes.c_size_t()
        ask(device, ctypes.byref(left), ctypes.byref(total))
        found.append(left.value)
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
