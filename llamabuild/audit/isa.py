"""Which extensions of the instruction set a library's machine code uses, and where first.

objdump takes the code apart; what it prints is counted by function. x86-64 is told by the bytes of
each instruction (:mod:`llamabuild.instructions`), so that an old objdump will do; aarch64 by
mnemonic and registers (Arm ARM, chapters C3 and C4). The extensions have the names of
:mod:`llamabuild.backends.cpu_table`. What it cannot tell:

* whether an instruction is ever reached: code that is chosen at run time counts like all other;
* data between the instructions, which is read as code (compilers put none there);
* SVE 2 from SVE but for the instructions in the table, and SVE forms of DotProd and FP16 count
  as SVE.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from llamabuild import data
from llamabuild.host import Host, Limits
from llamabuild.instructions import feature_of

_TABLE: Final[dict[str, Any]] = data.load(data.package("audit/audit.toml"))
_LIMITS: Final = Limits(seconds=300)
"""The largest library seen (gpt4all's, 104 MB) takes 3 s."""

_FUNCTION: Final = re.compile(r"^[0-9a-f]+ <(.*)>:\n", re.MULTILINE)
_X86: Final = re.compile(
    r":\t((?:(?:26|2e|36|3e|6[4-7]|f[023]) )*"
    r"(?:c5(?: [0-9a-f]{2}){3}|c4(?: [0-9a-f]{2}){4}|62(?: [0-9a-f]{2}){5}"
    r"|(?:4[0-9a-f] )?0f [0-79a-f][0-9a-f](?: [0-9a-f]{2}){1,2}))(?![^\n]*\t\(bad\))"
)
"""Prefixes, escape, opcode and ModRM: VEX, EVEX, or 0F but for the long conditional jumps (0F 8x),
of which there are many."""
_PREFIXES: Final = bytes.fromhex("262e363e64656667f0f2f3")
_ARM: Final = re.compile(r":\t[0-9a-f]{8} \t([a-z][^\n<]*)")
_ASKS: Final = {"x86_64": "\tcpuid", "aarch64": ", id_aa64"}
_NO_DIGITS: Final = str.maketrans("", "", "0123456789")
_ARM_ROWS: Final = tuple(
    (str(row["feature"]), re.compile(row["mnemonic"]), re.compile(row["operands"]))
    for row in _TABLE["aarch64"]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """An extension, how many instructions of it there are, and the function with the first."""

    feature: str
    count: int
    symbol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Isa:
    """What the code of a file uses. ``asks`` are functions that ask the processor what it is
    (CPUID, ID_AA64…): code for several processors, chosen at run time, begins there. ``unread``
    says why the file was not looked at, else is empty."""

    uses: tuple[Use, ...] = ()
    instructions: int = 0
    asks: tuple[str, ...] = ()
    unread: str = ""

    @property
    def features(self) -> frozenset[str]:
        """The names of the extensions."""
        return frozenset(use.feature for use in self.uses)


def look(path: Path, arch: str, host: Host) -> Isa:
    """What the machine code of a file uses. Never raises: where it cannot be looked at, ``unread``
    says why."""
    if arch not in _KNOWN:
        return Isa(unread=f"the instructions of {arch} are not known here")
    program = disassembler(arch, host)
    if not program:
        return Isa(unread=f"no objdump for {arch} is installed (GNU binutils)")
    said = host.run([program, "-d", "-w", str(path)], limits=_LIMITS, env={"LC_ALL": "C"})
    if said.timed_out or said.code:
        lines = said.err.strip().splitlines() or [f"exit code {said.code}"]
        return Isa(unread=f"{program} failed: {'too slow' if said.timed_out else lines[-1]}")
    return parse(said.out, arch)


def disassembler(arch: str, host: Host) -> str | None:
    """The objdump for an architecture: this machine's own, or that of a cross toolchain."""
    cross = host.which(_TABLE["objdump"].get(arch, ""))
    return cross or (host.which("objdump") if arch == host.system()[2] else None)


def parse(text: str, arch: str) -> Isa:
    r"""Counts the extensions in what ``objdump -d -w`` prints.

    >>> parse("10 <f>:\n  10:\tc5 fd fe c0          \tvpaddd %ymm0,%ymm0,%ymm0\n", "x86_64").uses
    (Use(feature='avx2', count=1, symbol='f'),)
    >>> parse("4 <g>:\n   4:\t4e829420 \tsdot\tv0.4s, v1.16b, v2.16b\n", "aarch64").uses
    (Use(feature='asimddp', count=1, symbol='g'),)
    """
    pattern, classify = _KNOWN[arch]
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    asks: dict[str, None] = {}
    parts = _FUNCTION.split(text)  # what stands before the first, then names and instructions
    for symbol, body in zip(parts[1::2], parts[2::2], strict=True):
        if _ASKS[arch] in body:
            asks[symbol] = None
        for code, count in Counter(pattern.findall(body)).items():
            if feature := classify(code):
                counts[feature] += count
                first.setdefault(feature, symbol)
    uses = (Use(feature=one, count=counts[one], symbol=first[one]) for one in sorted(counts))
    return Isa(uses=tuple(uses), instructions=text.count(":\t"), asks=tuple(asks))


@lru_cache(maxsize=1 << 17)
def _x86_feature(code: str) -> str:
    """The feature of an instruction's first bytes in hexadecimal."""
    return _of_form(_form(bytes.fromhex(code)))


_of_form = lru_cache(maxsize=1 << 14)(feature_of)


def _form(code: bytes) -> bytes:
    """The same without what a feature never depends on: which registers, which address. A library
    has a hundred thousand different instructions of some hundred forms.

    >>> _form(bytes.fromhex("c5adfeca")).hex(" "), _form(bytes.fromhex("62b15d48fe1c24")).hex(" ")
    ('c5 05 fe c0', '62 01 01 40 fe 00')
    """
    body = code.lstrip(_PREFIXES)
    before, kind = code[: len(code) - len(body)], body[0]
    if kind == 0xC5:
        return before + bytes((kind, body[1] & 0x07, body[2], _place(body[3])))
    if kind == 0xC4:
        head = (kind, body[1] & 0x1F, body[2] & 0x87, body[3])
        return before + bytes((*head, _place(body[4])))
    if kind == 0x62:
        head = (kind, body[1] & 0x07, body[2] & 0x83, body[3] & 0x60)
        return before + bytes((*head, body[4], _place(body[5])))
    return code


def _place(modrm: int) -> int:
    """A ModRM byte that says only whether the last operand is a register or in memory."""
    return 0xC0 if modrm >= 0xC0 else 0


def _arm_feature(code: str) -> str:
    """The feature of an instruction's mnemonic and operands, which a tab separates."""
    return _of_shape(code.translate(_NO_DIGITS))


@lru_cache(maxsize=1 << 14)
def _of_shape(shape: str) -> str:
    """Numbers do not matter: ``sdot v.s, v.b, v.b``."""
    mnemonic, _, operands = shape.partition("\t")
    fits = (
        feature
        for feature, name, registers in _ARM_ROWS
        if name.fullmatch(mnemonic) and registers.search(operands)
    )
    return next(fits, "")


_KNOWN: Final[dict[str, tuple[re.Pattern[str], Callable[[str], str]]]] = {
    "x86_64": (_X86, _x86_feature),
    "aarch64": (_ARM, _arm_feature),
}
