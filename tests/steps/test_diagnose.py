"""`diagnose`, `remedies`, `--heal` and `--no-heal` as users run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llamabuild import pins, proving
from llamabuild.cli import main_group
from llamabuild.trust import keys
from tests import standin

pytestmark = pytest.mark.steps

LINE = "nvcc fatal   : Unsupported gpu architecture 'compute_120'"
SECRETS = ("hf_abcdefghijklmnopqrstuvwx", "hunter2", "jane", "joe@example.org")
UNKNOWN = f"""\
reading /home/jane/llama.cpp/quibble.cfg
HF_TOKEN={SECRETS[0]} fetching https://jane:{SECRETS[1]}@example.org/x for {SECRETS[3]}
frobnicate: quibble 7 refused to settle: error: the moon is full
make: *** [all] Error 2
"""


def run(cache: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "llamabuild", *words, "--cache", str(cache)]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)


def test_a_log_in_a_file_and_in_a_pipe_get_the_same_answer(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    log.write_text(f"[1/2] nvcc -c a.cu\n\x1b[31m{LINE}\x1b[0m\n")
    by_file = run(tmp_path / "c", "diagnose", str(log))
    by_pipe = run(tmp_path / "c", "diagnose", "-", stdin=log.read_text())
    assert (by_file.returncode, by_file.stdout) == (0, by_pipe.stdout)
    assert "(cuda-arch-too-new-for-nvcc)" in by_file.stdout
    assert f"line 2      {LINE}" in by_file.stdout
    assert "capability 120" in by_file.stdout
    assert "CMAKE_CUDA_COMPILER" in by_file.stdout


def test_it_is_json_too(tmp_path: Path) -> None:
    ended = run(tmp_path / "c", "diagnose", "-", "--json", "--elsewhere", stdin=LINE)
    said = json.loads(ended.stdout)
    assert (said["version"], said["kind"], said["verdict"]) == (1, "diagnosis", "cause")
    first = said["causes"][0]
    assert (first["id"], first["line"]) == ("cuda-arch-too-new-for-nvcc", 1)
    assert first["fix"]
    assert said["here"] == []


def test_what_nobody_knows_shows_the_first_error_and_a_report_without_secrets(
    tmp_path: Path,
) -> None:
    ended = run(tmp_path / "c", "diagnose", "-", stdin=UNKNOWN)
    assert ended.returncode == 17
    assert "The first real error is in line 3" in ended.stdout
    (report,) = (tmp_path / "c" / "reports").iterdir()
    assert str(report) in ended.stdout
    text = report.read_text()
    assert "the moon is full" in text
    assert "llamabuild" in text
    assert not [secret for secret in SECRETS if secret in text]


def test_a_log_of_success_is_no_failure(tmp_path: Path) -> None:
    said = "-- Performing Test CMAKE_HAVE_LIBC_PTHREAD - Failed\n[2/2] Linking CXX executable x\n"
    ended = run(tmp_path / "c", "diagnose", "-", stdin=said)
    assert ended.returncode == 0
    assert "Nothing in this log looks like a failure." in ended.stdout


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    ended = run(tmp_path / "c", "diagnose", str(tmp_path / "none.log"))
    assert ended.returncode == 2
    assert "none.log cannot be read" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_last_failure_is_told_again(tmp_path: Path) -> None:
    cache = tmp_path / "c"
    assert "nothing has failed" in run(cache, "diagnose").stderr
    failed = run(cache, "build", "no-such-recipe")
    assert failed.returncode == 2
    told = run(cache, "diagnose")
    assert told.returncode == 0
    assert "`llamabuild build` ended with: there is no recipe 'no-such-recipe'" in told.stdout


def test_remedies_are_listed_and_misnamed_ones_refused(tmp_path: Path) -> None:
    names = [line.split()[0] for line in run(tmp_path, "remedies").stdout.splitlines()]
    assert {"fewer-jobs", "other-compiler", "narrowed"} <= set(names)
    ended = run(tmp_path / "c", "build", "--heal", "pray")
    assert (ended.returncode, "'pray'" in ended.stderr) == (2, True)
    assert run(tmp_path / "c", "build", "--heal", "narrowed", "--no-heal").returncode == 2


# A real build of the small project, with a compiler that runs out of memory once, and always.


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pin = standin.archive(tmp_path, tmp_path / "facts")
    monkeypatch.setattr(pins, "default_pin", lambda: pin)
    monkeypatch.setattr(proving, "prove_in", standin.proved)
    monkeypatch.setenv(keys.VARIABLE, str(tmp_path / "key.pem"))
    for name in ("CC", "CXX", "GITHUB_ACTIONS", "LLAMABUILD_STORE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


def broken(folder: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """A first compiler on PATH whose compiler proper is killed so many times, as the system kills
    what takes too much memory; else it is the real one."""
    count = folder / "killed"
    count.mkdir()
    place = folder / "bin"
    place.mkdir()
    for name in ("gcc", "g++", "cc", "c++"):
        real = next(
            path
            for one in os.get_exec_path()
            if os.access(path := os.path.join(one, name), os.X_OK)
        )
        script = place / name
        script.write_text(
            "#!/bin/sh\n"
            f'case "$*" in *ggml-cpu/ggml-cpu.c) n=$(ls "{count}" | wc -l); '
            f'if [ "$n" -lt {times} ]; then : > "{count}/$n"; '
            f"sh -c 'kill -KILL $$'; echo \"{name}: fatal error: Killed signal terminated program "
            f'cc1" >&2; exit 1; fi;; esac\nexec {real} "$@"\n'
        )
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")


def built(root: Path, *words: str) -> Result:
    argv = ["build", "cpu-native", "--compiler-cache", "none", "--toolchain", "machine", *words]
    return CliRunner().invoke(main_group, [*argv, "--cache", str(root), "--json"])


def error(ended: Result) -> Any:
    return json.loads(ended.stdout)["error"]


def test_a_killed_compiler_is_answered_with_fewer_jobs_and_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(tmp_path, monkeypatch, 1)
    ended = built(root)
    assert ended.exit_code == 0, ended.output
    assert [one["name"] for one in json.loads(ended.stdout)["artifact"]["healed"]] == ["fewer-jobs"]
    assert "goes on where it was" in ended.stderr


@pytest.mark.parametrize("words", [("--no-heal",), ("--heal", "narrowed")])
def test_without_a_remedy_the_run_itself_says_why_and_what_to_do(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    broken(tmp_path, monkeypatch, 1)
    ended = built(root, *words)
    assert ended.exit_code == 7, ended.output
    assert (error(ended)["entry"], error(ended)["remedy"]) == ("oom-compiler-killed", "fewer-jobs")
    assert "cause: " in ended.stderr
    assert "fix: " in ended.stderr
    told = CliRunner().invoke(main_group, ["diagnose", "--cache", str(root), "--json"])
    assert json.loads(told.stdout)["causes"][0]["id"] == "oom-compiler-killed"


def test_a_remedy_that_is_named_is_tried(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(tmp_path, monkeypatch, 1)
    assert built(root, "--heal", "fewer-jobs").exit_code == 0


def test_a_remedy_is_tried_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(tmp_path, monkeypatch, 9)
    ended = built(root)
    assert ended.exit_code == 7
    assert ended.stderr.count("fewer-jobs") == 1
