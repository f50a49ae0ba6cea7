"""How long it takes to plan 5,000 cells against a store that has them: `make matrix`. Nothing is
asserted.

The store holds 5,000 artifacts with whole manifests (a real plan, 18 files, 33 KB), signed. Each of
those that a lock file names is looked at as it is before a pull: manifest, key, signature, wheel.
What it is compared with is one lookup per cell, as `setup` does it.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks"))
CELLS = 5000
LOOKUPS = 50


def shared(folder: Path, made: list[Any]) -> Path:
    """A shared folder with manifests, signatures, wheels and an index of these artifacts."""
    from llamabuild import remotes, store
    from llamabuild.remotes import index
    from llamabuild.store import blobs, catalogue
    from llamabuild.trust import statements
    from tests.unit.trust.making import pair

    signer, public = pair("anna")
    writer = remotes.opened(
        str(folder / "shared"), store.open_root(folder / "writer"), signer=signer, new=True
    )
    rows: dict[str, list[Any]] = {}
    for one in made:
        writer.objects.put(f"manifests/{one.id[:2]}/{one.id}.json", one.data)
        said = statements.sign(statements.provenance(one.manifest, one.id), signer)
        writer.objects.put(f"signatures/{one.id}/{public.keyid}.json", said)
        wheel = one.manifest.files["wheel/a.whl"].sha256
        writer.objects.put(
            f"blobs/{wheel[:2]}/{wheel}", blobs.path_of(folder / "cache", wheel).read_bytes()
        )
        row = catalogue.row(one.manifest, one.id, (public.keyid,))
        rows.setdefault(one.group, []).append(row)
    index.add(writer, rows, signer, now=dt.datetime.now(tz=dt.timezone.utc))
    return folder / "shared"


def planned(what: str, folder: Path, cache: Path, *words: str) -> None:
    """A process of its own, from its start to its end."""
    argv = [sys.executable, "-m", "llamabuild", "matrix", "--lock", str(folder / "llamabuild.lock")]
    argv += ["--format", "json", "--cache", str(cache), *words]
    started = time.perf_counter()
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    said = json.loads(ended.stdout)
    left = sum(len(shard["cells"]) for shard in said["shards"])
    print(f"  {what:52} {seconds:6.2f} s  {len(said['dropped'])} dropped, {left} to be made")


def locked(folder: Path, made: list[Any], hits: int) -> None:
    """A lock file with so many cells that are there; the others are not."""
    from tests.unit import cells_of

    keys = [one.manifest.key for one in made[:hits]]
    keys += [f"{number:064x}" for number in range(CELLS - hits)]
    targets = (cells_of.target(f"t{number}", key=key) for number, key in enumerate(keys))
    cells_of.write(folder / "llamabuild.lock", targets)


def one_by_one(cache: Path, made: list[Any]) -> None:
    """What the same takes with a lookup per cell, which hashes every file."""
    from llamabuild import store
    from llamabuild.events import silent

    started = time.perf_counter()
    for one in made[:LOOKUPS]:
        assert store.lookup(cache, one.manifest.key, silent)
    each = (time.perf_counter() - started) / LOOKUPS
    print(f"  one lookup per cell: {each * 1000:.1f} ms each, {each * CELLS:.1f} s for {CELLS}")


def main() -> None:
    import stock

    from llamabuild import store
    from llamabuild.trust import roster
    from tests.unit.trust.making import pair

    with tempfile.TemporaryDirectory(prefix="llamabuild-matrix-") as name:
        folder = Path(name)
        cache = store.open_root(folder / "cache")
        started = time.perf_counter()
        made = stock.fill(cache, itertools.islice(stock.spread(), CELLS), whole=True)
        where = shared(folder, made)
        print(f"{CELLS} artifacts, made in {time.perf_counter() - started:.0f} s")
        reader = store.open_root(folder / "reader")
        now = dt.datetime.now(tz=dt.timezone.utc)
        roster.add(reader, pair("anna")[1], ["builder"], now=now)
        for hits in (0, CELLS // 2, CELLS):
            locked(folder, made, hits)
            planned(
                f"shared folder, {hits} of {CELLS} there", folder, reader, "--store", str(where)
            )
            planned(f"this cache, {hits} of {CELLS} there", folder, cache)
        one_by_one(cache, made)


if __name__ == "__main__":
    main()
