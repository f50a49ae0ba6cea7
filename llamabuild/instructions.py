"""Which CPU feature an x86-64 instruction belongs to, from its first bytes.

The names are those of Linux' ``/proc/cpuinfo``. Prefixes, opcode map and opcode decide
(Intel SDM volume 2, appendix A and chapters 3 to 5), nothing is disassembled further. What it
cannot tell:

* the parts of AVX-512 (F, CD, BW, DQ, VL) are one, ``avx512f``; the extensions after it are apart;
* whether the bytes are a valid instruction at all: inside a map of AVX or AVX-512 an opcode that
  is not in the table counts as ``avx`` or ``avx512f``;
* VAES, VPCLMULQDQ, GFNI and the like count as the encoding that they use.

Instructions of plain x86-64 (up to SSE2) belong to no feature: an empty string.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Encoding, opcode map (1: 0F, 2: 0F38, 3: 0F3A …), mandatory prefix, opcodes, condition, feature.
# A dash is "any"; L256 means 256-bit vectors, mem and reg are the kind of the last operand. The
# first row that fits counts.
_ROWS: Final = """
vex    2 -  49,4b            -    amx_tile
vex    2 f2 5c               -    amx_fp16
vex    2 f3 5c               -    amx_bf16
vex    2 -  5e               -    amx_int8
vex    1 -  41-4b,90-93,98-99 -   avx512f
vex    3 66 30-33            -    avx512f
vex    2 -  f2-f3            -    bmi1
vex    2 -  f5-f6            -    bmi2
vex    2 np f7               -    bmi1
vex    2 -  f7               -    bmi2
vex    3 f2 f0               -    bmi2
vex    2 66 13               -    f16c
vex    3 66 1d               -    f16c
vex    2 66 96-9f,a6-af,b6-bf -   fma
vex    2 66 50-53            -    avx_vnni
vex    1 66 60-6d,70-76,d1-d5,d7-df,e0-e5,e8-ef,f1-f6,f8-fe L256 avx2
vex    1 f2 70               L256 avx2
vex    1 f3 70               L256 avx2
vex    2 66 00-0b,1c-25,28-2b,30-35,37-40 L256 avx2
vex    2 66 16,36,45-47,58-5a,78-79,8c,8e,90-93 - avx2
vex    2 66 18-19            reg  avx2
vex    3 66 0e-0f,42,4c      L256 avx2
vex    3 66 00-02,38-39,46   -    avx2
vex    - -  00-ff            -    avx
evex   2 66 75,7d,8d         W0   avx512vbmi
evex   2 66 83               -    avx512vbmi
evex   2 66 50-53            -    avx512_vnni
evex   2 f3 52,72            -    avx512_bf16
evex   2 f2 72               -    avx512_bf16
evex   2 66 b4-b5            -    avx512ifma
evex   2 66 62-63,70-73      -    avx512_vbmi2
evex   3 66 70-73            -    avx512_vbmi2
evex   2 66 54,8f            -    avx512_bitalg
evex   2 66 55               -    avx512_vpopcntdq
evex   5 -  00-ff            -    avx512_fp16
evex   6 -  00-ff            -    avx512_fp16
evex   - -  00-ff            -    avx512f
legacy 1 f3 b8               -    popcnt
legacy 2 66 37               -    sse4_2
legacy 2 f2 f0-f1            -    sse4_2
legacy 3 66 60-63            -    sse4_2
legacy 2 66 10,14-15,17,20-25,28-2b,30-35,38-41 - sse4_1
legacy 3 66 08-0e,14-17,20-22,40-42 - sse4_1
legacy 2 -  00-0b,1c-1e      -    ssse3
legacy 3 -  0f               -    ssse3
"""

_LEGACY_PREFIXES: Final = frozenset(bytes.fromhex("262e363e64656667f0f2f3"))
_MANDATORY: Final = ("np", "66", "f3", "f2")
_MAPS: Final = {0x38: 2, 0x3A: 3}
_ZEROUPPER: Final = 0x77
"""The only opcode of VEX without a ModRM byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Code:
    """The parts of an instruction that its feature depends on."""

    encoding: str
    map: int
    prefix: str
    opcode: int
    modrm: int
    wide: bool = False
    length: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    encoding: str
    map: str
    prefix: str
    opcodes: frozenset[int]
    condition: str
    feature: str

    def fits(self, code: _Code) -> bool:
        return (
            self.encoding == code.encoding
            and self.map in ("-", str(code.map))
            and self.prefix in ("-", code.prefix)
            and code.opcode in self.opcodes
            and self.condition in ("-", *_conditions(code))
        )


