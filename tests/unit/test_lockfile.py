"""Targets in words, and the lock file as a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from llamabuild import pins, probe, recordings
from llamabuild.ci import cells
from llamabuild.errors import ConfigError, LockMismatch
from llamabuild.host import RecordedHost
from llamabuild.lockfile import files, locking, resolve, wanted
from llamabuild.lockfile.entries import Lock, Locked
from llamabuild.model import Device, Toolchain

MACHINES = Path(__file__).resolve().parents[1] / "machines"
HERE = RecordedHost(recordings.read(MACHINES / "zen4-vm-gcc12.json").machine)
MAC = RecordedHost(recordings.read(MACHINES / "apple-m4.json").machine)


def devices(want: str, host: RecordedHost = HERE) -> tuple[Device, ...]:
    """The accelerators that a probe sees on a machine of a class."""
    machine = wanted.machine(wanted.parse(want), host)
    hardware, _ = probe.replay(RecordedHost(machine.machine), Toolchain())
    return tuple(one for one in hardware.devices if one.backend not in ("cpu", "rpc"))


@pytest.mark.parametrize(
    ("want", "backend", "architectures"),
    [
        ("cuda sm_86+sm_89", "cuda", ["86", "89"]),
        ("cuda sm_120", "cuda", ["120"]),
        ("rocm gfx1100", "hip", ["gfx1100"]),
        ("rocm gfx90a+gfx942", "hip", ["gfx90a", "gfx942"]),
        ("hip gfx1100", "hip", ["gfx1100"]),
        ("vulkan", "vulkan", [""]),
    ],
)
def test_a_class_has_the_devices_it_names(
    want: str, backend: str, architectures: list[str]
) -> None:
    found = devices(want)
    assert {one.backend for one in found} == {backend}
    assert [one.architecture for one in found] == architectures


def test_metal_is_on_a_mac_wherever_it_is_locked() -> None:
    for host in (HERE, MAC):
        (device,) = (one for one in devices("metal", host) if one.backend == "metal")
        assert device.name == "Apple M1"


def test_a_class_serves_every_processor() -> None:
    assert wanted.recipe(wanted.parse("cuda sm_90")).cpu == "fat"
    assert wanted.recipe(wanted.parse("cuda sm_90 portable")).cpu == "portable"
    assert wanted.recipe(wanted.parse("cpu-portable")).backends == ("cpu",)


def test_another_machine_s_processor() -> None:
    machine = wanted.machine(wanted.parse("cpu-fat linux-aarch64"), HERE)
    assert (machine.machine.os, machine.machine.arch) == ("linux", "aarch64")
    assert machine.machine.libc == ""


def test_a_recorded_machine_and_its_recipe() -> None:
    parsed = wanted.parse("machines/laptop.json cuda-native")
    assert (parsed.machine, parsed.recipe) == ("machines/laptop.json", "cuda-native")
    assert wanted.parse("laptop.json").recipe == "auto"


@pytest.mark.parametrize(
    ("want", "said"),
    [
        ("", "no target ''"),
        ("cpu", "no target 'cpu'"),
        ("cuda", "names no architecture"),
        ("cuda 8.6", "knows no architecture '8.6'"),
        ("cuda sm_86+gfx1100", "knows no architecture 'gfx1100'"),
        ("rocm sm_86", "knows no architecture 'sm_86'"),
        ("vulkan sm_86", "'sm_86' is not understood"),
        ("cpu-fat quickly", "'quickly' is not understood"),
        ("laptop.json auto now", "'now' is not understood"),
        ("cpu-native", "another build on every machine"),
        ("auto", "another build on every machine"),
    ],
)
def test_what_is_not_understood_is_said(want: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        wanted.parse(want)
    assert said in refused.value.message
    assert refused.value.hint


texts = some.text("abcdefghij0123456789._- ", max_size=20)
hashes = some.text("0123456789abcdef", min_size=64, max_size=64)
targets = some.builds(
    Locked,
    name=some.text("abcdefgh-_.0123", min_size=1, max_size=20),
    want=some.text("abc sm_86+", min_size=1),
    toolchain=some.sampled_from(["auto", "machine", "zig"]),
    machine=texts,
    os=texts,
    arch=texts,
    variant=texts,
    fingerprint=texts,
    key=hashes,
    compiler=texts,
    sysroot=texts,
    tools=some.lists(texts, max_size=3).map(tuple),
    artifact=some.just("") | hashes,
    wheel=some.just("") | hashes,
)
locks = some.builds(
    Lock,
    pin=some.text("abc-0.123", min_size=1),
    version=some.text("0.123", min_size=1),
    sha256=hashes,
    commit=some.text("0123456789abcdef", min_size=7, max_size=40),
    build_number=some.integers(0, 10**6),
    targets=some.lists(targets, max_size=4, unique_by=lambda one: one.name).map(tuple),
)


@settings(max_examples=20)  # each is flushed to the disk
@given(locks)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, lock: Lock) -> None:
    path = tmp_path_factory.mktemp("lock") / "llamabuild.lock"
    files.write(path, lock)
    assert files.read(path) == lock


HEAD = f"""version = 1
[source]
pin = "p"
version = "0.3.36"
sha256 = "{"0" * 64}"
commit = "0123456"
build_number = 1
"""
TARGET = """
[[target]]
name = "{}"
want = "cpu-fat"
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "version None"),
        ("version = 2", "version 2"),
        ("version = 1", "missing required field `source`"),
        ("version = [", "at end of document"),
        (HEAD.replace("0" * 64, "x"), "sha256"),
        (HEAD + TARGET.format("a") + 'kee = "x"', "target 'a': unknown field 'kee'"),
        (HEAD + TARGET.format("a") + TARGET.format("a"), "two targets are called 'a'"),
    ],
)
def test_a_lock_file_that_is_none(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "llamabuild.lock"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"llamabuild\.lock") as refused:
        files.read(path)
    assert said in refused.value.message


