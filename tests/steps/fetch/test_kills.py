"""Other processes: two at once, and runs that are killed at random moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import digest
from llamabuild.model import Pin
from tests.steps.fetch import site as web
from tests.steps.fetch.running import FILE, FILES, Run

pytestmark = pytest.mark.steps

CHILD = """
import sys
from pathlib import Path
import msgspec
from llamabuild.fetch import fetch, transfer, download
from llamabuild.host import LocalHost
from llamabuild.model import Pin
pin = msgspec.json.decode(sys.argv[1], type=Pin)
print("ready", flush=True)
source = fetch(pin, cache=Path(sys.argv[2]), host=LocalHost(), emit=lambda _: None)
print(source.root, flush=True)
"""


def child(pin: Pin, cache: Path) -> subprocess.Popen[str]:
    import msgspec

    argv = [sys.executable, "-c", CHILD, msgspec.json.encode(pin).decode(), str(cache)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> None:
    with process:
        process.communicate(timeout=20)
    assert process.returncode == 0


def complete_or_absent(cache: Path, pin: Pin) -> bool:
    """Assert the promise about a cache at any moment; True when the source is there."""
    archive = cache / "downloads" / f"{pin.sha256[:16]}-{FILE}"
    assert not archive.exists() or digest.of_file(archive) == pin.sha256
    source = cache / "sources" / pin.sha256[:16]
    assert not source.exists() or sum(path.is_file() for path in source.rglob("*")) == FILES
    return source.exists()


def test_two_runs_at_once_share_one_download(
    run: Run, site: web.Site, pin: Pin, archive: bytes
) -> None:
    site.routes[f"/{FILE}"] = web.serve(archive, pace=0.01)
    pin = replace(pin, urls=(f"{site.url}/{FILE}",))
    both = [child(pin, run.cache) for _ in range(2)]
    for process in both:
        finish(process)
    run(pin)
    assert len(site.log) == 1


def killed_again_and_again(pin: Pin, cache: Path, times: int, longest: float) -> int:
    """Kill runs at random moments; how many of them were killed before they were done."""
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)  # shown when the test fails
    moments = random.Random(seed)
    killed = 0
    for _ in range(times):
        process = child(pin, cache)
        with process:
            time.sleep(moments.uniform(0, longest))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        killed += process.returncode == -signal.SIGKILL
        if complete_or_absent(cache, pin):
            (cache / "sources" / pin.sha256[:16]).rename(cache / f"done-{killed}-{time.time_ns()}")
    return killed


def timed(pin: Pin, cache: Path) -> float:
    process = child(pin, cache)
    began = time.monotonic()
    finish(process)
    return time.monotonic() - began


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_kills_while_downloading(run: Run, site: web.Site, pin: Pin, archive: bytes) -> None:
    site.routes[f"/{FILE}"] = web.serve(archive, pace=0.02)
    pin = replace(pin, urls=(f"{site.url}/{FILE}",))
    alone = timed(pin, run.cache / "other")
    assert killed_again_and_again(pin, run.cache, 8, alone / 3) >= 4
    assert any(asked for _, asked in site.log)  # some run went on where another was killed
    run(pin)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_kills_while_unpacking(run: Run, tmp_path: Path, pin: Pin, archive: bytes) -> None:
    (tmp_path / FILE).write_bytes(archive)
    pin = replace(pin, urls=(str(tmp_path / FILE),))
    timed(pin, run.cache)
    (run.cache / "sources" / pin.sha256[:16]).rename(tmp_path / "first")
    alone = timed(pin, run.cache)
    (run.cache / "sources" / pin.sha256[:16]).rename(tmp_path / "second")
    assert killed_again_and_again(pin, run.cache, 12, 0.8 * alone) >= 3
    run(pin)
