"""Looking and deciding as a user meets them: this machine, recorded ones, fleets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.golden import MACHINES
from tests.steps.test_cli import refused, run

pytestmark = pytest.mark.steps


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def here(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This machine, recorded."""
    path = tmp_path_factory.mktemp("machines") / "here.json"
    env = {"HOME": "/home/karla-kolumna", "USER": "karla-kolumna"}
    ended = run("probe", "--record", str(path), cache=cache, env=env)
    assert ended.returncode == 0, ended.stderr
    return path


def test_a_recorded_machine_is_planned_for_like_this_one(here: Path, cache: Path) -> None:
    """Another process, another time, the same decision: only paths may be told differently."""
    plans = []
    for arguments in ((), ("--machine", str(here))):
        ended = run("plan", "--json", *arguments, cache=cache)
        assert ended.returncode == 0, ended.stderr
        plans.append(json.loads(ended.stdout)["plan"])
    one, other = plans
    assert one["flags"] == other["flags"]
    assert one["fingerprint"] == other["fingerprint"]
    assert one["compiler"]["digest"] == other["compiler"]["digest"]


def test_a_recording_is_anonymous(here: Path) -> None:
    assert "karla" not in here.read_text()


def test_looking_needs_no_network_and_fetches_nothing(cache: Path) -> None:
    ended = run("plan", cache=cache, env={"PIP_INDEX_URL": "http://127.0.0.1:9/simple"})
    assert ended.returncode == 0, ended.stderr
    assert not (cache / "sources").exists()


def test_the_difference_to_this_machine(here: Path, cache: Path) -> None:
    ended = run("plan", "--diff", ".", str(MACHINES / "raspberry-pi-5.json"), cache=cache)
    assert ended.returncode == 0, ended.stderr
    assert "GGML_CPU_ARM_ARCH" in ended.stdout
    same = run("plan", "--diff", ".", str(here), cache=cache)
    assert same.stdout == "this machine and here get the same build.\n"


def test_a_fleet_says_what_is_saved(here: Path, cache: Path) -> None:
    names = ("rtx-3090", "gtx-1070", "raspberry-pi-5", "graviton4")
    targets = [word for name in names for word in ("--target", str(MACHINES / f"{name}.json"))]
    ended = run("plan", *targets, "--target", str(here), cache=cache)
    assert ended.returncode == 0, ended.stderr
    assert "builds for 5 machines" in ended.stdout
    assert "saved" in ended.stdout
    answer = json.loads(run("plan", *targets, "--json", cache=cache).stdout)
    served = [name for job in answer["items"] for name in job["group"]["machines"]]
    assert sorted(served) == sorted(names)


@pytest.mark.parametrize("style", ["cmake", "pip", "markdown"])
def test_a_plan_in_other_words(style: str, cache: Path) -> None:
    ended = run("plan", "cpu-portable", "--as", style, cache=cache)
    assert ended.returncode == 0, ended.stderr
    assert "GGML_NATIVE" in ended.stdout


def test_why_and_why_not(cache: Path) -> None:
    ended = run("plan", "--explain", "metal", cache=cache)
    assert ended.returncode == 0, ended.stderr
    assert "is not used" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("plan", "--machine", "{}/none.json"), "cannot be read"),
        (("plan", "--machine", "{}/broken.json"), "is not a recorded machine"),
        (("plan", "--machine", "{}/newer.json"), "newer llamabuild"),
        (("probe", "--machine", "{}/broken.json"), "is not a recorded machine"),
        (("probe", "--record", "{}/folder"), "cannot be written"),
        (("plan", "--explain", "GGML_CUDAA"), "GGML_CUDA"),
        (("plan", "--pin", "nothing"), "nothing"),
        (("plan", "--tree", "{}"), "declares no llama.cpp option"),
        (("plan", "--explain", "cuda", "--target", "{}/newer.json"), "do not go together"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], said: str, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "broken.json").write_text('{"version": 1, "machine": 3}')
    (tmp_path / "newer.json").write_text('{"version": 2}')
    (tmp_path / "folder").mkdir()
    ended = run(*(word.format(tmp_path) for word in arguments), cache=cache)
    refused(ended, 2, said)
