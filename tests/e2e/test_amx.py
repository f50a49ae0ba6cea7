"""AMX, miscompiled by GCC 12 and mended, on a machine that has it or under the emulator.

The emulated machine is this one with AMX words in its /proc/cpuinfo and a preloaded library that
carries out the AMX instructions that trap; compiler, sources, crash and numbers are real.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import attempts, backends, heal, pipeline, plan, probe, recipes, store
from llamabuild.events import Event, Healed
from llamabuild.host import Finished, Limits, LocalHost, Service
from llamabuild.model import Source
from llamabuild.request import Request
from llamabuild.toolchains import canary

pytestmark = pytest.mark.llama
EMULATOR = Path(__file__).resolve().parents[1] / "amx" / "emulator.c"
WORDS = "amx_tile amx_int8 amx_bf16"
NEEDED = {"avx512f", "avx512_vnni"}
TILES = 3 << 17
"""XCR0 bits 17 and 18: tile configuration and tile data."""


class AmxHost(LocalHost):
    """This machine with AMX: its own, else emulated in every child."""

    def __init__(self, emulator: Path) -> None:
        self._emulator = emulator

    def read_text(self, path: str) -> str | None:
        text = super().read_text(path)
        if path != "/proc/cpuinfo" or text is None or "amx_int8" in text:
            return text
        return text.replace(" avx512_vnni", f" avx512_vnni {WORDS}")

    def _with_emulator(self, env: Mapping[str, str] | None) -> dict[str, str]:
        env = dict(os.environ if env is None else env)
        env["LD_PRELOAD"] = f"{env.get('LD_PRELOAD', '')} {self._emulator}".strip()
        return env

    def run(
        self,
        argv: Sequence[str],
        *,
        limits: Limits,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
    ) -> Finished:
        env = self._with_emulator(env)
        ended = super().run(argv, limits=limits, env=env, cwd=cwd, stdin=stdin)
        # XGETBV cannot be trapped: what the emulated system saves is said here.
        out = re.sub(r"(?m)^xcr0 (\w+)$", lambda m: f"xcr0 {int(m[1], 16) | TILES:x}", ended.out)
        return replace(ended, out=out)

    def serve(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, limits: Limits
    ) -> contextlib.AbstractContextManager[Service]:
        return super().serve(argv, env=self._with_emulator(env), limits=limits)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> AmxHost:
    hardware = probe.probe(LocalHost(), cache=cache)[0]
    usable = {feature.name for feature in hardware.cpu.features if feature.usable}
    if not usable >= NEEDED:
        pytest.skip("ggml's AMX code needs AVX-512 VNNI, which this machine does not have")
    library = tmp_path_factory.mktemp("amx") / "emulator.so"
    argv = ["gcc", "-O3", "-march=native", "-fPIC", "-shared", str(EMULATOR), "-o", str(library)]
    if subprocess.run(argv, check=False, capture_output=True).returncode != 0:
        pytest.skip("no compiler for the emulator")
    return AmxHost(library)


def request(host: AmxHost, cache: Path, source: Source) -> Request:
    hardware, toolchain = probe.probe(host, cache=cache)
    return Request(
        recipe=recipes.load("cpu-native", tuple(backends.BACKENDS)),
        pin=source.pin,
        hardware=hardware,
        toolchain=toolchain,
    )


def test_amx_is_kept_and_proved_though_the_compiler_gets_it_wrong(
    host: AmxHost, cache: Path, source: Source
) -> None:
    asked = request(host, cache, source)
    first = asked.toolchain.compilers[0]
    bad = [verdict for verdict in first.verdicts if not verdict.ok]
    made = pipeline.provision(
        asked.recipe, source.pin, host=host, cache=cache, emit=lambda event: None
    )
    manifest = made.manifest
    assert {"amx_tile", "amx_int8"} <= set(manifest.plan.cpu_features)
    assert "-mamx-int8" in manifest.effective["ggml-cpu"]
    assert [remedy.name for remedy in manifest.plan.remedies] == [one.canary for one in bad]
    held = {check.name: check.detail for check in manifest.proof.checks}
    assert "AMX" in held["Q4_0 decoder on the CPU"]
    assert "AMX" in held["Q4_K decoder on the CPU"]


def test_without_the_canary_the_proof_catches_the_crash_and_amx_goes(
    host: AmxHost, cache: Path, source: Source
) -> None:
    asked = request(host, cache, source)
    first = asked.toolchain.compilers[0]
    if not canary.concerning(first, frozenset({"amx_int8"}), fat=False):
        pytest.skip(f"{first.family} {first.version} compiles AMX right")
    blind = replace(asked.toolchain, compilers=(replace(first, verdicts=()),))
    asked = replace(asked, toolchain=blind)
    key = plan.key(asked.decide(heal.Course()))
    told: list[Event] = []
    made = attempts.make(
        asked,
        key,
        source,
        kept=lambda decided: store.lookup(cache, plan.key(decided), told.append),
        host=host,
        cache=cache,
        emit=told.append,
    )
    healed = [event.remedy for event in told if isinstance(event, Healed)]
    assert healed
    assert healed[0] in {"without-amx_tile", "without-amx_int8"}
    assert [remedy.name for remedy in made.healed] == healed
    assert "SIG" in made.healed[0].evidence
    assert not {"amx_tile", "amx_int8"} & set(made.manifest.plan.cpu_features)
    assert "avx512_vnni" in made.manifest.plan.cpu_features
