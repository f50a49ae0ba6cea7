"""A machine without compilers and build tools: what is missing is brought along, without root.

It fetches a compiler and compiles for minutes: ``make e2e-toolchain`` asks for it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llamabuild import provide
from llamabuild.audit import elf
from llamabuild.events import silent
from llamabuild.host import LocalHost
from llamabuild.model import Source
from llamabuild.provide import Means
from llamabuild.toolchains import launcher
from tests.unit import values

pytestmark = [
    pytest.mark.llama,
    pytest.mark.skipif(
        os.environ.get("LLAMABUILD_E2E") != "toolchain",
        reason="compiles for minutes; LLAMABUILD_E2E=toolchain (make e2e-toolchain) asks for it",
    ),
]


def run(bare: dict[str, str], cache: Path, *arguments: str) -> dict[str, Any]:
    argv = [sys.executable, "-m", "llamabuild", *arguments, "--cache", str(cache), "--json"]
    ended = subprocess.run(argv, env=bare, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


@pytest.fixture(scope="module")
def made(bare: dict[str, str], cache: Path, source: Source) -> dict[str, Any]:
    artifact: dict[str, Any] = run(bare, cache, "setup")["artifact"]
    return artifact


def test_a_build_is_proved_with_the_compiler_that_was_brought(
    made: dict[str, Any], cache: Path
) -> None:
    plan = made["manifest"]["plan"]
    assert plan["compiler"]["family"] == "clang"
    assert plan["compiler"]["cxx"].startswith(str(cache / "kits" / "zig-"))
    assert len(made["manifest"]["proof"]["checks"]) > 80


def test_the_cpu_is_used_as_by_any_other_compiler(made: dict[str, Any], cache: Path) -> None:
    with_own = [sys.executable, "-m", "llamabuild", "plan", "--json", "--toolchain", "machine"]
    own = subprocess.run(
        [*with_own, "--cache", str(cache)], capture_output=True, text=True, check=False
    )
    if own.returncode != 0:
        pytest.skip("there is no other compiler here")
    features = json.loads(own.stdout)["plan"]["cpu_features"]
    assert set(features) <= set(made["manifest"]["plan"]["cpu_features"])


def test_it_runs_on_older_systems(made: dict[str, Any]) -> None:
    """No symbol of a glibc newer than 2.28, and no library that not every system has."""
    folder = Path(made["path"])
    (wheel,) = (folder / "wheel").glob("*.whl")
    assert "-py3-none-manylinux_2_28_" in wheel.name
    for path in [*(folder / "lib").glob("*.so"), *(folder / "bin").glob("llama-*")]:
        found = elf.read(path)
        newest = dict(found.versions).get("GLIBC", "2.0")
        assert tuple(map(int, newest.split("."))) <= (2, 28), path
        assert not {"libstdc++.so.6", "libgomp.so.1", "libgcc_s.so.1"} & set(found.needed)


def test_a_compiler_cache_can_be_brought_too(cache: Path, tmp_path: Path) -> None:
    """A real one, fetched, compiles a real file through it; its server is ended again."""
    host = LocalHost()
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("there is no C compiler here to cache for")
    means = Means(asked="auto", host=host, cache=cache, emit=silent)
    tool = provide.compiler_cache("sccache", means)
    assert tool
    chosen = launcher.tried(
        tool, replace(values.compiler(), cc=compiler), host=host, scratch=tmp_path
    )
    try:
        assert (chosen.path, chosen.doubt) == (tool.path, "")
        (tmp_path / "launcher.o").unlink()
        again = [tool.path, compiler, "-c", "launcher.c", "-o", "launcher.o"]
        subprocess.run(again, cwd=tmp_path, check=True)
        said = subprocess.run([tool.path, "--show-stats"], capture_output=True, check=True).stdout
        assert re.search(rb"Cache hits +[1-9]", said)
    finally:
        subprocess.run([tool.path, "--stop-server"], capture_output=True, check=False)


def test_a_second_time_nothing_is_fetched(
    made: dict[str, Any], bare: dict[str, str], cache: Path
) -> None:
    again = run(bare, cache, "setup", "--offline")["artifact"]
    assert again["key"] == made["key"]
