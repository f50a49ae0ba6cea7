"""The table of instructions against the assembler's own encodings."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from llamabuild.host import Limits, LocalHost
from llamabuild.instructions import feature_of

pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(not shutil.which("as"), reason="as (binutils) is not installed"),
    pytest.mark.skipif(LocalHost().system()[2] != "x86_64", reason="as here is not for x86-64"),
]

INSTRUCTIONS = {
    "": "mov %rsp,%rbp; paddd %xmm1,%xmm0; movdqu (%rax),%xmm9; cvttps2dq %xmm1,%xmm2; ud2; "
    "cmovne %r9,%r10; movntdq %xmm0,(%r8); rep movsb; lock xaddl %eax,(%rdx)",
    "ssse3": "pshufb %xmm1,%xmm0; palignr $3,%xmm1,%xmm0; pabsd %xmm9,%xmm2; "
    "pmaddubsw (%rax),%xmm0; phaddw %xmm1,%xmm0",
    "sse4_1": "pmulld %xmm1,%xmm0; roundps $1,%xmm1,%xmm0; pextrb $1,%xmm0,%eax; "
    "ptest %xmm8,%xmm1; blendvps %xmm1,%xmm2; pmovsxbw %xmm0,%xmm1; "
    "dpps $1,%xmm0,%xmm1; mpsadbw $1,%xmm0,%xmm1",
    "sse4_2": "pcmpgtq %xmm1,%xmm0; crc32b %al,%ecx; crc32q %rax,%r9; pcmpistri $1,%xmm1,%xmm0; "
    "pcmpestrm $1,(%rax),%xmm9",
    "popcnt": "popcnt %eax,%ecx; popcnt %rax,%rcx; popcnt (%r8),%r9; popcnt %r8d,%r9d; "
    "popcnt %ax,%cx",
    "bmi1": "andn %eax,%ecx,%edx; blsr %eax,%ecx; blsi %r8,%r9; bextr %eax,%ecx,%edx; "
    "blsmsk %rax,%rcx",
    "bmi2": "pdep %rax,%rcx,%rdx; pext %r8,%r9,%r10; mulx %eax,%ecx,%edx; rorx $3,%eax,%ecx; "
    "shlx %eax,(%rcx),%edx; sarx %r8,%r9,%r10; bzhi %eax,%ecx,%edx",
    "avx": "vaddps %ymm1,%ymm2,%ymm3; vpaddd %xmm1,%xmm2,%xmm3; vmovdqu (%rax),%ymm9; vzeroupper; "
    "vbroadcastss (%rax),%ymm1; vpermilps $3,%ymm1,%ymm2; vinsertf128 $1,%xmm1,%ymm2,%ymm3; "
    "vptest %ymm1,%ymm2; vcvttpd2dq %ymm1,%xmm2; vmovntdq %ymm1,(%r9); vlddqu (%rax),%ymm0",
    "f16c": "vcvtph2ps %xmm1,%ymm2; vcvtph2ps (%rax),%xmm9; vcvtps2ph $0,%ymm1,%xmm2; "
    "vcvtps2ph $4,%xmm8,(%r9); vcvtph2ps %xmm10,%xmm11",
    "fma": "vfmadd231ps %ymm1,%ymm2,%ymm3; vfmadd132sd (%rax),%xmm2,%xmm3; "
    "vfnmadd213ps %xmm9,%xmm2,%xmm3; vfmsub231ss %xmm1,%xmm2,%xmm3; "
    "vfmaddsub132pd %ymm1,%ymm2,%ymm13",
    "avx2": "vpaddd %ymm1,%ymm2,%ymm3; vpermd %ymm1,%ymm2,%ymm3; vpbroadcastb %xmm1,%ymm2; "
    "vpsllvd %xmm1,%xmm2,%xmm3; vinserti128 $1,%xmm1,%ymm2,%ymm3; vpmaddubsw (%rax),%ymm9,%ymm3; "
    "vpmaskmovd (%rax),%xmm1,%xmm2; vbroadcastss %xmm1,%ymm2; vpshufhw $3,%ymm1,%ymm2; "
    "vpmovzxbw %xmm1,%ymm2; vpgatherdd %ymm1,(%rax,%ymm2,4),%ymm3; vpmovmskb %ymm1,%eax; "
    "vpalignr $3,%ymm1,%ymm2,%ymm3; vpsrld $3,%ymm1,%ymm2; vmovntdqa (%rax),%ymm1",
    "avx_vnni": "{vex} vpdpbusd %ymm1,%ymm2,%ymm3; {vex} vpdpbusds %xmm1,%xmm2,%xmm3; "
    "{vex} vpdpwssd (%rax),%ymm2,%ymm3; {vex} vpdpwssds %ymm9,%ymm2,%ymm3; "
    "{vex} vpdpbusd (%r8),%xmm2,%xmm13",
    "avx512f": "vaddps %zmm1,%zmm2,%zmm3; vpaddb %zmm1,%zmm2,%zmm3; vmovdqu8 (%rax),%xmm9{%k1}; "
    "kmovw %k1,%eax; kandq %k1,%k2,%k3; kshiftrd $3,%k1,%k2; vpermw %zmm1,%zmm2,%zmm3; "
    "vpternlogd $3,%ymm1,%ymm2,%ymm3; vcvtph2ps %ymm17,%zmm18; vfmadd231ps %zmm1,%zmm2,%zmm3; "
    "vpconflictd %zmm1,%zmm2; vpmovm2b %k1,%zmm2; vpermi2w %zmm1,%zmm2,%zmm3",
    "avx512vbmi": "vpermb %zmm1,%zmm2,%zmm3; vpermi2b %zmm1,%zmm2,%zmm3; "
    "vpermt2b %ymm1,%ymm2,%ymm3; vpmultishiftqb %zmm1,%zmm2,%zmm3; vpermb (%rax),%xmm2,%xmm19{%k1}",
    "avx512_vnni": "vpdpbusd %zmm1,%zmm2,%zmm3; vpdpbusds %zmm1,%zmm2,%zmm3; "
    "vpdpwssd (%rax){1to16},%zmm2,%zmm3; vpdpwssds %ymm17,%ymm2,%ymm3; "
    "vpdpbusd %xmm1,%xmm2,%xmm30",
    "avx512_bf16": "vdpbf16ps %zmm1,%zmm2,%zmm3; vcvtneps2bf16 %zmm1,%ymm2; "
    "vcvtne2ps2bf16 %zmm1,%zmm2,%zmm3; vdpbf16ps (%rax),%ymm2,%ymm3{%k1}; "
    "vcvtneps2bf16 %xmm1,%xmm22",
    "avx512ifma": "vpmadd52luq %zmm1,%zmm2,%zmm3; vpmadd52huq %zmm1,%zmm2,%zmm3; "
    "vpmadd52luq (%rax),%ymm2,%ymm3; vpmadd52huq %xmm1,%xmm2,%xmm3; "
    "vpmadd52luq %zmm21,%zmm2,%zmm3",
    "avx512_vbmi2": "vpshldvd %zmm1,%zmm2,%zmm3; vpshrdw $3,%zmm1,%zmm2,%zmm3; "
    "vpcompressb %zmm1,%zmm2; vpexpandw %zmm1,%zmm2; vpshrdvw %ymm1,%ymm2,%ymm3",
    "avx512_bitalg": "vpopcntb %zmm1,%zmm2; vpopcntw %zmm1,%zmm2; vpshufbitqmb %zmm1,%zmm2,%k1; "
    "vpopcntb (%rax),%ymm2; vpopcntw %xmm17,%xmm2",
    "avx512_vpopcntdq": "vpopcntd %zmm1,%zmm2; vpopcntq %zmm1,%zmm2; vpopcntd (%rax),%ymm2; "
    "vpopcntq %xmm17,%xmm2; vpopcntd %ymm1,%ymm2",
    "avx512_fp16": "vaddph %zmm1,%zmm2,%zmm3; vfmadd231ph %zmm1,%zmm2,%zmm3; vcvtw2ph %zmm1,%zmm2; "
    "vmovsh (%rax),%xmm1; vmulph %ymm1,%ymm2,%ymm3",
    "amx_tile": "ldtilecfg (%rax); sttilecfg 0x80(%r12,%r9,4); tilerelease; tilezero %tmm7; "
    "tileloadd (%rax,%rcx,1),%tmm3; tileloaddt1 (%r8,%r9,2),%tmm1; tilestored %tmm2,(%rax,%rdx,1)",
    "amx_int8": "tdpbssd %tmm1,%tmm2,%tmm3; tdpbsud %tmm1,%tmm2,%tmm3; tdpbusd %tmm1,%tmm2,%tmm3; "
    "tdpbuud %tmm1,%tmm2,%tmm3; tdpbssd %tmm7,%tmm0,%tmm4",
    "amx_bf16": "tdpbf16ps %tmm1,%tmm2,%tmm3; tdpbf16ps %tmm7,%tmm0,%tmm4; "
    "tdpbf16ps %tmm0,%tmm1,%tmm2; tdpbf16ps %tmm3,%tmm4,%tmm5; tdpbf16ps %tmm6,%tmm5,%tmm7",
}


def _assembled(text: str, folder: Path) -> dict[str, bytes]:
    """Each instruction with its bytes, from the assembler's listing."""
    host = LocalHost()
    lines = [line.strip() for line in text.split(";")]
    ended = host.run(
        ["as", "--64", "-al", "--listing-lhs-width=4", "-o", str(folder / "a.o"), "-"],
        limits=Limits(seconds=30),
        stdin="\n".join(lines) + "\n",
    )
    if "no such instruction" in ended.err:
        pytest.skip(f"this assembler is too old: {ended.err.splitlines()[1]}")
    assert ended.code == 0, ended.err
    listing = re.findall(r"^ +\d+ [0-9a-f]{4} ((?:[0-9A-F]+ )+) *\t(.+)$", ended.out, re.MULTILINE)
    found = {line: bytes.fromhex(code) for code, line in listing}
    assert list(found) == lines
    return found


@pytest.mark.parametrize("feature", INSTRUCTIONS)
def test_assembled_instructions(feature: str, tmp_path: Path) -> None:
    assembled = _assembled(INSTRUCTIONS[feature], tmp_path)
    assert len(assembled) >= 5
    assert {line: feature_of(code) for line, code in assembled.items()} == dict.fromkeys(
        assembled, feature
    )
