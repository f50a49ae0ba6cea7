"""Ask Huawei's ``npu-smi`` what NPUs there are, and look for the CANN toolkit.

Nothing here raises, and no parser makes up an NPU: only whole, plausible answers count.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Any, Final

from llamabuild import data, digest
from llamabuild.host import Finished, Host, Limits
from llamabuild.model import Tool

_LIMITS: Final = Limits(seconds=5)
TABLE: Final[dict[str, Any]] = data.load(data.package("backends/cann.toml"))
_CARD: Final = re.compile(
    r"\| (?P<card>[0-9]{1,5}) +(?P<name>(?:Ascend)?[0-9]{3}[A-Za-z0-9-]{0,10}) +"
    r"\| (?P<health>[A-Za-z]{1,12}) +\|[^|]{1,80}\|"
)
_USAGE: Final = r"[0-9]{1,7} */ *"
_CHIP: Final = re.compile(
    r"\| [0-9]{1,3}(?: +[0-9]{1,4})? +"
    r"\| (?:NA|[0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9]) +"
    rf"\| \S{{1,5}} +{_USAGE}(?P<memory>[0-9]{{1,7}})(?: +{_USAGE}(?P<hbm>[0-9]{{1,7}}))? *\|"
)
"""A chip fills two lines: what it is and how it does, where it is and its memory in MB."""
_WELL: Final = ("OK", "Warning", "Alarm")
"""States of health in which a chip computes; a board on a desk has always some alarm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Npu:
    """A chip as npu-smi describes it; ``memory`` is bytes, ``why_not`` says what is wrong with
    its health, empty when nothing is."""

    name: str
    memory: int
    why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The version of the driver and the chips, or why they could not be asked."""

    driver: str = ""
    npus: tuple[Npu, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolkit:
    """An installed CANN. ``lacks`` says in words what a build or a run would still need, and
    ``hint`` how to get it; both empty when nothing."""

    tool: Tool | None = None
    lacks: str = ""
    hint: str = ""


def program(host: Host) -> str:
    """Where npu-smi is, or an empty text."""
    usual = (path for path in TABLE["driver"]["tools"] if host.exists(path))
    return host.which("npu-smi") or next(usual, "")


def survey(host: Host, npu_smi: str) -> Survey:
    """Ask npu-smi. Never raises."""
    done = host.run([npu_smi, "info"], limits=_LIMITS)
    if done.timed_out:
        return Survey(error=f"npu-smi did not answer within {_LIMITS.seconds:.0f} seconds")
    npus = parse(done.out) if done.code == 0 else ()
    if not npus:
        return Survey(error=f"npu-smi lists no NPU: {_last_words(done)}")
    return Survey(driver=_driver(host, done.out), npus=npus)


def parse(text: str) -> tuple[Npu, ...]:
    """The chips in ``npu-smi info``; the table of processes behind them is none.

    >>> parse('''\\
    ... | 0     910B3               | OK            | 98.1        41                0    / 0   |
    ... | 0                         | 0000:C1:00.0  | 0           0    / 0        3389 / 65536 |
    ... ''')
    (Npu(name='910B3', memory=68719476736, why_not=''),)
    """
    lines = [line.strip() for line in text.splitlines()]
    found = []
    for line, other in itertools.pairwise(lines):
        card, chip = _CARD.fullmatch(line), _CHIP.fullmatch(other)
        if card and chip:
            health = card["health"]
            why = "" if health in _WELL else f"is not well: npu-smi says {health}"
            megabytes = int(chip["hbm"] or 0) or int(chip["memory"])
            found.append(Npu(name=card["name"], memory=megabytes << 20, why_not=why))
    return tuple(found)


def toolkit(host: Host) -> Toolkit:
    """The CANN of this machine, and what it lacks."""
    table = TABLE["toolkit"]
    root = _root(host)
    if not root:
        return Toolkit(lacks="the CANN toolkit", hint=TABLE["packages"]["toolkit"]["else"])
    gone = [one for one in table["libraries"] if not host.exists(f"{root}/{one}")]
    if gone:
        names = ", ".join(one.rpartition("/")[2] for one in gone)
        return Toolkit(lacks=f"CANN's {names}", hint=TABLE["packages"]["toolkit"]["else"])
    if not any(host.environ.get(name) for name in table["environment"]):
        scripts = [one.format(root=root) for one in table["scripts"]]
        script = next((one for one in scripts if host.exists(one)), scripts[0])
        return Toolkit(lacks="CANN's environment", hint=f"Run: source {script}")
    arch = host.system()[2]
    texts = (host.read_text(f"{root}/{one.format(arch=arch)}") or "" for one in table["versions"])
    told = next((text for text in texts if cann_version(text)), "")
    return Toolkit(
        tool=Tool(
            name="cann",
            version=cann_version(told),
            path=f"{root}/{table['header']}",
            digest=digest.of_value([told, host.read_text(f"{root}/{table['header']}")]),
        )
    )


def cann_version(text: str) -> str:
    """The version in one of CANN's own files about itself, or an empty text.

    >>> cann_version("package_name=Ascend-cann-toolkit\\nversion=8.5.0\\narch=aarch64\\n")
    '8.5.0'
    >>> cann_version("Version=8.3.RC1"), cann_version("version=N/A")
    ('8.3.RC1', '')
    """
    found = re.search(r"(?mi)^version=([0-9]+(?:\.[0-9A-Za-z]+){1,4})\s*$", text)
    return found[1] if found else ""


def _root(host: Host) -> str:
    """The folder of CANN: where the environment says, else a usual place; empty without one."""
    table = TABLE["toolkit"]
    named = (host.environ.get(name, "").rstrip("/") for name in table["variables"])
    wanted = (*named, *table["folders"])
    return next((one for one in wanted if one and host.exists(f"{one}/{table['header']}")), "")


def _driver(host: Host, text: str) -> str:
    found = re.search(r"\| npu-smi \S+ +Version: ([0-9]+(?:\.[0-9a-z]+){1,5}) *\|", text)
    return found[1] if found else cann_version(host.read_text(TABLE["driver"]["version"]) or "")


def _last_words(done: Finished) -> str:
    lines = [line.strip() for line in f"{done.err}\n{done.out}".splitlines() if line.strip()]
    ended = done.signal or f"exit code {done.code}"
    return lines[-1][:200] if lines and not lines[-1].startswith(("|", "+")) else ended
