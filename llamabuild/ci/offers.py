"""What a machine offers to cells, in the words of ``offers.toml``, and what cells need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from llamabuild import data
from llamabuild.host import Host
from llamabuild.model import Hardware

SLOT: Final = "slot"
"""One build: every cell takes one."""
_TABLE: Final = "ci/offers.toml"


class _Offer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    of: str
    words: tuple[str, ...]


@cache
def words(of: str) -> tuple[str, ...]:
    """The words of one sort.

    >>> words("system")
    ('linux', 'macos', 'windows')
    """
    rows = msgspec.convert(data.load(data.package(_TABLE))["offer"], tuple[_Offer, ...])
    return next(row.words for row in rows if row.of == of)


def of_host(host: Host) -> frozenset[str]:
    """What a machine offers that takes no look at its devices."""
    system, _, arch = host.system()
    return frozenset({system, arch, SLOT})


def of_hardware(hardware: Hardware) -> tuple[str, ...]:
    """Everything that a machine offers: its system, its architecture, the levels that its CPU
    runs, the back-ends whose tools and devices are there, and a slot."""
    from llamabuild.backends import cpu_sets

    usable = {one.name for one in hardware.cpu.features if one.usable}
    levels = {
        row.name.replace("-", "_")
        for row in cpu_sets.rows("level", hardware.arch)
        if usable.issuperset(row.features)
    }
    backends = {one.backend for one in hardware.devices if not one.lacks}
    return (
        hardware.os,
        hardware.arch,
        *(word for word in words("level") if word in levels),
        *(word for word in words("backend") if word in backends),
        SLOT,
    )


def lacking(needs: Iterable[str], host: Host, folder: Path) -> tuple[str, ...]:
    """What a cell needs and this machine does not offer; its devices are looked at only when it
    needs some. ``folder`` is the cache."""
    beyond = tuple(word for word in needs if word not in of_host(host))
    known = {word for sort in ("system", "arch") for word in words(sort)}
    if not beyond or known & set(beyond):
        return beyond
    from llamabuild import probe

    offered = of_hardware(probe.probe(host, cache=folder)[0])
    return tuple(word for word in beyond if word not in offered)


def resources(offered: Iterable[str], slots: int) -> str:
    """What ``dask worker --resources`` takes: each word as often as there are slots.

    >>> resources(("linux", "x86_64", "slot"), 2)
    'linux=2 x86_64=2 slot=2'
    """
    return " ".join(f"{word}={slots}" for word in offered)


def needed(needs: Iterable[str]) -> dict[str, float]:
    """What a cell takes of a worker's resources while it runs.

    >>> needed(("linux", "cuda"))
    {'linux': 1, 'cuda': 1, 'slot': 1}
    """
    return dict.fromkeys((*needs, SLOT), 1)


def unmet(needs: Iterable[str], workers: Iterable[Mapping[str, float]]) -> tuple[str, ...]:
    """What no worker offers; empty when one of them offers everything.

    >>> unmet(("linux", "cuda"), [{"linux": 1, "slot": 1}])
    ('cuda',)
    >>> unmet(("macos", "cuda"), [{"macos": 1, "slot": 1}, {"cuda": 1, "slot": 1}])
    ('macos', 'cuda')
    """
    wanted = needed(needs)
    offered = list(workers)
    if any(all(one.get(word, 0) >= 1 for word in wanted) for one in offered):
        return ()
    absent = tuple(w for w in wanted if not any(one.get(w, 0) >= 1 for one in offered))
    return absent or tuple(word for word in wanted if word != SLOT)
