"""What NVIDIA's parts ask of each other: ``cuda.toml`` interpreted. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from llamabuild import data

TABLE: Final[dict[str, Any]] = data.load(data.package("backends/cuda.toml"))
ROWS: Final[dict[str, dict[str, Any]]] = {row["number"]: row for row in TABLE["capability"]}
"""What is known of a compute capability ("8.6")."""
VERSIONS: Final = tuple(str(row["version"]) for row in TABLE["toolkit"])
"""The toolkits that are known, oldest first."""


def compatible(toolkit: str, capability: str) -> str | None:
    """None when a toolkit compiles ggml for a compute capability, else why not.

    >>> compatible("13.0", "6.1")
    'CUDA 13.0 no longer compiles for compute capability 6.1; 12.9 is the last that does'
    >>> compatible("12.4.131", "12.0")
    'compute capability 12.0 needs CUDA 12.8 or newer, here is 12.4.131'
    >>> compatible("10.1.243", "7.5")
    "ggml's C++17 needs CUDA 11.0 or newer, here is 10.1.243"
    """
    row = ROWS.get(capability)
    if row is None:
        return f"compute capability {capability} is not one that llamabuild knows to work"
    if numbers(toolkit) < numbers(TABLE["minimum"]):
        return f"ggml's C++17 needs CUDA {TABLE['minimum']} or newer, here is {toolkit}"
    if older(toolkit, capability):
        need = f"needs CUDA {row['first']} or newer"
        return f"compute capability {capability} {need}, here is {toolkit}"
    if outgrown(toolkit, capability):
        last = f"{row['last']} is the last that does"
        return f"CUDA {toolkit} no longer compiles for compute capability {capability}; {last}"
    return None


def older(toolkit: str, capability: str) -> bool:
    """True when a toolkit is from before a compute capability that is known here."""
    return capability in ROWS and numbers(toolkit)[:2] < numbers(ROWS[capability]["first"])


def outgrown(toolkit: str, capability: str) -> bool:
    """True when a toolkit no longer compiles for a compute capability.

    >>> outgrown("13.0", "6.1"), outgrown("12.9", "6.1"), outgrown("", "6.1")
    (True, False, False)
    """
    last = ROWS[capability]["last"] if capability in ROWS else ""
    return bool(last) and numbers(toolkit)[:2] > numbers(last)


def sibling(toolkit: str, capability: str) -> str:
    """The newest compute capability of a toolkit whose machine code a GPU runs although it is not
    its own: same major number, not newer, and both for cards ("Binary Compatibility" in NVIDIA's
    programming guide); an empty string where there is none. 12.x code is for one number only.

    >>> sibling("11.5", "8.9"), sibling("12.8", "10.3"), sibling("12.8", "12.1")
    ('8.6', '10.0', '')
    """
    if capability in TABLE["integrated"] or numbers(capability) >= (12,):
        return ""
    major = numbers(capability)[:1]
    mine = (one for one in _before(toolkit, capability) if numbers(one)[:1] == major)
    return max(mine, key=numbers, default="")


def newest_below(toolkit: str, capability: str) -> str:
    """The newest compute capability of a toolkit whose PTX a GPU can run, or an empty string. What
    belongs to the 12.x family runs there only.

    >>> newest_below("12.4", "12.0"), newest_below("11.8", "8.0"), newest_below("13.0", "6.1")
    ('9.0', '8.0', '')
    """
    return max(_before(toolkit, capability), key=numbers, default="")


def _before(toolkit: str, capability: str) -> Iterator[str]:
    """The compute capabilities of cards that a toolkit compiles for, up to one."""
    for one in ROWS:
        card = one not in TABLE["integrated"] and numbers(one) < (12,)
        if card and numbers(one) <= numbers(capability) and not compatible(toolkit, one):
            yield one


def capability_of(architecture: str) -> str:
    """The compute capability of CMake's number.

    >>> capability_of("86"), capability_of("120")
    ('8.6', '12.0')
    """
    return f"{architecture[:-1]}.{architecture[-1]}"


def known_by(driver: str) -> str:
    """The CUDA version in a device's driver text ("580.65.06 (CUDA 13.0)"), or an empty string."""
    return driver.partition("(CUDA ")[2].rstrip(")")


