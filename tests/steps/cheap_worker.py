"""In place of a worker and an index, for tests of what calls them: `worker run` makes a small
artifact instead of compiling, `index publish` lists keys. All other commands are the real ones.

    python -m tests.steps.cheap_worker LOG worker run CELL [--no-push]
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from pathlib import Path

from llamabuild import remotes, store
from llamabuild.ci import cells
from llamabuild.cli import main
from llamabuild.events import silent
from llamabuild.lockfile import files
from llamabuild.trust import keys
from tests.steps import shelves

BROKEN = "broken"
"""A cell of this name cannot be made."""


def worker(cell_file: Path, log: Path, *, push: bool) -> int:
    """Make the artifact whose number is the last word of the cell's name; publish it signed."""
    cell = cells.decode(cell_file.read_bytes(), str(cell_file))
    with log.open("a", encoding="utf-8") as stream:
        said = {"cell": cell.name, "push": push, "key": keys.VARIABLE in os.environ}
        stream.write(json.dumps(said) + "\n")
    if cell.name.startswith(BROKEN):
        return 7
    root = store.open_root(store.default_root(os.environ))
    artifact = shelves.artifact(root, int(cell.name.split()[-1]))
    assert artifact.key == cell.key
    if push:
        signer = keys.load_signer(keys.where(os.environ))
        shared = remotes.opened(_first(), root, signer=signer, new=True)
        remotes.push(shared, (artifact,), signer, silent, now=_now())
    print(json.dumps({"version": 1, "name": cell.name, "key": cell.key, "id": artifact.id}))
    return 0


def index(lock: Path, address: str, folder: Path) -> int:
    """Which targets of a lock file a store has, by name; 13 when one is missing."""
    root = store.open_root(store.default_root(os.environ))
    shared = remotes.opened(address, root)
    state = remotes.latest(shared, now=_now())
    known = {row.key for row in remotes.everything(shared, state)} if state else set()
    wanted = files.read(lock).targets
    if not known >= {one.key for one in wanted}:
        return 13
    folder.mkdir()
    (folder / "names.json").write_text(json.dumps([one.name for one in wanted]))
    return 0


def _first() -> str:
    return os.environ["LLAMABUILD_STORE"].split()[0]


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.timezone.utc)


if __name__ == "__main__":
    log, words = Path(sys.argv[1]), sys.argv[2:]
    if words[:2] == ["worker", "run"]:
        sys.exit(worker(Path(words[2]), log, push="--no-push" not in words))
    if words[:2] == ["index", "publish"]:
        given = dict(zip(words[3::2], words[4::2], strict=True))
        sys.exit(index(Path(given["--lock"]), given["--store"], Path(words[2])))
    sys.argv = ["llamabuild", *words]
    main()
