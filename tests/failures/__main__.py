"""Produce failures for real and read what the run itself says: the cause, and what to do.

Prints one line a failure and ends with 1 unless all are well.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import tempfile
import time
from pathlib import Path

from tests.failures import scene as scenes
from tests.failures.produced import FAILURES, Failure
from tests.failures.scene import Ended, Scene, Unavailable

_ROW = "{:<42} {:<8} {:>5}  {}"


def main() -> int:
    """Run what was asked for; the exit code."""
    options = _arguments()
    chosen = [one for one in FAILURES if any(fnmatch.fnmatch(one.name, p) for p in options.only)]
    chosen = [one for one in chosen if options.slow or not one.slow]
    with tempfile.TemporaryDirectory(prefix="llamabuild-failures-") as name:
        cache = options.cache or Path(name) / "cache"
        scene = scenes.open_scene(cache.absolute(), Path(name))
        print(_ROW.format("failure", "", "s", "what the run said"))
        told = [_told(scene, one, options.verbose) for one in chosen]
    print(", ".join(f"{told.count(word)} {word}" for word in dict.fromkeys(told)))
    return int("WRONG" in told)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.failures", description=__doc__)
    parser.add_argument("--cache", type=Path, help="with a build; default: a new temporary one")
    parser.add_argument("--only", nargs="+", default=["*"], help="patterns of names")
    parser.add_argument("--slow", action="store_true", help="those too that compile for minutes")
    parser.add_argument("--verbose", action="store_true", help="all that the run said")
    return parser.parse_args()


def _told(scene: Scene, one: Failure, verbose: bool) -> str:
    started = time.monotonic()
    try:
        with scenes.of_its_own(scene) as own:
            ended = one.produce(own)
    except Unavailable as reason:
        print(_ROW.format(one.name, "skipped", "", reason), flush=True)
        return "skipped"
    wrong = one.wrong(ended)
    word = "WRONG" if wrong else "mended" if one.code == 0 else "named"
    seconds = f"{time.monotonic() - started:.0f}"
    print(_ROW.format(one.name, word, seconds, wrong or _said(ended)), flush=True)
    if verbose or wrong:
        print(f"{ended.err}\n{ended.out}"[-3000:], flush=True)
    return word


def _said(ended: Ended) -> str:
    lines = [line.strip() for line in ended.err.splitlines()]
    telling = [one for one in lines if one.startswith(("error:", "warning:", "healed:"))]
    return (telling or lines or [""])[-1][:140]


if __name__ == "__main__":
    sys.exit(main())
