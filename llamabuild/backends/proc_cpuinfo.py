"""What the text of Linux' ``/proc/cpuinfo`` says: every architecture writes it differently."""

from __future__ import annotations

import re
from functools import cache

from llamabuild import data

_TABLE = "backends/cpu_features.toml"


def words(cpuinfo: str) -> frozenset[str]:
    """The features that all processors of a ``/proc/cpuinfo`` have.

    >>> sorted(words("flags\\t: fpu avx\\n\\nflags\\t: fpu avx avx2\\n"))
    ['avx', 'fpu']
    >>> sorted(words("isa\\t\\t: rv64imafdcv_zicbom_zfh\\n") & {"v", "zfh", "zicbom"})
    ['v', 'zfh', 'zicbom']
    >>> sorted(words("cpu\\t\\t: POWER9 (raw), altivec supported\\n"))
    ['altivec', 'power7', 'power8', 'power9']
    """
    found: frozenset[str] | None = None
    for key, value in _fields(cpuinfo):
        if key in ("flags", "features"):
            listed = frozenset(value.lower().split())
        elif key == "isa":
            first, *rest = value.lower().split("_")
            listed = frozenset((*first.removeprefix("rv64").removeprefix("rv32"), *rest))
        elif key == "cpu" and value.startswith("POWER"):
            listed = _power_words(value)
        else:
            continue
        found = listed if found is None else found & listed
    return found or frozenset()


def _power_words(value: str) -> frozenset[str]:
    """Each POWER generation runs the code of those before it."""
    newest = re.match(r"POWER(\d*)", value)
    levels = {f"power{number}" for number in range(7, int((newest and newest[1]) or 0) + 1)}
    return frozenset(levels | ({"altivec"} if "altivec supported" in value else set()))


def _fields(cpuinfo: str) -> list[tuple[str, str]]:
    parted = (line.partition(":") for line in cpuinfo.splitlines())
    return [(key.strip().lower(), value.strip()) for key, colon, value in parted if colon]


@cache
def _arm() -> dict[str, dict[str, str]]:
    names: dict[str, dict[str, str]] = data.load(data.package(_TABLE))["arm"]
    return names


def _arm_names(vendor: str, part: str) -> tuple[str, str]:
    """Arm tells numbers (MIDR_EL1); the table has names for the common ones."""
    name = _arm()["parts"].get(f"{vendor} {part}", f"part {part}")
    return _arm()["implementers"].get(vendor, f"implementer {vendor}"), name


def names(cpuinfo: str) -> tuple[str, str]:
    """Vendor and name from a ``/proc/cpuinfo``; empty where it does not tell.

    >>> names("CPU implementer\\t: 0x41\\nCPU part\\t: 0xd0b\\n")
    ('Arm', 'Cortex-A76')
    """
    known: dict[str, str] = {}
    for key, value in _fields(cpuinfo):
        known.setdefault(key, value)
    if "cpu implementer" in known:
        return _arm_names(known["cpu implementer"], known.get("cpu part", ""))
    if "uarch" in known:
        vendor, _, name = known["uarch"].partition(",")
        return vendor, name or vendor
    if known.get("cpu", "").startswith("POWER"):
        return "IBM", known["cpu"].split()[0]
    name = known.get("model name", "") or known.get("processor 0", "").rpartition(",")[2]
    return known.get("vendor_id", known.get("cpu family", "")), name.strip()
