"""`llamabuild lock` with this machine's compiler: what is locked stays, what differs has a name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from llamabuild import store
from llamabuild.lockfile import files
from tests.steps.test_cli import run

pytestmark = pytest.mark.steps
MACHINES = Path(__file__).resolve().parents[1] / "machines"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return store.open_root(tmp_path / "cache")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "llamabuild.lock"


def lock(path: Path, cache: Path, *words: str, code: int = 0) -> Any:
    ended = run("lock", *words, "--lock", str(path), cache=cache)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended


def test_targets_are_locked_and_stay(path: Path, cache: Path) -> None:
    shutil.copy(MACHINES / "zen4-vm-gcc12.json", path.parent / "zen4.json")
    said = lock(path, cache, "cpu-fat", "zen4.json cpu-native", "--toolchain", "machine").stdout
    assert "zen4-cpu-native" in said
    made = files.read(path)
    assert [one.variant.split(".")[0] for one in made.targets] == ["cpu", "cpu"]
    assert all(one.key and one.tools and one.compiler for one in made.targets)
    before = path.read_bytes()
    lock(path, cache)
    assert path.read_bytes() == before
    lock(path, cache, "--check")
    names = [one.partition("==")[0] for one in lock(path, cache, "--tools").stdout.split()]
    assert names == ["cmake", "ninja"]


def test_what_differs_is_named(path: Path, cache: Path) -> None:
    lock(path, cache, "cpu-portable", "--toolchain", "machine")
    text = path.read_text()
    compiler = files.read(path).targets[0].compiler
    key = files.read(path).targets[0].key
    path.write_text(text.replace(compiler, "gcc 4.9.0 x86_64 000").replace(key, "0" * 64))
    ended = run("lock", "--check", "--lock", str(path), "--json", cache=cache)
    assert ended.returncode == 12
    error = json.loads(ended.stdout)["error"]
    assert "gcc 4.9.0 x86_64 000 there" in error["message"]
    lock(path, cache, "--upgrade")
    assert files.read(path).targets[0].key == key


def test_what_cannot_be_planned_here_is_said_and_the_rest_is_locked(
    path: Path, cache: Path
) -> None:
    ended = lock(path, cache, "metal", "cpu-portable", "--toolchain", "machine", code=3)
    assert "error: metal cannot be planned here; the rest is locked" in ended.stderr
    assert "next: " in ended.stderr
    metal, portable = files.read(path).targets
    assert (metal.key, bool(portable.key)) == ("", True)
    lock(path, cache, "--remove", "metal")
    assert [one.name for one in files.read(path).targets] == ["cpu-portable"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "there is no"),
        (("cuda",), "names no architecture"),
        (("gone.json",), "gone.json cannot be read"),
        (("--check", "cpu-fat"), "--check changes nothing"),
        (("cpu-fat", "--toolchain", "borland"), "there is no toolchain 'borland'"),
    ],
)
def test_wrong_use_is_said_in_a_line_and_nothing_is_written(
    path: Path, cache: Path, words: tuple[str, ...], said: str
) -> None:
    ended = run("lock", *words, "--lock", str(path), cache=cache)
    assert ended.returncode == 2, ended.stderr
    assert not path.exists()
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
