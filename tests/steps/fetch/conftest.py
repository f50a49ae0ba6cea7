"""A server, an archive with its pin, and an empty cache."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from llamabuild.model import Pin
from tests.steps.fetch import site as web
from tests.steps.fetch.running import FILE, FILES, OPTION, Run


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def site() -> Iterator[web.Site]:
    with web.running() as running:
        yield running


@pytest.fixture(scope="session")
def archive() -> bytes:
    """A source archive of 1.9 MB with 300 files of noise, so that nothing compresses away."""
    noise = random.Random(7)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        files = {f"mine-1.0/src/{n // 20}/{n}.c": noise.randbytes(6400) for n in range(FILES - 1)}
        for name, content in {"mine-1.0/tree/CMakeLists.txt": OPTION, **files}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def pin(archive: bytes) -> Pin:
    return Pin(
        name="mine",
        version="1.0",
        urls=(f"pypi:Mine_Project/{FILE}",),
        size=len(archive),
        sha256=hashlib.sha256(archive).hexdigest(),
        licence="MIT",
        commit="0c1e57098",
        build_number=0,
        tree="tree",
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "cache")
