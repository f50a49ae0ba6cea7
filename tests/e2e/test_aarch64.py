"""The real llama.cpp, cross-compiled for AArch64 with SVE and I8MM, proved under QEMU.

It compiles for minutes: run it with ``LLAMABUILD_E2E=aarch64``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamabuild.host import Finished, Limits, LocalHost
from llamabuild.instructions_arm import feature_of
from llamabuild.model import Compiler, Source
from llamabuild.prove import cases, crash, models
from llamabuild.toolchains import runner
from tests.e2e.conftest import Run

NEEDED = ("aarch64-linux-gnu-g++", "qemu-aarch64-static")
MACHINE = Path(__file__).resolve().parents[1] / "machines" / "qemu-aarch64-max.json"
QEMU = "qemu-aarch64-static -L /usr/aarch64-linux-gnu -cpu"
HOST = LocalHost()

pytestmark = [
    pytest.mark.llama,
    pytest.mark.skipif(
        "aarch64" not in os.environ.get("LLAMABUILD_E2E", "").split(","),
        reason="LLAMABUILD_E2E=aarch64 is not set: it compiles for minutes",
    ),
    *(
        pytest.mark.skipif(not shutil.which(name), reason=f"{name} is not installed")
        for name in NEEDED
    ),
]


@pytest.fixture(scope="module")
def made(run: Run, source: Source) -> dict[str, Any]:
    """What ``build --machine`` gives, as JSON."""
    answer = run("build", "cpu-native", "--machine", str(MACHINE), "--json")
    found: dict[str, Any] = json.loads(answer.stdout)["artifact"]
    return found


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("aarch64")


def bench(
    made: dict[str, Any], cpu: str, kind: str, scratch: Path, *options: str
) -> tuple[Finished, Path]:
    """A prompt of 64 tokens and 2 more through ``llama-bench`` under the emulator, and where the
    report of a crash would be. ``kind`` is the model's type of weights."""
    spec = next(spec for spec in models.DECODERS if spec.type == kind)
    model = cases.model_file(spec, scratch)
    command = (*runner.parsed(f"{QEMU} {cpu}", HOST), *options)
    report = scratch / f"{cpu}-{kind}.crash"
    report.unlink(missing_ok=True)
    before, env = crash.arguments(command, preload(scratch), report)
    program = Path(made["path"]) / "bin" / "llama-bench"
    given = ("-m", str(model), "-p", "64", "-n", "2", "-r", "1", "-t", "2", "-o", "json")
    argv = [*before, str(program), *given]
    ended = HOST.run(argv, limits=Limits(seconds=300), env={**HOST.environ, **env})
    return ended, report


def preload(scratch: Path) -> Path:
    cross = Compiler(
        family="gcc",
        version="",
        target="aarch64-linux-gnu",
        cc="aarch64-linux-gnu-gcc",
        cxx=NEEDED[0],
        digest="",
    )
    library = crash.preload(cross, host=HOST, scratch=scratch)
    assert library
    return library


def translated(log: Path) -> Iterator[bytes]:
    """The blocks of code that the emulator translated, in order to execute them."""
    for block in log.read_text().split("IN:"):
        words = re.findall(r"(?m)^0x[0-9a-f]+:  ([0-9a-f]{8}) ", block)
        if words:
            yield b"".join(int(word, 16).to_bytes(4, "little") for word in words)


def executed(log: Path, library: Path) -> Counter[int]:
    """The words that were translated in code of a library, each with how often it stands there."""
    inside = library.read_bytes()
    blocks = [block for block in translated(log) if block in inside]
    return Counter(
        int.from_bytes(block[at : at + 4], "little")
        for block in blocks
        for at in range(0, len(block), 4)
    )


def test_it_is_made_for_that_machine_and_says_how_it_was_run(made: dict[str, Any]) -> None:
    plan = made["manifest"]["plan"]
    assert {"asimddp", "fp16", "sve", "i8mm", "sve2"} == set(plan["cpu_features"])
    assert plan["runner"][0].endswith("qemu-aarch64-static")
    assert made["manifest"]["effective"]["ggml-cpu"] == (
        "-march=armv8.6-a+dotprod+fp16+sve+i8mm+sve2"
    )
    (wheel,) = (Path(made["path"]) / "wheel").iterdir()
    assert wheel.name.endswith("-py3-none-linux_aarch64.whl")


@pytest.mark.parametrize(
    ("kind", "feature", "mask", "value"),
    [
        ("F16", "sve", 0xFF20E000, 0x65200000),  # fmla z, p/m, z, z
        ("Q8_0", "i8mm", 0xFFE0FC00, 0x4E80A400),  # smmla v.4s, v.16b, v.16b
        ("Q4_0", "i8mm", 0xFFE0FC00, 0x4E80A400),
        ("Q4_K", "asimddp", 0xBFE0FC00, 0x0E809400),  # sdot v.4s, v.16b, v.16b
    ],
)
def test_kernels_with_the_extension_are_executed(
    kind: str, feature: str, mask: int, value: int, made: dict[str, Any], scratch: Path
) -> None:
    log = scratch / f"{kind}.log"
    ended, _ = bench(made, "max", kind, scratch, "-d", "in_asm", "-D", str(log))
    assert ended.code == 0, ended.err
    words = executed(log, Path(made["path"]) / "lib" / "libggml-cpu.so")
    products = [word for word in words if word & mask == value]
    assert len(products) >= 4
    assert {feature_of(word.to_bytes(4, "little")) for word in products} == {feature}


@pytest.mark.parametrize("cpu", ["max,sve=off", "cortex-a72"])
def test_without_sve_it_dies_and_the_feature_is_named(
    cpu: str, made: dict[str, Any], scratch: Path
) -> None:
    ended, report = bench(made, cpu, "Q8_0", scratch)
    assert ended.signal == "SIGILL"
    found = crash.read(report, ended.signal)
    assert found.where.startswith("libggml-cpu.so+")
    assert found.feature == "sve"
