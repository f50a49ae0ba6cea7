"""Which CPU feature an AArch64 instruction belongs to, from its 32-bit word.

The names are those of :mod:`llamabuild.backends.cpu_table` and, where ggml has no option, those of
Linux' ``/proc/cpuinfo``. Each row is a mask and the value of the bits under it, from the encodings
of the Arm Architecture Reference Manual (DDI 0487, part C4, "A64 instruction set encoding"). What
it cannot tell:

* instructions of SVE and SVE2 with a feature of their own (I8MM, BF16, matrices of floats) are
  told apart, the cryptographic ones count as ``sve2``;
* whether a word is an instruction at all: inside the encoding spaces of SVE and SME one that is
  not in the table counts as ``sve`` or ``sme``.

Instructions of plain Armv8.0 belong to no feature: an empty string.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Mask, value, feature, and what it is. The first row that fits counts.
_ROWS: Final = """
fffff8ff d503407f sme      smstart, smstop
fffff800 04bf5800 sme      rdsvl
ffe0f800 04205800 sme      addsvl
ffe0f800 04605800 sme      addspl
9e000000 80000000 sme      the encoding space of SME
ffa0fc00 45009800 i8mm     smmla z
ffa0fc00 45809800 i8mm     usmmla, ummla z
ffe0fc00 44807800 i8mm     usdot z
ffe0f800 44a01800 i8mm     usdot, sudot z, by element
ffe0fc00 64608000 bf16     bfdot z
ffe0fc00 64604000 bf16     bfdot z, by element
ffe0fc00 6460e400 bf16     bfmmla z
ffe0f800 64e08000 bf16     bfmlalb, bfmlalt z
ffe0f000 64e04000 bf16     bfmlalb, bfmlalt z, by element
ffffe000 658aa000 bf16     bfcvt z
ffffe000 648aa000 bf16     bfcvtnt z
ffe0fc00 64a0e400 svef32mm fmmla z.s
ffe0fc00 64e0e400 svef64mm fmmla z.d
ff20f800 44000000 sve      sdot, udot z
ffa0f800 44a00000 sve      sdot, udot z, by element
ff000000 44000000 sve2     multiply-add, predicated integer
ff000000 45000000 sve2     widening, narrowing, match, crypto
ff20e000 04206000 sve2     mul, smulh, pmul, sqdmulh, unpredicated
ff20f800 04203800 sve2     eor3, bcax, bsl
ff20fc00 04203400 sve2     xar
ff3fe000 04068000 sve2     sqshl, by immediate
ff3fe000 04078000 sve2     uqshl, by immediate
ff3ee000 040c8000 sve2     srshr, urshr
ff3fe000 040f8000 sve2     sqshlu
ff20f800 05202800 sve2     tbl of two registers, tbx
ff3fe000 052d8000 sve2     splice of two registers
ffe0e000 05600000 sve2     ext of two registers
ff20e400 25200000 sve2     whilege, whilegt, whilehi, whilehs
ff20fc00 25203000 sve2     whilewr, whilerw
ff38e000 64108000 sve2     pairwise floats
ffe0d800 64a08000 sve2     fmlalb, fmlalt, fmlslb, fmlslt
ffe0d000 64a04000 sve2     the same, by element
ff3ce000 6408a000 sve2     fcvtnt, fcvtlt, fcvtxnt
fff9e000 6518a000 sve2     flogb
ffffe000 650aa000 sve2     fcvtx
1e000000 04000000 sve      the encoding space of SVE
9fe0fc00 0e809400 asimddp  sdot, udot
9fc0f400 0f80e000 asimddp  sdot, udot, by element
dfe0fc00 4e80a400 i8mm     smmla, ummla
ffe0fc00 4e80ac00 i8mm     usmmla
bfe0fc00 0e809c00 i8mm     usdot
bf40f400 0f00f000 i8mm     sudot, usdot, by element
bfe0fc00 2e40fc00 bf16     bfdot
bfc0f400 0f40f000 bf16     bfdot, by element
ffe0fc00 6e40ec00 bf16     bfmmla
bfe0fc00 2ec0fc00 bf16     bfmlalb, bfmlalt
bfc0f400 0fc0f000 bf16     bfmlalb, bfmlalt, by element
bffffc00 0ea16800 bf16     bfcvtn
fffffc00 1e634000 bf16     bfcvt
bf60fc00 0e20ec00 asimdfhm fmlal, fmlsl
bf60fc00 2e20cc00 asimdfhm fmlal2, fmlsl2
bfc0b400 0f800000 asimdfhm fmlal, fmlsl, by element
bfc0b400 2f808000 asimdfhm fmlal2, fmlsl2, by element
bf20f400 2e008400 asimdrdm sqrdmlah, sqrdmlsh
ff20f400 7e008400 asimdrdm sqrdmlah, sqrdmlsh of scalars
bf00d400 2f00d000 asimdrdm the same, by element
ff00d400 7f00d000 asimdrdm the same of scalars, by element
bf20e400 2e00c400 fcma     fcmla
bf20ec00 2e00e400 fcma     fcadd
bf009400 2f001000 fcma     fcmla, by element
9f60c400 0e400400 fp16     vectors, three registers
df60c400 5e400400 fp16     scalars, three registers
9f7e0c00 0e780800 fp16     vectors, two registers
df7e0c00 5e780800 fp16     scalars, two registers
bf7fcc00 0e30c800 fp16     across a vector
ff7fcc00 5e30c800 fp16     a pair
9fc03400 0f001000 fp16     vectors, by element
dfc03400 5f001000 fp16     scalars, by element
bff8fc00 0f00fc00 fp16     fmov of an immediate to a vector
9ff0fc00 0f10e400 fp16     vectors from fixed point
9ff0fc00 0f10fc00 fp16     vectors to fixed point
dff0fc00 5f10e400 fp16     scalars from fixed point
dff0fc00 5f10fc00 fp16     scalars to fixed point
fffe7c00 1ee24000 -        fcvt from half precision
ffe00000 1ee00000 fp16     scalars, one and two registers
7fe00000 1ee00000 fp16     scalars, to and from integers
7fe00000 1ec00000 fp16     scalars, to and from fixed point
ffc00000 1fc00000 fp16     scalars, three registers
fffffc00 1e7e0000 jscvt    fjcvtzs
3ffffc00 38bfc000 lrcpc    ldapr
3f200c00 19000000 ilrcpc   ldapur, stlur
3f200c00 38200000 atomics  ldadd, swp and the like
3fa07c00 08a07c00 atomics  cas
bfa07c00 08207c00 atomics  casp
7fe0e000 1ac04000 crc32    crc32, crc32c
ffffcc00 4e284800 aes      aese, aesd, aesmc, aesimc
bfe0fc00 0ee0e000 pmull    pmull of 64 bits
ffe0cc00 5e000000 sha1     sha1c, sha1p, sha1m, sha1su0
ffe0cc00 5e004000 sha2     sha256h, sha256su1
ffffec00 5e280800 sha1     sha1h, sha1su1
fffffc00 5e282800 sha2     sha256su0
"""


@dataclass(frozen=True, slots=True)
class _Row:
    mask: int
    value: int
    feature: str


def _row(line: str) -> _Row:
    mask, value, feature = line.split()[:3]
    return _Row(int(mask, 16), int(value, 16), feature.strip("-"))


_TABLE: Final = tuple(_row(line) for line in _ROWS.strip().splitlines())
FEATURES: Final = frozenset(row.feature for row in _TABLE) - {""}
"""All names that :func:`feature_of` can give."""


def feature_of(instruction: bytes) -> str:
    """The feature that an instruction needs, from its bytes in memory (always little-endian);
    further bytes behind it do no harm.

    >>> feature_of(bytes.fromhex("00002004"))  # add z0.b, z0.b, z0.b
    'sve'
    >>> feature_of(bytes.fromhex("00a4804e"))  # smmla v0.4s, v0.16b, v0.16b
    'i8mm'
    >>> feature_of(bytes.fromhex("fd7bbfa9"))  # stp x29, x30, [sp, #-16]!
    ''
    """
    if len(instruction) < 4:  # cut off
        return ""
    word = int.from_bytes(instruction[:4], "little")
    return next((row.feature for row in _TABLE if word & row.mask == row.value), "")
