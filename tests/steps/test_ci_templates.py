"""The templates for CI systems: by the hosts' own schemas, by a security linter, and acted out."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from llamabuild import remotes, store
from llamabuild.ci import gitlab, runners, shards
from llamabuild.lockfile.entries import Locked
from llamabuild.trust import keys, roster
from tests.steps import gitlab_local, shelves
from tests.steps.acting import Acting, Job
from tests.unit import cells_of

pytestmark = pytest.mark.steps
ROOT = Path(__file__).resolve().parents[2]
WHEELS = ".github/workflows/wheels.yml"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))
GITLAB = ROOT / ".gitlab" / "llamabuild.yml"
NOW = dt.datetime.now(tz=dt.timezone.utc)


# --- by the hosts' own words ---------------------------------------------------------------------


def valid(schema: str, text: str, folder: Path) -> bool:
    """Whether a file fits one of the schemas that come with check-jsonschema."""
    file = folder / "checked.yml"
    file.write_text(text, encoding="utf-8")
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ended.returncode in (0, 1), ended.stderr
    assert "rror" in ended.stdout or ended.returncode == 0, ended.stdout
    return ended.returncode == 0


def generated(*made: tuple[str, ...]) -> str:
    """A child pipeline with a cell for each of these needs."""
    able = (runners.parse("linux,riscv64=[a, b]"), *runners.of_host("gitlab"))
    named = [cells_of.cell(f"target {number}", *needs) for number, needs in enumerate(made)]
    found = [(one, runners.choose(one.needs, able)) for one in shards.sharded(named)]
    return gitlab.pipeline([(shard, runner) for shard, runner in found if runner])


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda one: one.name)
def test_workflows_are_what_github_reads(file: Path, tmp_path: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert valid("vendor.github-workflows", text, tmp_path)
    broken = text.replace("runs-on:", "runs_on:")
    assert not valid("vendor.github-workflows", broken, tmp_path)
    broken = text.replace("\npermissions:\n", "\npermission:\n")
    assert not valid("vendor.github-workflows", broken, tmp_path)


@pytest.mark.parametrize("file", ACTIONS, ids=lambda one: one.parent.name)
def test_actions_are_what_github_reads(file: Path, tmp_path: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert valid("vendor.github-actions", text, tmp_path)
    assert not valid("vendor.github-actions", text.replace("shell: bash", ""), tmp_path)
    assert not valid("vendor.github-actions", text.replace("using:", "used:"), tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        GITLAB.read_text(encoding="utf-8"),
        generated(("linux", "x86_64"), ("linux", "riscv64"), ("linux", "x86_64")),
        generated(),
    ],
    ids=["template", "generated", "generated-empty"],
)
def test_pipelines_are_what_gitlab_reads(text: str, tmp_path: Path) -> None:
    assert valid("vendor.gitlab-ci", text, tmp_path)
    whole = _whole(YAML(typ="safe").load(text))
    assert valid("vendor.gitlab-ci", json.dumps(whole), tmp_path)
    jobs = [job for job in whole.values() if isinstance(job, dict) and "stage" in job]
    for job in jobs:
        part = "trigger" if "trigger" in job else "script"
        said, job[part] = job[part], 5
        assert not valid("vendor.gitlab-ci", json.dumps(whole), tmp_path)
        job[part] = said
    assert jobs


def _whole(tree: dict[str, Any]) -> dict[str, Any]:
    """A pipeline whose jobs say what they extend: schemas do not look into hidden jobs."""
    return {
        name: {**tree[job.pop("extends")], **job}
        if isinstance(job, dict) and "extends" in job
        else job
        for name, job in tree.items()
        if not name.startswith(".")
    }


def test_gitlabs_largest_matrix_is_what_it_reads(tmp_path: Path) -> None:
    text = generated(*[("linux", "x86_64")] * 200)
    assert valid("vendor.gitlab-ci", text, tmp_path)
    assert len(text) < (runners.bytes_of("gitlab") or 0)


# --- by a security linter ------------------------------------------------------------------------


def audited(folder: Path) -> tuple[int, str]:
    argv = [
        _program("zizmor"),
        "--offline",
        "--strict-collection",
        "--no-progress",
        "--persona",
        "pedantic",
        str(folder),
    ]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def test_a_linter_finds_nothing_in_workflows_and_actions() -> None:
    code, said = audited(ROOT / ".github")
    assert code == 0, said


@pytest.mark.parametrize(
    ("file", "old", "new", "audit"),
    [
        (WHEELS, '--lock "$LOCK"', '--lock "${{ inputs.lock }}"', "template-injection"),
        (WHEELS, "@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2", "@v4", "unpinned-uses"),
        (WHEELS, "        with:\n          persist-credentials: false\n", "", "artipacked"),
        (WHEELS, "contents: read", "contents: write", "excessive-permissions"),
        (".github/actions/cell/action.yml", '"$CELLS"/*', "${{ inputs.cells }}/*", "template"),
    ],
)
def test_the_linter_finds_what_it_is_there_for(
    tmp_path: Path, file: str, old: str, new: str, audit: str
) -> None:
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    text = (tmp_path / file).read_text(encoding="utf-8")
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new), encoding="utf-8")
    code, said = audited(tmp_path / ".github")
    assert code != 0
    assert audit in said


# --- acted out: GitHub ---------------------------------------------------------------------------


class Team:
    """A repository with a lock file, a store, and a builder whose key is a secret of CI."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.repository.mkdir()
        self.store = folder / "store"
        self.log = folder / "log"
        public = keys.create(folder / "key.pem", "ci")
        self.line, self.pem = public.line, (folder / "key.pem").read_text()
        self.reader = store.open_root(folder / "reader")
        roster.add(self.reader, public, ["builder"], now=NOW)
        self._programs(folder / "bin")
        self.turns = 0

    def _programs(self, folder: Path) -> None:
        folder.mkdir()
        program = folder / "llamabuild"
        argv = f'"{sys.executable}" -m tests.steps.cheap_worker "{self.log}" "$@"'
        program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec {argv}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def lock(self, *targets: Locked) -> None:
        cells_of.write(self.repository / "llamabuild.lock", targets)

    def act(self, event: str = "push", fork: bool = False, **inputs: Any) -> dict[str, Job]:
        """Run the workflow, as for a push to a protected branch or for a pull request."""
        self.turns += 1
        head = {"repo": {"full_name": "stranger/wheels" if fork else "team/wheels"}}
        github = {
            "event_name": event,
            "repository": "team/wheels",
            "ref": "refs/heads/main",
            "workflow": "ci",
            "event": {"pull_request": {"number": 7, "head": head}},
        }
        given = {"store": str(self.store), "trusted-keys": f"{self.line}\n", "package": "pip"}
        acting = Acting(
            project=ROOT,
            repository=self.repository,
            folder=self.folder / f"run-{self.turns}",
            path=self.folder / "bin",
            github=github,
            inputs={**given, "publish": True, **inputs},
            secrets={} if fork else {"signing-key": self.pem},
        )
        return acting.run(WHEELS)

    def kept(self) -> set[str]:
        """The keys that the trusted part of the store has, signed by this builder."""
        if not (self.store / "index").exists():
            return set()
        shared = remotes.opened(str(self.store), self.reader)
        state = remotes.latest(shared, now=NOW)
        assert state
        return {remotes.believed(shared, one).key for one in remotes.everything(shared, state)}

    def calls(self) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines]

    def artifacts(self) -> dict[str, list[str]]:
        """The artifacts of the last run and their files."""
        folder = self.folder / f"run-{self.turns}" / "artifacts"
        return {
            one.name: sorted(path.name for path in one.rglob("*") if path.is_file())
            for one in sorted(folder.iterdir())
        }


