"""What is missing is installed by the command that was shown, for who says so: a real process in
the place of the package manager."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from llamabuild import provide
from llamabuild.errors import ToolMissing
from llamabuild.events import Event
from llamabuild.host import LocalHost
from llamabuild.provide import Means

pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(os.name != "posix", reason="the scripts are for POSIX"),
]


class Here(LocalHost):
    """This machine with programs of the test's first on PATH."""

    def __init__(self, folder: Path) -> None:
        self._environ = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}

    @property
    def environ(self) -> Mapping[str, str]:
        return self._environ


def manager(folder: Path, script: str) -> None:
    path = folder / "apt"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_command_is_run_and_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager(tmp_path, f'echo "$@" > {tmp_path}/asked; echo unpacking')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    told: list[Event] = []
    means = Means(asked="auto", host=Here(tmp_path), cache=tmp_path, emit=told.append)
    provide.install(ToolMissing("no g++", "Run: apt install g++"), means)
    assert (tmp_path / "asked").read_text() == "install -y g++\n"
    assert any("unpacking" in str(event) for event in told)
    assert "Running apt install -y g++" in str(told[0])


def test_a_command_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager(tmp_path, "echo 'no such package' >&2; exit 100")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    means = Means(asked="auto", host=Here(tmp_path), cache=tmp_path, emit=lambda _: None)
    with pytest.raises(ToolMissing, match="exit code 100") as caught:
        provide.install(ToolMissing("no g++", "Run: apt install g++"), means)
    assert "no such package" in (tmp_path / "install.log").read_text()
    assert str(tmp_path / "install.log") in caught.value.hint


@pytest.mark.parametrize(
    "hint", ["Update the driver.", "", "Run: rm -rf /", "Run: apt install g++; id"]
)
def test_what_is_no_command_of_a_package_manager_is_not_run(hint: str, tmp_path: Path) -> None:
    manager(tmp_path, f"touch {tmp_path}/ran")
    means = Means(asked="auto", host=Here(tmp_path), cache=tmp_path, emit=lambda _: None)
    failure = ToolMissing("no g++", hint)
    with pytest.raises(ToolMissing) as caught:
        provide.install(failure, means)
    assert caught.value is failure
    assert not (tmp_path / "ran").exists()
