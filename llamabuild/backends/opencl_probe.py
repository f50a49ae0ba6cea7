"""Ask the OpenCL loader, else clinfo, what platforms and devices there are.

Nothing here raises, and no parser makes up a device: only whole, plausible answers count.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final

import msgspec

from llamabuild import data
from llamabuild.backends.answers import last_object
from llamabuild.host import Finished, Host, Limits, python

_LIMITS: Final = Limits(seconds=5)
TABLE: Final[dict[str, Any]] = data.load(data.package("backends/opencl.toml"))
_ROOM: Final = 1 << 48
"""More memory than any device has, in bytes."""


class Unit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device as its driver describes it. ``version`` is like "OpenCL 3.0 NEO", ``language`` like
    "OpenCL C 1.2", ``kind`` is "GPU", "CPU" or another type. ``memory`` is bytes, ``unified`` says
    that it is the computer's own."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    version: Annotated[str, msgspec.Meta(pattern=r"^OpenCL [0-9]\.[0-9](?: |$)")]
    language: Annotated[str, msgspec.Meta(pattern=r"^OpenCL C [0-9]\.[0-9](?: |$)")]
    kind: Annotated[str, msgspec.Meta(pattern="^[A-Z]+$")]
    driver: str = ""
    memory: Annotated[int, msgspec.Meta(ge=0, lt=_ROOM)] = 0
    unified: bool = False
    extensions: tuple[str, ...] = ()


class Platform(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A driver: ``version`` is like "OpenCL 3.0"."""

    name: str
    vendor: str
    version: str
    devices: tuple[Unit, ...] = ()


class Survey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What OpenCL answers: its platforms in order, or why it could not be asked."""

    platforms: tuple[Platform, ...] = ()
    error: str = ""


def loaders(host: Host) -> list[str]:
    """The OpenCL loaders of this machine, in the order in which they are to be tried."""
    folders = host.environ.get("LD_LIBRARY_PATH", "").split(":")
    paths = [f"{folder}/libOpenCL.so" for folder in folders if folder]
    paths += TABLE["loader"].get(host.system()[0], ())
    return [path for path in paths if host.exists(path)]


def drivers(host: Host) -> list[str]:
    """What announces a driver to the loader, by name. Empty: the loader will find none."""
    named = [name for name in TABLE["driver"]["variables"] if host.environ.get(name)]
    every = (name for folder in TABLE["driver"]["folders"] for name in host.entries(folder))
    own = [path for path in TABLE["loader"]["own"] if host.exists(path)]
    return [*named, *(name for name in every if name.endswith(".icd")), *own]


def survey(host: Host, names: list[str]) -> Survey:
    """Ask one of the loaders in a child; where that fails, clinfo. Never raises."""
    child = data.package("backends/opencl_child.py")
    done = host.run([python(), "-I", "-S", str(child)], limits=_LIMITS, stdin=json.dumps(names))
    answer = parse_survey(done.out)
    if answer and not answer.error:
        return answer
    if done.timed_out:
        hangs = f"OpenCL did not answer within {_LIMITS.seconds:.0f} seconds: a driver hangs"
        return Survey(error=hangs)
    if program := host.which("clinfo"):
        platforms = parse_json(host.run([program, "--json"], limits=_LIMITS).out)
        platforms = platforms or parse_text(host.run([program], limits=_LIMITS).out)
        if platforms:
            return Survey(platforms=platforms)
    return Survey(error=_why_unanswered(done, answer))


def parse_survey(text: str) -> Survey | None:
    """The child's JSON; None when it is not what the child prints."""
    return last_object(text, Survey)


def parse_json(text: str) -> tuple[Platform, ...]:
    """The answer of ``clinfo --json`` (clinfo 3.0.21 and newer); a part of it is none."""
    try:
        told = json.loads(text)
        pairs = zip(told["platforms"], told["devices"], strict=True)
        plain = [
            _platform(
                {key: one[f"CL_PLATFORM_{key.upper()}"] for key in ("name", "vendor", "version")},
                [
                    {**device, "kind": ", ".join(device["CL_DEVICE_TYPE"]["type"])}
                    for device in devices["online"]
                ],
            )
            for one, devices in pairs
        ]
        return msgspec.convert(tuple(plain), type=tuple[Platform, ...])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ()


_WORDS: Final = {
    "Device Name": "CL_DEVICE_NAME",
    "Device Version": "CL_DEVICE_VERSION",
    "Device OpenCL C Version": "CL_DEVICE_OPENCL_C_VERSION",
    "Driver Version": "CL_DRIVER_VERSION",
    "Device Type": "kind",
    "Global memory size": "CL_DEVICE_GLOBAL_MEM_SIZE",
    "Unified memory for Host and Device": "CL_DEVICE_HOST_UNIFIED_MEMORY",
    "Device Extensions": "CL_DEVICE_EXTENSIONS",
}
"""clinfo's words for what OpenCL calls otherwise."""


