"""A cache on a file system without hard links and without locks: slower, and as right."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from llamabuild import store
from llamabuild.events import silent
from tests import standin
from tests.steps import kill, shelves
from tests.steps.test_cli import refused, run

pytestmark = pytest.mark.steps
REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).with_name("poor.c")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if sys.platform != "linux" or not compiler:
        pytest.skip("what links and locks answer is replaced by a preloaded library")
    made = tmp_path_factory.mktemp("poor") / "poor.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(made), str(SOURCE)], check=True)
    return made


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS], ids=errno.errorcode.get)
def poor(request: pytest.FixtureRequest, library: Path) -> dict[str, str]:
    """The variables of processes that see such a file system."""
    return {"LD_PRELOAD": str(library), "POOR": str(request.param)}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return store.open_root(tmp_path / "cache")


def test_the_library_does_what_it_says(poor: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    program = """
import fcntl, os, sys
file = os.open("a", os.O_RDWR)
for what in (lambda: os.link("a", "b"), lambda: fcntl.flock(file, fcntl.LOCK_EX)):
    try:
        what()
    except OSError as error:
        print(error.errno)
"""
    words = [sys.executable, "-c", program]
    ended = subprocess.run(
        words, env={**os.environ, **poor}, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == [str(errno.EPERM), poor["POOR"]]


def test_the_commands(poor: dict[str, str], cache: Path, tmp_path: Path) -> None:
    other = store.open_root(tmp_path / "other")
    made = [shelves.artifact(other, number) for number in (1, 2)]
    shared = str(tmp_path / "shared")

    def done(*words: str, cache: Path = cache) -> str:
        ended = run(*words, cache=cache, env=poor)
        assert ended.returncode == 0, ended.stderr
        assert "Traceback" not in ended.stderr
        return ended.stdout

    push = ("store", "push", shared, "--unsigned")
    refused(run(*push, cache=other, env=poor), 5, "its file system has no hard links", "a bucket")
    assert run(*push, cache=other).returncode == 0
    done("store", "pull", shared, made[0].key, "--unsigned")
    done("store", "pull", shared, made[1].key, "--unsigned")
    assert kill.inspect(cache) == 2
    for one in store.artifacts(cache, silent):
        assert (one.path / "bin" / "llama-cli").stat().st_nlink == 1
        assert os.access(one.path / "bin" / "llama-cli", os.X_OK)
    done("store", "pin", made[0].key)
    done("store", "rm", made[1].key)
    assert "pinned" in done("store", "ls")
    done("store", "gc", "--max-age", "0")
    assert kill.inspect(cache) == 1


def test_a_build_and_the_next_run(poor: dict[str, str], cache: Path, tmp_path: Path) -> None:
    pin = msgspec.json.encode(standin.archive(tmp_path, tmp_path / "facts")).decode()
    argv = [sys.executable, "-m", "tests.standin", str(cache), pin]
    said = []
    for _ in range(2):
        ended = subprocess.run(
            argv,
            cwd=REPOSITORY,
            env={**os.environ, **poor},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert ended.returncode == 0, ended.stderr[-2000:]
        said.append((ended.stdout, "compile" in ended.stderr))
    assert said[0][0] == said[1][0]
    assert [compiled for _, compiled in said] == [True, False]
    assert kill.inspect(cache) == 1
    assert not [path for path in (cache / "work").iterdir() if path.is_dir()]
