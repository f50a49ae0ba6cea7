"""Which code a CUDA build holds: machine code (SASS) for the GPUs, PTX for those to come. Pure.

CMake writes ``86-real`` for SASS and ``86-virtual`` for PTX. The GPUs of the 12.x family get ``a``
code (``120a``), as ggml's own CMake file makes of every 12x: their FP4 instructions exist only
there. Such PTX runs on no other GPU. The ``f`` code of a family would need CMake 3.31.8 or 4.0.2
(ggml-cuda/CMakeLists.txt), and is not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from llamabuild.backends.cuda_facts import (
    ROWS,
    TABLE,
    capability_of,
    compatible,
    known_by,
    newest_below,
    numbers,
    older,
    outgrown,
    reads,
    runs,
    sibling,
)
from llamabuild.model import Device, Flag

NAME: Final = "CMAKE_CUDA_ARCHITECTURES"
_SLOW: Final = TABLE["no_tensor_cores"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """What a GPU would run of a toolkit's code: ``word`` is CMake's ("86-real"), or empty and
    ``why`` says why nothing. ``makeshift`` says what is not as good as its own machine code."""

    word: str = ""
    why: str = ""
    makeshift: str = ""


def code(capability: str, toolkit: str, driver: str) -> Code:
    """The best code that a toolkit has for a GPU whose driver knows CUDA ``driver`` (or "").

    >>> code("8.6", "12.4", "12.2").word, code("8.9", "11.5", "13.0").word
    ('86-real', '86-real')
    >>> code("12.0", "12.4", "12.8").word, code("12.0", "13.0", "13.0").word
    ('90-virtual', '120a-real')
    >>> code("9.0", "13.0", "12.4").why
    'the driver knows CUDA 12.4 and runs nothing that CUDA 13.0 makes'
    """
    if not outgrown(toolkit, capability) and not runs(driver, toolkit):
        return Code(
            why=f"the driver knows CUDA {driver} and runs nothing that CUDA {toolkit} makes"
        )
    why = compatible(toolkit, capability) if toolkit else None
    if not why:
        return Code(word=_sass(capability))
    if older(toolkit, capability):
        better = f"CUDA {ROWS[capability]['first']} or newer has its own"
        if other := sibling(toolkit, capability):
            words = (
                f"machine code of {other}, for CUDA {toolkit} has none of {capability}; {better}"
            )
            return Code(word=_sass(other), makeshift=words)
        ptx = newest_below(toolkit, capability)
        if ptx and reads(driver, toolkit):
            words = (
                f"PTX of {ptx}, for CUDA {toolkit} has no machine code that it runs: the driver "
                f"compiles it at the first start, and kernels made for it are missing; {better}"
            )
            return Code(word=f"{_plain(ptx)}-virtual", makeshift=words)
    return Code(why=why)


def architectures(devices: Sequence[Device], toolkit: str) -> tuple[Flag, ...]:
    """The list of architectures for the devices, and what goes with it."""
    if not devices:
        why = "no GPU is here to build for: machine code for every generation"
        return (Flag(name=NAME, value=";".join(_all(toolkit)), why=why),)
    slow = [device for device in devices if no_tensor_cores(device)]
    if len(slow) == len(devices) and not _pascal_missing(slow, toolkit):
        why = f"{slow[0].name} has no tensor cores: Pascal's code, as ggml asks for it at its start"
        return (
            Flag(name=NAME, value=_SLOW["architectures"], why=why),
            Flag(name="GGML_CUDA_FORCE_MMQ", value=True, why=why),
        )
    codes = {device: _code(device, toolkit) for device in devices}
    words = {one.word for one in codes.values() if one.word}
    words = words or {_sass(capability_of(device.architecture)) for device in devices}
    ptx, why_ptx = _ptx(devices, words, toolkit)
    reasons = [_why_native(codes), *_why_others(codes), why_ptx, _why_slow(slow, devices, toolkit)]
    ordered = sorted(words | ptx, key=lambda word: ("virtual" in word, numbers(word)))
    return (Flag(name=NAME, value=";".join(ordered), why="; ".join(filter(None, reasons))),)


def _code(device: Device, toolkit: str) -> Code:
    return code(capability_of(device.architecture), toolkit, known_by(device.driver))


def _plain(capability: str) -> str:
    return capability.replace(".", "")


def _sass(capability: str) -> str:
    return f"{_plain(capability)}{'a' if numbers(capability) >= (12,) else ''}-real"


def _all(toolkit: str) -> list[str]:
    """Machine code for all cards that a toolkit compiles for, and PTX for later ones. CMake's own
    ``all-major`` would take plain 120, which ggml's FP4 code does not compile for."""
    cards = [one for one in ROWS if one not in TABLE["integrated"]]
    mine = [one for one in cards if not toolkit or not compatible(toolkit, one)]
    before = [one for one in mine if numbers(one) < (12,)]
    return [*map(_sass, mine), *(f"{_plain(one)}-virtual" for one in before[-1:])]


def _ptx(devices: Sequence[Device], words: set[str], toolkit: str) -> tuple[set[str], str]:
    """PTX of the newest architecture, for GPUs to come, and why it is or is not there."""
    drivers = {known_by(device.driver) for device in devices}
    newest = max(words, key=numbers)
    if any("virtual" in word for word in words) or not toolkit:
        return set(), ""
    if numbers(newest) >= (120,):
        return set(), "no PTX: that of 12x runs on no other GPU"
    if "" in drivers:
        return set(), "no PTX: it is not known which CUDA the driver knows"
    oldest = min(drivers, key=numbers)
    if not reads(oldest, toolkit):
        known = f"the driver knows CUDA {oldest}"
        return set(), f"no PTX: {known} and could not compile that of {toolkit}"
    return {newest.replace("real", "virtual")}, "and PTX that newer GPUs can compile"


def _names(devices: Iterable[Device]) -> str:
    return ", ".join(dict.fromkeys(device.name for device in devices))


def _why_native(codes: dict[Device, Code]) -> str:
    native = [device for device, one in codes.items() if one.word and not one.makeshift]
    return f"machine code for {_names(native)}" if native else ""


def _why_others(codes: dict[Device, Code]) -> list[str]:
    """What GPUs run that have no machine code of their own here, or why they run nothing."""
    makeshift = [f"{one.name} runs {code.makeshift}" for one, code in codes.items()]
    nothing = [f"{one.name} is not served: {code.why}" for one, code in codes.items()]
    found = (
        made if code.makeshift else nothing[place] if code.why else ""
        for place, (made, code) in enumerate(zip(makeshift, codes.values(), strict=True))
    )
    return list(dict.fromkeys(filter(None, found)))


def no_tensor_cores(device: Device) -> bool:
    """True for a Turing GPU without tensor cores, which ggml knows by its name too."""
    return device.architecture == "75" and any(word in device.name for word in _SLOW["names"])


def _pascal_missing(devices: Iterable[Device], toolkit: str) -> str:
    """What Pascal's PTX for a Turing GPU would need; empty when nothing."""
    if not toolkit or compatible(toolkit, "6.1"):
        return f"CUDA {ROWS['6.1']['last']} or older"
    if all(reads(known_by(device.driver), toolkit) for device in devices):
        return ""
    return f"a driver that knows CUDA {toolkit}"


def _why_slow(slow: Sequence[Device], devices: Sequence[Device], toolkit: str) -> str:
    if not slow:
        return ""
    missing = _pascal_missing(slow, toolkit)
    if len(slow) < len(devices):
        missing = missing or "a build of its own"
    return f"{_names(slow)} has no tensor cores: Pascal's code would be faster, with {missing}"
