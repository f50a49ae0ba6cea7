"""Ask the OpenCL loader what platforms and devices there are; print one JSON object.

Run as a child with a time limit, ``python -I -S opencl_child.py``, the loaders to try as a JSON
list on stdin: a driver in a bad state hangs or crashes, and that must not happen inside llamabuild.
Nothing of llamabuild is imported. Numbers are those of ``cl.h``.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from ctypes import byref, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

NOTHING = (-1, -1001)
"""CL_DEVICE_NOT_FOUND and CL_PLATFORM_NOT_FOUND_KHR: an empty list is an answer."""
ALL = 0xFFFFFFFF
KINDS = {2: "CPU", 4: "GPU", 8: "ACCELERATOR", 16: "CUSTOM"}
PLATFORM = {"version": 0x0901, "name": 0x0902, "vendor": 0x0903}
DEVICE = {"name": 0x102B, "driver": 0x102D, "version": 0x102F, "language": 0x103D}
TYPE, MEMORY, UNIFIED, EXTENSIONS = 0x1000, 0x101F, 0x1035, 0x1030
Ask = Callable[[int], bytes]


def main() -> None:
    """Print what :func:`survey` finds, or ``{"error": …}``."""
    try:
        answer = survey(load(json.load(sys.stdin)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent has to be told
        answer = {"error": str(error) or type(error).__name__}
    print(json.dumps(answer))


def load(names: list[str]) -> Any:  # noqa: ANN401 - a C library has no type
    """The first of the loaders that can be loaded. Raises OSError when none can."""
    why = "no OpenCL loader was named"
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            why = str(error)
    raise OSError(why)


def survey(opencl: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    """The platforms and their devices. Raises OSError saying what OpenCL refuses."""
    return {
        "platforms": [
            {
                **texts(asker(opencl.clGetPlatformInfo, platform), PLATFORM),
                "devices": [
                    described(asker(opencl.clGetDeviceInfo, device))
                    for device in handles(opencl.clGetDeviceIDs, c_void_p(platform), c_uint64(ALL))
                ],
            }
            for platform in handles(opencl.clGetPlatformIDs)
        ]
    }


def handles(listed: Any, *about: Any) -> list[int]:  # noqa: ANN401 - a C function has no type
    """What a function of OpenCL lists: it is asked for the number first."""
    count = c_uint32()
    code = listed(*about, 0, None, byref(count))
    if code in NOTHING or (code == 0 and count.value == 0):
        return []
    found = (c_void_p * count.value)()
    if code or (code := listed(*about, count, found, None)):
        raise OSError(f"{listed.__name__} failed: OpenCL error {code}")
    return [handle for handle in found if handle]


def asker(about: Any, handle: int) -> Ask:  # noqa: ANN401 - as above
    """A function that asks for one fact, by its number; empty bytes when it is not known."""

    def ask(what: int) -> bytes:
        size = c_size_t()
        if about(c_void_p(handle), c_uint32(what), c_size_t(0), None, byref(size)):
            return b""
        text = ctypes.create_string_buffer(max(1, size.value))
        failed = about(c_void_p(handle), c_uint32(what), size, text, None)
        return b"" if failed else text.raw[: size.value]

    return ask


def described(ask: Ask) -> dict[str, Any]:
    """One device: what decides whether ggml takes it."""
    extensions = text(ask(EXTENSIONS)).split()
    return {
        **texts(ask, DEVICE),
        "kind": KINDS.get(number(ask(TYPE)) & 0x1E, "OTHER"),
        "memory": number(ask(MEMORY)),
        "unified": bool(number(ask(UNIFIED))),
        "extensions": [one for one in extensions if one in WANTED],
    }


WANTED = ("cl_khr_fp16", "cl_khr_subgroups", "cl_intel_subgroups")
"""The extensions that decide; the whole list is long."""


def texts(ask: Ask, names: dict[str, int]) -> dict[str, str]:
    """Some facts that are texts, by name."""
    return {name: text(ask(what)) for name, what in names.items()}


def text(raw: bytes) -> str:
    """A C string.

    >>> text(b"Intel(R) OpenCL \\0")
    'Intel(R) OpenCL'
    """
    return raw.split(b"\0")[0].decode(errors="replace").strip()


def number(raw: bytes) -> int:
    """An unsigned number of any size.

    >>> number(bytes([4, 0, 0, 0, 0, 0, 0, 0])), number(b"")
    (4, 0)
    """
    return int.from_bytes(raw, sys.byteorder)


if __name__ == "__main__":
    main()
