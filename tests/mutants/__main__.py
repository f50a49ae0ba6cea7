"""Break llama.cpp in many ways, one at a time; the proof must catch each with the right class.

Prints one line a mutant and ends with 1 unless all are caught and every good build passes.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from llamabuild.errors import LlamabuildError
from llamabuild.store import open_root
from tests.mutants import table, trial, workshop
from tests.mutants.surroundings import Subject, Surroundings
from tests.mutants.table import Mutant
from tests.mutants.trial import Outcome
from tests.mutants.workshop import Workshop

THREADS = (1, 2, 8)
"""A good build is proved as on machines with so many cores."""
_ROW = "{:<30} {:<20} {:<20} {:<11} {:>5} {:>5}  {}"
_MESSAGE = 110


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; the exit code."""
    options = _arguments(argv)
    chosen = [m for m in table.load() if any(fnmatch.fnmatch(m.name, p) for p in options.only)]
    if options.list:
        for mutant in chosen:
            print(f"{mutant.name:<30} {mutant.expects[0]:<20} {mutant.about}")
        return 0
    with tempfile.TemporaryDirectory(prefix="llamabuild-mutants-") as name:
        root = open_root(options.cache or Path(name) / "cache")
        started = time.monotonic()
        shop = workshop.open_workshop((options.work or Path(name)).resolve(), root)
        print(f"The workshop is open after {time.monotonic() - started:.0f} s: {shop.root}")
        print(_ROW.format("mutant", "expected", "found", "", "make", "prove", "message"))
        wrong = _good(shop, options.repeats)
        told = Counter(_told(shop, chosen, options.keep))
    print(", ".join(f"{count} {word}" for word, count in told.most_common()))
    return int(wrong or bool(set(told) - {"caught", "pending", "skipped"}))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.mutants", description=__doc__)
    parser.add_argument("--cache", type=Path, help="of sources; default: a new temporary one")
    parser.add_argument("--work", type=Path, help="keeps the build; default: a temporary folder")
    parser.add_argument("--repeats", type=int, default=2, help="proofs of the good build each")
    parser.add_argument("--only", nargs="+", default=["*"], help="patterns of names")
    parser.add_argument("--keep", action="store_true", help="keep what a mutant came to")
    parser.add_argument("--list", action="store_true", help="name the mutants and end")
    return parser.parse_args(argv)


def _good(shop: Workshop, repeats: int) -> int:
    """False alarms: proofs of the good build that fail, of ``repeats`` for each of THREADS."""
    alarms = 0
    for cores in THREADS:
        subject = workshop.subject(shop, f"good-{cores}", Surroundings(cores=cores))
        for turn in range(repeats):
            outcome = trial.tried(subject, shop.preload, str(turn))
            good = outcome.kind == trial.PASSED
            alarms += not good
            if turn == 0 or not good:
                word = "" if good else "FALSE ALARM"
                _say(f"(good, {cores} threads, {turn + 1})", trial.PASSED, word, 0.0, outcome)
        shutil.rmtree(subject.folder)
    return alarms


def _told(shop: Workshop, mutants: Sequence[Mutant], keep: bool) -> Iterator[str]:
    """Prove one mutant while the next is compiled; tell each, and yield how it came out."""
    running: tuple[Mutant, float, Subject, Future[Outcome]] | None = None
    with ThreadPoolExecutor(max_workers=1) as pool:
        for mutant in _ordered(mutants):
            if missing := set(mutant.needs) - set(shop.built.plan.cpu_features):
                print(f"{mutant.name:<30} skipped: this CPU has no {', '.join(sorted(missing))}")
                yield "skipped"
                continue
            started = time.monotonic()
            try:
                subject = workshop.mutate(shop, mutant)
            except LlamabuildError as error:
                print(f"{mutant.name:<30} DEFECT: {error.message}\n{error.hint}", flush=True)
                yield "defect"
                continue
            made = time.monotonic() - started
            if running:
                yield _ended(*running, keep)
            running = mutant, made, subject, pool.submit(trial.tried, subject, shop.preload)
        if running:
            yield _ended(*running, keep)


def _ordered(mutants: Sequence[Mutant]) -> list[Mutant]:
    """Mutants of one file together: going back and forth would compile it twice each time."""
    return sorted(mutants, key=lambda mutant: [edit.file for edit in mutant.edits])


def _ended(
    mutant: Mutant, made: float, subject: Subject, running: Future[Outcome], keep: bool
) -> str:
    outcome = running.result()
    word = trial.verdict(mutant, outcome)
    _say(mutant.name, mutant.expects[0], word, made, outcome)
    if not keep:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(subject.folder)
    if word != "caught" and mutant.pending:
        print(f"{'':<30} pending: {mutant.pending}")
        return "pending"
    return word


def _say(name: str, expected: str, word: str, made: float, outcome: Outcome) -> None:
    message = outcome.message.replace("\n", " ")[:_MESSAGE]
    times = (f"{made:.0f}", f"{outcome.seconds:.0f}")
    print(_ROW.format(name, expected, outcome.kind, word, *times, message), flush=True)


if __name__ == "__main__":
    sys.exit(main())
