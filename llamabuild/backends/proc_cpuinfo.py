"""What the text of Linux' ``/proc/cpuinfo`` says: every architecture writes it differently."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from llamabuild import data

_TABLE: Final = "backends/cpu_features.toml"
_MACHINE: Final = re.compile(r"machine = ([0-9]{4})\b")


def words(cpuinfo: str) -> frozenset[str]:
    """The features that all processors of a ``/proc/cpuinfo`` have.

    >>> sorted(words("flags\\t: fpu avx\\n\\nflags\\t: fpu avx avx2\\n"))
    ['avx', 'fpu']
    """
    found: frozenset[str] | None = None
    draft = False
    for key, value in _fields(cpuinfo):
        draft = draft or (key == "cpu-vector" and value.startswith("0."))
        read = _reader(key, value)
        if read is not None:
            listed = read(value)
            found = listed if found is None else found & listed
    listed = (found or frozenset()) | _z_words(cpuinfo)
    return listed - {"v"} if draft else listed


def _reader(key: str, value: str) -> Callable[[str], frozenset[str]] | None:
    """What reads the features in a line, if it has any."""
    if key in ("flags", "features"):
        return _listed
    if key == "isa" and value.lower().startswith("rv"):
        return _riscv_words
    if key == "cpu" and value.startswith("POWER"):
        return _power_words
    return None


def _listed(value: str) -> frozenset[str]:
    return frozenset(value.lower().split())


def _riscv_words(value: str) -> frozenset[str]:
    """Single letters, and the extensions between underscores.

    >>> sorted(_riscv_words("rv64imafdcv_zicbom_zfh") & {"v", "zfh", "zicbom"})
    ['v', 'zfh', 'zicbom']
    """
    first, *rest = value.lower().split("_")
    return frozenset((*first[4:], *rest))


def _power_words(value: str) -> frozenset[str]:
    """Each POWER generation runs the code of those before it.

    >>> sorted(_power_words("POWER9 (raw), altivec supported"))
    ['altivec', 'power7', 'power8', 'power9']
    """
    newest = re.match(r"POWER([0-9]{1,2})", value)
    levels = {f"power{number}" for number in range(7, int(newest[1] if newest else 0) + 1)}
    return frozenset(levels | ({"altivec"} if "altivec supported" in value else set()))


def _z_words(cpuinfo: str) -> frozenset[str]:
    """IBM Z: each generation runs the code of those before it; the oldest processor counts.

    >>> sorted(_z_words("processor 0: version = FF,  identification = 0133E8,  machine = 8561"))
    ['z13', 'z14', 'z15']
    """
    table = _table("s390x")
    levels: list[str] = table["levels"]
    told = {table["machines"].get(number) for number in _MACHINE.findall(cpuinfo)}
    oldest = min((levels.index(one) if one else -1 for one in told), default=-1)
    return frozenset(levels[: oldest + 1])


def _fields(cpuinfo: str) -> list[tuple[str, str]]:
    parted = (line.partition(":") for line in cpuinfo.splitlines())
    return [(key.strip().lower(), value.strip()) for key, colon, value in parted if colon]


@cache
def _table(name: str) -> dict[str, Any]:
    found: dict[str, Any] = data.load(data.package(_TABLE))[name]
    return found


def _arm_names(cpuinfo: str) -> tuple[str, str]:
    """Arm tells numbers (MIDR_EL1), for each processor its own; the table has their names."""
    kinds: dict[tuple[str, str], None] = {}
    maker = ""
    for key, value in _fields(cpuinfo):
        if key == "cpu implementer":
            maker = value
        elif key == "cpu part":
            kinds[maker, value] = None
    parts, makers = _table("arm")["parts"], _table("arm")["implementers"]
    names = dict.fromkeys(parts.get(f"{one} {part}", f"part {part}") for one, part in kinds)
    vendors = dict.fromkeys(makers.get(one, f"implementer {one}") for one, _ in kinds)
    return " and ".join(vendors), " + ".join(names)


def names(cpuinfo: str) -> tuple[str, str]:
    """Vendor and name from a ``/proc/cpuinfo``; empty where it does not tell.

    >>> names("CPU implementer\\t: 0x41\\nCPU part\\t: 0xd0b\\n")
    ('Arm', 'Cortex-A76')
    """
    known: dict[str, str] = {}
    for key, value in _fields(cpuinfo):
        known.setdefault(key, value)
    if "cpu implementer" in known and "cpu part" in known:
        return _arm_names(cpuinfo)
    if "uarch" in known:
        vendor, _, name = known["uarch"].partition(",")
        return vendor, name or vendor
    if known.get("cpu", "").startswith("POWER"):
        return "IBM", known["cpu"].split()[0].rstrip(",")
    if known.get("vendor_id") == "IBM/S390":
        return "IBM", _z_name(cpuinfo)
    return known.get("vendor_id", _family(known)), known.get("model name", "").strip()


def _family(known: Mapping[str, str]) -> str:
    """LoongArch names its maker in the family: ``Loongson-64bit``."""
    maker, dash, _ = known.get("cpu family", "").partition("-")
    return maker if dash else ""


def _z_name(cpuinfo: str) -> str:
    number = _MACHINE.search(cpuinfo)
    name = str(_table("s390x")["machines"].get(number[1], "")) if number else ""
    return " ".join(filter(None, (name, f"(machine {number[1]})" if number else "")))