def locked(*numbers: int, **fields: Any) -> Iterable[Locked]:
    for number in numbers:
        yield cells_of.target(**{"name": f"target {number}", "key": shelves.key(number), **fields})


def results(jobs: dict[str, Job]) -> dict[str, str]:
    return {name: job.result for name, job in jobs.items()}


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


def test_from_a_lock_file_to_an_index_and_the_second_time_nothing_is_made(team: Team) -> None:
    team.lock(*locked(1, 2), *locked(3, arch="aarch64"))
    jobs = team.act()
    assert results(jobs) == dict.fromkeys(("plan", "make", "index"), "success"), jobs
    assert team.kept() == {shelves.key(number) for number in (1, 2, 3)}
    assert team.artifacts() == {
        "llamabuild-cells": ["1-target-1.json", "1-target-2.json", "1-target-3.json"],
        "llamabuild-index": ["names.json"],
        **{f"wheels-{number}-target-{number}": ["a.whl"] for number in (1, 2, 3)},
    }
    made = len(team.calls())
    again = team.act()
    assert results(again) == {"plan": "success", "make": "skipped", "index": "success"}
    assert len(team.calls()) == made


def test_the_key_is_nowhere_but_where_it_is_published(team: Team) -> None:
    team.lock(*locked(1, 2))
    jobs = team.act(**{"max-shards": 1})
    assert [(one["cell"], one["push"], one["key"]) for one in team.calls()] == [
        ("target 1", False, False),
        ("target 2", False, False),
        ("target 1", True, True),
        ("target 2", True, True),
    ]
    assert "PRIVATE KEY" not in "".join(job.said for job in jobs.values())


