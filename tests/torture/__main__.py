"""Run it: ``python -m tests.torture [--workers 32] [--kills 500]``; exit code 1 if anything was
lost, wrong or partial. Three parts: a sound disk, one whose operations fail now and then, and one
that is full (a small tmpfs, which needs root)."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from llamabuild import store
from tests import torture

_PRELOADED = "LLAMABUILD_TORTURE_PRELOADED"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not os.environ.get(_PRELOADED):
        _preload()
    with tempfile.TemporaryDirectory(prefix="llamabuild-torture-") as name:
        folder = Path(name)
        sound = [
            _part(folder / "plain", "a sound disk", arguments, 0.5),
            _part(folder / "eio", "one operation in 200 fails (EIO)", arguments, 0.3, one_in=200),
            _full(folder / "full", arguments),
        ]
    sys.exit(0 if all(sound) else 1)


def _preload() -> None:
    """Start again with the library that lets operations fail."""
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("a C compiler is needed")
    with tempfile.TemporaryDirectory() as folder:
        library = str(Path(folder, "eio.so"))
        options = ["-shared", "-fPIC", "-O1", "-w", str(torture.SOURCE), "-o", library, "-ldl"]
        subprocess.run([compiler, *options], check=True)
        environment = {**os.environ, "LD_PRELOAD": library, _PRELOADED: "1"}
        ended = subprocess.run(
            [sys.executable, "-m", "tests.torture", *sys.argv[1:]], env=environment, check=False
        )
    sys.exit(ended.returncode)


def _part(
    folder: Path, title: str, arguments: argparse.Namespace, share: float, *, one_in: int = 0
) -> bool:
    folder.mkdir()
    root = store.open_root(folder / "store")
    return _told(title, folder, root, arguments, share, one_in=one_in, lasting=True)


def _told(
    title: str,
    folder: Path,
    root: Path,
    arguments: argparse.Namespace,
    share: float,
    *,
    one_in: int,
    lasting: bool,
) -> bool:
    outcome = torture.run(
        folder,
        root,
        workers=arguments.workers,
        kills=round(arguments.kills * share),
        seed=arguments.seed,
        lasting=lasting,
        one_in=one_in,
    )
    print(f"{title}, {arguments.workers} processes: {outcome}", flush=True)
    return outcome.sound


def _full(folder: Path, arguments: argparse.Namespace) -> bool:
    """A tmpfs for a fifth of what the artifacts need."""
    folder.mkdir()
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        print("a full disk: not tried, a tmpfs cannot be mounted here (that needs root)")
        return True
    try:
        root = store.open_root(disk / "store")
        title = "a disk of 1.5 MB"
        return _told(title, folder, root, arguments, 0.2, one_in=0, lasting=False)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


if __name__ == "__main__":
    main()
