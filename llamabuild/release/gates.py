"""The gates: what a wheel has to be before anybody is given it.

Each is one idea and says a sentence for each thing that is wrong; nothing about a wheel is believed
that can be measured. All of them run, so that all reasons are known at once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from llamabuild.host import Host
from llamabuild.release import gates_code, gates_words, tags
from llamabuild.release.labels import TABLE
from llamabuild.release.opened import Opened, opened

_Look = Callable[[Opened], Iterator[str]]

GATES: Final[tuple[tuple[str, str, _Look], ...]] = (
    ("names", "one name, version and tag everywhere", gates_words.names),
    ("label", "the label is variant and key", gates_words.label),
    ("record", "RECORD lists every file with its hash", gates_words.record),
    ("libraries", "its libraries are there and were looked at", gates_code.there),
    ("once", "each library is there once", gates_code.once),
    ("drivers", "no library of a driver is inside", gates_code.drivers),
    ("paths", "no path of the machine that built it", gates_code.paths),
    ("machine", "the tag's system and processor are the libraries'", gates_code.machine),
    ("features", "no CPU feature that it does not name", gates_code.features),
    ("level", "its level is marked for the loader", gates_code.level),
    ("code", "code for exactly the devices of the label", gates_code.code),
    ("toolkit", "the toolkit is the label's", gates_code.toolkit),
    ("glibc", "no newer glibc than the tag promises", gates_code.glibc),
    ("requires", "what it says it requires is what it requires", gates_code.requires),
    ("bill", "the bill of materials is there", gates_words.bill),
    ("licences", "the licences are there", gates_words.licences),
    ("proof", "it was proved, or says what was not", gates_words.proof),
    ("guard", "it says what is missing where it cannot run", gates_words.guard),
)
"""The name of each gate, what it holds a wheel to, and the gate."""
PLATFORM: Final = ("platform", "the tag is what auditwheel measures")
"""The gate that needs another program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a gate found: ``reasons`` to refuse, none when the wheel passes."""

    gate: str
    holds: str
    reasons: tuple[str, ...]


def verdicts(wheel: Path, host: Host, *, local: bool = False) -> tuple[Verdict, ...]:
    """What every gate says. ``local`` lets pass a wheel that is for this machine only.

    Raises IntegrityError for what is no released wheel at all, ToolMissing without auditwheel.
    """
    with tempfile.TemporaryDirectory(prefix="llamabuild-") as scratch:
        one = opened(wheel, Path(scratch), host)
        found = [
            Verdict(gate=name, holds=holds, reasons=tuple(look(one))) for name, holds, look in GATES
        ]
        reasons = tuple(_platform(one, host, local=local))
        name, holds = PLATFORM
        return (*found, Verdict(gate=name, holds=holds, reasons=reasons))


def check(wheel: Path, host: Host, *, local: bool = False) -> tuple[str, ...]:
    """Every reason to refuse a wheel, the gate's name before each; none when it is good. Raises as
    :func:`verdicts` does."""
    found = verdicts(wheel, host, local=local)
    return tuple(f"{one.gate}: {reason}" for one in found for reason in one.reasons)


def _platform(one: Opened, host: Host, *, local: bool) -> Iterator[str]:
    about = one.about
    outside = tags.expected_outside(about.backends, _declared(one))
    tag = tags.measured(one.wheel, about.requires, outside, host)
    if one.platforms != (tag.platform,):
        yield f"the tag is {', '.join(one.platforms)}; measured is {tag.platform}"
    if tag.why and not local:
        yield f"it is for this machine only: {tag.why}"


def _declared(one: Opened) -> tuple[str, ...]:
    """The back-ends whose runtime the wheel requires as distributions."""
    names = set()
    for text in one.metadata.get_all("Requires-Dist", ()):
        try:
            names.add(canonicalize_name(Requirement(str(text)).name))
        except InvalidRequirement:
            continue
    known = TABLE["declared"].items()
    return tuple(name for name, begin in known if any(n.startswith(begin) for n in names))
