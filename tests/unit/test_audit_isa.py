from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild.audit import isa
from llamabuild.instructions import feature_of

X86 = """
lib.so:     file format elf64-x86-64


Disassembly of section .text:

0000000000001000 <plain>:
    1000:\t48 89 e5             \tmov    %rsp,%rbp
    1003:\t0f 84 02 01 00 00    \tje     110b <other>
    1009:\t66 0f ef c0          \tpxor   %xmm0,%xmm0
    100d:\tc3                   \tret

0000000000001010 <first>:
    1010:\tc5 fd fe c1          \tvpaddd %ymm1,%ymm0,%ymm0
    1014:\tc4 e2 7d 98 00       \tvfmadd132ps (%rax),%ymm0,%ymm0
    1019:\tc5 ed fe 14 24       \tvpaddd (%rsp),%ymm2,%ymm2
    101e:\t0f a2                \tcpuid

0000000000001020 <second(int)>:
    1020:\t62 f1 7d 48 fe c0    \tvpaddd %zmm0,%zmm0,%zmm0
    1026:\tf3 48 0f b8 c1       \tpopcnt %rcx,%rax
    102b:\tc4 e2 7b             \t(bad)
    102e:\tc4 e2 7b 5e ff 00    \t(bad)
    1034:\t66 0f 3a 63 c0 0c    \tpcmpistri $0xc,%xmm0,%xmm0
"""


def test_x86_by_bytes() -> None:
    found = isa.parse(X86, "x86_64")
    assert [(use.feature, use.count, use.symbol) for use in found.uses] == [
        ("avx2", 2, "first"),
        ("avx512f", 1, "second(int)"),
        ("fma", 1, "first"),
        ("popcnt", 1, "second(int)"),
        ("sse4_2", 1, "second(int)"),
    ]
    assert found.instructions == 13
    assert found.asks == ("first",)
    assert found.features == {"avx2", "avx512f", "fma", "popcnt", "sse4_2"}


@pytest.mark.parametrize(
    ("line", "feature"),
    [
        ("sdot\tv0.4s, v1.16b, v2.16b", "asimddp"),
        ("udot\tv0.2s, v1.8b, v2.4b[1]", "asimddp"),
        ("smmla\tv0.4s, v1.16b, v2.16b", "i8mm"),
        ("usdot\tv0.4s, v1.16b, v2.16b", "i8mm"),
        ("bfdot\tv0.4s, v1.8h, v2.8h", "bf16"),
        ("bfcvt\th0, s0", "bf16"),
        ("fadd\tv0.8h, v0.8h, v1.8h", "fp16"),
        ("fmla\tv0.4h, v1.4h, v2.h[3]", "fp16"),
        ("fadd\th0, h1, h2", "fp16"),
        ("scvtf\tv0.8h, v0.8h", "fp16"),
        ("fmlal\tv0.4s, v1.4h, v2.4h", "asimdfhm"),
        ("fadd\tz0.s, z0.s, z1.s", "sve"),
        ("ld1w\t{z0.s}, p0/z, [x0]", "sve"),
        ("whilelo\tp0.s, wzr, w2", "sve"),
        ("ptrue\tp0.b", "sve"),
        ("ldr\tz0, [x0]", "sve"),
        ("str\tp0, [sp, #7, mul vl]", "sve"),
        ("cntw\tx0", "sve"),
        ("rdvl\tx1, #1", "sve"),
        ("sdot\tz0.s, z1.b, z2.b", "sve"),
        ("smullb\tz0.h, z1.b, z2.b", "sve2"),
        ("tbx\tz0.b, z1.b, z2.b", "sve2"),
        ("eor3\tz0.d, z0.d, z1.d, z2.d", "sve2"),
        ("smstart\tza", "sme"),
        ("smstart", "sme"),
        ("fmopa\tza0.s, p0/m, p0/m, z0.s, z1.s", "sme"),
        ("zero\t{za}", "sme"),
        ("fcvt\ts0, h0", ""),
        ("fcvtl\tv0.4s, v0.4h", ""),
        ("fcvtl2\tv0.4s, v0.8h", ""),
        ("fcvtn2\tv0.8h, v1.4s", ""),
        ("ldr\th0, [x0]", ""),
        ("fadd\tv0.4s, v0.4s, v1.4s", ""),
        ("fadd\ts0, s1, s2", ""),
        ("add\tv0.8h, v0.8h, v1.8h", ""),
        ("mov\tv0.h[1], w0", ""),
        ("bfi\tx0, x1, #3, #4", ""),
        ("bl\t4e0 <z0.s>", ""),
        ("cnt\tv0.8b, v0.8b", ""),
        ("eor\tv0.16b, v0.16b, v1.16b", ""),
        ("tbx\tv0.16b, {v1.16b}, v2.16b", ""),
        ("stp\tx29, x30, [sp, #-16]!", ""),
        ("stp\txzr, xzr, [x0]", ""),
        ("eor\tz0.d, z0.d, z1.d", "sve"),
        ("ret", ""),
    ],
)
def test_aarch64_by_mnemonic_and_registers(line: str, feature: str) -> None:
    text = f"0000000000000630 <f>:\n 630:\t4e829420 \t{line}\n 634:\td65f03c0 \tret\n"
    assert isa.parse(text, "aarch64").features == ({feature} if feature else frozenset())


def test_aarch64_that_asks_the_processor() -> None:
    text = "00 <f>:\n   0:\td5380400 \tmrs\tx0, id_aa64pfr0_el1\n"
    assert isa.parse(text, "aarch64").asks == ("f",)


_LEADS = st.sampled_from(["c5", "c4e2", "c4e1", "c4e3", "62f1", "62f2", "62f3", "0f38", "660f3a"])


@given(_LEADS, st.binary(min_size=8, max_size=8))
def test_registers_and_addresses_make_no_difference(lead: str, rest: bytes) -> None:
    """What the cache is keyed by is enough to tell the feature."""
    code = bytes.fromhex(lead) + rest
    short = isa._X86.match(f":\t{code.hex(' ')} \tx")
    assert short
    assert isa._x86_feature(short[1]) == feature_of(code)


@given(st.text(alphabet="0123456789abcdef <>:\t\ncvz.(){}_", max_size=200))
def test_any_text_is_read(text: str) -> None:
    for arch in ("x86_64", "aarch64"):
        assert isa.parse(text, arch).instructions >= 0
