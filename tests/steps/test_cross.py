"""A small project cross-compiled for AArch64 and run by QEMU: all tools are the real ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from llamabuild import elsewhere, heal, pipeline, plan, recipes, recordings, store
from llamabuild.attempts import Request
from llamabuild.backends import cpu_table
from llamabuild.cli.shared import main_group
from llamabuild.errors import ConfigError, ProofFailed, ToolMissing
from llamabuild.events import Emit, silent
from llamabuild.host import Host, Limits, LocalHost
from llamabuild.instructions_arm import feature_of
from llamabuild.model import Artifact, Build, Check, Pin, Proof
from llamabuild.prove import crash
from llamabuild.provide import Means
from llamabuild.request import requested
from llamabuild.toolchains import cross, runner
from tests import standin

HOST = LocalHost()
LIMITS = Limits(seconds=60)
CC = "aarch64-linux-gnu-gcc"
QEMU = "qemu-aarch64-static -L /usr/aarch64-linux-gnu -cpu"
FILE = Path(__file__).resolve().parents[1] / "machines" / "qemu-aarch64-max.json"
MACHINE = recordings.read(FILE)

pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(HOST.system()[2] == "aarch64", reason="AArch64 is native here"),
    *(
        pytest.mark.skipif(not shutil.which(name), reason=f"{name} is not installed")
        for name in (CC, "aarch64-linux-gnu-g++", "qemu-aarch64-static")
    ),
]

FAULTS = """
#include <stdlib.h>
#include <string.h>
int main(int count, char ** words) {
    (void) count;
    if (!strcmp(words[1], "sve")) __asm__ volatile(".inst 0x04200000");
    if (!strcmp(words[1], "i8mm")) __asm__ volatile(".inst 0x4e80a400");
    if (!strcmp(words[1], "asimddp")) __asm__ volatile(".inst 0x4e809400");
    if (!strcmp(words[1], "fp16")) __asm__ volatile(".inst 0x4e401400");
    if (!strcmp(words[1], "null")) *(volatile int *) 8 = 1;
    if (!strcmp(words[1], "abort")) abort();
    return 0;
}
"""
HWCAP = """
#include <stdio.h>
#include <sys/auxv.h>
int main(void) { printf("%lu %lu", getauxval(AT_HWCAP), getauxval(AT_HWCAP2)); return 0; }
"""
TRIAL = """
int main(void) { __asm__ volatile("%s" ::: "v0", "memory"); return 0; }
"""
BITS = {
    "asimddp": (0, 20),
    "fp16": (0, 10),
    "sve": (0, 22),
    "i8mm": (1, 13),
    "sve2": (1, 1),
    "sme": (1, 23),
}
"""Word and bit of each feature: Linux, arch/arm64/include/uapi/asm/hwcap.h."""


def compiled(text: str, folder: Path, *options: str) -> Path:
    (folder / "program.c").write_text(text)
    made = folder / "program"
    argv = [CC, "-O1", *options, str(folder / "program.c"), "-o", str(made)]
    assert HOST.run(argv, limits=LIMITS).code == 0
    return made


def test_the_recorded_machine_is_the_emulated_one(tmp_path: Path) -> None:
    program = compiled(HWCAP, tmp_path)
    command = runner.parsed(f"{QEMU} max", HOST)
    ended = HOST.run([*command, str(program)], limits=LIMITS)
    words = [int(word) for word in ended.out.split()]
    told = {name for name, (word, bit) in BITS.items() if words[word] >> bit & 1}
    found = elsewhere.look(elsewhere.Target(machine=MACHINE), host=HOST, cache=tmp_path)
    assert found.hardware.libc.startswith("glibc ")
    assert {one.name for one in found.hardware.cpu.features if one.usable} == told
    assert found.runner == command


@pytest.mark.parametrize("cpu", ["max", "max,sve=off", "cortex-a72"])
def test_the_code_of_every_feature_runs_where_it_is_listed(cpu: str, tmp_path: Path) -> None:
    command = runner.parsed(f"{QEMU} {cpu}", HOST)
    hwcap = HOST.run([*command, str(compiled(HWCAP, tmp_path))], limits=LIMITS).out.split()
    for row in cpu_table.extensions("aarch64"):
        word, bit = BITS[row.name]
        code = bytes.fromhex(row.code)[:-4]  # without its return
        inst = "".join(f".byte {byte}\\n" for byte in code)
        program = compiled(TRIAL % inst, tmp_path)
        ended = HOST.run([*command, str(program)], limits=LIMITS)
        wanted = "" if int(hwcap[word]) >> bit & 1 else "SIGILL"
        assert (row.name, ended.signal) == (row.name, wanted)


@pytest.mark.parametrize(
    ("what", "signal", "feature"),
    [
        ("sve", "SIGILL", "sve"),
        ("i8mm", "SIGILL", "i8mm"),
        ("asimddp", "SIGILL", "asimddp"),
        ("fp16", "SIGILL", "fp16"),
        ("null", "SIGSEGV", ""),
        ("abort", "SIGABRT", ""),
    ],
)
def test_a_fault_under_the_emulator_is_reported(
    what: str, signal: str, feature: str, tmp_path: Path
) -> None:
    (described,) = cross.detect("aarch64", (), host=HOST, cache=tmp_path).compilers[:1]
    library = crash.preload(described, host=HOST, scratch=tmp_path)
    assert library
    program = compiled(FAULTS, tmp_path)
    command = runner.parsed(f"{QEMU} cortex-a57", HOST)
    before, env = crash.arguments(command, library, tmp_path / "report")
    argv = [*before, str(program), what]
    ended = HOST.run(argv, limits=LIMITS, env={**HOST.environ, **env})
    assert ended.signal == signal
    found = crash.read(tmp_path / "report", signal)
    assert (found.signal, found.feature) == (signal, feature)
    assert found.where.startswith("libc" if what == "abort" else "program+")
    if feature:
        _, _, offset = found.where.partition("+")
        there = program.read_bytes()[int(offset, 16) :][:16]
        assert there.hex() == found.instruction
        assert feature_of(there) == feature


def test_a_runner_that_cannot_run_it_is_said_before_anything_is_built(tmp_path: Path) -> None:
    target = elsewhere.Target(machine=MACHINE, runner="qemu-aarch64-static -L /nowhere")
    with pytest.raises(ToolMissing, match="does not run aarch64 programs"):
        elsewhere.look(target, host=HOST, cache=tmp_path)


@pytest.fixture(scope="module")
def pin(tmp_path_factory: pytest.TempPathFactory) -> Pin:
    """The stand-in's source, with the options of a plan for AArch64."""
    folder = tmp_path_factory.mktemp("standin")
    native = standin.archive(folder, folder / "facts")
    request = asked(native, folder)
    decided = request.decide(heal.Course())
    march = "target_compile_options(ggml-cpu PRIVATE -O3 -march=${GGML_CPU_ARM_ARCH})\n"
    extra = {
        "vendor/llama.cpp/CMakeLists.txt": standin._cmake(decided.flags, decided.targets),
        "vendor/llama.cpp/ggml/src/CMakeLists.txt": standin.LIBRARIES + march,
    }
    return standin.archive(folder, folder / "facts", extra=extra)


