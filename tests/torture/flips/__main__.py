"""Run it: ``python -m tests.torture.flips [--flips 10000]``; exit code 1 if a changed byte was
used, or stayed unseen."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.torture import flips
from tests.torture.flips.kinds import KINDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    started = time.monotonic()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # what reaches a disk is slow
    with tempfile.TemporaryDirectory(prefix="llamabuild-flips-", dir=memory) as name:
        outcome = flips.run(Path(name), arguments.flips, arguments.seed)
    took = time.monotonic() - started
    print(outcome)
    for kind in KINDS:
        if kind.harmless:
            print(f"harmless in a {kind.name}: {kind.harmless}")
    print(f"{arguments.flips} flips, wrong: {len(outcome.wrong)}; {took:.0f} s")
    sys.exit(0 if outcome.sound else 1)


if __name__ == "__main__":
    main()
