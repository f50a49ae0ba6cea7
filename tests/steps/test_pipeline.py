"""The whole sentence on a small project: real CMake, Ninja, compiler and wheel."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from llamabuild import pipeline, probe, recipes, store
from llamabuild.errors import BuildFailed, ConfigError, IntegrityError, ProofFailed
from llamabuild.events import Emit, Event, Healed, OutputLine, Progress, StepStarted, silent
from llamabuild.host import Host, LocalHost
from llamabuild.model import Artifact, Build, Pin, Proof
from tests import standin
from tests.steps import kill

pytestmark = pytest.mark.steps
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pin(tmp_path_factory: pytest.TempPathFactory) -> Pin:
    folder = tmp_path_factory.mktemp("standin")
    return standin.archive(folder, folder / "facts")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return store.open_root(tmp_path / "cache")


def provision(root: Path, pin: Pin, *, emit: Emit = silent, recipe: str = "cpu-native") -> Artifact:
    return pipeline.provision(
        recipes.load(recipe, ("cpu",)),
        pin,
        host=LocalHost(),
        cache=root,
        emit=emit,
        proof=standin.proved,
    )


def command(root: Path, pin: Pin) -> list[str]:
    return [sys.executable, "-m", "tests.standin", str(root), msgspec.json.encode(pin).decode()]


def test_one_compile_gives_tools_libraries_and_a_wheel_of_the_same_files(
    root: Path, pin: Pin, tmp_path: Path
) -> None:
    told: list[Event] = []
    made = provision(root, pin, emit=told.append)
    names = [event.name for event in told if isinstance(event, StepStarted)]
    assert names == ["configure", "compile", "wheel"]
    assert any(isinstance(event, Progress) and event.name == "compile" for event in told)
    assert {path.name for path in (made.path / "bin").iterdir()} >= {"llama-server", "llama-cli"}
    assert made.wheel.name.startswith(f"llama_cpp_python-0.0.1+lb{made.key[:8]}-py3-none-")
    unpacked = tmp_path / "wheel"
    shutil.unpack_archive(made.wheel, unpacked, format="zip")
    libraries = {path.name: path.read_bytes() for path in (unpacked / "llama_cpp/lib").iterdir()}
    assert {"libllama.so", "libggml-cpu.so"} <= set(libraries)
    for name, content in libraries.items():
        assert (made.path / "lib" / name).read_bytes() == content
    again: list[Event] = []
    assert provision(root, pin, emit=again.append) == made
    assert not any(isinstance(event, (StepStarted, OutputLine)) for event in again)


def test_the_artifact_runs_from_where_it_was_moved_to(root: Path, pin: Pin) -> None:
    made = provision(root, pin)
    ended = subprocess.run([made.path / "bin" / "llama-cli"], capture_output=True, check=True)
    assert ended.stdout.strip() == b"2870"


def test_a_failing_compile_says_where_and_keeps_the_log(root: Path, tmp_path: Path) -> None:
    broken = {"vendor/llama.cpp/main.c": "int main(void) { return undeclared; }\n"}
    pin = standin.archive(tmp_path, root, extra=broken)
    with pytest.raises(BuildFailed, match="undeclared") as caught:
        provision(root, pin)
    assert "undeclared" in caught.value.tail
    assert "undeclared" in Path(caught.value.log).read_text()
    assert kill.inspect(root) == 0
    assert [path.name for path in (root / "work").iterdir()] == ["sweep.lock"]
    assert not [path for path in (root / "begun").iterdir() if path.is_dir()]


def test_an_interrupted_build_goes_on_where_it_was(root: Path, pin: Pin) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.name == "compile" and event.done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        provision(root, pin, emit=interrupt)
    (begun,) = [path for path in (root / "begun").iterdir() if path.is_dir()]
    made = {path: path.stat().st_mtime_ns for path in begun.rglob("*.o")}
    assert made
    told: list[Event] = []
    kept: dict[Path, int] = {}

    def watch(event: Event) -> None:
        told.append(event)
        if isinstance(event, StepStarted) and event.name == "wheel":
            kept.update({path: path.stat().st_mtime_ns for path in made if path.exists()})

    artifact = provision(root, pin, emit=watch)
    assert any("goes on where it was" in str(event) for event in told)
    assert "configure" not in [one.name for one in told if isinstance(one, StepStarted)]
    assert len([path for path in made if kept[path] == made[path]]) >= len(made) - 2
    assert artifact.manifest.proof.checks
    assert kill.inspect(root) == 1
    assert not [path for path in (root / "begun").iterdir() if path.is_dir()]


def test_an_option_that_the_tree_does_not_have_is_named(root: Path, pin: Pin) -> None:
    recipe = recipes.parse(
        "mine",
        {"backends": ["cpu"], "flags": {"GGML_AVX521": {"value": True, "why": "x"}}},
        ("cpu",),
        where="mine.toml",
    )
    with pytest.raises(ConfigError, match="GGML_AVX521") as caught:
        pipeline.provision(recipe, pin, host=LocalHost(), cache=root, emit=silent)
    assert "GGML_AVX512" in caught.value.message + caught.value.hint


def test_a_wrong_hash_is_refused(root: Path, pin: Pin) -> None:
    with pytest.raises(IntegrityError):
        provision(root, replace(pin, sha256="0" * 64))
    assert not [path for path in (root / "sources").glob("*") if path.is_dir()]


def test_an_unproved_build_is_healed_recorded_and_found_again(root: Path, pin: Pin) -> None:
    """A proof that fails while the build uses AVX2 or more: the search must end below it."""
    seen: list[Event] = []

    def picky(built: Build, work: Path, host: Host, emit: Emit) -> Proof:
        if "avx2" in built.plan.cpu_features:
            raise ProofFailed("wrong sum", kind="wrong-numbers", check="sum")
        return standin.proved(built, work, host, emit)

    def make(emit: Emit) -> Artifact:
        return pipeline.provision(
            replace(recipes.load("cpu-native", ("cpu",)), name="picky"),
            pin,
            host=LocalHost(),
            cache=root,
            emit=emit,
            proof=picky,
        )

    hardware = probe.probe(LocalHost(), cache=root)[0]
    if not any(feature.name == "avx2" and feature.usable for feature in hardware.cpu.features):
        pytest.skip("this CPU has no AVX2 to do without")
    made = make(seen.append)
    assert "avx2" not in made.manifest.plan.cpu_features
    assert "avx" in made.manifest.plan.cpu_features
    assert "narrowed" in [remedy.name for remedy in made.manifest.plan.remedies]
    assert [trial.outcome for trial in made.manifest.trials].count("wrong sum") >= 1
    assert any(isinstance(event, Healed) for event in seen)
    again: list[Event] = []
    assert make(again.append) == made
    assert not any(isinstance(event, StepStarted) for event in again)


def test_eight_at_once_compile_once(root: Path, pin: Pin) -> None:
    children = [
        subprocess.Popen(
            command(root, pin),
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    answers = [child.communicate(timeout=120) for child in children]
    assert {child.returncode for child in children} == {0}, answers
    assert len({out for out, _ in answers}) == 1
    assert sum("compile" in err for _, err in answers) == 1


def test_killed_at_any_moment_nothing_unproved_stays_and_the_next_run_ends_well(
    root: Path, pin: Pin
) -> None:
    rng = random.Random(20261121)
    started = time.monotonic()
    subprocess.run(command(root, pin), cwd=REPOSITORY, check=True, capture_output=True)
    longest = time.monotonic() - started
    hits = turn = 0
    while hits < 8 and turn < 60:  # a run that was done before its kill does not count
        kill.forget(root, sources=turn % 3 == 0)
        hits += kill.killed_run(command(root, pin), REPOSITORY, kill.moment(rng, longest))
        assert kill.inspect(root) <= 1
        turn += 1
        if turn % 4 == 0 or hits == 8:
            subprocess.run(command(root, pin), cwd=REPOSITORY, check=True, capture_output=True)
            assert kill.inspect(root) == 1
    assert hits == 8
    leftovers = [path.name for path in (root / "work").iterdir() if path.is_dir()]
    assert leftovers == []
