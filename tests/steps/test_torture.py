"""A small torture of the store: `make torture` is the whole."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(sys.platform != "linux", reason="the failing disk is for Linux"),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler is installed"),
]
REPOSITORY = Path(__file__).resolve().parents[2]


def test_nothing_is_lost_wrong_or_partial() -> None:
    argv = [sys.executable, "-m", "tests.torture", "--workers", "8", "--kills", "40"]
    ended = subprocess.run(
        argv, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    counts = re.findall(
        r"wrong reads (\d+), partial entries (\d+), lost artifacts (\d+)", ended.stdout
    )
    assert len(counts) >= 2
    assert set(counts) == {("0", "0", "0")}
    for deed in ("published", "right", "swept", "refused"):  # all of it was really done
        assert re.search(rf"[1-9]\d* {deed}\b", ended.stdout), ended.stdout