@pytest.mark.parametrize("event", ["pull_request", "pull_request_target"])
@pytest.mark.parametrize("fork", [True, False])
def test_what_a_pull_request_makes_is_never_signed(team: Team, event: str, fork: bool) -> None:
    team.lock(*locked(1))
    jobs = team.act(event, fork)
    assert results(jobs) == dict.fromkeys(("plan", "make", "index"), "success"), jobs
    assert not team.store.exists()
    assert [(one["push"], one["key"]) for one in team.calls()] == [(False, False)]
    assert "wheels-1-target-1" in team.artifacts()


def test_a_pull_request_has_a_part_of_its_own_and_a_fork_has_none(team: Team) -> None:
    team.lock(*locked(1))
    team.store.mkdir()
    team.act("pull_request", fork=True, untrusted=True)
    assert list(team.store.iterdir()) == []
    jobs = team.act("pull_request", untrusted=True)
    assert jobs["make"].result == "success", jobs
    assert [path.name for path in team.store.iterdir()] == ["untrusted"]
    assert (team.store / "untrusted" / "pr-7" / "index" / "latest.json").exists()
    after = team.act("push", publish=False)
    assert after["make"].result == "success"  # what it published is not believed: made again


def test_one_broken_cell_does_not_stop_the_others_and_there_is_no_index(team: Team) -> None:
    broken = cells_of.target("broken 9", key=shelves.key(9))
    team.lock(*locked(1), broken, *locked(2))
    for shards_ in (1, 256):
        jobs = team.act(**{"max-shards": shards_})
        assert results(jobs) == {"plan": "success", "make": "failure", "index": "failure"}
        assert team.kept() == {shelves.key(1), shelves.key(2)}
        assert "llamabuild-index" not in team.artifacts()


def test_what_no_runner_makes_fails_the_run_after_the_rest_was_made(team: Team) -> None:
    team.lock(*locked(1), *locked(2, arch="riscv64"))
    jobs = team.act()
    assert results(jobs) == {"plan": "success", "make": "success", "index": "failure"}
    assert team.kept() == {shelves.key(1)}
    assert "no runner offers linux, riscv64" in jobs["plan"].said
    given = team.act(runners="linux,riscv64=[self-hosted, risc]\n")
    assert results(given) == dict.fromkeys(("plan", "make", "index"), "success"), given


