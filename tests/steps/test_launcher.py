"""Compiler caches that work, that do not, and that cannot reach what they share."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild.host import LocalHost
from llamabuild.model import Tool
from llamabuild.toolchains import launcher
from llamabuild.toolchains.launcher import NO_LAUNCHER, Launcher
from tests.unit import values

GCC = shutil.which("gcc") or shutil.which("cc")
CCACHE = shutil.which("ccache")
pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(os.name != "posix" or not GCC, reason="there is no C compiler here"),
]
with_ccache = pytest.mark.skipif(not CCACHE, reason="ccache is not installed")


class Here(LocalHost):
    """This machine with a ccache of its own."""

    def __init__(self, folder: Path, **variables: str) -> None:
        own = {"CCACHE_DIR": str(folder / "ccache"), "CCACHE_CONFIGPATH": os.devnull}
        self._environ = {**os.environ, **own, **variables}
        self._environ.pop("CCACHE_DISABLE", None)

    @property
    def environ(self) -> Mapping[str, str]:
        return self._environ


def tried(program: str, folder: Path, **variables: str) -> launcher.Launcher:
    assert GCC
    compiler = replace(values.compiler(), cc=GCC, cxx=GCC)
    tool = Tool(name=Path(program).name, version="1", path=program)
    return launcher.tried(tool, compiler, host=Here(folder, **variables), scratch=folder)


def script(folder: Path, text: str) -> str:
    path = folder / "sccache"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_without_one_there_is_nothing_to_try(tmp_path: Path) -> None:
    found = launcher.tried(None, values.compiler(), host=Here(tmp_path), scratch=tmp_path)
    assert found == NO_LAUNCHER
    assert not list(tmp_path.iterdir())


@with_ccache
def test_a_cache_that_works_is_used(tmp_path: Path) -> None:
    assert CCACHE
    found = tried(CCACHE, tmp_path)
    assert (found.path, found.environment, found.doubt) == (CCACHE, (), "")


@with_ccache
def test_a_cache_whose_storage_cannot_be_reached_is_used_without_it(tmp_path: Path) -> None:
    assert CCACHE
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for address in (f"redis://127.0.0.1:{port}", f"http://127.0.0.1:{port}/cache"):
        found = tried(CCACHE, tmp_path, CCACHE_REMOTE_STORAGE=address)
        assert found.path == CCACHE
        assert found.environment == (("CCACHE_REMOTE_STORAGE", ""),)
        assert "cannot reach its remote storage" in found.doubt


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo 'sccache: error: Server startup failed' >&2; exit 2", "Server startup failed"),
        ("exit 1", "it failed"),
        ("kill -SEGV $$", "it failed"),
        ("sleep 60", "did not answer in time"),
    ],
)
def test_a_cache_that_would_break_the_build_is_not_used(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "_LIMITS", launcher.Limits(seconds=1))
    found = tried(script(tmp_path, text), tmp_path)
    assert found.path == ""
    assert found.doubt.startswith("sccache is not used: ")
    assert words in found.doubt


def test_a_cache_that_is_gone_is_not_used(tmp_path: Path) -> None:
    assert tried(str(tmp_path / "none"), tmp_path).path == ""


@with_ccache
def test_the_folder_of_a_build_makes_no_other_file_of_the_same_one(tmp_path: Path) -> None:
    """CMake's units of several sources lie in the build folder, which each build has anew."""
    assert CCACHE
    assert GCC
    notes = tmp_path / "notes"
    for name in ("one", "other"):
        folder = tmp_path / name
        (folder / "unity").mkdir(parents=True)
        source = folder / "unity" / "unity_0.c"
        source.write_text("int nothing;\n")
        host = Here(tmp_path, CCACHE_STATSLOG=str(notes))
        chosen = launcher.within(Launcher(path=CCACHE), folder, host)
        argv = [chosen.path, GCC, "-O2", "-c", str(source), "-o", "unity_0.o"]
        env = {**host.environ, **dict(chosen.environment)}
        ended = host.run(argv, limits=launcher.Limits(seconds=30), env=env, cwd=folder)
        assert ended.code == 0
    assert "direct_cache_hit" in notes.read_text()


def test_a_base_folder_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    own = Here(tmp_path, CCACHE_BASEDIR="/home")
    chosen = Launcher(path="/usr/bin/ccache")
    assert launcher.within(chosen, tmp_path, own) == chosen
    assert launcher.within(NO_LAUNCHER, tmp_path, Here(tmp_path)) == NO_LAUNCHER
