"""A build that a team shares: pushed by one machine, adopted by another without a compiler, through
S3 and through a web server that hands out a folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.steps import shelves

pytestmark = pytest.mark.llama
MACHINE = Path(__file__).resolve().parents[1] / "machines" / "sapphire-rapids-vm-gcc12.json"
asked = pytest.mark.skipif(
    os.environ.get("LLAMABUILD_E2E") != "share",
    reason="compiles two more builds; LLAMABUILD_E2E=share (make e2e-share) asks for it",
)


class Machine:
    """Somebody's cache, keys and environment."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.home = home
        self.environment = {**os.environ, "GITHUB_ACTIONS": "", **environment}
        self.environment["LLAMABUILD_CACHE"] = str(home / "cache")
        self.environment["LLAMABUILD_SIGNING_KEY"] = str(home / "key.pem")

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "llamabuild", *arguments]
        ended = subprocess.run(
            argv, env=self.environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        return ended

    def answer(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(*arguments, "--json").stdout)
        return found


@pytest.fixture
def builder(cache: Path, tmp_path: Path) -> Machine:
    """The machine that compiled: its key is made, its cache is that of all tests."""
    made = Machine(tmp_path / "builder", {})
    made.home.mkdir()
    made.environment["LLAMABUILD_CACHE"] = str(cache)
    return made


@pytest.fixture
def reader(tmp_path: Path, cache: Path) -> Machine:
    """Another machine's cache. It has the packages that a proof needs, and no source."""
    made = Machine(tmp_path / "reader", {})
    (made.home / "cache").mkdir(parents=True)
    shutil.copy(cache / "layout.json", made.home / "cache")
    shutil.copy(cache / "CACHEDIR.TAG", made.home / "cache")
    if (cache / "requirements").is_dir():
        shutil.copytree(cache / "requirements", made.home / "cache" / "requirements")
    return made


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, builder: Machine, reader: Machine) -> Iterator[str]:
    with shelves.s3(monkeypatch) as address:
        mine = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        builder.environment |= mine
        reader.environment |= mine
        yield address


def trusting(builder: Machine, reader: Machine) -> None:
    line = builder.run("trust", "new", "the builder").stdout
    reader.run("trust", "add", *line.split())


def adopted(told: str) -> bool:
    """True when it was pulled and proved, and nothing was compiled."""
    return "Pulling" in told and "Proving" in told and "Compiling" not in told


def test_an_equal_machine_adopts_it_proves_it_and_compiles_nothing(
    artifact: dict[str, Any], builder: Machine, reader: Machine, bucket: str, tmp_path: Path
) -> None:
    made = artifact["artifact"]
    refused = reader.run("setup", "--store", bucket, code=2)
    assert "nobody is trusted here" in refused.stderr
    trusting(builder, reader)
    builder.run("store", "push", bucket, made["id"])
    first = reader.run("setup", "--store", bucket, "--json")
    assert adopted(first.stderr)
    got = json.loads(first.stdout)["artifact"]
    assert (got["id"], got["key"]) == (made["id"], made["key"])
    assert got["path"] != made["path"]
    assert not (reader.home / "cache" / "sources").exists()
    again = reader.run("setup", "--store", bucket, "--offline")
    assert not any(word in again.stderr for word in ("Pulling", "Proving", "Compiling"))
    server = reader.run("run", "llama-server", "--", "--version")
    assert "version" in server.stdout + server.stderr


def test_a_machine_without_a_compiler_needs_none(
    artifact: dict[str, Any],
    builder: Machine,
    reader: Machine,
    bare: dict[str, str],
    tmp_path: Path,
) -> None:
    trusting(builder, reader)
    builder.run("store", "push", str(tmp_path / "shared"), artifact["artifact"]["id"])
    reader.environment["PATH"] = bare["PATH"]
    for name in ("CC", "CXX"):
        reader.environment.pop(name, None)
    told = reader.run("setup", "--store", str(tmp_path / "shared")).stderr
    assert adopted(told)
    assert not (reader.home / "cache" / "kits").exists()


def test_a_web_server_does_as_well(
    artifact: dict[str, Any], builder: Machine, reader: Machine, tmp_path: Path
) -> None:
    trusting(builder, reader)
    builder.run("store", "push", str(tmp_path / "mirror"), artifact["artifact"]["id"])
    with shelves.served(tmp_path / "mirror") as (url, _):
        told = reader.run("setup", "--store", url).stderr
    assert adopted(told)


@asked
def test_what_this_processor_cannot_run_is_refused_and_the_portable_one_chosen(
    builder: Machine, reader: Machine, bucket: str, tmp_path: Path
) -> None:
    """A build for a processor with AMX and a portable one are in the store. Here, without AMX, the
    first is refused by name, and the second is adopted where compiling is not wanted."""
    features = json.loads(builder.run("probe", "--json").stdout)["hardware"]["cpu"]["features"]
    if any(one["name"] == "amx_int8" and one["executed"] for one in features):
        pytest.skip("this processor has AMX")
    amx = builder.answer("build", "cpu-native", "--machine", str(MACHINE))["artifact"]
    portable = builder.answer("build", "cpu-portable")["artifact"]
    assert "amx_int8" in amx["manifest"]["requires"]["features"]  # measured in its code
    assert "avx" not in portable["manifest"]["requires"]["features"]
    trusting(builder, reader)
    builder.run("store", "push", bucket, amx["id"], portable["id"])
    mirror = tmp_path / "mirror"
    builder.run("store", "push", str(mirror), amx["id"], portable["id"])

    why = builder.run("store", "why-not", amx["id"]).stdout
    assert "amx_int8 missing" in why
    assert "amx_tile missing" in why
    there = builder.run("store", "why-not", amx["id"], "--machine", str(MACHINE)).stdout
    assert "fits the recorded machine" in there

    told = reader.run("setup", "cpu-native", "--reuse", "compatible", "--store", bucket, "--json")
    assert adopted(told.stderr)
    assert json.loads(told.stdout)["artifact"]["id"] == portable["id"]
    pulled = {path.name for path in (reader.home / "cache" / "artifacts").glob("*/*")}
    assert pulled == {portable["id"]}

    other = Machine(tmp_path / "other", {})
    (other.home / "cache").parent.mkdir()
    other.run("trust", "add", *builder_line(builder))
    with shelves.served(mirror) as (url, _):
        told = other.run("setup", "cpu-native", "--reuse", "compatible", "--store", url)
    assert adopted(told.stderr)


def builder_line(builder: Machine) -> list[str]:
    return Path(f"{builder.environment['LLAMABUILD_SIGNING_KEY']}.pub").read_text().split()
