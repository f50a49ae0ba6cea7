"""sccache with S3 and redis under real builds: what one machine compiled, another finds."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild.host import LocalHost, equipped
from llamabuild.model import Tool
from llamabuild.toolchains import launcher, sccache
from tests.steps import shelves, worklist
from tests.steps.worklist import Works
from tests.unit import values

GCC = shutil.which("gcc") or shutil.which("cc")
SECRET = "a secret that nobody should see"


def _found() -> str:
    """sccache on PATH, or one that llamabuild brought along."""
    kits = Path.home().glob(".cache/llamabuild/kits/sccache-*/bin/sccache")
    return shutil.which("sccache") or next(map(str, kits), "")


SCCACHE = _found()
REDIS = shutil.which("redis-server")
pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(os.name != "posix" or not GCC, reason="there is no C compiler here"),
    pytest.mark.skipif(not SCCACHE, reason="sccache is not on PATH"),
]


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Works:
    return worklist.works(tmp_path_factory.mktemp("works"))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The variables that name a bucket to sccache."""
    for name in [name for name in os.environ if name.startswith("SCCACHE")]:
        monkeypatch.delenv(name)
    with shelves.s3(monkeypatch) as address:
        yield {
            "SCCACHE_BUCKET": address.split("/")[2],
            "SCCACHE_ENDPOINT": os.environ["AWS_ENDPOINT_URL"],
            "SCCACHE_REGION": "us-east-1",
            "SCCACHE_S3_USE_SSL": "false",
            "SCCACHE_S3_KEY_PREFIX": "objects",
        }


@contextmanager
def redis(folder: Path) -> Iterator[dict[str, str]]:
    """A redis that wants a password, and the variables that name it."""
    assert REDIS
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [REDIS, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen([*argv, "--requirepass", "hushhush"], stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield {
            "SCCACHE_REDIS_ENDPOINT": f"tcp://127.0.0.1:{port}",
            "SCCACHE_REDIS_PASSWORD": "hushhush",
        }
    finally:
        server.terminate()
        server.wait(10)


def compiled(folder: Path, **variables: str) -> tuple[int, int]:
    """Hits and misses of a small file compiled by a run of its own, in its own folder."""
    folder.mkdir()
    (folder / "small.c").write_text("int seven(void) { return 7; }\n")
    host = equipped(LocalHost(), **variables)
    assert GCC
    with sccache.served(SCCACHE, host, folder) as served:
        argv = [SCCACHE, GCC, "-O2", "-c", str(folder / "small.c"), "-o", "small.o"]
        env = served.host.environ
        ended = host.run(argv, limits=launcher.Limits(seconds=60), env=env, cwd=folder)
        assert ended.code == 0, ended
    assert (folder / "small.o").exists()
    (found,) = served.known.values()
    return found


def test_what_one_run_compiled_another_finds_in_s3(tmp_path: Path, s3: dict[str, str]) -> None:
    assert compiled(tmp_path / "one", **s3) == (0, 1)
    assert compiled(tmp_path / "two", **s3) == (1, 0)


@pytest.mark.skipif(not REDIS, reason="redis-server is not on PATH")
def test_what_one_run_compiled_another_finds_in_redis(tmp_path: Path) -> None:
    with redis(tmp_path) as variables:
        assert compiled(tmp_path / "one", **variables) == (0, 1)
        assert compiled(tmp_path / "two", **variables) == (1, 0)


def test_a_cell_finds_what_another_machine_compiled(
    works: Works, tmp_path: Path, s3: dict[str, str]
) -> None:
    """Runners of a CI system: the same folders, empty each time."""
    file, cache = worklist.written(tmp_path, works.cell("cpu")), tmp_path / "cache"
    words = ("worker", "run", file, "--compiler-cache", "sccache")
    path = os.pathsep.join((str(Path(SCCACHE).parent), os.environ["PATH"]))
    first, _ = works.run(cache, *words, PATH=path, **s3)
    (counts,) = first["compiler_cache"].values()
    assert counts["misses"] > 3
    told = [path for path in cache.rglob("*") if path.is_file()]
    shown = [path for path in told if SECRET.encode() in path.read_bytes()]
    assert shown == []
    shutil.rmtree(cache)
    second, story = works.run(cache, *words, PATH=path, **s3)
    assert second["key"] == first["key"]
    (again,) = second["compiler_cache"].values()
    assert again == {"hits": sum(counts.values()), "misses": 0}
    assert SECRET not in story
    there, _ = works.run(cache, *words, PATH=path, **s3)
    assert (there["outcome"], there["compiler_cache"]) == ("there", {})


@pytest.mark.parametrize(
    "variables",
    [
        {"SCCACHE_REDIS": "redis://me:hushhush@127.0.0.1:9"},
        {
            "SCCACHE_BUCKET": "b",
            "SCCACHE_ENDPOINT": "http://127.0.0.1:9",
            "SCCACHE_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "hushhush",
            "AWS_SECRET_ACCESS_KEY": "hushhush",
        },
    ],
)
def test_a_storage_that_is_down_is_said_and_not_used(
    variables: dict[str, str], tmp_path: Path
) -> None:
    assert GCC
    compiler = replace(values.compiler(), cc=GCC, cxx=GCC)
    tool = Tool(name="sccache", version="1", path=SCCACHE)
    started = time.monotonic()
    host = equipped(LocalHost(), **variables)
    with sccache.served(SCCACHE, host, tmp_path) as served:
        found = launcher.tried(tool, compiler, host=served.host, scratch=tmp_path)
    assert found.path == ""
    assert "error: " in found.doubt
    assert "hushhush" not in found.doubt
    assert time.monotonic() - started < 45


def test_a_server_that_dies_during_a_build_can_be_started_from_its_environment(
    tmp_path: Path, s3: dict[str, str]
) -> None:
    """A build sees few variables: those that the storage needs are among them."""
    from llamabuild import cmake

    kept = cmake.environment({**os.environ, **s3})
    assert kept["AWS_SECRET_ACCESS_KEY"] == SECRET
    assert "AWS_SECRET_ACCESS_KEY" not in cmake.environment(os.environ)
    alone = {name: value for name, value in kept.items() if name in os.environ or name in s3}
    source = tmp_path / "a.c"
    source.write_text("int eight;\n")
    env = {**alone, "SCCACHE_SERVER_UDS": str(tmp_path / "s")}
    assert GCC
    subprocess.run([SCCACHE, GCC, "-c", source, "-o", tmp_path / "a.o"], env=env, check=True)
    said = subprocess.run(
        [SCCACHE, "--show-stats", "--stats-format", "json"],
        env=env,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    subprocess.run([SCCACHE, "--stop-server"], env=env, check=True, capture_output=True)
    assert sccache.counted(said) == {"C/C++": (0, 1)}
    assert s3["SCCACHE_BUCKET"] in said