def runs(driver: str, toolkit: str) -> bool:
    """True when a driver that knows CUDA ``driver`` (empty: not known) runs what a toolkit makes:
    machine code of its own major version and older ones ("minor version compatibility").

    >>> runs("12.2", "12.9"), runs("12.2", "13.0"), runs("", "13.0")
    (True, False, True)
    """
    return not driver or numbers(driver)[:1] >= numbers(toolkit)[:1]


def reads(driver: str, toolkit: str) -> bool:
    """True when a driver compiles the PTX of a toolkit: it must not be older.

    >>> reads("12.2", "12.0.140"), reads("12.2", "12.4"), reads("", "12.0")
    (True, False, False)
    """
    return bool(driver) and numbers(driver)[:2] >= numbers(toolkit)[:2]


@functools.lru_cache(maxsize=1024)
def fitting(capability: str, driver: str) -> tuple[str, ...]:
    """The toolkits with machine code for a GPU that its driver runs, oldest first.

    >>> fitting("6.1", "13.0")[-1], fitting("12.0", "12.8"), fitting("8.6", "10.2")
    ('12.9', ('12.8', '12.9'), ())
    """
    return tuple(one for one in VERSIONS if runs(driver, one) and not compatible(one, capability))


def wanted(capability: str, driver: str) -> str:
    """Which toolkits would serve a GPU, in words; empty when none does.

    >>> wanted("6.1", "13.0"), wanted("12.0", "13.0")
    ('CUDA 11.0 to 12.9', 'CUDA 12.8 or newer')
    """
    some = fitting(capability, driver)
    if not some:
        return ""
    newest = "or newer" if some[-1] == VERSIONS[-1] else f"to {some[-1]}"
    return f"CUDA {some[0]} {newest}"


def best_toolkit(capabilities: Iterable[str], driver: str) -> str:
    """The toolkit to install: serves most of the GPUs, does not ask too much of the driver, is the
    newest. Empty when none serves any.

    >>> best_toolkit(["6.1", "8.9"], "13.0"), best_toolkit(["8.9"], "12.4"), best_toolkit([], "")
    ('12.9', '12.4', '')
    """
    some = [frozenset(fitting(one, driver)) for one in capabilities]

    def merit(version: str) -> tuple[int, bool, tuple[int, ...]]:
        served = sum(version in one for one in some)
        return served, not driver or reads(driver, version), numbers(version)

    useful = [version for version in VERSIONS if any(version in one for one in some)]
    return max(useful, key=merit, default="")


def one_toolkit(devices: Iterable[tuple[str, str]]) -> bool:
    """True when some toolkit has machine code for all GPUs, given as architecture and driver text,
    that every driver runs."""
    some = [fitting(capability_of(one), known_by(driver)) for one, driver in devices]
    return any(all(version in one for one in some) for version in VERSIONS)


def known_cuda(driver: str) -> str:
    """The newest CUDA version that a driver knows, by NVIDIA's release notes. Windows' numbers are
    of the same branches as Linux's.

    >>> known_cuda("550.54.14"), known_cuda("551.61"), known_cuda("")
    ('12.4', '12.4', '')
    """
    rows = [row for row in TABLE["toolkit"] if "driver" in row]
    known = [row["version"] for row in rows if numbers(row["driver"]) <= numbers(driver)]
    return str(known[-1]) if known else ""


def first_driver(toolkit: str) -> str:
    """The oldest driver that runs what toolkits of a major version make, or an empty string.

    >>> first_driver("13.0.88"), first_driver("12"), first_driver("")
    ('580.65.06', '525.60.13', '')
    """
    rows = [row for row in TABLE["toolkit"] if numbers(row["version"])[:1] == numbers(toolkit)[:1]]
    return str(rows[0]["driver"]) if rows else ""


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers that compare.

    >>> numbers("580.65.06") < numbers("580.82"), numbers("")
    (True, ())
    """
    return tuple(int(part) for part in re.findall(r"[0-9]{1,9}", version))
