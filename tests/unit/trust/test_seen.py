from __future__ import annotations

import json
import os
import random
import threading
from pathlib import Path

import pytest

from llamabuild.errors import IntegrityError, LlamabuildError, StoreError
from llamabuild.store import sealed
from llamabuild.trust import seen
from llamabuild.trust.snapshot import Snapshot
from tests.unit.trust.making import DAY, NOW, snapshot

REMOTE = "s3://anna:secret@bucket/cache"


def _remember(root: Path, made: Snapshot) -> seen.Seen:
    return seen.remember(root, REMOTE, made, now=NOW)


def _file(root: Path) -> Path:
    [path] = (root / "trust" / "seen").glob("*.json")
    return path


def test_what_is_remembered_is_recalled(tmp_path: Path) -> None:
    assert seen.recall(tmp_path, REMOTE) is None
    made = _remember(tmp_path, snapshot(version=5))
    assert made == seen.noted(snapshot(version=5), NOW)
    assert seen.recall(tmp_path, REMOTE) == made
    assert seen.recall(tmp_path, REMOTE + "2") is None
    told = "".join(f"{path} {path.read_text()}" for path in (tmp_path / "trust").rglob("*.json"))
    assert "secret" not in told


def test_it_only_goes_forward(tmp_path: Path) -> None:
    _remember(tmp_path, snapshot(version=5))
    newest = _remember(tmp_path, snapshot(version=7))
    assert _remember(tmp_path, snapshot(version=6)) == newest
    assert seen.recall(tmp_path, REMOTE) == newest
    again = seen.remember(tmp_path, REMOTE, snapshot(version=7), now=NOW + DAY)
    assert (again.version, again.when) == (7, "2026-06-02T12:00:00Z")


@pytest.mark.parametrize("other", [{"version": 7, "count": 9}, {"version": 8, "store": "x"}])
def test_another_history_is_not_remembered(other: dict[str, object], tmp_path: Path) -> None:
    newest = _remember(tmp_path, snapshot(version=7))
    with pytest.raises(IntegrityError):
        _remember(tmp_path, snapshot(**other))
    assert seen.recall(tmp_path, REMOTE) == newest


def test_threads_that_remember_at_once_end_with_the_newest(tmp_path: Path) -> None:
    versions = list(range(1, 41))
    random.Random(7).shuffle(versions)
    fulfilled: list[int] = []
    start = threading.Barrier(8)

    def work(mine: list[int]) -> None:
        start.wait()
        known = (_remember(tmp_path, snapshot(version=version)).version for version in mine)
        fulfilled.extend(
            version for version, now in zip(mine, known, strict=True) if now >= version
        )

    threads = [threading.Thread(target=work, args=(versions[n::8],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fulfilled) == sorted(versions)
    assert seen.recall(tmp_path, REMOTE) == seen.noted(snapshot(version=40), NOW)
    assert _file(tmp_path)  # one, and nothing half-written beside it
    assert not list((tmp_path / "trust" / "seen").glob(".*"))


def test_of_two_contents_of_one_version_one_is_remembered(tmp_path: Path) -> None:
    ended: list[str] = []
    start = threading.Barrier(2)

    def work(count: int) -> None:
        start.wait()
        try:
            _remember(tmp_path, snapshot(version=7, count=count))
            ended.append("remembered")
        except LlamabuildError as error:
            ended.append(type(error).__name__)

    threads = [threading.Thread(target=work, args=(count,)) for count in (3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == ["IntegrityError", "remembered"]


def test_a_damaged_file_is_said_and_not_forgotten(tmp_path: Path) -> None:
    _remember(tmp_path, snapshot(version=7))
    path = _file(tmp_path)
    whole = path.read_bytes()
    newer = sealed.encode({**json.loads(whole.partition(b"\n")[2]), "version": 2})
    for content in (*(whole[:length] for length in range(len(whole))), b"\xff", newer):
        path.write_bytes(content)
        for use in (lambda: seen.recall(tmp_path, REMOTE), lambda: _remember(tmp_path, snapshot())):
            with pytest.raises(StoreError, match="is damaged") as caught:
                use()
            assert str(path) in caught.value.message
            assert "remove the file" in caught.value.hint
        assert path.read_bytes() == content
    path.unlink()
    assert seen.recall(tmp_path, REMOTE) is None
    assert _remember(tmp_path, snapshot(version=2)).version == 2


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError):
        _remember(tmp_path, snapshot())


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "trust").write_text("x")
    with pytest.raises(StoreError, match="trust"):
        _remember(tmp_path, snapshot())
    with pytest.raises(StoreError, match="trust"):
        seen.recall(tmp_path, REMOTE)
