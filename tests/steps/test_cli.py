"""The command line as a user meets it: one clear line, the next action, an exit code."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llamabuild import store

pytestmark = pytest.mark.steps


def run(
    *arguments: str, cache: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("CC", "CXX")}
    return subprocess.run(
        [sys.executable, "-m", "llamabuild", *arguments],
        env={**clean, "LLAMABUILD_CACHE": str(cache), "GITHUB_ACTIONS": "", **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def refused(ended: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    """The exit code, the words, a next action, and no traceback."""
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    for words in said:
        assert words in ended.stderr


def test_every_command_has_help_with_an_example(tmp_path: Path) -> None:
    names = [
        "setup",
        "build",
        "plan",
        "probe",
        "doctor",
        "prove",
        "run",
        "recipes",
        "pins",
        "completion",
        "lock",
        "matrix",
    ]
    groups = {
        "store": ("ls", "show", "rm"),
        "trust": ("new", "add", "ls", "rm"),
        "matrix": ("run",),
        "worker": ("run", "offer"),
        "wheel": ("make", "check", "show"),
        "index": ("publish", "check", "serve", "use"),
    }
    inside = [[group, name] for group, members in groups.items() for name in members]
    for words in (*([name] for name in names), *inside):
        ended = run(*words, "--help", cache=tmp_path)
        assert ended.returncode == 0
        assert "Example: " in ended.stdout, words


def test_json_answers_have_a_version(tmp_path: Path) -> None:
    for words in (["probe"], ["recipes"], ["pins"], ["store", "ls"]):
        answer = json.loads(run(*words, "--json", cache=tmp_path / "c").stdout)
        assert answer["version"] == 1, words


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(tmp_path: Path, shell: str) -> None:
    assert "_LLAMABUILD_COMPLETE" in run("completion", shell, cache=tmp_path / "c").stdout


def test_an_unknown_recipe(tmp_path: Path) -> None:
    ended = run("setup", "cpu-nativ", cache=tmp_path / "c")
    refused(ended, 2, "there is no recipe 'cpu-nativ'", "did you mean 'cpu-native'")


def test_broken_toml(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('summary = "x\n')
    refused(run("setup", str(file), cache=tmp_path / "c"), 2, "mine.toml", "line 1")


def test_wrong_use(tmp_path: Path) -> None:
    refused(run("setup", "--nonsense", cache=tmp_path / "c"), 2, "--nonsense")
    refused(run("nonsense", cache=tmp_path / "c"), 2, "nonsense")


def test_errors_are_json_too(tmp_path: Path) -> None:
    ended = run("setup", "nope", "--json", cache=tmp_path / "c")
    answer = json.loads(ended.stdout)
    assert answer["error"]["exit_code"] == ended.returncode == 2
    assert answer["error"]["class"] == "ConfigError"
    assert answer["error"]["hint"]


def test_hardware_that_is_not_there(tmp_path: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has an NVIDIA driver")
    refused(run("setup", "cuda-native", cache=tmp_path / "c"), 3, "NVIDIA")


def test_a_compiler_that_fails_and_one_that_is_not_there(tmp_path: Path) -> None:
    broken = {"CC": "/bin/false", "CXX": "/bin/false"}
    refused(run("setup", cache=tmp_path / "c", env=broken), 4, "/bin/false does not work")
    absent = {"CC": "no-such-cc", "CXX": "no-such-cxx"}
    refused(run("setup", cache=tmp_path / "c", env=absent), 4, "no-such-cxx", "unset CC and CXX")


def test_no_compiler_at_all(tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    ended = run("setup", "--toolchain", "machine", cache=tmp_path / "c", env={"PATH": str(empty)})
    refused(ended, 4, "no C++ compiler")


def test_a_cmake_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    old = folder / "cmake"
    old.write_text("#!/bin/sh\necho cmake version 3.10.2\n")
    old.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    ended = run("probe", "--json", cache=tmp_path / "c", env={"PATH": path})
    tools = {tool["name"]: tool for tool in json.loads(ended.stdout)["toolchain"]["tools"]}
    assert tools["cmake"]["path"] != str(old)
    assert tuple(map(int, tools["cmake"]["version"].split("."))) >= (3, 21)


def test_without_cmake_and_ninja_those_of_the_wheels_are_used(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("gcc", "g++", "as", "ld"):
        if path := shutil.which(name):
            (folder / name).symlink_to(path)
    if not (folder / "g++").exists():
        pytest.skip("there is no g++")
    ended = run("probe", "--json", cache=tmp_path / "c", env={"PATH": str(folder)})
    tools = {tool["name"]: tool for tool in json.loads(ended.stdout)["toolchain"]["tools"]}
    for name in ("cmake", "ninja"):
        assert tools[name]["path"].startswith(sys.prefix), tools


def test_offline_without_the_source(tmp_path: Path) -> None:
    ended = run(
        "plan", "--offline", "--pin", "0.3.36", cache=tmp_path / "c", env={"PIP_FIND_LINKS": ""}
    )
    refused(ended, 5, "llama-cpp-python")


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    refused(run("probe", cache=Path("/proc/llamabuild")), 9, "/proc")


def test_a_cache_of_a_newer_version(tmp_path: Path) -> None:
    root = store.open_root(tmp_path / "c")
    (root / "layout.json").write_text('{"version": 99}')
    refused(run("store", "ls", cache=root), 9, "newer llamabuild")


def test_a_disk_with_little_room(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        refused(run("setup", cache=small / "c"), 10, "free")
        assert not list((small / "c").glob("artifacts/*/*"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_nothing_is_set_up_yet(tmp_path: Path) -> None:
    refused(run("run", "llama-cli", cache=tmp_path / "c"), 2, "llamabuild setup")
    refused(run("prove", cache=tmp_path / "c"), 2, "llamabuild setup")
    refused(run("store", "show", "abcd", cache=tmp_path / "c"), 2, "store ls")


def _commands() -> list[str]:
    """The command lines of all processes, where the system shows them as files."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_with_130_and_leaves_nothing(number: int, tmp_path: Path) -> None:
    root = tmp_path / "c"
    env = {**os.environ, "LLAMABUILD_CACHE": str(root), "GITHUB_ACTIONS": ""}
    child = subprocess.Popen(
        [sys.executable, "-m", "llamabuild", "setup", "--progress", "plain"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What is started in the background of a script inherits an ignored Ctrl-C; there are no
        # threads here.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    deadline = time.monotonic() + 60
    while not (root / "locks").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    if child.poll() is not None:
        pytest.skip(f"there was nothing to interrupt: {child.communicate()[1][-200:]}")
    child.send_signal(number)
    try:
        _, err = child.communicate(timeout=30)
    finally:
        child.kill()
    assert child.returncode == 130, err
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert not list((root / "artifacts").glob("*/*"))
    assert not [path for path in (root / "work").glob("*") if path.is_dir()]
    assert not [line for line in _commands() if str(root) in line], "a tool of the run goes on"
