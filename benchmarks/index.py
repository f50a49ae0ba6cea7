"""How long an index with 2,000 wheels takes to get one more, to be looked at and to be read.
Nothing is asserted.

Two indexes: all wheels in one variant (the longest page that there can be), and 20 variants with
100 wheels each. The wheels are small: a large one adds the time to copy, hash and flush it, which
is measured apart. The gates that a wheel passes before are no part of it.
"""

from __future__ import annotations

import datetime as dt
import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from llamabuild import index  # noqa: E402
from llamabuild.events import silent  # noqa: E402
from llamabuild.index import checking, folder, offers  # noqa: E402
from tests.unit import indexed  # noqa: E402

WHEELS = 2000
ROUNDS = 7
LARGE = 256 << 20


def took(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def report(what: str, times: list[float]) -> None:
    """Print the median and the worst."""
    print(f"  {what:52} {statistics.median(times):7.3f} s, worst {max(times):7.3f} s", flush=True)


def processor(what: str, work: list[Callable[[], object]]) -> None:
    """The time that passes, and what of it is computing: disks and other programs take the rest."""
    started = time.process_time()
    spent = [took(one) for one in work]
    computing = (time.process_time() - started) / len(work)
    report(f"{what} ({computing:.3f} s of computing)", spent)


def publish(top: Path, wheels: list[Path]) -> None:
    now = dt.datetime.now(tz=dt.timezone.utc)
    done = index.publish(top, wheels, check=index.minimal, now=now, emit=silent)
    assert len(done.added) == len(wheels), done


def measure(name: str, variants: int, scratch: Path) -> None:
    top, house = scratch / name / "index", scratch / name / "house"
    each = WHEELS // variants
    wheels = [
        indexed.wheel(house, indexed.statement(f"cpu.t{variant}", release=f"0.{number}"))
        for variant in range(variants)
        for number in range(each)
    ]
    print(f"{WHEELS} wheels in {variants} variants:")
    report("all of them, at once", [took(lambda: publish(top, wheels))])
    page = folder.place(top, "cpu.t0", "index.html").stat().st_size
    root = (top / "llamabuild-index.json").stat().st_size
    print(f"  a page has {page:,} bytes, the list of all {root:,}")
    more = [
        indexed.wheel(house, indexed.statement("cpu.t0", release=f"1.{number}"))
        for number in range(ROUNDS)
    ]
    processor("one more", [functools.partial(publish, top, [one]) for one in more])
    data = (top / "llamabuild-index.json").read_bytes()
    report("reading what it offers", [took(lambda: offers.decode(data, "")) for _ in range(ROUNDS)])
    report("looking at everything again", [took(lambda: sound(top))])
    big = indexed.wheel(
        house, indexed.statement("cpu.t0", release="2.0"), more={"llama_cpp/l.so": bytes(LARGE)}
    )
    report(f"one more of {LARGE >> 20} MiB", [took(lambda: publish(top, [big]))])


def sound(top: Path) -> None:
    found = checking.check(top)
    assert (found.unsound, found.unfinished) == ((), ()), found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        measure("one", 1, Path(scratch))
        measure("twenty", 20, Path(scratch))
