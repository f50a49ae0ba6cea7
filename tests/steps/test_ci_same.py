"""What a CI system makes of a lock file, and what this machine makes of it: the same.

GitHub's workflow is acted out, with the real program in every step; the source is the stand-in's.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import shutil
import sys
from pathlib import Path

import pytest

from llamabuild import remotes, store
from llamabuild.lockfile import files
from tests.steps import worklist
from tests.steps.test_ci_templates import Team, results
from tests.steps.worklist import REPOSITORY, Works

pytestmark = pytest.mark.steps
MACHINE = REPOSITORY / "tests" / "machines" / "zen4-vm-gcc12.json"


class RealTeam(Team):
    """A team whose workflow calls the real program."""

    works: Works

    def _programs(self, folder: Path) -> None:
        folder.mkdir()
        environment = self.works.environment()
        program = folder / "llamabuild"
        names = ("PYTHONPATH", "STANDIN_PINS")
        exports = "".join(f"export {name}='{environment[name]}'\n" for name in names)
        program.write_text(f'#!/bin/sh\n{exports}exec "{sys.executable}" -m llamabuild "$@"\n')
        program.chmod(0o755)


def contents(address: Path, cache: Path) -> dict[str, dict[str, str]]:
    """The files of every artifact in a store, by key: what was compiled and packed."""
    root = store.open_root(cache)
    shared = remotes.opened(str(address), root, unsigned=True)
    state = remotes.latest(shared, now=dt.datetime.now(tz=dt.timezone.utc))
    assert state
    found = {}
    for row in remotes.everything(shared, state):
        kept = remotes.believed(shared, row).files.items()
        found[row.key] = {name: one.sha256 for name, one in kept if name != "build.log"}
    return found


def test_the_workflow_and_this_machine_make_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # in a job, pip's cmake and ninja come first
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setattr(RealTeam, "works", worklist.works(tmp_path), raising=False)
    team = RealTeam(tmp_path)
    lock = team.repository / "llamabuild.lock"
    shutil.copy(MACHINE, team.repository / MACHINE.name)
    wants = ("cpu-portable", f"{MACHINE.name} cpu-native")
    team.works.run(
        tmp_path / "c", "lock", *wants, "--lock", str(lock), "--toolchain", "machine", "--json"
    )
    made = files.read(lock)
    # the tools are this machine's: nothing is to be installed
    bare = tuple(dataclasses.replace(one, tools=()) for one in made.targets)
    files.write(lock, dataclasses.replace(made, targets=bare))

    jobs = team.act()
    assert results(jobs) | {"index": ""} == {"plan": "success", "make": "success", "index": ""}, (
        jobs
    )
    here = tmp_path / "here"
    here.mkdir()
    words = ("matrix", "run", "--local", "--lock", str(lock), "--store", str(here), "--unsigned")
    said, _ = team.works.run(tmp_path / "cache", *words, "--json")
    assert said["counts"]["built"] == 2
    same = contents(here, tmp_path / "a")
    assert same == contents(team.store, tmp_path / "b")
    assert same.keys() == {one.key for one in made.targets}

    again, _ = team.works.run(tmp_path / "cache", *words, "--json")
    assert again["counts"] == {"built": 0, "adopted": 0, "there": 2, "failed": 0}
    jobs = team.act()
    assert jobs["plan"].outputs["matrix"] == '{"include":[]}'
    assert results(jobs)["make"] == "skipped"
