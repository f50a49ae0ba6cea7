"""What AMD's parts are called and ask of each other: ``hip.toml`` interpreted. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from llamabuild import data
from llamabuild.backends.interface import NEVER, OWN, RELATED

TABLE: Final[dict[str, Any]] = data.load(data.package("backends/hip.toml"))
ROWS: Final[dict[str, dict[str, Any]]] = {row["name"]: row for row in TABLE["gfx"]}
"""Architectures by name."""


def gfx_name(target: int) -> str:
    """The name of an architecture from KFD's ``gfx_target_version``: two decimal digits each for
    minor version and stepping, the stepping written in hexadecimal.

    >>> gfx_name(110002), gfx_name(90010), gfx_name(90402), gfx_name(100300), gfx_name(0)
    ('gfx1102', 'gfx90a', 'gfx942', 'gfx1030', '')
    """
    major, minor, stepping = target // 10000, target // 100 % 100, target % 100
    plausible = 0 < major < 100 and minor < 10 and stepping < 16
    return f"gfx{major}{minor}{stepping:x}" if plausible else ""


def overriding(version: str) -> str:
    """The architecture that ``HSA_OVERRIDE_GFX_VERSION`` makes of every GPU, or an empty string.

    >>> overriding("10.3.0"), overriding("9.0.10"), overriding("gfx1030"), overriding("")
    ('gfx1030', 'gfx90a', '', '')
    """
    found = re.fullmatch(r"([0-9]{1,2})\.([0-9])\.([0-9]{1,2})", version.strip())
    return gfx_name(int(found[1]) * 10000 + int(found[2]) * 100 + int(found[3])) if found else ""


def override_of(gfx: str) -> str:
    """The value of ``HSA_OVERRIDE_GFX_VERSION`` that makes a GPU count as ``gfx``.

    >>> override_of("gfx1030"), override_of("gfx90a"), override_of("gfx1151")
    ('10.3.0', '9.0.10', '11.5.1')
    """
    return f"{gfx[3:-2]}.{gfx[-2]}.{int(gfx[-1], 16)}"


def siblings(gfx: str) -> tuple[str, ...]:
    """Architectures with the same instructions, as which a GPU may be run.

    >>> siblings("gfx1031"), siblings("gfx1100")
    (('gfx1030',), ())
    """
    return tuple(ROWS.get(gfx, {}).get("as", ()))


def history(gfx: str) -> str:
    """Which of AMD's own ROCm packages have rocBLAS kernels for an architecture, in words.

    >>> history("gfx906"), history("gfx950"), history("gfx1036")
    ('AMD has them up to ROCm 6.3', 'AMD has them from ROCm 7.0 on', 'AMD never had them')
    """
    row = ROWS.get(gfx, {})
    if row.get("last"):
        return f"AMD has them up to ROCm {row['last']}"
    return f"AMD has them from ROCm {row['first']} on" if row.get("first") else "AMD never had them"


def served(gfx: str, rocm: str) -> bool:
    """True when AMD's own packages of a ROCm version have rocBLAS kernels for an architecture.

    >>> served("gfx1100", "6.4.1"), served("gfx906", "7.0.2"), served("gfx1201", "6.1.2")
    (True, False, False)
    """
    row, version = ROWS.get(gfx, {}), numbers(rocm)[:2]
    if not row.get("first") or version < numbers(row["first"]):
        return False
    return not row.get("last") or version <= numbers(row["last"])


def ever_served(gfx: str) -> bool:
    """True when some ROCm serves an architecture, if only under a sibling's name.

    >>> ever_served("gfx1100"), ever_served("gfx1031"), ever_served("gfx803")
    (True, True, False)
    """
    return bool(ROWS.get(gfx, {}).get("first") or siblings(gfx))


def runs_code(name: str, gfx: str) -> int:
    """How an architecture runs machine code (the back-ends' words for it). Settings for XNACK and
    SRAM-ECC behind a colon are the defaults of every driver, or are told when it is proved.

    >>> runs_code("gfx90a:sramecc+:xnack-", "gfx90a"), runs_code("gfx11-generic", "gfx1101")
    (3, 2)
    >>> runs_code("gfx1030", "gfx1031"), runs_code("gfx9-4-generic", "gfx90a")
    (0, 0)
    """
    name = name.partition(":")[0]
    if name == gfx:
        return OWN
    return RELATED if gfx in TABLE["generic"].get(name, ()) else NEVER


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers that compare.

    >>> numbers("6.4.43484-123eb5128"), numbers("")
    ((6, 4, 43484), ())
    """
    return tuple(int(part) for part in re.findall(r"[0-9]{1,9}", version.partition("-")[0]))
