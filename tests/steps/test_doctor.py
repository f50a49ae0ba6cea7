"""The doctor as a user meets it: what is wrong, what to do, an exit code, and quickly."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamabuild.host import LocalHost
from tests.steps.test_cli import refused, run
from tests.steps.test_foreign import STUB

pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(
        LocalHost().system()[0] != "linux" or not LocalHost().which("cc"),
        reason="needs Linux and a C compiler",
    ),
]
ROOT = os.geteuid() == 0
QUIET = {
    **dict.fromkeys(("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "LD_PRELOAD", "CFLAGS"), ""),
    "PYTHONPATH": os.pathsep.join(filter(None, (str(Path(__file__).parents[2]),))),
}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the facts about compilers are."""
    cache = tmp_path_factory.mktemp("warm") / "cache"
    assert run("probe", cache=cache).returncode == 0
    return cache


def asked(
    *names: str, cache: Path, env: dict[str, str] | None = None
) -> tuple[int, list[dict[str, Any]], dict[str, float]]:
    """Exit code, findings and seconds."""
    ended = run("doctor", "--json", *names, cache=cache, env={**QUIET, **(env or {})})
    assert "Traceback" not in ended.stderr, ended.stderr
    said = json.loads(ended.stdout)
    assert said["kind"] == "doctor", said
    return ended.returncode, said["findings"], said["seconds"]


def one(findings: list[dict[str, Any]], state: str) -> dict[str, Any]:
    """The only finding of a state."""
    found = [each for each in findings if each["state"] == state]
    assert len(found) == 1, findings
    return found[0]


def built(program: str, target: Path, *options: str) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    source = target.with_suffix(".c")
    source.write_text(program)
    subprocess.run(["cc", str(source), "-o", str(target), *options], check=True)
    return target


def on_path(folder: Path) -> dict[str, str]:
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def test_a_page_says_what_is_fine_and_each_check_is_told(warm: Path) -> None:
    ended = run("doctor", "compiler", "ninja", "store", "conda", cache=warm, env=QUIET)
    assert ended.returncode == 0, ended.stdout
    assert "Fine: compiler, ninja, store" in ended.stdout
    assert "Not here: conda" in ended.stdout


def test_every_check_answers_and_says_how_long_it_took(warm: Path) -> None:
    from llamabuild.checks import CHECKS

    _, findings, seconds = asked(cache=warm)
    assert set(seconds) == set(CHECKS)
    assert {each["check"] for each in findings} == set(CHECKS)
    assert all(seconds[name] < 0.5 for name in CHECKS), seconds


def test_a_warning_and_a_problem_have_codes_of_their_own(warm: Path) -> None:
    code, findings, _ = asked("environment", cache=warm, env={"CUDA_HOME": "/opt/gone"})
    assert code == 15
    assert "does not exist" in one(findings, "warning")["why"]
    code, findings, _ = asked("network", cache=warm, env={"SSL_CERT_FILE": "/gone.pem"})
    assert code == 16
    assert one(findings, "problem")["next"]


def test_an_unknown_check_is_refused(warm: Path) -> None:
    refused(run("doctor", "cudda", cache=warm), 2, "no check 'cudda'", "compiler")


