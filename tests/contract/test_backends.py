"""What every back-end gets for free: it is found in the table and held to the contract."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from llamabuild import backends, recipes
from llamabuild.backends import Backend, Evidence, Found
from llamabuild.host import Finished, Host, Limits, Memory, Service
from tests.golden import machines

EVERY = pytest.mark.parametrize("name", list(backends.BACKENDS))


class BareHost:
    """A machine with nothing on it: no file, no program, no answer."""

    environ: Mapping[str, str] = {}

    def __init__(self, os: str = "linux", arch: str = "x86_64") -> None:
        self._system = (os, "0", arch)

    def system(self) -> tuple[str, str, str]:
        return self._system

    def libc(self) -> str:
        return ""

    def read_text(self, path: str) -> str | None:
        return None

    def exists(self, path: str) -> bool:
        return False

    def which(self, name: str) -> str | None:
        return None

    def stamp(self, path: str) -> str | None:
        return None

    def digest(self, path: str) -> str | None:
        return None

    def cores(self) -> tuple[int, int, int]:
        return 1, 1, 1

    def memory(self) -> Memory:
        return Memory(total=1 << 30, available=1 << 29)

    def disk_free(self, path: Path) -> int:
        return 0

    def run(
        self,
        argv: Sequence[str],
        *,
        limits: Limits,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
    ) -> Finished:
        return Finished(code=127, out="", err="no such program")

    def stream(
        self,
        argv: Sequence[str],
        *,
        on_line: Callable[[str], None],
        log: Path,
        env: Mapping[str, str],
        cwd: Path | None = None,
    ) -> int:
        return 127

    def serve(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, limits: Limits
    ) -> contextlib.AbstractContextManager[Service]:
        raise NotImplementedError

    def become(self, argv: Sequence[str]) -> int:
        return 127


def detect(backend: Backend, host: Host) -> Found:
    return backend.detect(host)


def test_the_cpu_is_last_and_always_there() -> None:
    assert list(backends.BACKENDS)[-1] == "cpu"
    assert backends.BACKENDS["cpu"].detect(BareHost()).devices


@EVERY
@pytest.mark.parametrize("os", ["linux", "macos", "windows", "freebsd"])
def test_on_a_bare_machine_it_is_absent_with_a_reason_and_a_next_step(name: str, os: str) -> None:
    found = detect(backends.BACKENDS[name], BareHost(os))
    if name == "cpu":
        return
    assert found.devices == ()
    assert [absence.what for absence in found.absent if absence.what == name]
    assert all(absence.why and absence.hint for absence in found.absent)


@EVERY
def test_its_words_are_good(name: str) -> None:
    backend = backends.BACKENDS[name]
    assert backend.TITLE
    assert backend.SWITCH.startswith("GGML_")


@EVERY
def test_its_flags_are_pure_and_each_says_why(name: str) -> None:
    for machine, recorded in machines():
        hardware, toolchain = recorded.hardware, recorded.toolchain
        if name not in {device.backend for device in hardware.devices}:
            continue
        first = backends.BACKENDS[name].flags(hardware, toolchain)
        assert first == backends.BACKENDS[name].flags(hardware, toolchain)
        assert all(flag.why for flag in first), machine
        assert all(flag.name != backends.BACKENDS[name].SWITCH for flag in first)


@EVERY
def test_an_empty_run_proves_nothing(name: str) -> None:
    why = backends.BACKENDS[name].judge(Evidence(devices=(), offloaded=0, layers=3, log=""))
    assert why


@EVERY
def test_a_run_on_the_cpu_proves_no_accelerator(name: str) -> None:
    evidence = Evidence(devices=("CPU: AMD EPYC",), offloaded=0, layers=3, log="")
    assert (backends.BACKENDS[name].judge(evidence) is None) == (name == "cpu")


def test_every_back_end_can_be_asked_for_in_a_recipe() -> None:
    for name in backends.BACKENDS:
        table = {"summary": "x", "backends": [name]}
        assert recipes.parse("x", table, tuple(backends.BACKENDS), where="x").backends == (name,)