def parse_text(text: str) -> tuple[Platform, ...]:
    """The answer of ``clinfo`` to people. All platforms come first, each then again with its
    devices; what follows them is about what happens without a platform.

    >>> parse_text('''Number of platforms                               1
    ...   Platform Name                                   QUALCOMM Snapdragon(TM)
    ...   Platform Vendor                                 QUALCOMM
    ...   Platform Version                                OpenCL 3.0 QUALCOMM build: 0762.39
    ...
    ...   Platform Name                                   QUALCOMM Snapdragon(TM)
    ... Number of devices                                 1
    ...   Device Name                                     QUALCOMM Adreno(TM) 750
    ...   Device Version                                  OpenCL 3.0 Adreno(TM) 750
    ...   Device OpenCL C Version                         OpenCL C 3.0 Adreno(TM) 750
    ...   Device Type                                     GPU
    ... ''')[0].devices[0].name
    'QUALCOMM Adreno(TM) 750'
    """
    body = text.partition("\nNULL platform behavior")[0]
    heads, *rest = re.split(r"(?m)^Number of devices +(?=[0-9]{1,2} *\r?$)", body)
    about = [_words(block) for block in re.split(r"(?m)^(?=  Platform Name  )", heads)[1:]]
    about = [words for words in about if "Platform Version" in words]
    if len(about) != len(rest):
        return ()
    try:
        plain = [
            _platform(
                {key: one[f"Platform {key.title()}"] for key in ("name", "vendor", "version")},
                [
                    _device_words(piece)
                    for piece in re.split(r"(?m)^(?=  Device Name  )", block)[1:]
                ],
            )
            for one, block in zip(about, rest, strict=True)
        ]
        return msgspec.convert(tuple(plain), type=tuple[Platform, ...])
    except (ValueError, KeyError):
        return ()


def _words(block: str) -> dict[str, str]:
    """Lines of clinfo: two spaces, a name of up to 48 characters, its value."""
    return dict(re.findall(r"(?m)^  (\S.{0,46}?\S) {2,}(\S.*?) *\r?$", block))


def _device_words(block: str) -> dict[str, Any]:
    words = _words(block)
    told: dict[str, Any] = {ours: words[name] for name, ours in _WORDS.items() if name in words}
    size = re.match(r"([0-9]{1,15})(?: |$)", told.get("CL_DEVICE_GLOBAL_MEM_SIZE", ""))
    told["CL_DEVICE_GLOBAL_MEM_SIZE"] = int(size[1]) if size else 0
    told["CL_DEVICE_HOST_UNIFIED_MEMORY"] = told.get("CL_DEVICE_HOST_UNIFIED_MEMORY") == "Yes"
    return told


def _platform(about: dict[str, Any], devices: list[dict[str, Any]]) -> dict[str, Any]:
    """A platform in the child's words."""
    return {
        **{key: value.strip() for key, value in about.items()},
        "devices": [
            {
                "name": one["CL_DEVICE_NAME"].strip(),
                "version": one["CL_DEVICE_VERSION"].strip(),
                "language": one["CL_DEVICE_OPENCL_C_VERSION"].strip(),
                "kind": _kind(one["kind"]),
                "driver": one.get("CL_DRIVER_VERSION", "").strip(),
                "memory": one.get("CL_DEVICE_GLOBAL_MEM_SIZE", 0),
                "unified": one.get("CL_DEVICE_HOST_UNIFIED_MEMORY", False),
                "extensions": one.get("CL_DEVICE_EXTENSIONS", "").split(),
            }
            for one in devices
        ],
    }


def _kind(text: str) -> str:
    """A device's type in capitals; empty when it is none.

    >>> _kind("Default, GPU"), _kind("CL_DEVICE_TYPE_CPU"), _kind("Accelerator"), _kind("GPUs")
    ('GPU', 'CPU', 'ACCELERATOR', '')
    """
    found = re.search(r"(?:\b|_TYPE_)(GPU|CPU|ACCELERATOR|Accelerator|CUSTOM|Custom)\b", text)
    return found[1].upper() if found else ""


def _why_unanswered(done: Finished, answer: Survey | None) -> str:
    if answer:
        return f"OpenCL does not work: {answer.error}"
    return f"OpenCL could not be asked: {done.signal or f'exit code {done.code}'}"