def asked(pin: Pin, cache: Path) -> Request:
    means = Means(asked="auto", host=HOST, cache=cache, emit=silent)
    target = elsewhere.Target(machine=MACHINE)
    wanted = recipes.load("cpu-native", ("cpu",))
    return requested(wanted, pin, target, means, standin.proved)


def proved(built: Build, work: Path, host: Host, emit: Emit) -> Proof:
    """Run it where it can run: under the plan's runner, with evidence of a crash."""
    library = crash.preload(built.plan.compiler, host=host, scratch=work)
    report = work / "report"
    before, env = crash.arguments(built.plan.runner, library, report)
    argv = [*before, str(built.prefix / "bin" / "llama-cli")]
    ended = host.run(argv, limits=LIMITS, env={**host.environ, **env})
    if ended.signal:
        found = crash.read(report, ended.signal)
        raise ProofFailed("it crashed", kind="illegal-instruction", check="sum", crash=found)
    assert (ended.code, ended.out.strip()) == (0, "2870"), ended
    checks = (Check(name="sum of squares", detail=ended.out.strip()),)
    return Proof(reference="a sum", device="CPU", checks=checks, speed=(), seconds=0.1)


def provision(cache: Path, pin: Pin, command: str = "") -> Artifact:
    return pipeline.provision(
        recipes.load("cpu-native", ("cpu",)),
        pin,
        host=HOST,
        cache=cache,
        emit=silent,
        proof=proved,
        target=elsewhere.Target(machine=MACHINE, runner=command),
    )


def machine_of(file: Path) -> int:
    """``e_machine`` of an ELF file; 183 is AArch64."""
    return int.from_bytes(file.read_bytes()[18:20], "little")


def test_one_compile_gives_programs_and_a_wheel_for_the_other_machine(
    tmp_path: Path, pin: Pin
) -> None:
    cache = store.open_root(tmp_path / "cache")
    made = provision(cache, pin)
    assert made.wheel.name.endswith("-py3-none-linux_aarch64.whl")
    assert "-march=armv8.6-a+dotprod+fp16+sve+i8mm+sve2" in made.manifest.effective["ggml-cpu"]
    assert made.manifest.plan.runner[0] == shutil.which("qemu-aarch64-static")
    files = [*(made.path / "lib").iterdir(), *(made.path / "bin").iterdir()]
    assert {machine_of(file) for file in files} == {183}
    shutil.unpack_archive(made.wheel, tmp_path / "wheel", format="zip")
    packed = list((tmp_path / "wheel" / "llama_cpp" / "lib").iterdir())
    assert packed
    assert {machine_of(file) for file in packed} == {183}
    assert provision(cache, pin) == made
    assert plan.key(made.manifest.plan) == made.key


def test_what_the_runner_cannot_run_is_healed(tmp_path: Path, pin: Pin) -> None:
    """The compiler makes SVE code of the loop; a machine without SVE has to do without."""
    cache = store.open_root(tmp_path / "cache")
    made = provision(cache, pin, f"{QEMU} max,sve=off")
    assert [remedy.name for remedy in made.healed] == ["without-sve"]
    assert not {"sve", "sve2"} & set(made.manifest.plan.cpu_features)
    assert {"i8mm", "asimddp"} <= set(made.manifest.plan.cpu_features)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "--runner", "qemu-aarch64-static"], "--machine FILE"),
        (["setup", "--machine", "MACHINE", "--into", "."], "do not go together"),
        (["build", "--machine", "/nowhere.json"], "cannot be read"),
        (["build", "--machine", "MACHINE", "--runner", "'open"], "cannot be read"),
    ],
)
def test_wrong_use_is_said_before_anything_is_done(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    words = [str(FILE) if word == "MACHINE" else word for word in arguments]
    ended = CliRunner().invoke(main_group, [*words, "--cache", str(tmp_path / "cache")])
    assert ended.exit_code == ConfigError.exit_code
    assert said in ended.output
