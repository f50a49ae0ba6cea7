"""`matrix run --local` as a process: many cells, failures, kills, and what is remembered."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.steps import kill, worklist
from tests.steps.test_worker import listed
from tests.steps.worklist import Works

pytestmark = pytest.mark.steps


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Works:
    return worklist.works(tmp_path_factory.mktemp("works"))


@pytest.fixture
def words(works: Works, tmp_path: Path) -> list[str]:
    """A run of three cells, of which the second does not compile."""
    bad = works.cell("bad", pin="broken")
    made = [works.cell("native"), bad, works.cell("portable", "cpu-portable")]
    files = [worklist.written(tmp_path / "cells", cell) for cell in made]
    shared = str(tmp_path / "shared")
    given = [word for file in files for word in ("--cell", file)]
    return ["matrix", "run", "--local", "--json", "--unsigned", "--store", shared, *given]


def until(known: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (found := known()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return found


def names(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {one["name"]: one["outcome"] for one in rows}


def test_one_that_fails_stops_no_other_and_a_resumed_run_does_what_is_left(
    works: Works, words: list[str], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    said, story = works.run(cache, *words, code=14)
    assert said["counts"] == {"built": 2, "adopted": 0, "there": 0, "failed": 1}
    assert names(said["cells"]) == {"native": "built", "portable": "built"}
    (failed,) = said["failed"]
    assert (failed["name"], failed["code"]) == ("bad", 7)
    assert "undeclared" in failed["message"]
    assert "undeclared" in Path(failed["log"]).read_text()
    assert "1 of 3 cells failed: bad:" in story
    assert len(listed(tmp_path / "shared", cache)) == 2

    resumed, story = works.run(cache, *words, "--resume", code=14)
    assert resumed["counts"] == said["counts"]
    assert "portable: " not in story  # it was not started

    again, story = works.run(cache, *words, "--only", "native", "--only", "portable")
    assert names(again["cells"]) == {"native": "there", "portable": "there"}
    assert "Compiling" not in story

    wrong, _ = works.run(cache, *words, "--only", "nobody", code=2)
    assert "nobody" in wrong["error"]["message"]
    assert kill.inspect(cache) == 2


def test_how_it_looks_to_people_programs_and_github(
    works: Works, words: list[str], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    plain = [word for word in words if word != "--json"]
    child = works.start(cache, *plain)
    out, err = child.communicate(timeout=300)
    assert out.splitlines()[-1] == "2 built, 1 failed"
    assert "native: Compiling" in err
    assert "done: native (zen4-vm-gcc12.json cpu-native)" in err
    assert "failed: bad (zen4-vm-gcc12.json cpu-native)" in err
    out, err = works.start(cache, *plain, GITHUB_ACTIONS="true").communicate(timeout=300)
    assert "::group::native (zen4-vm-gcc12.json cpu-native)" in err
    assert "::error title=CellsFailed::1 of 3 cells failed" in err
    assert out.splitlines()[-1] == "2 there already, 1 failed"
    _, err = works.start(cache, *plain, "--progress", "json").communicate(timeout=300)
    assert '"event":"step_failed","name":"bad"' in err


def test_a_child_that_is_killed_is_a_failed_cell(
    works: Works, words: list[str], tmp_path: Path
) -> None:
    cache, hold = tmp_path / "cache", tmp_path / "hold" / "it"
    hold.parent.mkdir()
    hold.touch()
    child = works.start(cache, *words, STANDIN_HOLD=str(hold))
    (held,) = until(lambda: list(hold.parent.glob("held-*")))
    os.kill(int(held.name.removeprefix("held-")), signal.SIGKILL)
    hold.unlink()
    out, err = child.communicate(timeout=300)
    assert child.returncode == 14, err
    assert "native: its worker was ended by SIGKILL" in err
    assert json.loads(out)["counts"] == {"built": 1, "adopted": 0, "there": 0, "failed": 2}
    resumed, _ = works.run(cache, *words, "--resume", code=14)
    assert names(resumed["cells"]) == {"native": "built", "portable": "built"}
    assert kill.inspect(cache) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_when_it_is_ended_its_children_end_and_nothing_half_made_stays(
    number: signal.Signals, works: Works, words: list[str], tmp_path: Path
) -> None:
    cache, hold = tmp_path / "cache", tmp_path / "hold" / "it"
    hold.parent.mkdir()
    hold.touch()
    child = works.start(cache, *words, "--jobs", "2", STANDIN_HOLD=str(hold))
    until(lambda: list(hold.parent.glob("held-*")))
    family = psutil.Process(child.pid).children(recursive=True)
    assert family
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert child.returncode == (-9 if number == signal.SIGKILL else 130), err
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
    assert kill.inspect(cache) == 0
    assert listed(tmp_path / "shared", cache) == []
    hold.unlink()
    resumed, _ = works.run(cache, *words, "--resume", code=14)
    assert resumed["counts"] == {"built": 2, "adopted": 0, "there": 0, "failed": 1}
    assert not [path for path in (cache / "work").iterdir() if path.is_dir()]


def test_where_is_asked_for(works: Works, tmp_path: Path) -> None:
    child = works.start(tmp_path / "cache", "matrix", "run")
    _, err = child.communicate(timeout=60)
    assert child.returncode == 2
    assert "--local" in err
    said, _ = works.run(tmp_path / "cache", "matrix", "run", "--local", "--json", code=2)
    assert "llamabuild.lock" in said["error"]["message"]
