"""Kill a run at a random moment and look at what it left."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from llamabuild import store
from llamabuild.events import Event
from llamabuild.store import blobs, leads


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
    told: list[Event] = []
    kept = store.artifacts(root, told.append)
    assert not told, told
    for artifact in kept:
        assert artifact.manifest.proof.checks, f"{artifact.id} is not proved"
        for name, file in artifact.manifest.files.items():
            assert blobs.sound(blobs.path_of(root, file.sha256), file), f"{name} is damaged"
        assert not artifact.path.exists() or store.damaged(artifact) is None
    folders = {path.name for path in (root / "artifacts").glob("*/*")}
    assert folders <= {artifact.id for artifact in kept}
    for lead in (root / "requested").glob("*.json"):
        known = leads.read(root, lead.stem)
        assert known, lead
        assert known.key in {artifact.key for artifact in kept}, lead
    return len(kept)


def forget(root: Path, *, sources: bool) -> None:
    """Start over: no artifact, and perhaps no source either."""
    kept = ("artifacts", "blobs", "index", "manifests", "requested")
    for name in (*kept, *(("sources", "downloads") if sources else ())):
        shutil.rmtree(root / name, ignore_errors=True)


def moment(rng: random.Random, longest: float) -> float:
    """A moment within a run: uniform, so that long steps are hit more often."""
    return rng.uniform(0.05, longest)
