"""Verdicts: one for each host and artifact; good and bad ones are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import adoption
from llamabuild.adoption import Verdict
from llamabuild.errors import ProofFailed
from llamabuild.events import Emit, Event, silent
from llamabuild.host import Answers, RecordedHost
from llamabuild.model import Artifact, Proof
from tests.unit import values

CPU = ("processor : 0", "model name : Some CPU", "cpu MHz : 2000", "flags : fpu sse avx")


def host(cpu: tuple[str, ...] = CPU, **files: str) -> RecordedHost:
    read = {
        "/proc/cpuinfo": cpu,
        "/etc/machine-id": (files.get("machine", "1"),),
        "/proc/driver/nvidia/version": (files.get("driver", "580.1"),),
    }
    return RecordedHost(Answers(os="linux", arch="x86_64", libc="glibc 2.36", files=read))


def artifact() -> Artifact:
    manifest = values.manifest("a" * 64, {})
    return Artifact(key=manifest.key, id="b" * 64, path=Path("/nowhere"), manifest=manifest)


class Prover:
    """Counts proofs; each passes or fails as it is told."""

    def __init__(self, failure: ProofFailed | None = None, unrun: tuple[str, ...] = ()) -> None:
        self.failure = failure
        self.unrun = unrun
        self.times = 0

    def __call__(self) -> Proof:
        self.times += 1
        if self.failure:
            raise self.failure
        return values.proof(*self.unrun)


def adopt(
    cache: Path,
    prove: Prover,
    on: RecordedHost | None = None,
    *,
    emit: Emit = silent,
    here: bool = False,
    backends: tuple[str, ...] = ("cpu",),
) -> None:
    made = artifact()
    plan = replace(made.manifest.plan, backends=backends)
    made = replace(made, manifest=replace(made.manifest, plan=plan))
    adoption.adopt(cache, made, host=on or host(), emit=emit, prove=prove, here=lambda: here)


def test_a_host_is_itself_again_and_no_other() -> None:
    assert adoption.identity(host()) == adoption.identity(host())
    others = [
        host(machine="2"),
        host(driver="590.2"),
        host(cpu=(*CPU[:-1], "flags : fpu sse")),
        host(cpu=("model name : Another", *CPU[2:])),
    ]
    names = {adoption.identity(one) for one in (host(), *others)}
    assert len(names) == 5
    assert not any("Some" in name or "580" in name for name in names)


def test_the_clock_of_the_moment_changes_nothing() -> None:
    faster = tuple(line.replace("2000", "3700") for line in CPU)
    assert adoption.identity(host(cpu=faster)) == adoption.identity(host())


def test_what_comes_from_elsewhere_is_proved_once(tmp_path: Path) -> None:
    told: list[Event] = []
    prove = Prover()
    for _ in range(3):
        adopt(tmp_path, prove, emit=told.append)
    assert prove.times == 1
    assert len(told) == 1
    kept = adoption.verdict(tmp_path, artifact().id, host())
    assert kept == Verdict(proof=values.proof())


def test_every_host_proves_for_itself(tmp_path: Path) -> None:
    prove = Prover()
    for one in (host(), host(machine="2"), host(driver="590.2"), host()):
        adopt(tmp_path, prove, one)
    assert prove.times == 3


def test_a_bad_verdict_is_kept_and_refuses_until_a_good_one(tmp_path: Path) -> None:
    failure = ProofFailed("it died", kind="illegal-instruction", check="Q4_0 products")
    prove = Prover(failure)
    for _ in range(2):
        with pytest.raises(ProofFailed, match="it died") as caught:
            adopt(tmp_path, prove, host())
        assert caught.value.kind == "illegal-instruction"
    assert prove.times == 1
    assert "store rm" in caught.value.hint
    adoption.proved(tmp_path, artifact().id, host=host(), prove=Prover())
    adopt(tmp_path, prove, host())
    assert prove.times == 1


@pytest.mark.parametrize("damage", [b"", b"{", b'{"proof": 3}'])
def test_a_damaged_verdict_is_none(damage: bytes, tmp_path: Path) -> None:
    adoption.record(tmp_path, artifact().id, host(), Verdict(proof=values.proof()))
    (path,) = tmp_path.glob("verdicts/*/*.json")
    path.write_bytes(damage)
    prove = Prover()
    adopt(tmp_path, prove, host())
    assert prove.times == 1


def test_what_failed_on_this_host_is_known_at_once(tmp_path: Path) -> None:
    assert adoption.failed(tmp_path, host()) == frozenset()
    adoption.record(tmp_path, "good", host(), Verdict(proof=values.proof()))
    adoption.record(tmp_path, "bad", host(), Verdict(kind="nan", check="c", why="w"))
    adoption.record(tmp_path, "elsewhere", host(machine="2"), Verdict(kind="nan"))
    adoption.record(tmp_path, "damaged", host(), Verdict(kind="nan"))
    (path,) = tmp_path.glob("verdicts/*/damaged.json")
    path.write_bytes(path.read_bytes() + b" ")
    assert adoption.failed(tmp_path, host()) == {"bad"}


def test_devices_that_were_away_are_proved_once_when_they_are_there(tmp_path: Path) -> None:
    prove = Prover(unrun=("cuda", "blas"))
    backends = ("cuda", "blas", "cpu")
    told: list[Event] = []
    for _ in range(2):
        adopt(tmp_path, prove, backends=backends)
    assert prove.times == 1
    prove.unrun = ()
    for _ in range(2):
        adopt(tmp_path, prove, emit=told.append, here=True, backends=backends)
    assert prove.times == 2
    (notice,) = told
    assert "not proved with cuda, blas" in str(notice)


@pytest.mark.parametrize(
    "unrun", [("IQ1_S on the software device",), ("the Python bindings",), ("vulkan", "cpu")]
)
def test_what_another_proof_would_not_run_either_asks_for_none(
    unrun: tuple[str, ...], tmp_path: Path
) -> None:
    prove = Prover(unrun=unrun)
    for _ in range(3):
        adopt(tmp_path, prove, here=True, backends=("vulkan", "cpu"))
    assert prove.times == 1
