"""What macOS' ``sysctl`` says about the CPU: the one process that names and features need there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from llamabuild import data
from llamabuild.backends.cpu_table import TABLE, extensions
from llamabuild.host import Host, Limits

_ARGV: Final = ("sysctl", "hw.optional", "machdep.cpu")
_LIMITS: Final = Limits(seconds=5)
_LISTS: Final = ("machdep.cpu.features", "machdep.cpu.leaf7_features")


def ask(host: Host) -> dict[str, str]:
    """Everything below ``hw.optional`` and ``machdep.cpu``; nothing on another system."""
    if host.system()[0] != "macos":
        return {}
    return parse(host.run(list(_ARGV), limits=_LIMITS).out)


def parse(text: str) -> dict[str, str]:
    """Keys and values of what sysctl printed.

    >>> parse("machdep.cpu.brand_string: Apple M2\\nhw.optional.arm.FEAT_I8MM: 1\\n")
    {'machdep.cpu.brand_string': 'Apple M2', 'hw.optional.arm.FEAT_I8MM': '1'}
    """
    parted = (line.partition(": ") for line in text.splitlines())
    return {key.strip(): value.strip() for key, colon, value in parted if colon}


def words(told: Mapping[str, str]) -> frozenset[str]:
    """The features that the system lists and does not refuse, by their names in the table.

    >>> sorted(words({"hw.optional.arm.FEAT_DotProd": "1", "hw.optional.arm.FEAT_SVE": "0"}))
    ['asimddp']
    >>> sorted(words({"machdep.cpu.features": "FPU SSE4.2 AVX1.0", "hw.optional.avx1_0": "0"}))
    ['fpu', 'sse4_2']
    """
    arm = {
        row.name
        for row in extensions("aarch64")
        if row.sysctl and told.get(f"hw.optional.arm.{row.sysctl}") == "1"
    }
    listed = {_word(one) for key in _LISTS for one in told.get(key, "").split()}
    optional = "hw.optional."
    refused = {
        _word(key.removeprefix(optional))
        for key, value in told.items()
        if key.startswith(optional) and value == "0"
    }
    return frozenset(arm | (listed - refused))


def names(told: Mapping[str, str]) -> tuple[str, str]:
    """Vendor and name; empty where it does not tell.

    >>> names({"machdep.cpu.brand_string": "Apple M4 Max"})
    ('Apple', 'Apple M4 Max')
    """
    name = told.get("machdep.cpu.brand_string", "")
    maker = "Apple" if name.startswith("Apple") else ""
    return told.get("machdep.cpu.vendor", maker), name


def _word(spelling: str) -> str:
    return _spellings().get(spelling.lower(), spelling.lower())


@cache
def _spellings() -> dict[str, str]:
    found: dict[str, str] = data.load(data.package(TABLE))["macos"]
    return found