def test_a_lock_file_that_is_damaged_stops_it_all(team: Team) -> None:
    (team.repository / "llamabuild.lock").write_text("version = ")
    jobs = team.act()
    assert results(jobs) == {"plan": "failure", "make": "skipped", "index": "skipped"}


def test_names_and_inputs_are_not_run(team: Team) -> None:
    names = [
        "$(touch PWNED) 1",
        "`touch PWNED` 2",
        "'; touch PWNED; ' 3",
        "${{ github.token }} 4",
        "x\ny=z 5",
        "../../PWNED/x 6",
    ]
    team.lock(*(one for name in names for one in locked(int(name[-1]), name=name)))
    jobs = team.act(runners="linux,x86_64=$(touch${IFS}PWNED)\n")
    assert results(jobs) == dict.fromkeys(("plan", "make", "index"), "success"), jobs
    assert not list(team.folder.rglob("PWNED"))
    assert {one["cell"] for one in team.calls()} == set(names)


# --- run: GitLab ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> str:
    return gitlab_local.program(tmp_path_factory.mktemp("gitlab-ci-local"))


def pipeline(team: Team, runner: str, *, protected: bool, **more: str) -> tuple[int, str]:
    """Run the template as a project's pipeline, with a key in its protected variables."""
    shutil.copy(GITLAB, team.repository / ".gitlab-ci.yml")
    for left in ("cells", "index", ".llamabuild"):
        shutil.rmtree(team.repository / left, ignore_errors=True)
    key = {"LLAMABUILD_SIGNING_KEY": str(team.folder / "key.pem")} if protected else {}
    variables = {
        "CI_COMMIT_REF_PROTECTED": str(protected).lower(),
        "LLAMABUILD_STORE": f"file://{team.store}",  # a path would be taken for a file variable
        "LLAMABUILD_TRUSTED": team.line,
        **key,
        **more,
    }
    return gitlab_local.run(runner, team.repository, team.folder / "bin", variables)


def test_gitlab_goes_from_a_lock_file_to_an_index(team: Team, runner: str) -> None:
    team.lock(*locked(1, 2), *locked(3, arch="aarch64"))
    code, said = pipeline(team, runner, protected=True)
    assert code == 0, said
    assert team.kept() == {shelves.key(number) for number in (1, 2, 3)}
    assert (team.repository / "index" / "names.json").exists()
    calls = team.calls()
    assert sorted((one["cell"], one["push"], one["key"]) for one in calls) == sorted(
        (f"target {number}", push, push) for number in (1, 2, 3) for push in (False, True)
    )
    code, said = pipeline(team, runner, protected=True)
    assert code == 0, said
    assert "Every cell is in the store already." in said
    assert team.calls() == calls


def test_gitlab_publishes_nothing_from_a_branch_that_is_not_protected(
    team: Team, runner: str
) -> None:
    team.lock(*locked(1))
    code, said = pipeline(team, runner, protected=False)
    assert code == 0, said
    assert [(one["push"], one["key"]) for one in team.calls()] == [(False, False)]
    assert not team.store.exists()
    assert not (team.repository / "index").exists()


def test_gitlab_makes_the_rest_and_fails_when_a_cell_is_broken_or_has_no_runner(
    team: Team, runner: str
) -> None:
    broken = cells_of.target("broken 9", key=shelves.key(9))
    team.lock(*locked(1), broken)
    code, said = pipeline(team, runner, protected=True)
    assert code != 0, said
    assert team.kept() == {shelves.key(1)}
    assert not (team.repository / "index").exists()
    team.lock(*locked(1, 2), *locked(3, arch="riscv64"))
    code, said = pipeline(team, runner, protected=True)
    assert code != 0, said
    assert "no runner offers linux, riscv64" in said
    assert team.kept() == {shelves.key(1), shelves.key(2)}
    named = {"LLAMABUILD_RUNNERS": "linux,riscv64=[risc, own]"}
    code, said = pipeline(team, runner, protected=True, **named)
    assert code == 0, said
    assert (team.repository / "index" / "names.json").exists()
