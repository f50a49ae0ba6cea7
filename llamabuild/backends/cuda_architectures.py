"""Which code a CUDA build holds: machine code (SASS) for the GPUs, PTX for those to come. Pure.

CMake writes ``86-real`` for SASS and ``86-virtual`` for PTX. The GPUs of the 12.x family get ``a``
code (``120a``), as ggml's own CMake file makes of every 12x: their FP4 instructions exist only
there. Such PTX runs on no other GPU. The ``f`` code of a family would need CMake 3.31.8 or 4.0.2,
and is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llamabuild.backends.cuda_facts import (
    TABLE,
    capability_of,
    compatible,
    known_by,
    newest_below,
    numbers,
)
from llamabuild.model import Device, Flag

NAME: Final = "CMAKE_CUDA_ARCHITECTURES"
_OWN: Final = (120,)
"""From here on ggml makes architecture-specific code."""


def architectures(devices: Sequence[Device], toolkit: str) -> tuple[Flag, ...]:
    """The list of architectures for the devices, and what goes with it."""
    present = sorted({device.architecture for device in devices}, key=numbers)
    if not present:
        why = "no GPU is here to build for: machine code for every generation"
        return (Flag(name=NAME, value="all-major", why=why),)
    if slow := _without_tensor_cores(devices, toolkit):
        return slow
    real = [one for one in present if not compatible(toolkit, capability_of(one))]
    later = [one for one in present if one not in real]
    words = [_sass(one) for one in real]
    names = _names(devices, real)
    reasons = [f"machine code for {names}"] if names else []
    ptx = _ptx(devices, real, later, toolkit)
    if ptx:
        words.append(f"{ptx}-virtual")
    reasons.append(_why_ptx(devices, real, later, ptx, toolkit))
    return (Flag(name=NAME, value=";".join(words), why="; ".join(filter(None, reasons))),)


def _sass(architecture: str) -> str:
    return f"{architecture}{'a' if numbers(architecture) >= _OWN else ''}-real"


def _names(devices: Sequence[Device], architectures: Sequence[str]) -> str:
    mine = (device.name for device in devices if device.architecture in architectures)
    return ", ".join(dict.fromkeys(mine))


def _ptx(devices: Sequence[Device], real: Sequence[str], later: Sequence[str], toolkit: str) -> str:
    """The architecture whose PTX the build holds, or an empty string. A driver cannot compile the
    PTX of a toolkit newer than itself."""
    if not toolkit or not all(
        numbers(known_by(device.driver)) >= numbers(toolkit)[:2] for device in devices
    ):
        return ""
    if later:
        return newest_below(toolkit, capability_of(later[0]))
    newest = real[-1]
    return newest if numbers(newest) < _OWN else ""


def _why_ptx(
    devices: Sequence[Device], real: Sequence[str], later: Sequence[str], ptx: str, toolkit: str
) -> str:
    if later:
        better = ", ".join(
            f"CUDA {row['first']}"
            for row in TABLE["capability"]
            if row["number"].replace(".", "") in later
        )
        names = _names(devices, later)
        return (
            f"{names}: newer than CUDA {toolkit}, which has no machine code for it; the driver "
            f"compiles PTX of {ptx} when it starts. {better} or newer serves it better"
        )
    if ptx:
        return "and PTX that newer GPUs can compile"
    if real and numbers(real[-1]) >= _OWN:
        return "no PTX: that of 12x runs on no other GPU"
    if not toolkit:
        return ""
    known = known_by(devices[0].driver)
    if known:
        return f"no PTX: the driver knows CUDA {known} and could not compile that of {toolkit}"
    return "no PTX: it is not known which CUDA the driver knows"


def _without_tensor_cores(devices: Sequence[Device], toolkit: str) -> tuple[Flag, ...]:
    """Turing GPUs without tensor cores, when there is nothing else: ggml asks for code of older
    generations for them (the message in ``ggml-cuda.cu`` at start-up)."""
    table = TABLE["no_tensor_cores"]
    slow = [
        device
        for device in devices
        if device.architecture == "75" and any(word in device.name for word in table["names"])
    ]
    if len(slow) < len(devices) or compatible(toolkit, "6.1"):
        return ()
    if not numbers(known_by(devices[0].driver)) >= numbers(toolkit)[:2]:
        return ()
    why = f"{slow[0].name} has no tensor cores, and ggml's code for 7.5 wants them"
    return (
        Flag(name=NAME, value=table["architectures"], why=why),
        Flag(name="GGML_CUDA_FORCE_MMQ", value=True, why=why),
    )
