"""`llamabuild prove PATH` on real files: builds, wheels, programs and environments of others.

Heavier ones, from a package index, run with LLAMABUILD_E2E=foreign.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamabuild import wheels
from llamabuild.host import LocalHost

pytestmark = pytest.mark.llama
HOST = LocalHost()
Run = Callable[..., "subprocess.CompletedProcess[str]"]
KVALUES = bytes(
    value & 0xFF
    for value in (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
)
"""``kvalues_iq4nl`` of ggml-common.h: what the four bits of IQ4_NL and IQ4_XS stand for."""


@pytest.fixture
def prefix(artifact: dict[str, Any], tmp_path: Path) -> Path:
    """The artifact's folders elsewhere, without its manifest: a build like any other."""
    kept = Path(artifact["artifact"]["path"])
    for name in ("bin", "lib"):
        shutil.copytree(kept / name, tmp_path / "build" / name)
    return tmp_path / "build"


def proved(run: Run, path: Path, code: int = 0) -> dict[str, Any]:
    """The examination; what was examined is as it was."""
    before = sorted(str(file) for file in path.rglob("*")) if path.is_dir() else []
    ended = run("prove", "--json", str(path), check=False)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert before == (sorted(str(file) for file in path.rglob("*")) if path.is_dir() else [])
    found: dict[str, Any] = json.loads(ended.stdout)["examination"]
    return found


def test_a_folder_with_libraries_and_programs(
    artifact: dict[str, Any], run: Run, prefix: Path
) -> None:
    found = proved(run, prefix)
    assert found["kind"] == "folder"
    assert found["held"] == found["asked"] > 70
    assert "commit" in found["version"]
    assert any(device.startswith("CPU") for device in found["devices"])
    assert not found["missing"]
    served = run("prove", str(prefix)).stdout
    assert f"Speed beside our {artifact['artifact']['key'][:12]}" in served
    speeds = zip(found["beside"]["its"], found["beside"]["ours"], strict=True)
    assert all(0.2 < its / ours < 5 for its, ours in speeds)  # they are the same


def test_its_wheel_and_an_environment(artifact: dict[str, Any], run: Run, tmp_path: Path) -> None:
    """Through the bindings everything is asked; the page is for people."""
    wheel = Path(artifact["wheel"])
    found = proved(run, wheel)
    assert (found["kind"], found["held"], found["unasked"]) == ("wheel", found["asked"], [])
    needed = wheels.requirements_of(wheel)
    folder = tmp_path / "venv"
    python = wheels.environment(folder, needed, house=tmp_path / "house", host=HOST)
    wheels.install(wheel, python, HOST)
    other = proved(run, folder)
    assert other["kind"] == "environment"
    assert other["label"].startswith("llama_cpp_python 0.3.36")
    assert other["held"] == found["held"]
    package = next(folder.rglob("site-packages/llama_cpp"))
    assert f"{found['held']} of {found['asked']} cases hold" in run("prove", str(package)).stdout


def test_its_server(run: Run, prefix: Path) -> None:
    found = proved(run, prefix / "bin" / "llama-server")
    assert found["kind"] == "server"
    assert found["held"] == found["asked"] == 5
    assert found["unasked"]


def test_a_library_that_computes_wrongly(run: Run, prefix: Path) -> None:
    """One number of one table is another: only the types that use it are wrong."""
    changed = 0
    for library in (prefix / "lib").glob("libggml-cpu*.so"):
        code = library.read_bytes()
        changed += code.count(KVALUES)
        library.write_bytes(code.replace(KVALUES, KVALUES[:-1] + b"\x61"))
    assert changed
    shutil.rmtree(prefix / "bin")
    found = proved(run, prefix, code=8)
    assert {one["kind"] for one in found["failures"]} == {"wrong-numbers"}
    assert {one["case"].split()[0] for one in found["failures"]} <= {"IQ4_NL", "IQ4_XS", "MXFP4"}
    assert found["held"] > 60


def test_a_library_that_is_cut_off(run: Run, prefix: Path) -> None:
    library = prefix / "lib" / "libllama.so"
    os.truncate(library, library.stat().st_size // 2)
    for path in (library, prefix):
        ended = run("prove", str(path), check=False)
        assert ended.returncode == 6
        assert "libllama.so: not a sound ELF file" in ended.stderr
        assert not ended.stdout


foreign = pytest.mark.skipif(
    "foreign" not in os.environ.get("LLAMABUILD_E2E", ""), reason="LLAMABUILD_E2E=foreign"
)


def pip(*arguments: str, python: Path) -> None:
    subprocess.run([python, "-m", "pip", "--quiet", *arguments], check=True)


@foreign
def test_what_pip_builds(run: Run, tmp_path: Path, artifact: dict[str, Any]) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    name = "llama-cpp-python"
    pip("install", f"{name}==0.3.36", "--no-binary", name, python=python)
    found = proved(run, tmp_path / "venv")
    assert found["held"] == found["asked"] > 80
    assert found["label"] == "llama_cpp_python 0.3.36"


@foreign
def test_a_wheel_of_somebody_elses(run: Run, tmp_path: Path, artifact: dict[str, Any]) -> None:
    """A Python extension with llama.cpp inside."""
    pip("download", "xllamacpp", "--no-deps", "-d", str(tmp_path), python=Path(sys.executable))
    (wheel,) = tmp_path.glob("*.whl")
    found = proved(run, wheel)
    assert found["held"] == found["asked"] > 60


@foreign
def test_a_plain_build_directory(run: Run, source: Any, tmp_path: Path) -> None:
    """What the project's own page says: cmake -B build, cmake --build build."""
    tree = source.root / "vendor" / "llama.cpp"
    shutil.copytree(tree, tmp_path / "tree")
    for argv in (("-B", "build", "-G", "Ninja"), ("--build", "build", "-t", "llama-server")):
        subprocess.run(["cmake", *argv], cwd=tmp_path / "tree", check=True, capture_output=True)
    found = proved(run, tmp_path / "tree")
    assert found["held"] == found["asked"] > 70
