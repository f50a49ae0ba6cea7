"""Whether the new is slower: judged by what two builds did in turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamabuild import binaries, regression
from llamabuild.errors import ProofFailed
from llamabuild.host import LocalHost
from llamabuild.model import Artifact
from llamabuild.prove import pace
from llamabuild.regression import Turns
from tests.unit import values

OLD = (1000.0, 100.0)


def artifact(name: str) -> Artifact:
    return Artifact(key=name, id=name, path=Path(name), manifest=values.manifest("a" * 64, {}))


@pytest.mark.parametrize(
    ("now", "slower"),
    [
        ((1000.0, 100.0), False),
        ((910.0, 91.0), False),
        ((890.0, 100.0), True),
        ((1500.0, 80.0), True),
    ],
)
def test_a_tenth_slower_at_one_of_the_two_is_slower(now: tuple[float, float], slower: bool) -> None:
    assert Turns(before=OLD, now=now).slower is slower


def test_the_better_of_two_measurements_counts() -> None:
    first = Turns(before=(900.0, 100.0), now=(500.0, 99.0))
    second = Turns(before=(1000.0, 90.0), now=(1000.0, 40.0))
    assert first.best(second) == Turns(before=(1000.0, 100.0), now=(1000.0, 99.0))
    assert not first.best(second).slower


@pytest.mark.parametrize(
    ("rounds", "slower", "asked"),
    [
        ([(OLD, (990.0, 99.0))], False, 1),
        ([(OLD, (500.0, 99.0)), (OLD, (980.0, 50.0))], False, 2),  # something else ran, twice
        ([(OLD, (500.0, 50.0)), (OLD, (510.0, 51.0))], True, 2),
    ],
)
def test_what_seems_slower_is_measured_again(
    rounds: list[tuple[tuple[float, float], tuple[float, float]]],
    slower: bool,
    asked: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The measuring itself is that of `prove PATH`, and tested there."""
    left = list(rounds)
    monkeypatch.setattr(pace, "rates", lambda subjects, runner: left.pop(0))
    monkeypatch.setattr(binaries, "library_in", lambda path, host: path / "libllama.so")
    found = regression.measure(artifact("old"), artifact("new"), host=LocalHost(), cache=tmp_path)
    assert found
    assert found.slower is slower
    assert len(rounds) - len(left) == asked


def test_what_cannot_be_measured_is_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not regression.measure(
        artifact("old"), artifact("new"), host=LocalHost(), cache=tmp_path
    )

    def fail(*words: object) -> None:
        raise ProofFailed("it died", kind="crash", check="speed")

    monkeypatch.setattr(pace, "rates", fail)
    monkeypatch.setattr(binaries, "library_in", lambda path, host: path / "libllama.so")
    assert not regression.measure(
        artifact("old"), artifact("new"), host=LocalHost(), cache=tmp_path
    )
