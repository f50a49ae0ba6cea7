"""`worker run` as a process: the contract of one cell, again and again, and what it refuses."""

from __future__ import annotations

import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import recordings, remotes, store
from llamabuild.ci import cells
from llamabuild.ci.cells import Cell
from llamabuild.host import LocalHost
from tests.steps import kill, shelves, worklist
from tests.steps.worklist import Works

pytestmark = pytest.mark.steps


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Works:
    return worklist.works(tmp_path_factory.mktemp("works"))


@pytest.fixture(scope="module")
def cell(works: Works) -> Cell:
    return works.cell("cpu")


@pytest.fixture
def file(cell: Cell, tmp_path: Path) -> str:
    return worklist.written(tmp_path, cell)


def listed(address: Path, cache: Path) -> list[str]:
    """The ids of everything that a store lists."""
    import datetime as dt

    shared = remotes.opened(str(address), cache, unsigned=True)
    state = remotes.latest(shared, now=dt.datetime.now(tz=dt.timezone.utc))
    return [row.id for row in remotes.everything(shared, state)] if state else []


def test_built_once_then_there_then_adopted_elsewhere(
    works: Works, cell: Cell, file: str, tmp_path: Path
) -> None:
    shared, here, other = tmp_path / "shared", tmp_path / "a", tmp_path / "b"
    words = ("worker", "run", file, "--store", str(shared), "--unsigned")
    made, story = works.run(here, *words)
    assert (made["outcome"], made["name"], made["names"]) == ("built", "cpu", ["cpu"])
    assert (made["key"], made["published"]) == (cell.key, made["id"])
    assert Path(made["wheel"]).is_file()
    assert "Compiling" in story
    assert "Pushing" in story
    before = {path: path.stat().st_mtime_ns for path in shared.rglob("*") if path.is_file()}

    again, story = works.run(here, *words)
    assert (again["outcome"], again["id"]) == ("there", made["id"])
    assert "Compiling" not in story
    assert "Pushing" not in story
    assert {path: path.stat().st_mtime_ns for path in before} == before

    taken, story = works.run(other, *words)
    assert (taken["outcome"], taken["id"], taken["published"]) == (
        "adopted",
        made["id"],
        made["id"],
    )
    assert "Compiling" not in story
    assert listed(shared, other) == [made["id"]]
    assert kill.inspect(here) == kill.inspect(other) == 1


def test_signed_with_the_key_of_this_machine(works: Works, file: str, tmp_path: Path) -> None:
    key = str(tmp_path / "key.pem")
    shared, here = str(tmp_path / "shared"), tmp_path / "a"
    words = ("worker", "run", file, "--store", shared)
    none, _ = works.run(here, *words, code=2, LLAMABUILD_SIGNING_KEY=key)
    assert "llamabuild trust new" in none["error"]["hint"]
    assert not kill.inspect(here)  # said before anything is compiled
    line = works.start(here, "trust", "new", "anna", LLAMABUILD_SIGNING_KEY=key).communicate()[0]
    made, _ = works.run(here, *words, LLAMABUILD_SIGNING_KEY=key)
    assert made["outcome"] == "built"
    works.start(tmp_path / "b", "trust", "add", line.strip()).communicate()
    taken, _ = works.run(tmp_path / "b", *words, "--no-push")
    assert (taken["outcome"], taken["published"]) == ("adopted", "")
    stranger, _ = works.run(tmp_path / "c", *words, "--no-push", code=2)
    assert "nobody is trusted" in stranger["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": "0" * 64}, "are the same"),
        ({"key": "0" * 64, "compiler": "gcc 4.9 x86_64-linux-gnu 00"}, "gcc 4.9"),
        ({"key": "0" * 64, "sysroot": "glibc 2.17"}, "glibc 2.17 there"),
        ({"key": "0" * 64, "tools": ("cmake 3.1",)}, "cmake 3.1 there"),
        ({"sha256": "1" * 64}, "111111111111 there"),
        ({"commit": "fffffff"}, "fffffff there"),
        ({"pin": "other"}, "no source 'other'"),
    ],
)
def test_what_differs_from_the_lock_file_is_named_and_nothing_is_made(
    changes: dict[str, object], words: str, works: Works, cell: Cell, tmp_path: Path
) -> None:
    file = worklist.written(tmp_path, replace(cell, **changes))
    said, story = works.run(tmp_path / "cache", "worker", "run", file, code=12)
    error = said["error"]
    assert error["class"] == "LockMismatch"
    assert error["differences"]
    assert words in error["message"]
    assert "Compiling" not in story


def test_a_cell_for_another_machine_is_refused(works: Works, cell: Cell, tmp_path: Path) -> None:
    for needs in (("plan9",), (cell.os, "vax"), (cell.os, cell.arch, "cann")):
        file = worklist.written(tmp_path, replace(cell, needs=needs))
        said, _ = works.run(tmp_path / "cache", "worker", "run", file, code=3)
        assert needs[-1] in said["error"]["message"]


