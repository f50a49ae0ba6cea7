from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild.instructions import FEATURES, feature_of

# Bytes as they stood in crash reports and disassemblies of ggml-cpu.
KNOWN = {
    "c4e2784984 24c0000000": "amx_tile",  # ldtilecfg 0xc0(%rsp)
    "c4e27b4b0430": "amx_tile",  # tileloadd (%rax,%rsi,1),%tmm0
    "c4e27b49e0": "amx_tile",  # tilezero %tmm4
    "c4e26b5ec1": "amx_int8",  # tdpbssd %tmm2,%tmm1,%tmm0
    "c4e26a5cc1": "amx_bf16",  # tdpbf16ps %tmm2,%tmm1,%tmm0
    "62f2754850c2": "avx512_vnni",  # vpdpbusd %zmm2,%zmm1,%zmm0
    "c4e27550c2": "avx_vnni",  # {vex} vpdpbusd %ymm2,%ymm1,%ymm0
    "62f2764852c2": "avx512_bf16",  # vdpbf16ps %zmm2,%zmm1,%zmm0
    "62f275488dc2": "avx512vbmi",  # vpermb %zmm2,%zmm1,%zmm0
    "62f2f5488dc2": "avx512f",  # vpermw %zmm2,%zmm1,%zmm0
    "c5f877": "avx",  # vzeroupper
    "c5f1fcc2": "avx",  # vpaddb %xmm2,%xmm1,%xmm0
    "c5f5fcc2": "avx2",  # vpaddb %ymm2,%ymm1,%ymm0
    "c4e27d180424": "avx",  # vbroadcastss (%rsp),%ymm0
    "c4e27d18c0": "avx2",  # vbroadcastss %xmm0,%ymm0
    "c4e27913c0": "f16c",  # vcvtph2ps %xmm0,%xmm0
    "c4e271b8c2": "fma",  # vfmadd231ps %xmm2,%xmm1,%xmm0
    "c4e273f5c2": "bmi2",  # pdep %edx,%ecx,%eax
    "f20f38f1c0": "sse4_2",  # crc32 %eax,%eax
    "f2480f38f1c0": "sse4_2",  # crc32 %rax,%rax
    "0f0b": "",  # ud2
    "4889e5": "",  # mov %rsp,%rbp
    "0f05": "",  # syscall
    "660fefc0": "",  # pxor %xmm0,%xmm0
}


@pytest.mark.parametrize(("code", "feature"), KNOWN.items())
def test_known_instructions(code: str, feature: str) -> None:
    assert feature_of(bytes.fromhex(code)) == feature


@given(st.binary(max_size=16))
def test_any_bytes_have_a_known_feature_or_none(code: bytes) -> None:
    assert feature_of(code) in {"", *FEATURES}


@given(st.sampled_from(sorted(KNOWN)), st.binary(max_size=16))
def test_what_follows_an_instruction_does_not_matter(code: str, rest: bytes) -> None:
    # A crash report holds 16 bytes, whatever the length of the instruction.
    assert feature_of(bytes.fromhex(code) + rest) == KNOWN[code]


@given(st.sampled_from(sorted(code for code, feature in KNOWN.items() if feature)))
def test_an_instruction_that_is_cut_off_has_none(code: str) -> None:
    assert feature_of(bytes.fromhex(code)[:2]) == ""
