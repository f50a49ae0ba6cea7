"""From this repository's lock file to wheels that pip and uv install: built, released, served on
loopback, installed for several Pythons against a hostile second index, proved in each, and run on
emulated processors. It compiles for the better part of an hour: ``make e2e-wheels``.

``LLAMABUILD_CELLS`` names some of the targets when not all are meant.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamabuild.host import LocalHost
from tests.e2e.conftest import Run

pytestmark = [
    pytest.mark.llama,
    pytest.mark.skipif(
        os.environ.get("LLAMABUILD_E2E") != "wheels",
        reason="compiles several builds; LLAMABUILD_E2E=wheels (make e2e-wheels) asks for it",
    ),
]
HOST = LocalHost()
LOCK = Path(__file__).resolve().parents[2] / "llamabuild.lock"
CELLS = os.environ.get("LLAMABUILD_CELLS", "")
VERSIONS = ("3.9", "3.11", "3.13")
CPUS = {"Nehalem": ("x64", "sse42"), "Haswell": ("haswell",), "Skylake-Client": ("haswell",)}


@pytest.fixture(scope="module")
def lock(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lock file, as far as it is meant; renewed where this machine has other tools."""
    folder = tmp_path_factory.mktemp("lock")
    path = folder / LOCK.name
    shutil.copy(LOCK, path)
    shutil.copytree(LOCK.parent / "tests" / "machines", folder / "tests" / "machines")
    names = [one["name"] for one in answer(run, "lock", "--lock", str(path))["lock"]["targets"]]
    meant = CELLS.split(",") if CELLS else names
    out = [word for name in names if name not in meant for word in ("--remove", name)]
    if out:
        run("lock", "--lock", str(path), *out)
    ended = run("lock", "--check", "--lock", str(path), check=False)
    if ended.returncode:
        assert ended.returncode == 12, ended.stderr
        print(f"renewed for this machine: {ended.stderr}")
        run("lock", "--upgrade", "--lock", str(path))
    return path


def answer(run: Run, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json").stdout)
    return found


@pytest.fixture(scope="module")
def shelf(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A shared store, and a key to sign with."""
    home = tmp_path_factory.mktemp("team")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLAMABUILD_SIGNING_KEY", str(home / "key.pem"))
        line = run("trust", "new", "team").stdout.strip()
        run("trust", "add", *line.split())
        (home / "store").mkdir()
        yield home / "store"


@pytest.fixture(scope="module")
def made(run: Run, lock: Path, shelf: Path) -> dict[str, Any]:
    """Every cell, built here."""
    return answer(run, "matrix", "run", "--local", "--lock", str(lock), "--store", str(shelf))


@pytest.fixture(scope="module")
def index(run: Run, lock: Path, shelf: Path, made: dict[str, Any], tmp_path_factory: Any) -> Path:
    """The index of all wheels."""
    top: Path = tmp_path_factory.mktemp("index") / "wheels"
    said = answer(run, "index", "publish", str(top), "--lock", str(lock), "--store", str(shelf))
    print(*said["added"], sep="\n")
    assert len(said["added"]) == len(made["cells"])
    run("index", "check", str(top))
    return top
