"""What NVIDIA's parts ask of each other: ``cuda.toml`` interpreted. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from llamabuild import data

TABLE: Final[dict[str, Any]] = data.load(data.package("backends/cuda.toml"))


def compatible(toolkit: str, capability: str) -> str | None:
    """None when a toolkit compiles for a compute capability, else why not.

    >>> compatible("13.0", "6.1")
    'CUDA 13.0 no longer compiles for compute capability 6.1; 12.9 is the last that does'
    >>> compatible("12.4.131", "12.0")
    'compute capability 12.0 needs CUDA 12.8 or newer, here is 12.4.131'
    """
    row = next((row for row in TABLE["capability"] if row["number"] == capability), None)
    if row is None:
        return f"compute capability {capability} is not one that llamabuild knows to work"
    if numbers(toolkit)[:2] < numbers(row["first"]):
        need = f"needs CUDA {row['first']} or newer"
        return f"compute capability {capability} {need}, here is {toolkit}"
    if row["last"] and numbers(toolkit)[:2] > numbers(row["last"]):
        last = f"{row['last']} is the last that does"
        return f"CUDA {toolkit} no longer compiles for compute capability {capability}; {last}"
    return None


def host_compiler(toolkit: str, family: str, version: str) -> str | None:
    """None when nvcc accepts a compiler beside it, else why not. A toolkit newer than the table
    is taken to accept what the newest one in it does.

    >>> host_compiler("12.4", "gcc", "14.2.0")
    'CUDA 12.4 accepts gcc up to 13, here is 14'
    >>> host_compiler("12.3", "msvc", "19.41.34120"), host_compiler("12.4", "msvc", "19.41.34120")
    ('CUDA 12.3 accepts msvc up to 19.39, here is 19.41', None)
    """
    if family not in ("gcc", "clang", "msvc"):
        return f"nvcc works with gcc, clang or msvc, not with {family}"
    parts = numbers(version)[: 2 if family == "msvc" else 1]
    limits = [
        numbers(str(row[family]))
        for row in TABLE["toolkit"]
        if family in row and numbers(row["version"]) <= numbers(toolkit)[:2]
    ]
    if limits and parts > limits[-1]:
        newest, here = (".".join(map(str, one)) for one in (limits[-1], parts))
        return f"CUDA {toolkit} accepts {family} up to {newest}, here is {here}"
    return None


def newest_below(toolkit: str, capability: str) -> str:
    """The newest architecture of a toolkit whose PTX a GPU can run, or an empty string. What
    belongs to the 12.x family runs there only.

    >>> newest_below("12.4", "12.0"), newest_below("11.8", "8.0"), newest_below("13.0", "6.1")
    ('90', '80', '')
    """
    known = (row["number"] for row in TABLE["capability"] if not compatible(toolkit, row["number"]))
    fit = [one for one in known if numbers(one) <= numbers(capability) and numbers(one) < (12,)]
    return max(fit, key=numbers, default="").replace(".", "")


def capability_of(architecture: str) -> str:
    """The compute capability of CMake's number.

    >>> capability_of("86"), capability_of("120")
    ('8.6', '12.0')
    """
    return f"{architecture[:-1]}.{architecture[-1]}"


def known_by(driver: str) -> str:
    """The CUDA version in a device's driver text ("580.65.06 (CUDA 13.0)"), or an empty string."""
    return driver.partition("(CUDA ")[2].rstrip(")")


def one_toolkit(devices: Iterable[tuple[str, str]]) -> bool:
    """True when some toolkit serves all GPUs, given as architecture and driver text: it compiles
    for each, and is of no later major version than any driver knows."""
    some = tuple(devices)
    return any(
        all(
            not compatible(row["version"], capability_of(architecture))
            and _major(row["version"]) <= (_major(known_by(driver)) or _major(row["version"]))
            for architecture, driver in some
        )
        for row in TABLE["toolkit"]
    )


def _major(version: str) -> tuple[int, ...]:
    return numbers(version)[:1]


def known_cuda(driver: str) -> str:
    """The newest CUDA version that a driver knows, by NVIDIA's release notes.

    >>> known_cuda("550.54.14"), known_cuda("")
    ('12.4', '')
    """
    rows = [row for row in TABLE["toolkit"] if "driver" in row]
    known = [row["version"] for row in rows if numbers(row["driver"]) <= numbers(driver)]
    return str(known[-1]) if known else ""


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers that compare.

    >>> numbers("580.65.06") < numbers("580.82"), numbers("")
    (True, ())
    """
    return tuple(int(part) for part in re.findall(r"[0-9]{1,9}", version))
