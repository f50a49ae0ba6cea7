"""How long looking and deciding take: `make look`. Prints medians; nothing is asserted.

The source must be unpacked already (`llamabuild setup` or `plan --pin llama-cpp-python` once).
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 11
FLEET = 200
MACHINES = Path(__file__).resolve().parent.parent / "tests" / "machines"
PROGRAM = Path(sys.executable).with_name("llamabuild")


def seconds(*arguments: str) -> float:
    """Wall-clock time of one run of the program."""
    started = time.perf_counter()
    subprocess.run([PROGRAM, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def report(name: str, *arguments: str, rounds: int = ROUNDS) -> None:
    """Print the median of several runs, the first of which only warms up."""
    seconds(*arguments)
    times = [seconds(*arguments) for _ in range(rounds)]
    low, high = min(times), max(times)
    print(f"{name:40} {statistics.median(times):6.3f} s  ({low:.3f} to {high:.3f})")


def fleet(folder: Path) -> list[str]:
    """Arguments for a fleet: the recorded machines, over and over."""
    known = sorted(MACHINES.glob("*.json"))
    arguments = []
    for number in range(FLEET):
        path = folder / f"{number:03}-{known[number % len(known)].name}"
        shutil.copy(known[number % len(known)], path)
        arguments += ["--target", str(path)]
    return arguments


if __name__ == "__main__":
    print(f"{os.cpu_count()} cores; medians of {ROUNDS} runs, warm")
    report("--version", "--version")
    report("probe", "probe")
    report("plan", "plan", "--offline")
    report("plan, names checked in the tree", "plan", "--offline", "--pin", "llama-cpp-python")
    with tempfile.TemporaryDirectory() as name:
        report(f"plan for a fleet of {FLEET}", "plan", *fleet(Path(name)), rounds=5)
