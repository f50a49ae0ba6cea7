"""What NVIDIA's parts ask of each other: ``cuda.toml`` interpreted. Pure."""

from __future__ import annotations

import re
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


def host_compiler(toolkit: str, family: str, major: int) -> str | None:
    """None when nvcc accepts a compiler beside it, else why not. A toolkit newer than the table
    is taken to accept what the newest one in it does.

    >>> host_compiler("12.4", "gcc", 14)
    'CUDA 12.4 accepts gcc up to 13, here is 14'
    """
    if family not in ("gcc", "clang"):
        return f"nvcc works with gcc or clang, not with {family}"
    limits = [
        int(row[family])
        for row in TABLE["toolkit"]
        if family in row and numbers(row["version"]) <= numbers(toolkit)[:2]
    ]
    if limits and major > limits[-1]:
        return f"CUDA {toolkit} accepts {family} up to {limits[-1]}, here is {major}"
    return None


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
