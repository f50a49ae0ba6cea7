"""`setup`, `upgrade`, `rollback` and shared stores through the command line: the stand-in is the
pinned source, and its proof stands for inference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llamabuild import pins, proving, store
from llamabuild.cli import main_group
from llamabuild.model import Pin
from llamabuild.trust import keys
from tests import standin
from tests.steps import kill

pytestmark = pytest.mark.steps
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pin, Pin]:
    """A source, and the one that comes after it."""
    folder = tmp_path_factory.mktemp("standin")
    text = "int nothing(void) { return 2; }\n"
    made = []
    for name, extra in (("old", {}), ("new", {"vendor/llama.cpp/nothing.c": text})):
        (folder / name).mkdir()
        made.append(standin.archive(folder / name, folder / "facts", extra=extra))
    return made[0], made[1]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: tuple[Pin, Pin]) -> Path:
    monkeypatch.setattr(pins, "default_pin", lambda: sources[0])
    monkeypatch.setattr(proving, "prove_in", standin.proved)
    monkeypatch.setattr(proving, "prove_here", standin.proved)
    monkeypatch.setenv(keys.VARIABLE, str(tmp_path / "key.pem"))
    for name in ("CC", "CXX", "GITHUB_ACTIONS", "LLAMABUILD_STORE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


def run(root: Path, *words: str, code: int = 0) -> Result:
    ended = CliRunner().invoke(main_group, [*words, "--cache", str(root)])
    assert ended.exit_code == code, ended.output
    assert ended.exception is None or isinstance(ended.exception, SystemExit)
    return ended


def answer(root: Path, *words: str) -> Any:
    found = json.loads(run(root, *words, "--json").stdout)
    assert found["version"] == 1
    return found


def test_setup_upgrade_and_the_way_back(
    root: Path, sources: tuple[Pin, Pin], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = run(root, "setup", "cpu-native", "--json")
    assert "Compiling" in begun.stderr
    first = json.loads(begun.stdout)["artifact"]
    same = run(root, "upgrade", "--json")
    assert json.loads(same.stdout)["artifact"]["id"] == first["id"]
    assert "This is the newest already." in same.stderr
    monkeypatch.setattr(pins, "default_pin", lambda: sources[1])
    second = answer(root, "upgrade")["artifact"]
    assert second["key"] != first["key"]
    known = answer(root, "generations")
    assert known["current"] == 2
    assert [one["id"] for one in known["items"]] == [first["id"], second["id"]]
    assert {one["recipe"] for one in known["items"]} == {"cpu-native"}

    assert "Generation 1 is current" in run(root, "rollback").stdout
    page = run(root, "store", "ls").stdout
    assert [line.split()[0] for line in page.splitlines() if line.endswith("current")] == [
        first["key"][:12]
    ]
    again = run(root, "upgrade", "--json")
    assert json.loads(again.stdout)["artifact"]["id"] == second["id"]
    assert "Compiling" not in again.stderr
    assert answer(root, "generations")["current"] == 3
    run(root, "store", "gc", "--max-size", "0")
    assert kill.inspect(root) == 2

    run(root, "store", "rm", first["key"])
    gone = run(root, "rollback", "1", code=2)
    assert "generation 1" in gone.stderr
    assert "llamabuild setup cpu-native" in gone.stderr
    assert answer(root, "generations")["current"] == 3


def test_why_miss_of_what_was_just_made_is_a_hit(root: Path) -> None:
    made = answer(root, "setup", "cpu-native")["artifact"]
    page = run(root, "store", "why-miss", "cpu-native").stdout
    assert page == f"{made['key'][:12]} (cpu-native) is just that: it is a hit.\n"
    why = answer(root, "store", "why-miss", "cpu-native")
    assert (why["nearest"], why["key"], why["reasons"]) == (made["key"], made["key"], [])


def test_setup_takes_what_a_team_has_and_says_so(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, other = str(tmp_path / "shared"), tmp_path / "other"
    made = answer(root, "setup", "cpu-native")["artifact"]
    line = run(root, "trust", "new", "anna").stdout.strip()
    run(root, "store", "push", shared)
    run(other, "trust", "add", line)
    monkeypatch.setenv("LLAMABUILD_STORE", shared)
    taken = run(other, "setup", "cpu-native", "--offline", "--json")
    assert json.loads(taken.stdout)["artifact"]["id"] == made["id"]
    assert f"Pulling {made['id'][:12]} from {shared}" in taken.stderr
    assert "comes from elsewhere: it is proved here" in taken.stderr
    assert "Compiling" not in taken.stderr
    assert not (other / "sources").exists()
    assert answer(other, "generations")["items"][0]["id"] == made["id"]
    again = run(other, "build", "cpu-native")
    assert again.stdout.strip() == str(other / Path(made["path"]).relative_to(root))
    assert "Pulling" not in again.stderr


def test_a_build_that_fails_leaves_what_was_there(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = answer(root, "setup", "cpu-native")["artifact"]
    broken = {"vendor/llama.cpp/nothing.c": "int nothing(void) { return undeclared; }\n"}
    (tmp_path / "broken").mkdir()
    pin = standin.archive(tmp_path / "broken", tmp_path / "facts", extra=broken)
    monkeypatch.setattr(pins, "default_pin", lambda: pin)
    ended = run(root, "upgrade", code=7)
    assert "undeclared" in ended.stderr
    assert "Traceback" not in ended.stderr
    known = answer(root, "generations")
    assert (known["current"], known["items"][0]["id"]) == (1, first["id"])
    assert store.ready(root, store.find(root, first["key"], lambda _: None), lambda _: None)