def test_targets_are_added_and_taken_out() -> None:
    first = locking.with_targets(locking.begun(), ["cpu-fat", "cuda sm_90"], "auto")
    assert [one.name for one in first.targets] == ["cpu-fat", "cuda-sm_90"]
    made = dataclasses.replace(first.targets[0], key="0" * 64)
    lock = dataclasses.replace(first, targets=(made, first.targets[1]))
    again = locking.with_targets(lock, ["cpu-fat", "vulkan"], "auto")
    assert [one.name for one in again.targets] == ["cpu-fat", "cuda-sm_90", "vulkan"]
    assert again.targets[0].key == made.key
    other = locking.with_targets(lock, ["cpu-fat"], "zig")
    assert (other.targets[0].key, other.targets[0].toolchain) == ("", "zig")
    wanting = locking.with_targets(lock, ["cuda sm_90"], "auto", ("cuda",)).targets[1]
    assert wanting.needs == ("cuda",)
    assert cells.needs(dataclasses.replace(wanting, os="linux", arch="x86_64")) == (
        "linux",
        "x86_64",
        "cuda",
    )
    assert locking.without_targets(again, ["cpu-fat"]).targets == again.targets[1:]
    with pytest.raises(ConfigError, match="no target 'gone'"):
        locking.without_targets(again, ["gone"])
    with pytest.raises(ConfigError, match="would both be called 'laptop'"):
        locking.with_targets(
            locking.with_targets(lock, ["a/laptop.json"], "auto"), ["b/laptop.json"], "auto"
        )


def test_a_new_lock_file_is_for_the_default_pin() -> None:
    lock = locking.begun()
    pin = pins.default_pin()
    assert (lock.sha256, lock.commit, lock.build_number) == (
        pin.sha256,
        pin.commit,
        pin.build_number,
    )
    assert resolve.pin_of(lock.pin, lock.sha256, lock.commit) == pin
    with pytest.raises(LockMismatch, match="000000000000 there"):
        resolve.pin_of(lock.pin, "0" * 64, lock.commit)
    with pytest.raises(LockMismatch, match=r"no source '9\.9\.9'"):
        resolve.pin_of("9.9.9", lock.sha256, lock.commit)


def test_what_differs_has_a_name() -> None:
    was = Locked(
        name="a",
        want="cpu-fat",
        key="1" * 64,
        compiler="gcc 12.2.0 x86_64-linux-gnu abc",
        sysroot="glibc 2.36",
        tools=("cmake 3.25.1", "ninja 1.11"),
    )
    now = dataclasses.replace(was, key="2" * 64, tools=("cmake 4.1.0", "ninja 1.11"))
    assert resolve.differences(was, now) == ("cmake: cmake 4.1.0 here, cmake 3.25.1 there",)
    assert resolve.differences(was, was) == ()
    (line,) = resolve.differences(was, dataclasses.replace(was, key="3" * 64))
    assert "compiler, C library and tools are the same" in line


def test_artifacts_are_noted_and_missed() -> None:
    targets = (
        Locked(name="a", want="cpu-fat", key="1" * 64),
        Locked(name="b", want="vulkan", key="2" * 64, artifact="b" * 64),
        Locked(name="c", want="metal"),
    )
    lock = dataclasses.replace(locking.begun(), targets=targets)
    made = locking.noted(lock, {"1" * 64: ("e" * 64, "d" * 64), "2" * 64: ("c" * 64,)})
    assert [one.artifact[:1] for one in made.targets] == ["e", "b", ""]
    assert locking.missing(made, {"1" * 64: ("e" * 64,)}) == (
        "b: its artifact bbbbbbbbbbbb is nowhere",
    )


def test_tools_that_pip_can_install() -> None:
    one = Locked(name="a", want="x", tools=("cmake 4.1.0", "ninja 1.11.1", "glslc 2023.2 abc"))
    lock = dataclasses.replace(locking.begun(), targets=(one, Locked(name="b", want="y")))
    assert locking.requirements(lock) == ("cmake==4.1.0", "ninja==1.11.1")
    other = dataclasses.replace(one, name="c", tools=("cmake 3.25.1",))
    with pytest.raises(ConfigError, match=r"cmake 4\.1\.0 and 3\.25\.1"):
        locking.requirements(dataclasses.replace(lock, targets=(one, other)))
