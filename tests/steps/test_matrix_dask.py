"""`matrix run --dask` as a process against a real scheduler and two unlike workers."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.steps import kill, worklist
from tests.steps.test_worker import listed
from tests.steps.worklist import Works

distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(os.name != "posix", reason="kills processes"),
    pytest.mark.filterwarnings("ignore"),  # Dask's own, at its end
]


@dataclass
class Cluster:
    """A scheduler's address, and the caches of its workers by their names."""

    address: str
    caches: dict[str, Path]

    def workers(self) -> dict[str, dict[str, Any]]:
        """What the scheduler knows of its workers, by their names."""
        with distributed.Client(self.address, set_as_default=False) as client:
            found = client.scheduler_info(n_workers=-1)["workers"].values()
        return {one["name"]: one for one in found}

    def pids(self) -> dict[str, int]:
        """The processes of the workers."""
        with distributed.Client(self.address, set_as_default=False) as client:
            found = client.run(os.getpid)
            known = client.scheduler_info(n_workers=-1)["workers"]
        return {known[address]["name"]: pid for address, pid in found.items()}


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Works:
    return worklist.works(tmp_path_factory.mktemp("works"))


@pytest.fixture
def hold(tmp_path: Path) -> Path:
    """While this file is there, proofs wait; each touches a file beside it."""
    (tmp_path / "hold").mkdir()
    return tmp_path / "hold" / "it"


@pytest.fixture
def cluster(works: Works, tmp_path: Path, hold: Path) -> Iterator[Cluster]:
    """One worker for any cell of this machine, and one that has a graphics card too."""
    cell = works.cell("any")
    common = {cell.os: 1, cell.arch: 1, "slot": 1}
    kinds = {"plain": common, "graphics": {**common, "cuda": 1}}
    caches = {name: tmp_path / f"cache-{name}" for name in kinds}
    specs = {
        name: {
            "cls": distributed.Nanny,
            "options": {
                "nthreads": 1,
                "resources": resources,
                "env": works.environment(
                    LLAMABUILD_CACHE=str(caches[name]), STANDIN_HOLD=str(hold)
                ),
            },
        }
        for name, resources in kinds.items()
    }
    scheduler = {
        "cls": distributed.Scheduler,
        "options": {"port": 0, "host": "127.0.0.1", "dashboard": False},
    }
    with distributed.SpecCluster(specs, scheduler=scheduler) as made:
        yield Cluster(made.scheduler_address, caches)


def until(known: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (found := known()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return found


def given(tmp_path: Path, cluster: Cluster, *cells: Any) -> list[str]:
    files = [worklist.written(tmp_path / "cells", cell) for cell in cells]
    words = [word for file in files for word in ("--cell", file)]
    store = ["--unsigned", "--store", str(tmp_path / "shared")]
    return ["matrix", "run", "--dask", cluster.address, "--json", *store, *words]


def test_cells_go_where_they_can_and_what_nobody_offers_is_said_at_once(
    works: Works, cluster: Cluster, tmp_path: Path
) -> None:
    native = works.cell("native")
    portable = works.cell("portable", "cpu-portable", needs=(native.os, native.arch))
    bad = works.cell("bad", pin="broken")
    never = works.cell("never", needs=("linux", "cann"))
    words = given(tmp_path, cluster, native, portable, bad, never)
    child = works.start(tmp_path / "cache", *words)
    assert child.stderr
    started, story, said_after = time.monotonic(), "", 0.0
    for line in child.stderr:
        story += line
        if "failed: never" in line:
            said_after = time.monotonic() - started
            assert "done: " not in story
    out = child.stdout.read() if child.stdout else ""
    assert child.wait(60) == 14, story
    print(f"what nobody offers was said {said_after:.1f} s after the start")
    said = json.loads(out)
    assert said["counts"] == {"built": 2, "adopted": 0, "there": 0, "failed": 2}
    why = {one["name"]: one for one in said["failed"]}
    assert "none of 2 workers offers cann" in why["never"]["message"]
    assert "--resources" in why["never"]["hint"]
    assert (why["bad"]["code"], "undeclared" in why["bad"]["message"]) == (7, True)
    assert " on tcp://" in why["bad"]["log"]
    assert "native: Compiling" in story
    assert len(listed(tmp_path / "shared", tmp_path / "seen")) == 2
    assert sum(kill.inspect(root) for root in cluster.caches.values() if root.exists()) == 2
    for root in cluster.caches.values():
        assert not root.exists() or not list((root / "work").glob("build-*/"))


def test_a_worker_that_is_killed_costs_no_cell_and_nothing_is_published_twice(
    works: Works, cluster: Cluster, tmp_path: Path, hold: Path
) -> None:
    hold.touch()
    cells = [works.cell("native"), works.cell("portable", "cpu-portable")]
    child = works.start(tmp_path / "cache", *given(tmp_path, cluster, *cells))
    until(lambda: len(list(hold.parent.glob("held-*"))) == 2)  # both have compiled
    victims = {int(path.name.removeprefix("held-")) for path in hold.parent.glob("held-*")}
    os.kill(cluster.pids()["plain"], signal.SIGKILL)
    until(lambda: sum(map(_alive, victims)) == 1)  # what it was making has ended with it
    hold.unlink()
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    assert {one["name"] for one in json.loads(out)["cells"]} == {"native", "portable"}
    assert json.loads(out)["counts"]["failed"] == 0
    assert len(listed(tmp_path / "shared", tmp_path / "seen")) == 2
    assert len(list((tmp_path / "shared" / "manifests").rglob("*.json"))) == 2


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_only_one_worker_offers_goes_there(
    works: Works, cluster: Cluster, tmp_path: Path
) -> None:
    """The need is a word to the cluster; the machine has no such card and says so itself."""
    native = works.cell("native")
    cell = works.cell("card", needs=(native.os, native.arch, "cuda"))
    said, _ = works.run(tmp_path / "cache", *given(tmp_path, cluster, cell), code=14)
    (failed,) = said["failed"]
    assert failed["code"] == 3
    assert cluster.workers()["graphics"]["id"]
    assert str(cluster.caches["graphics"]) in failed["log"]


def test_an_interrupted_run_ends_what_workers_are_making(
    works: Works, cluster: Cluster, tmp_path: Path, hold: Path
) -> None:
    hold.touch()
    child = works.start(tmp_path / "cache", *given(tmp_path, cluster, works.cell("native")))
    (held,) = until(lambda: list(hold.parent.glob("held-*")))
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=60)
    assert child.returncode == 130
    until(lambda: not _alive(int(held.name.removeprefix("held-"))), seconds=30)
    assert listed(tmp_path / "shared", tmp_path / "seen") == []
    hold.unlink()
    said, _ = works.run(tmp_path / "cache", *given(tmp_path, cluster, works.cell("native")))
    assert said["counts"]["built"] == 1


def test_no_scheduler_is_said(works: Works, tmp_path: Path) -> None:
    file = worklist.written(tmp_path, works.cell("native"))
    words = ["matrix", "run", "--dask", "tcp://127.0.0.1:9", "--json", "--cell", file]
    said, story = works.run(tmp_path / "cache", *words, code=5)
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in said["error"]["message"]
    assert "Traceback" not in story