def _row(line: str) -> _Row:
    encoding, map_, prefix, opcodes, condition, feature = line.split()
    spans = (span.partition("-") for span in opcodes.split(","))
    return _Row(
        encoding=encoding,
        map=map_,
        prefix=prefix,
        opcodes=frozenset(
            opcode
            for first, _, last in spans
            for opcode in range(int(first, 16), int(last or first, 16) + 1)
        ),
        condition=condition,
        feature=feature,
    )


_TABLE: Final = tuple(_row(line) for line in _ROWS.strip().splitlines())
FEATURES: Final = frozenset(row.feature for row in _TABLE)
"""All names that :func:`feature_of` can give."""


def feature_of(instruction: bytes) -> str:
    """The feature that an instruction needs; further bytes behind it do no harm.

    >>> feature_of(bytes.fromhex("c4e27b49e0"))  # tilezero %tmm4
    'amx_tile'
    >>> feature_of(bytes.fromhex("62f1fd487f4424 03"))  # vmovdqa64 %zmm0,0xc0(%rsp)
    'avx512f'
    >>> feature_of(bytes.fromhex("4889e5"))  # mov %rsp,%rbp
    ''
    """
    try:
        code = _decode(instruction)
    except IndexError:  # cut off
        return ""
    return next((row.feature for row in _TABLE if row.fits(code)), "")


def _conditions(code: _Code) -> tuple[str, ...]:
    return (
        "W1" if code.wide else "W0",
        ("L128", "L256", "L512", "")[code.length],
        "reg" if code.modrm >= 0xC0 else "mem",
    )


def _decode(code: bytes) -> _Code:
    """Raises IndexError when the bytes end too early."""
    at = 0
    while code[at] in _LEGACY_PREFIXES:
        at += 1
    if code[at] == 0xC5:
        return _vex(map_=1, last=code[at + 1], wide=False, rest=code[at + 2 :])
    if code[at] == 0xC4:
        map_, last = code[at + 1] & 0x1F, code[at + 2]
        return _vex(map_=map_, last=last, wide=last >= 0x80, rest=code[at + 3 :])
    if code[at] == 0x62:
        return _evex(code[at + 1 :])
    return _legacy(code[:at], code[at:])


def _vex(*, map_: int, last: int, wide: bool, rest: bytes) -> _Code:
    return _Code(
        encoding="vex",
        map=map_,
        prefix=_MANDATORY[last & 3],
        opcode=rest[0],
        modrm=0 if rest[0] == _ZEROUPPER else rest[1],
        wide=wide,
        length=last >> 2 & 1,
    )


def _evex(payload: bytes) -> _Code:
    return _Code(
        encoding="evex",
        map=payload[0] & 7,
        prefix=_MANDATORY[payload[1] & 3],
        opcode=payload[3],
        modrm=payload[4],
        wide=payload[1] >= 0x80,
        length=payload[2] >> 5 & 3,
    )


def _legacy(prefixes: bytes, code: bytes) -> _Code:
    """Without VEX or EVEX; F2 and F3 win over 66 as the mandatory prefix."""
    at = 1 if 0x40 <= code[0] < 0x50 else 0  # REX
    if code[at] != 0x0F:
        return _Code(encoding="legacy", map=0, prefix="np", opcode=code[at], modrm=0)
    map_ = _MAPS.get(code[at + 1], 1)
    at += 1 if map_ == 1 else 2
    prefix = next((f"{byte:02x}" for byte in (0xF2, 0xF3, 0x66) if byte in prefixes), "np")
    return _Code(encoding="legacy", map=map_, prefix=prefix, opcode=code[at], modrm=code[at + 1])