def test_conda_is_seen_with_its_linker(warm: Path, tmp_path: Path) -> None:
    home = tmp_path / "conda"
    for name in ("compiler_compat/ld", "bin/python3", "conda-meta/history"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()
    (home / "lib" / "python3.11").mkdir(parents=True)
    code, findings, _ = asked("conda", cache=warm, env={"CONDA_PREFIX": str(home)})
    assert code == 15
    assert "conda-ld-libgomp" in one(findings, "warning")["entries"]


# --- the cache -----------------------------------------------------------------------------------


def test_a_folder_of_somebody_elses_is_a_problem_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    code, findings, _ = asked("store", cache=tmp_path)
    assert code == 16
    assert "not llamabuild's" in one(findings, "problem")["why"]
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A file system in memory; skipped where it may not be mounted."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    if not ROOT or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_cache_that_starts_no_programs_stops_before_the_build(tmp_path: Path) -> None:
    with mounted(tmp_path / "m", "noexec", "size=2g") as folder:
        code, findings, _ = asked("store", cache=folder / "cache")
        assert code == 16
        assert "noexec" in one(findings, "problem")["why"]
        ended = run("build", "cpu-portable", "--offline", cache=folder / "cache", env=QUIET)
        refused(ended, 9, "noexec", "LLAMABUILD_CACHE")


def test_a_full_cache_stops_before_anything_is_fetched(tmp_path: Path) -> None:
    with mounted(tmp_path / "m", "size=64m") as folder:
        code, findings, _ = asked("disk", cache=folder / "cache")
        assert code == 16
        assert "no-space-left" in one(findings, "problem")["entries"]
        refused(run("build", "cpu-portable", "--offline", cache=folder / "cache"), 10, "free")
        ended = run("plan", "cpu-portable", cache=folder / "cache", env=QUIET)
        assert ended.returncode == 0
        assert "Before a build:" in ended.stdout


def test_too_few_files_are_seen(tmp_path: Path) -> None:
    with mounted(tmp_path / "m", "size=2g", "nr_inodes=500") as folder:
        _, findings, _ = asked("disk", cache=folder / "cache")
        assert "more files" in one(findings, "problem")["why"]


def test_a_cache_that_can_only_be_read(tmp_path: Path) -> None:
    with mounted(tmp_path / "m", "size=2g") as folder:
        assert asked("store", cache=folder / "cache")[0] == 0
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        code, findings, _ = asked("store", cache=folder / "cache")
        assert code == 16
        assert "cannot be written" in one(findings, "problem")["why"]


# --- what is installed ---------------------------------------------------------------------------


def test_a_server_that_dies_is_a_problem_and_is_run_once(warm: Path, tmp_path: Path) -> None:
    folder, tries = tmp_path / "bin", tmp_path / "tries"
    program = f"""
#include <stdio.h>
int main(void) {{ FILE *f = fopen("{tries}", "a"); fputs("x", f); fclose(f); __builtin_trap(); }}
"""
    built(program, folder / "llama-server")
    code, findings, _ = asked("installed", cache=warm, env=on_path(folder))
    assert code == 16
    found = one(findings, "problem")
    assert "SIGILL" in found["why"]
    assert "illegal-instruction" in found["entries"]
    after = tries.read_text()
    assert after
    code, again, seconds = asked("installed", cache=warm, env=on_path(folder))
    assert (code, again) == (16, findings)
    assert tries.read_text() == after
    assert seconds["installed"] < 0.5
    built(program.replace("__builtin_trap()", "return 0"), folder / "llama-server")
    asked("installed", cache=warm, env=on_path(folder))
    assert tries.read_text() != after


def test_another_program_of_llama_cpp_is_started_too(warm: Path, tmp_path: Path) -> None:
    built("int main(void) { __builtin_trap(); }", tmp_path / "bin" / "llama-cli")
    code, findings, _ = asked("installed", cache=warm, env=on_path(tmp_path / "bin"))
    assert code == 16
    assert "SIGILL at its start" in one(findings, "problem")["why"]


def test_deep_tells_everything_about_what_is_installed(warm: Path, tmp_path: Path) -> None:
    built("int main(void) { __builtin_trap(); }", tmp_path / "bin" / "llama-server")
    more = {**QUIET, **on_path(tmp_path / "bin")}
    ended = run("doctor", "--deep", "--json", "ninja", cache=warm, env=more)
    assert ended.returncode == 16
    (examined,) = json.loads(ended.stdout)["examined"]
    assert examined["kind"] == "server"
    assert examined["failures"][0]["kind"] == "illegal-instruction"


def test_libraries_that_compute_wrongly_are_a_problem(warm: Path, tmp_path: Path) -> None:
    site = environment(tmp_path / "venv")
    code = STUB.replace("INIT", "").replace("LOAD", "").replace("DECODE", "")
    (site / "llama_cpp" / "lib").mkdir(parents=True)
    (site / "llama_cpp" / "__init__.py").write_text("raise ImportError('no module of mine')\n")
    built(code, site / "llama_cpp" / "lib" / "libllama.so", "-shared", "-fPIC")
    found_code, findings, _ = asked("installed", cache=warm, env=venv(tmp_path / "venv"))
    assert found_code == 16
    assert "no module of mine" in one(findings, "problem")["why"]


def environment(folder: Path) -> Path:
    """A virtual environment; returns where its packages are."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return next(folder.glob("lib/python3*/site-packages"))


def venv(folder: Path) -> dict[str, str]:
    return {"VIRTUAL_ENV": str(folder)}


def made() -> Path | None:
    """A wheel for plain CPUs that llamabuild made earlier on this machine."""
    named = os.environ.get("LLAMABUILD_TEST_CACHE", "")
    found = Path(named).glob("artifacts/*-x86-64-v2/*/wheel/*.whl") if named else ()
    return next(iter(found), None)


@pytest.mark.skipif(made() is None, reason="LLAMABUILD_TEST_CACHE names no cache with x86-64-v2")
def test_a_wheel_for_plain_cpus_works_and_is_slower(warm: Path, tmp_path: Path) -> None:
    wheel = made()
    assert wheel
    environment(tmp_path / "venv")
    house = wheel.parents[4] / "requirements"
    argv = [sys.executable, "-m", "pip", "--python", str(tmp_path / "venv/bin/python"), "install"]
    subprocess.run([*argv, "-q", "--no-index", "--find-links", str(house), str(wheel)], check=True)
    code, findings, _ = asked("installed", cache=warm, env=venv(tmp_path / "venv"))
    assert code == 15
    assert "avx2" in one(findings, "warning")["why"]
    assert "known answers hold" in one(findings, "ok")["why"]
    shutil.rmtree(next((tmp_path / "venv").glob("lib/python3*/site-packages/llama_cpp/lib")))
    code, findings, _ = asked("installed", cache=warm, env=venv(tmp_path / "venv"))
    assert code == 16
