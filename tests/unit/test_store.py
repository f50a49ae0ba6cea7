from __future__ import annotations

import threading
from pathlib import Path

import pytest

from llamabuild import store
from llamabuild.errors import ConfigError, StoreError
from llamabuild.events import Event, Warned, silent
from llamabuild.model import Artifact, Remedy
from tests.unit import values

KEY = "ab" * 32


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return store.open_root(tmp_path / "cache")


def _publish(
    root: Path, key: str = KEY, requested: str = "", recipe: str = "cpu-native"
) -> Artifact:
    with store.workdir(root) as work:
        prefix = values.prefix(work / "prefix")
        manifest = values.manifest(key, store.hashes(prefix), recipe)
        return store.publish(root, prefix, manifest, requested=requested or key)


def test_what_is_published_is_found(root: Path) -> None:
    made = _publish(root)
    assert store.lookup(root, KEY, silent) == made
    assert made.wheel.name == "a.whl"
    assert store.artifacts(root) == (made,)
    assert [path.name for path in (root / "work").iterdir()] == ["sweep.lock"]


def test_a_healed_request_is_found_under_both_keys(root: Path) -> None:
    asked = "cd" * 32
    made = _publish(root, requested=asked)
    assert store.lookup(root, asked, silent) == made
    assert made.healed == ()
    remedy = Remedy(name="without-avx2", why="it crashed", evidence="SIGILL")
    other = "ef" * 32
    adopted = store.adopt(root, KEY, silent, requested=other, healed=(remedy,))
    assert adopted is not None
    assert adopted.healed == (remedy,)
    assert store.lookup(root, other, silent) == adopted
    assert store.lookup(root, KEY, silent) == made
    store.remove(root, made)
    assert store.lookup(root, asked, silent) is None
    assert not list((root / "requested").iterdir())


@pytest.mark.parametrize("change", ["edit", "remove", "add", "manifest", "moved"])
def test_a_damaged_entry_is_a_miss_and_goes(root: Path, change: str) -> None:
    made = _publish(root)
    match change:
        case "edit":
            (made.path / "bin" / "llama-cli").write_text("y")
        case "remove":
            (made.path / "bin" / "llama-cli").unlink()
        case "add":
            (made.path / "bin" / "extra").write_text("y")
        case "manifest":
            (made.path / "manifest.json").write_text("{}")
        case "moved":
            text = (made.path / "manifest.json").read_text()
            (made.path / "manifest.json").write_text(text.replace(KEY, "ef" * 32))
    told: list[Event] = []
    assert store.lookup(root, KEY, told.append) is None
    assert any(isinstance(event, Warned) for event in told)
    assert not made.path.exists()


def test_a_lost_race_returns_the_winner(root: Path) -> None:
    results: list[Artifact] = []
    threads = [threading.Thread(target=lambda: results.append(_publish(root))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len({one.path for one in results}) == 1
    assert len(store.artifacts(root)) == 1


def test_find_by_key_recipe_or_path(root: Path) -> None:
    first = _publish(root)
    second = _publish(root, "abcd" + "0" * 60, recipe="auto")
    assert store.find(root, "auto") == second
    assert store.find(root, KEY[:10]) == first
    assert store.find(root, str(first.path)) == first
    with pytest.raises(ConfigError, match="there is no artifact"):
        store.find(root, "ffff")
    third = _publish(root, "abcd" + "1" * 60, recipe="other")
    with pytest.raises(ConfigError, match="fits several"):
        store.find(root, "abcd")
    assert third.key


def test_current_is_what_was_set_up(root: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is set up"):
        store.current(root)
    made = _publish(root)
    store.make_current(root, made)
    assert store.current(root) == made
    store.remove(root, made)
    with pytest.raises(ConfigError, match="nothing is set up"):
        store.current(root)


def test_a_newer_layout_is_refused(root: Path) -> None:
    (root / "layout.json").write_text('{"version": 99}')
    with pytest.raises(StoreError, match="newer llamabuild"):
        store.open_root(root)


def test_a_damaged_layout_is_refused(root: Path) -> None:
    (root / "layout.json").write_text("garbage")
    with pytest.raises(StoreError, match="damaged"):
        store.open_root(root)


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="not llamabuild's"):
        store.open_root(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="file"):
        store.open_root(tmp_path / "file" / "cache")


def test_leftovers_of_the_dead_are_swept_and_those_of_the_living_are_not(root: Path) -> None:
    dead = root / "work" / "build-dead"
    dead.mkdir(parents=True)
    (dead / "x").write_text("x")
    with store.workdir(root) as living:
        assert not dead.exists()
        with store.workdir(root):
            assert living.exists()
    assert not living.exists()
