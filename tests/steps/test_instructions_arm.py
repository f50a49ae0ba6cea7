"""The table of AArch64 instructions against the assembler's own encodings."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from llamabuild.host import Limits, LocalHost
from llamabuild.instructions_arm import FEATURES, feature_of

HERE = LocalHost().system()[2] == "aarch64"
ASSEMBLER = shutil.which("as" if HERE else "aarch64-linux-gnu-as")

pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(not ASSEMBLER, reason="aarch64-linux-gnu-as (binutils) is not installed"),
]

MARCH = "armv8.7-a+fp16+fp16fml+sve2+sve2-aes+sme+bf16+i8mm+f32mm+f64mm+crypto+dotprod"
INSTRUCTIONS = {
    "": "add x0, x1, x2; ldp x29, x30, [sp], #16; fadd v0.4s, v1.4s, v2.4s; ret; svc #0; udf #0; "
    "fmla v0.2d, v1.2d, v2.d[1]; fcvt s0, h1; fcvt d0, h1; fcvt h0, s1; fcvt h3, d4; fmov d0, x1; "
    "fcvtn v0.4h, v1.4s; fcvtl v0.4s, v1.4h; ldxr x0, [x1]; ldar x0, [x1]; stlxr w0, x1, [x2]; "
    "mul v0.8h, v1.8h, v2.h[3]; sqdmulh v0.4s, v1.4s, v2.4s; tbl v0.16b, {v1.16b}, v2.16b; "
    "pmull v0.8h, v1.8b, v2.8b; smlal v0.4s, v1.4h, v2.h[1]; ld1 {v0.16b, v1.16b}, [x0]; "
    "ldr h0, [x1]; ldrsw x0, [x1, x2]; cnt v0.8b, v1.8b; fmov v0.4s, #1.0; addv s0, v1.4s; "
    "scvtf v0.4s, v1.4s, #3; ushll v0.8h, v1.8b, #0; umaxv b0, v1.16b; fmaxv s0, v1.4s; "
    "shl v0.8h, v1.8h, #3; mrs x0, tpidr_el0; fmadd s0, s1, s2, s3; madd x0, x1, x2, x3; "
    "sshll v0.4s, v1.4h, #2; addp d0, v1.2d; faddp s0, v1.2s; str q0, [x0, #16]; "
    "prfm pldl1keep, [x0]; ldur x0, [x1, #-8]; ldaxp x0, x1, [x2]; sqshl v0.8h, v1.8h, #2; "
    "uqrshrn v0.8b, v1.8h, #3; fcmgt v0.4s, v1.4s, #0.0; frecpe v0.4s, v1.4s; movi v0.8h, #1; "
    "orr v0.8h, #2; mla v0.8h, v1.8h, v2.h[0]; sqrdmulh v0.8h, v1.8h, v2.h[0]; fcvtzs w0, s1; "
    "ldrb w0, [x1, w2, uxtw]; lslv x0, x1, x2; udiv x0, x1, x2; rbit x0, x1; ext v0.16b, v1.16b, "
    "v2.16b, #3; zip1 v0.8h, v1.8h, v2.8h; ins v0.h[1], v1.h[2]; dup v0.8h, w1; smov x0, v1.h[2]; "
    "fcsel s0, s1, s2, eq; fcmp d0, #0.0; frintm v0.2d, v1.2d; sshr d0, d1, #3; mvni v0.8h, #1",
    "asimddp": "sdot v0.4s, v1.16b, v2.16b; udot v0.2s, v1.8b, v2.8b; sdot v0.4s, v1.16b, v2.4b[3];"
    "udot v31.4s, v30.16b, v29.4b[0]; sdot v0.2s, v1.8b, v31.4b[1]",
    "i8mm": "smmla v0.4s, v1.16b, v2.16b; ummla v0.4s, v1.16b, v2.16b; usdot v0.2s, v1.8b, v2.8b; "
    "usmmla v0.4s, v1.16b, v2.16b; sudot v0.4s, v1.16b, v2.4b[3]; usdot v0.4s, v1.16b, v2.4b[0]; "
    "smmla z0.s, z1.b, z2.b; ummla z0.s, z1.b, z2.b; usmmla z0.s, z1.b, z2.b; usdot z0.s, z1.b, "
    "z2.b; usdot z0.s, z1.b, z2.b[1]; sudot z0.s, z1.b, z2.b[3]",
    "bf16": "bfdot v0.4s, v1.8h, v2.8h; bfdot v0.2s, v1.4h, v2.2h[1]; bfmmla v0.4s, v1.8h, v2.8h; "
    "bfmlalb v0.4s, v1.8h, v2.8h; bfmlalt v0.4s, v1.8h, v2.h[7]; bfcvtn v0.4h, v1.4s; bfcvt h0, s1;"
    "bfcvtn2 v0.8h, v1.4s; bfdot z0.s, z1.h, z2.h; bfdot z0.s, z1.h, z2.h[1]; bfmmla z0.s, z1.h, "
    "z2.h; bfmlalb z0.s, z1.h, z2.h; bfmlalt z0.s, z1.h, z2.h; bfmlalt z0.s, z1.h, z2.h[5]; "
    "bfcvt z0.h, p0/m, z1.s; bfcvtnt z0.h, p0/m, z1.s",
    "fp16": "fadd v0.8h, v1.8h, v2.8h; fmla v0.4h, v1.4h, v2.4h; fmla v0.8h, v1.8h, v2.h[7]; "
    "fmul h0, h1, v2.h[3]; fadd h0, h1, h2; fmadd h0, h1, h2, h3; fcmp h0, h1; fmov h0, #1.0; "
    "fmov h0, w1; fmov x0, h1; fcvtzs w0, h1; scvtf h0, x1; scvtf h0, w1, #3; fcsel h0, h1, h2, eq;"
    "fabs v0.8h, v1.8h; fmaxnmv h0, v1.8h; fminv h0, v1.4h; faddp h0, v1.2h; fmov v0.8h, #1.0; "
    "frintm h0, h1; fsqrt h0, h1; fsqrt v0.8h, v1.8h; fmulx v0.8h, v1.8h, v2.h[1]; fabd h0, h1, h2;"
    "fcmgt v0.8h, v1.8h, #0.0; scvtf v0.8h, v1.8h; scvtf v0.8h, v1.8h, #3; fcvtzu v0.4h, v1.4h, #1;"
    "ucvtf h0, h1, #3; frecpe h0, h1; fcmge h0, h1, #0.0; fmulx h0, h1, h2; fneg h0, h1; "
    "fmaxnmp h0, v1.2h",
    "asimdfhm": "fmlal v0.4s, v1.4h, v2.4h; fmlsl v0.2s, v1.2h, v2.2h; fmlal2 v0.4s, v1.4h, v2.4h; "
    "fmlsl2 v0.4s, v1.4h, v2.4h; fmlal v0.4s, v1.4h, v2.h[3]; fmlsl v0.4s, v1.4h, v2.h[7]; "
    "fmlal2 v0.4s, v1.4h, v2.h[3]; fmlsl2 v0.2s, v1.2h, v2.h[0]",
    "asimdrdm": "sqrdmlah v0.8h, v1.8h, v2.8h; sqrdmlsh v0.4s, v1.4s, v2.4s; sqrdmlah h0, h1, h2; "
    "sqrdmlsh s0, s1, s2; sqrdmlah v0.8h, v1.8h, v2.h[3]; sqrdmlsh v0.4s, v1.4s, v2.s[1]; "
    "sqrdmlah h0, h1, v2.h[1]",
    "fcma": "fcmla v0.4s, v1.4s, v2.4s, #90; fcmla v0.8h, v1.8h, v2.8h, #0; fcadd v0.2d, v1.2d, "
    "v2.2d, #270; fcmla v0.4s, v1.4s, v2.s[1], #180; fcmla v0.8h, v1.8h, v2.h[1], #0",
    "sve": "add z0.b, z1.b, z2.b; ptrue p0.b; whilelt p0.s, w0, w1; whilelo p0.b, x0, x1; "
    "ld1w {z0.s}, p0/z, [x0]; st1h {z0.h}, p0, [x0, x1, lsl #1]; fmla z0.s, p0/m, z1.s, z2.s; "
    "sdot z0.s, z1.b, z2.b; udot z0.d, z1.h, z2.h; sdot z0.s, z1.b, z2.b[3]; udot z0.d, z1.h, "
    "z2.h[1]; cntb x0; rdvl x0, #1; incw x0; faddv s0, p0, z1.s; fadd z0.h, z1.h, z2.h; "
    "sel z0.b, p0, z1.b, z2.b; tbl z0.b, {z1.b}, z2.b; movprfx z0, z1; ldr z0, [x0]; str p0, [x0]; "
    "mul z0.s, p0/m, z0.s, z1.s; asr z0.s, p0/m, z0.s, #3; and z0.d, z1.d, z2.d; dup z0.s, w1; "
    "ld1rqb {z0.b}, p0/z, [x0]; uzp1 z0.b, z1.b, z2.b; ext z0.b, z0.b, z1.b, #3; splice z0.b, p0, "
    "z0.b, z1.b; lsl z0.s, z1.s, #3; fmul z0.s, z1.s, z2.s[1]; fcvt z0.h, p0/m, z1.s; "
    "scvtf z0.s, p0/m, z1.s; ldff1b {z0.b}, p0/z, [x0]; adr z0.s, [z1.s, z2.s]; lsr z0.b, p0/m, "
    "z0.b, #1; asrd z0.s, p0/m, z0.s, #2; lsl z0.s, p0/m, z0.s, #2; mov z0.s, p0/m, #1; "
    "smax z0.s, z0.s, #3; cmpgt p0.s, p0/z, z0.s, #0; fexpa z0.s, z1.s; index z0.s, #0, #1; "
    "ftmad z0.s, z0.s, z1.s, #3; fmad z0.s, p0/m, z1.s, z2.s; fcmla z0.s, p0/m, z1.s, z2.s, #90; "
    "fcadd z0.s, p0/m, z0.s, z1.s, #90; fcmla z0.s, z1.s, z2.s[1], #0; cntp x0, p0, p0.b; "
    "clasta w0, p0, w0, z1.s; compact z0.s, p0, z1.s; insr z0.s, w0; frecpe z0.s, z1.s; "
    "fscale z0.s, p0/m, z0.s, z1.s; fcvtzs z0.s, p0/m, z1.s; ld1w {z0.s}, p0/z, [x0, z1.s, uxtw]",
    "svef32mm": "fmmla z0.s, z1.s, z2.s; fmmla z31.s, z30.s, z29.s",
    "svef64mm": "fmmla z0.d, z1.d, z2.d; fmmla z31.d, z30.d, z29.d",
    "sve2": "smlalb z0.s, z1.h, z2.h; sqrdmlah z0.s, z1.s, z2.s; saddlb z0.s, z1.h, z2.h; "
    "mul z0.s, z1.s, z2.s; sqdmulh z0.s, z1.s, z2.s; tbl z0.b, {z1.b, z2.b}, z3.b; tbx z0.b, z1.b, "
    "z2.b; eor3 z0.d, z0.d, z1.d, z2.d; bsl z0.d, z0.d, z1.d, z2.d; xar z0.s, z0.s, z1.s, #3; "
    "whilege p0.s, w0, w1; whilehi p0.b, x0, x1; whilewr p0.b, x0, x1; whilerw p0.s, x0, x1; "
    "faddp z0.s, p0/m, z0.s, z1.s; fmlalb z0.s, z1.h, z2.h; fmlslt z0.s, z1.h, z2.h; fmlalt z0.s, "
    "z1.h, z2.h[3]; fcvtnt z0.h, p0/m, z1.s; fcvtlt z0.s, p0/m, z1.h; fcvtxnt z0.s, p0/m, z1.d; "
    "fcvtx z0.s, p0/m, z1.d; flogb z0.s, p0/m, z1.s; sqshl z0.s, p0/m, z0.s, #3; uqshl z0.s, p0/m, "
    "z0.s, #3; srshr z0.s, p0/m, z0.s, #3; urshr z0.b, p0/m, z0.b, #3; sqshlu z0.s, p0/m, z0.s, #3;"
    "splice z0.b, p0, {z1.b, z2.b}; ext z0.b, {z1.b, z2.b}, #3; match p0.b, p0/z, z1.b, z2.b; "
    "mla z0.s, z1.s, z2.s[1]; smullb z0.s, z1.h, z2.h[1]; cdot z0.s, z1.b, z2.b, #90; aese z0.b, "
    "z0.b, z1.b; histseg z0.b, z1.b, z2.b; shrnb z0.b, z1.h, #3; addhnb z0.b, z1.h, z2.h; "
    "sqadd z0.b, p0/m, z0.b, z1.b; cadd z0.b, z0.b, z1.b, #90; sshllb z0.s, z1.h, #3; "
    "cmla z0.s, z1.s, z2.s, #90; sadalp z0.s, p0/m, z1.h; pmul z0.b, z1.b, z2.b; ssra z0.s, z1.s, "
    "#3; sqxtnb z0.b, z1.h; urecpe z0.s, p0/m, z1.s; sli z0.s, z1.s, #3",
    "sme": "smstart; smstop; smstart za; smstop sm; rdsvl x0, #1; addsvl x0, x1, #1; addspl x0, "
    "x1, #1; zero {za}; fmopa za0.s, p0/m, p1/m, z0.s, z1.s; smopa za0.s, p0/m, p1/m, z0.b, z1.b; "
    "bfmopa za0.s, p0/m, p1/m, z0.h, z1.h; ld1w {za0h.s[w12, #0]}, p0/z, [x0]; ldr za[w12, #0], "
    "[x0]; mova z0.s, p0/m, za0h.s[w12, #0]; addha za0.s, p0/m, p1/m, z0.s",
    "jscvt": "fjcvtzs w0, d1; fjcvtzs w30, d31",
    "lrcpc": "ldapr x0, [x1]; ldapr w0, [x1]; ldaprb w0, [x1]; ldaprh w0, [x1]",
    "ilrcpc": "ldapur x0, [x1, #8]; stlur w0, [x1, #-4]; ldapursb x0, [x1]; stlurb w0, [x1, #1]",
    "atomics": "ldadd x0, x1, [x2]; ldaddal w0, w1, [x2]; swp x0, x1, [x2]; stset w0, [x1]; "
    "cas x0, x1, [x2]; casal w0, w1, [x2]; casab w0, w1, [x2]; casp x0, x1, x2, x3, [x4]; "
    "ldumaxalh w0, w1, [x2]",
    "crc32": "crc32b w0, w1, w2; crc32x w0, w1, x2; crc32ch w0, w1, w2; crc32cx w0, w1, x2",
    "aes": "aese v0.16b, v1.16b; aesd v0.16b, v1.16b; aesmc v0.16b, v1.16b; aesimc v0.16b, v1.16b",
    "pmull": "pmull v0.1q, v1.1d, v2.1d; pmull2 v0.1q, v1.2d, v2.2d",
    "sha1": "sha1c q0, s1, v2.4s; sha1p q0, s1, v2.4s; sha1m q0, s1, v2.4s; sha1h s0, s1; "
    "sha1su0 v0.4s, v1.4s, v2.4s; sha1su1 v0.4s, v1.4s",
    "sha2": "sha256h q0, q1, v2.4s; sha256h2 q0, q1, v2.4s; sha256su0 v0.4s, v1.4s; "
    "sha256su1 v0.4s, v1.4s, v2.4s",
}


def test_every_row_is_tried() -> None:
    assert FEATURES | {""} == set(INSTRUCTIONS)


@pytest.mark.parametrize("feature", INSTRUCTIONS)
def test_assembled_instructions(feature: str, tmp_path: Path) -> None:
    lines = [" ".join(line.split()) for line in INSTRUCTIONS[feature].split(";")]
    ended = LocalHost().run(
        [str(ASSEMBLER), f"-march={MARCH}", "-al", "-o", str(tmp_path / "a.o"), "-"],
        limits=Limits(seconds=30),
        stdin="\n".join(lines) + "\n",
    )
    if "unknown architectural extension" in ended.err:
        pytest.skip(f"this assembler is too old: {ended.err.splitlines()[-1]}")
    assert ended.code == 0, ended.err
    codes = re.findall(r"^ +\d+ [0-9a-f]{4} ([0-9A-F]{8}) ", ended.out, re.MULTILINE)
    assert len(codes) == len(lines)
    found = {line: feature_of(bytes.fromhex(c)) for line, c in zip(lines, codes, strict=True)}
    assert found == dict.fromkeys(lines, feature)
