"""gitlab-ci-local for tests: GitLab's pipelines on this machine, with its shell executor."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

VERSION = "4.64.0"
"""The newest that node 20 runs."""


def program(folder: Path) -> str:
    """Install it; skips the test where node, npm, rsync or the package cannot be had."""
    for name in ("node", "npm", "git", "rsync"):
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed")
    argv = ["npm", "install", "--silent", "--prefix", str(folder), f"gitlab-ci-local@{VERSION}"]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    made = folder / "node_modules" / ".bin" / "gitlab-ci-local"
    if ended.returncode != 0 or not made.exists():
        pytest.skip(f"npm cannot get gitlab-ci-local: {ended.stderr.strip()[-200:]}")
    return str(made)


def run(
    program: str, repository: Path, path: Path, variables: Mapping[str, str]
) -> tuple[int, str]:
    """Run the pipeline of a repository; its exit code, and all that was said."""
    commit(repository)
    own = repository / ".gitlab-ci-local-variables.yml"  # a child pipeline has these as well
    own.write_text(json.dumps(dict(variables)), encoding="utf-8")
    ended = subprocess.run(
        [program, "--force-shell-executor", "--no-color"],
        cwd=repository,
        env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}", "LLAMABUILD_STORE": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return ended.returncode, ended.stdout + ended.stderr


def commit(repository: Path) -> None:
    """What is not committed is not there for a pipeline."""
    git = ["git", "-c", "user.name=anna", "-c", "user.email=anna@example.org"]
    if not (repository / ".git").exists():
        _do([*git, "init", "--quiet", "--initial-branch", "main"], repository)
        _do([*git, "remote", "add", "origin", "git@gitlab.example.org:team/x.git"], repository)
        (repository / ".gitignore").write_text("*\n!llamabuild.lock\n!.gitlab-ci.yml\n")
    _do([*git, "add", "--force", "llamabuild.lock", ".gitlab-ci.yml", ".gitignore"], repository)
    _do([*git, "commit", "--quiet", "--allow-empty", "--message", "x"], repository)


def _do(argv: list[str], folder: Path) -> None:
    subprocess.run(argv, cwd=folder, check=True, capture_output=True)