def test_a_cell_that_is_none(works: Works, cell: Cell, tmp_path: Path) -> None:
    data = cells.encode(cell)
    bad = (data[:-30], b"", b"\xff\xfe", b"[]", data.replace(b'"version":1', b'"version":9'))
    for number, content in enumerate(bad):
        file = tmp_path / f"{number}.json"
        file.write_bytes(content)
        said, _ = works.run(tmp_path / "cache", "worker", "run", str(file), code=2)
        assert str(file) in said["error"]["message"]
    said, _ = works.run(tmp_path / "cache", "worker", "run", str(tmp_path / "gone.json"), code=2)
    assert "gone.json" in said["error"]["message"]


def test_a_store_that_cannot_be_written_is_said_before_compiling(
    works: Works, file: str, tmp_path: Path
) -> None:
    (tmp_path / "web").mkdir()
    with shelves.served(tmp_path / "web") as (address, _):
        words = ("worker", "run", file, "--unsigned", "--store", address)
        said, story = works.run(tmp_path / "cache", *words, code=2)
        assert "can only be read" in said["error"]["message"]
        assert "Compiling" not in story
        made, _ = works.run(tmp_path / "cache", *words, "--no-push")
        assert made["outcome"] == "built"


def test_a_store_that_is_down_is_said_before_compiling(
    works: Works, file: str, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        variables = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_REGION": "us-east-1",
            "AWS_SECRET_ACCESS_KEY": "a secret that nobody should see",
        }
        words = ("worker", "run", file, "--unsigned", "--store", "s3://team/llama")
        said, story = works.run(tmp_path / "cache", *words, code=5, **variables)
    assert "s3://team/llama" in said["error"]["message"]
    assert "Compiling" not in story
    assert "a secret" not in str(said) + story


def test_two_at_once_in_one_cache_compile_once_and_publish_once(
    works: Works, file: str, tmp_path: Path
) -> None:
    shared, cache = tmp_path / "shared", tmp_path / "a"
    words = ("worker", "run", file, "--store", str(shared), "--unsigned")
    answers = _together(works, [cache, cache], words)
    assert sorted(one["outcome"] for one in answers) == ["built", "there"]
    assert listed(shared, cache) == [answers[0]["id"]]


def test_two_at_once_on_two_machines_publish_one(works: Works, file: str, tmp_path: Path) -> None:
    """Both have proved theirs before either publishes."""
    shared, hold = tmp_path / "shared", tmp_path / "hold" / "it"
    hold.parent.mkdir()
    hold.touch()

    def release() -> None:
        while len(list(hold.parent.glob("held-*"))) < 2:
            time.sleep(0.05)
        hold.unlink()

    threading.Thread(target=release, daemon=True).start()
    words = ("worker", "run", file, "--store", str(shared), "--unsigned")
    caches = [tmp_path / "a", tmp_path / "b"]
    answers = _together(works, caches, words, STANDIN_HOLD=str(hold))
    assert [one["outcome"] for one in answers] == ["built", "built"]
    assert len({one["id"] for one in answers}) == 2
    (only,) = listed(shared, caches[0])
    assert {one["published"] for one in answers} == {only}


def _together(works: Works, caches: list[Path], words: tuple[str, ...], **more: str) -> list[dict]:
    import json

    children = [works.start(cache, *words, **more) for cache in caches]
    ended = [child.communicate(timeout=300) for child in children]
    assert [child.returncode for child in children] == [0] * len(children), ended
    return [json.loads(out) for out, _ in ended]


def test_interrupted_nothing_half_made_stays_and_the_next_run_goes_on(
    works: Works, file: str, tmp_path: Path
) -> None:
    cache, hold = tmp_path / "a", tmp_path / "hold" / "it"
    hold.parent.mkdir()
    hold.touch()
    child = works.start(cache, "worker", "run", file, STANDIN_HOLD=str(hold))
    while not list(hold.parent.glob("held-*")):
        assert child.poll() is None, child.communicate()
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "nothing half-made" in err
    assert kill.inspect(cache) == 0
    made, _ = works.run(cache, "worker", "run", file)
    assert made["outcome"] == "built"
    assert store.artifacts(cache, lambda _: None)[0].id == made["id"]


def test_what_is_offered_is_what_dask_takes(works: Works, tmp_path: Path) -> None:
    child = works.start(tmp_path / "cache", "worker", "offer", "--slots", "2")
    line = child.communicate(timeout=60)[0].strip()
    offered = dict(pair.split("=") for pair in line.split())
    assert set(offered.values()) == {"2"}
    assert {"slot", works.cell("x").os, works.cell("x").arch} <= set(offered)
    said, _ = works.run(tmp_path / "cache", "worker", "offer", "--json")
    assert set(said["offers"]) == set(offered)


def test_a_cell_of_a_recorded_machine(works: Works, tmp_path: Path) -> None:
    """Made for that machine with the tools of this one, which here are the same."""
    machine = recordings.record(LocalHost(), cache=works.folder)
    file = worklist.written(tmp_path, works.cell("theirs", key="", machine=machine))
    made, _ = works.run(tmp_path / "cache", "worker", "run", file)
    assert made["outcome"] == "built"
    wrong = worklist.written(tmp_path, works.cell("wrong", key="0" * 64, machine=machine))
    said, _ = works.run(tmp_path / "cache", "worker", "run", wrong, code=12)
    assert made["key"][:12] in said["error"]["message"]
    again, _ = works.run(tmp_path / "cache", "worker", "run", file)
    assert (again["outcome"], again["id"]) == ("there", made["id"])
