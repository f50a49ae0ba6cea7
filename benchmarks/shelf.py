"""How long a store with 20,000 artifacts takes to answer: `make shelf`. Nothing is asserted.

Two stores: one of 400 groups (40 sources, 10 sorts of back-ends and systems) with all files and
folders, and one whose artifacts are all of one group and share their files. "Cold" is a process of
its own, with all that it imports; the disk's cache is warm. The shared stores are an index of the
same rows without artifacts: a lookup asks for no more.
"""

from __future__ import annotations

import time

STARTED = time.perf_counter()

import datetime as dt  # noqa: E402 - a cold process counts what it imports
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks"))
ROUNDS = 20
COLD = 5
NOBODY = "00" * 32


def took(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def report(what: str, times: list[float], more: str = "") -> None:
    """Print the median and the worst."""
    middle, worst = statistics.median(times) * 1000, max(times) * 1000
    print(f"  {what:58} {middle:9.1f} ms, worst {worst:9.1f} ms  {more}", flush=True)


def often(what: str, work: Callable[[], object], rounds: int = ROUNDS) -> None:
    report(what, [took(work) for _ in range(rounds)])


def cold(what: str, word: str, root: Path, key: str, before: Callable[[], None]) -> None:
    """A process of its own, several times."""
    times = []
    for _ in range(COLD):
        before()
        argv = [sys.executable, __file__, word, str(root), key]
        ended = subprocess.run(argv, capture_output=True, text=True, check=True)
        times.append(float(ended.stdout))
    report(f"{what}, cold", times)


def child(word: str, root: Path, key: str) -> None:
    """What a cold process does; prints its seconds."""
    from llamabuild import store
    from llamabuild.events import silent

    spent = 0.0
    if word == "lookup":
        store.lookup(root, key, silent)
    else:
        prepared = time.perf_counter()  # reading recordings is no part of a choice
        ask = choice(root)
        spent = time.perf_counter() - prepared
        assert ask() is not None
    print(time.perf_counter() - STARTED - spent)


def choice(root: Path) -> Callable[[], object]:
    """Choosing what runs here, for a machine that was recorded, on the host that this is."""
    import stock

    from llamabuild import plan, recordings, reuse
    from llamabuild.events import silent
    from llamabuild.host import LocalHost

    recording = recordings.read(ROOT / "tests" / "machines" / f"{stock.MACHINE}.json")
    hardware = recordings.replay(recording)[0]
    made = stock.wanted()
    want = reuse.Want(
        plan=made,
        key=plan.key(made),
        hardware=hardware,
        host=LocalHost(),
        cache=root,
        emit=silent,
    )
    policy = reuse.Policy(reuse="compatible")
    return lambda: next(reuse.offers(want, policy), None)


def looked(root: Path, made: list) -> None:  # type: ignore[type-arg]
    """Lookups and choices."""
    import stock

    from llamabuild import matching, store
    from llamabuild.events import silent

    keys = [one.manifest.key for one in made[:: len(made) // ROUNDS]]
    turn = iter(keys * 2)
    often("lookup, hit", lambda: store.lookup(root, next(turn), silent))
    often("lookup, miss", lambda: store.lookup(root, NOBODY, silent))
    cold("lookup, hit", "lookup", root, keys[0], lambda: None)
    cold("lookup, miss", "lookup", root, NOBODY, lambda: None)
    rows = root / "index" / matching.group(stock.wanted())

    def forget() -> None:
        rows.unlink(missing_ok=True)

    cold("choice, no rows yet", "choice", root, "", forget)
    cold("choice, rows kept", "choice", root, "", lambda: None)
    often("choice, rows kept", choice(root))


def listed(root: Path, key: str) -> None:
    from llamabuild import store
    from llamabuild.events import silent

    often("find by the beginning of a key", lambda: store.find(root, key[:12], silent), 3)
    often("find by a recipe", lambda: store.find(root, "cpu-native", silent), 3)
    argv = [sys.executable, "-m", "llamabuild", "store", "ls", "--cache", str(root)]

    def run() -> None:
        subprocess.run(argv, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    often("store ls, cold", run, 3)


def swept(root: Path) -> None:
    """A sweep that removes nothing, then one that removes half."""
    from llamabuild.store import sweeping
    from llamabuild.store.limits import DAY, Limits

    for what, days in (("nothing", 1000), ("half of it", 90), ("nothing, afterwards", 90)):
        times = [time.perf_counter()]
        seen = sweeping.survey(root, {})
        times.append(time.perf_counter())
        going = sweeping.decide(seen, Limits(age=days * DAY), free=1 << 40, now=time.time())
        times.append(time.perf_counter())
        sweeping.sweep(root, seen, going)
        times.append(time.perf_counter())
        parts = [times[place + 1] - times[place] for place in range(3)]
        said = ", ".join(f"{part:.2f}" for part in parts)
        report(
            f"gc that removes {what} ({len(going)})", [sum(parts)], f"(see, decide, go: {said} s)"
        )


def remote(folder: Path, made: list) -> None:  # type: ignore[type-arg]
    """An index of the same rows in a folder, and behind a web server."""
    import stock

    from llamabuild import matching, remotes, store
    from llamabuild.remotes import index
    from llamabuild.store import catalogue
    from llamabuild.trust import roster
    from tests.steps import shelves
    from tests.unit.trust.making import pair

    now = dt.datetime.now(tz=dt.timezone.utc)
    signer, public = pair("anna")
    rows: dict[str, list[catalogue.Row]] = {}
    for one in made:
        row = catalogue.row(one.manifest, one.id, (public.keyid,))
        rows.setdefault(one.group, []).append(row)
    writer = remotes.opened(
        str(folder / "shared"), store.open_root(folder / "writer"), signer=signer
    )
    report("shared: writing the index", [took(lambda: index.add(writer, rows, signer, now=now))])
    group = matching.group(stock.wanted())
    with shelves.served(folder / "shared") as (url, _):
        for address in (str(folder / "shared"), url):
            cache = store.open_root(folder / f"reader-{address[:4].strip('/')}")
            roster.add(cache, public, ["builder"], now=now)
            for turn in ("first", "again"):
                shared = remotes.opened(address, cache)

                def ask(shared: remotes.Shared = shared) -> None:
                    state = remotes.latest(shared, now=now)
                    assert state
                    assert len(remotes.rows(shared, state, group)) == len(rows[group])

                seconds = took(ask)
                where = "web server" if address == url else "folder"
                report(f"shared, {where}, {turn}", [seconds], f"{shared.objects.requests} requests")


def main() -> None:
    import stock

    with tempfile.TemporaryDirectory(prefix="llamabuild-shelf-") as name:
        for what, plans, whole in (
            ("small groups", stock.spread(), True),
            ("one group", stock.alike(), False),
        ):
            folder = Path(name, what)
            root = stock.store.open_root(folder / "cache")
            started = time.perf_counter()
            made = stock.fill(root, plans, whole=whole)
            seconds = time.perf_counter() - started
            of = f"manifests of {len(made[0].data)} bytes"
            print(f"{what}: {stock.size(root)}, {of}; made in {seconds:.0f} s")
            looked(root, made)
            listed(root, made[0].manifest.key)
            remote(folder, made)
            if whole:
                swept(root)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        child(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    else:
        main()
