from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild.host import LocalHost
from llamabuild.model import Compiler, Verdict
from llamabuild.toolchains import canary

HOST = LocalHost()
CC, CXX = shutil.which("gcc") or "", shutil.which("g++") or ""

pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(HOST.system()[::2] != ("linux", "x86_64"), reason="Linux on x86-64 only"),
    pytest.mark.skipif(not CXX, reason="g++ is not installed"),
]

NAME = "amx-tile-config"
# The intrinsic as GCC 11 and 12 have it, which reads 8 bytes of 64, and as it ought to be.
NARROW = "(*((const void **) (p)))"
WHOLE = "(*((const char (*)[64]) (p)))"


def compiler(folder: Path, *, operand: str = "", output: str = "") -> str:
    """g++ with an intrinsic of its own, or one that refuses, or one whose programs do not run."""
    script = ["#!/bin/sh"]
    if operand:
        header = folder / "intrinsic.h"
        asm = f'__asm__ volatile("ldtilecfg\\t%X0" :: "m"{operand})'
        header.write_text(f"#include <immintrin.h>\n#define _tile_loadconfig(p) {asm}\n")
        script.append(f'exec {CXX} -include {header} "$@"')
    elif output:
        script.append(f'for last; do :; done; printf {output} > "$last"; chmod +x "$last"')
    else:
        script.append('echo "unrecognized option" >&2; exit 1')
    wrapper = folder / "wrapper"
    wrapper.write_text("\n".join(script) + "\n")
    wrapper.chmod(0o755)
    return str(wrapper)


def judge(cxx: str, scratch: Path) -> tuple[Verdict, ...]:
    return canary.judge(CC, cxx, host=HOST, scratch=scratch)


def test_the_compiler_here_is_right_or_can_be_mended(tmp_path: Path) -> None:
    (verdict,) = judge(CXX, tmp_path)
    assert verdict.canary == NAME
    assert verdict.ok or verdict.mended_by == ("-fno-dse",)


def test_dropped_stores_are_found_and_mended(tmp_path: Path) -> None:
    (verdict,) = judge(compiler(tmp_path, operand=NARROW), tmp_path)
    assert not verdict.ok
    assert verdict.mended_by == ("-fno-dse",)
    assert "tile configuration" in verdict.why


def test_kept_stores_are_right(tmp_path: Path) -> None:
    (verdict,) = judge(compiler(tmp_path, operand=WHOLE), tmp_path)
    assert verdict == Verdict(canary=NAME, ok=True)


def test_a_compiler_without_amx_has_no_verdict(tmp_path: Path) -> None:
    assert judge(compiler(tmp_path), tmp_path) == ()


def test_a_program_that_does_not_run_here_is_no_verdict(tmp_path: Path) -> None:
    assert judge(compiler(tmp_path, output="another-machine"), tmp_path) == ()


def judged(verdict: Verdict) -> Compiler:
    made = Compiler(family="gcc", version="12.2.0", target="", cc=CC, cxx=CXX, digest="")
    return replace(made, verdicts=(verdict,))


MENDED = Verdict(canary=NAME, ok=False, mended_by=("-fno-dse",), why="byte 16 is 0, not 64")
WRONG = Verdict(canary=NAME, ok=False, why="byte 16 is 0, not 64")
RIGHT = Verdict(canary=NAME, ok=True)


def test_a_bad_verdict_concerns_those_who_use_the_feature() -> None:
    amx, none = frozenset({"avx", "amx_int8"}), frozenset({"avx", "avx512f"})
    assert canary.concerning(judged(MENDED), amx, fat=False) == (MENDED,)
    assert canary.concerning(judged(MENDED), none, fat=False) == ()
    assert canary.concerning(judged(MENDED), frozenset(), fat=True) == (MENDED,)
    assert canary.concerning(judged(RIGHT), amx, fat=True) == ()


def test_only_what_no_option_mends_is_broken() -> None:
    assert canary.broken(judged(WRONG)) == canary.features(NAME) == {"amx_tile", "amx_int8"}
    assert canary.broken(judged(MENDED)) == frozenset()
    assert canary.broken(judged(RIGHT)) == frozenset()


def test_the_remedy_is_for_one_file_and_says_why() -> None:
    (option,) = canary.source_options(MENDED)
    assert option.source == "ggml/src/ggml-cpu/amx/mmq.cpp"
    assert option.options == ("-fno-dse",)
    remedy = canary.remedy(MENDED)
    assert "-fno-dse" in remedy.why
    assert remedy.evidence == MENDED.why


def test_the_digest_is_that_of_the_files() -> None:
    assert len(canary.digest_of_all()) == 64
    assert canary.digest_of_all() == canary.digest_of_all()
