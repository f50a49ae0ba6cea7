"""SIGKILL at random moments, each (or each group) followed by a run that must end proved.

Most of them hit the stand-in project, a few the real source (``--real N``). After every kill the
store is inspected: nothing in it may be unproved, partial or changed. Ends with exit code 1 at the
first violation.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from llamabuild import store  # noqa: E402 - tests is found through ROOT
from tests import standin  # noqa: E402
from tests.steps import kill  # noqa: E402


def finish(argv: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)
    return time.monotonic() - started


def series(
    argv: list[str], root: Path, count: int, group: int, rng: random.Random, longest: float
) -> None:
    """Until ``count`` kills have hit a running process; a run that ended before does not count."""
    hits = turn = 0
    while hits < count:
        kill.forget(root, sources=turn % 3 == 0)
        hits += kill.killed_run(argv, ROOT, kill.moment(rng, longest))
        kill.inspect(root)
        turn += 1
        if turn % group == 0 or hits == count:
            finish(argv)
            if kill.inspect(root) != 1:
                sys.exit(f"after {hits} kills the run left no proved artifact")
            print(f"  {hits} kills; the store is sound", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--standin", type=int, default=96)
    parser.add_argument("--real", type=int, default=4)
    parser.add_argument("--group", type=int, default=1, help="kills before a run is let through")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", type=Path, help="for the real source: its artifacts are lost")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="llamabuild-kills-") as name:
        folder = Path(name)
        root = store.open_root(folder / "standin")
        pin = msgspec.json.encode(standin.archive(folder, root)).decode()
        argv = [sys.executable, "-m", "tests.standin", str(root), pin]
        longest = finish(argv)
        print(f"stand-in: a whole run takes {longest:.1f} s", flush=True)
        series(argv, root, arguments.standin, arguments.group, rng, longest)
        if arguments.real:
            root = store.open_root(arguments.cache or folder / "real")
            kill.forget(root, sources=False)
            argv = [sys.executable, "-m", "llamabuild", "setup", "--cache", str(root)]
            longest = finish(argv)
            print(f"real source: a whole run takes {longest:.1f} s", flush=True)
            series(argv, root, arguments.real, arguments.group, rng, longest)
    print(f"{arguments.standin + arguments.real} kills of running processes: all well")


if __name__ == "__main__":
    main()
