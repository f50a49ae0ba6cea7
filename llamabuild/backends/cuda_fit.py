"""Which GPUs a finished CUDA build runs on: its machine code, its PTX, and the driver. Pure.

Machine code (SASS) runs on cards of the same major compute capability that are not older; code
with an ``a`` on one capability only, with an ``f`` on its family; PTX on whatever is not older, if
the driver is not older than the toolkit that made it (NVIDIA, "CUDA Compatibility", "CUDA
Programming Guide", sections on binary and PTX compatibility).
"""

from __future__ import annotations

import re
from typing import Final

from llamabuild.backends.cuda_architectures import no_tensor_cores
from llamabuild.backends.cuda_facts import (
    TABLE,
    capability_of,
    first_driver,
    known_by,
    known_cuda,
    numbers,
    reads,
    runs,
)
from llamabuild.backends.interface import COMPILED, NEVER, OWN, RELATED, Driver, Fit
from llamabuild.model import Device, Requires, Tool

_NAME: Final = "cuda"
_KINDS: Final = ("sass", "ptx")
_LIBRARY: Final = re.compile(
    r"(?:libcu(?:dart|blas|blasLt)\.so\.|cu(?:dart|blas|blaslt)64_)([0-9]{1,3})(?:\..*)?",
    re.IGNORECASE,
)
_CODE: Final = re.compile(r"([0-9]{2,3})([af]?)")


def driver(libraries: tuple[str, ...], tools: tuple[Tool, ...]) -> Driver:
    """The first driver that knows the major version of CUDA that is needed, and the toolkit."""
    toolkit = next((tool.version for tool in tools if tool.name == "nvcc"), "")
    majors = {major_of(name) for name in libraries} - {""}
    return Driver(least=first_driver(max(majors, key=int, default=toolkit)), toolkit=toolkit)


def major_of(library: str) -> str:
    """The major version of CUDA in the name of one of its libraries, or an empty string.

    >>> major_of("libcudart.so.13"), major_of("libcublas.so.11.0"), major_of("cudart64_110.dll")
    ('13', '11', '11')
    >>> major_of("cublas64_12.dll"), major_of("libcuda.so.1")
    ('12', '')
    """
    found = _LIBRARY.fullmatch(library)
    return found[1][:2] if found else ""


def fit(requires: Requires, device: Device) -> Fit:
    """How a GPU runs a result, and what is missing when it does not."""
    least, toolkit = (dict(one).get(_NAME, "") for one in (requires.drivers, requires.toolkits))
    here = device.driver.partition(" (")[0]
    known = known_by(device.driver) or known_cuda(here)
    if least and known and not runs(known, known_cuda(least)):
        return Fit(pace=NEVER, missing=(f"driver {least} needed, {here or known} is here",))
    codes = [(kind, name) for kind, name in requires.device_code if kind in _KINDS]
    if not codes:
        return Fit(pace=OWN)
    readable = not known or reads(known, toolkit)
    paces = {code: _pace(*code, device) for code in codes}
    pace = max(pace if kind == "sass" or readable else NEVER for (kind, _), pace in paces.items())
    if pace != NEVER:
        return Fit(pace=pace)
    if any(paces.values()):
        why = f"PTX of CUDA {toolkit} needs a driver that knows it, {here or known} is here"
        return Fit(pace=NEVER, missing=(why,))
    one = capability_of(device.architecture)
    has = ", ".join(f"{kind} {name}" for kind, name in sorted(codes))
    missing = f"code for compute capability {one} or PTX ≤ {one} missing: has {has}"
    return Fit(pace=NEVER, missing=(missing,))


def _pace(kind: str, name: str, device: Device) -> int:
    """How a GPU runs code, if its driver can read it."""
    one = capability_of(device.architecture)
    pace = _machine_code(name, one) if kind == "sass" else _ptx(name, one)
    if pace != NEVER and no_tensor_cores(device):  # Pascal's PTX is the code that is made for it
        return OWN if (kind, name) == ("ptx", "61") else min(pace, RELATED)
    return pace


def _machine_code(name: str, capability: str) -> int:
    """How a compute capability runs SASS.

    >>> [_machine_code(name, "8.9") for name in ("89", "86", "90", "80a", "87")]
    [3, 2, 0, 0, 0]
    >>> _machine_code("100f", "10.3"), _machine_code("100a", "10.0"), _machine_code("120", "12.1")
    (2, 3, 0)
    """
    made, letter = _made(name)
    if made == capability:
        return OWN
    if letter:
        return RELATED if letter == "f" and capability in TABLE["family"].get(made, ()) else NEVER
    card = not {made, capability} & set(TABLE["integrated"])
    newer = numbers(made)[:1] == numbers(capability)[:1] and numbers(made) < numbers(capability)
    return RELATED if card and newer else NEVER


def _ptx(name: str, capability: str) -> int:
    """How a compute capability runs PTX.

    >>> [_ptx(name, "8.9") for name in ("89", "80", "90", "89a", "80a")]
    [1, 1, 0, 1, 0]
    """
    made, letter = _made(name)
    if letter:
        family = TABLE["family"].get(made, ()) if letter == "f" else ()
        return COMPILED if capability in (made, *family) else NEVER
    return COMPILED if made and numbers(made) <= numbers(capability) else NEVER


def _made(name: str) -> tuple[str, str]:
    """The compute capability that code is made for, and the letter behind it.

    >>> _made("90a"), _made("120"), _made("what")
    (('9.0', 'a'), ('12.0', ''), ('', ''))
    """
    found = _CODE.fullmatch(name)
    return (capability_of(found[1]), found[2]) if found else ("", "")
