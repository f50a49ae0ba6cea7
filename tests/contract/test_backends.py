"""What every back-end gets for free: it is found in the table and held to the contract."""

from __future__ import annotations

import pytest

from llamabuild import backends, recipes
from llamabuild.backends import Backend, Driver, Evidence, Found
from llamabuild.backends.interface import NEVER
from llamabuild.host import Host
from llamabuild.model import Requires
from tests.golden import machines
from tests.unit.recorded import RecordedHost

ALWAYS = ("rpc", "cpu")
"""These need nothing of the machine."""
EVERY = pytest.mark.parametrize("name", list(backends.BACKENDS))


def detect(backend: Backend, host: Host) -> Found:
    return backend.detect(host)


def test_the_cpu_is_last_and_always_there() -> None:
    assert list(backends.BACKENDS)[-1] == "cpu"
    assert backends.BACKENDS["cpu"].detect(RecordedHost()).devices


@EVERY
@pytest.mark.parametrize("os", ["linux", "macos", "windows", "freebsd"])
def test_on_a_bare_machine_it_is_absent_with_a_reason_and_a_next_step(name: str, os: str) -> None:
    found = detect(backends.BACKENDS[name], RecordedHost(os=os))
    if name in ALWAYS:
        assert found.devices
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
    for machine, recorded in machines().items():
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


@EVERY
def test_one_build_serves_one_device_and_none(name: str) -> None:
    backend = backends.BACKENDS[name]
    assert backend.together(()) is None
    for recorded in machines().values():
        for device in recorded.hardware.devices:
            if device.backend == name:
                assert backend.together((device,)) is None


@EVERY
def test_of_what_is_not_known_nothing_is_asked(name: str) -> None:
    """A result of which nothing is known runs on every device, and asks nothing of its driver."""
    backend, bare = backends.BACKENDS[name], Requires(os="linux", arch="x86_64")
    assert backend.driver((), ()) == Driver()
    for recorded in machines().values():
        for device in recorded.hardware.devices:
            if device.backend == name:
                fit = backend.fit(bare, device)
                assert fit.pace > NEVER
                assert fit.missing == ()
