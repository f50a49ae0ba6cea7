"""Kill a run at a random moment and look at what it left."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from llamabuild import store


def killed_run(argv: list[str], cwd: Path, after: float) -> bool:
    """Start, wait ``after`` seconds, SIGKILL. True when it was still running."""
    child = subprocess.Popen(
        argv, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(after)
    running = child.poll() is None
    if running:
        os.kill(child.pid, signal.SIGKILL)
    child.wait()
    return running


def inspect(root: Path) -> int:
    """Assert that everything in the store is complete and proved; returns how many there are."""
    entries = [path for path in (root / "artifacts").glob("*/*") if (root / "artifacts").is_dir()]
    for path in entries:
        artifact = store.read(path)
        assert artifact is not None, f"{path} has no manifest"
        assert store.damaged(artifact) is None, f"{path} is damaged"
        assert artifact.manifest.proof.checks, f"{path} is not proved"
    for lead in (root / "requested").glob("*.json"):
        assert json.loads(lead.read_text())["key"] in {path.name for path in entries}, lead
    return len(entries)


def forget(root: Path, *, sources: bool) -> None:
    """Start over: no artifact, and perhaps no source either."""
    for name in ("artifacts", "requested", *(("sources", "downloads") if sources else ())):
        shutil.rmtree(root / name, ignore_errors=True)


def moment(rng: random.Random, longest: float) -> float:
    """A moment within a run: uniform, so that long steps are hit more often."""
    return rng.uniform(0.05, longest)
