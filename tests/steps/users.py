"""Be another user: ``python -m tests.steps.users UID GROUPS ROOT WORK NUMBER``, or the words of a
command of llamabuild, after ``--``.

What is needed is imported before: the interpreter may lie where only its owner can read.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

from llamabuild import facts, store
from llamabuild.errors import LlamabuildError
from llamabuild.events import silent
from llamabuild.model import Artifact
from llamabuild.store import blobs, sweeping
from llamabuild.store.limits import Limits
from tests.steps import kill, shelves

REPOSITORY = Path(__file__).resolve().parents[2]
_PARTS = ("cli", "host", "matching", "remotes", "report", "store", "trust")
_LATE = (
    *("filelock", "platformdirs", "obstore.store", "obstore.exceptions", "_strptime"),
    *("llamabuild.generations", "llamabuild.reuse", "llamabuild.probe", "llamabuild.adoption"),
)


def argv(uid: int, groups: list[int], root: Path, *words: str) -> list[str]:
    """One of the works below, or a command of llamabuild (its words after ``--``), as a user."""
    who = [str(uid), ",".join(map(str, groups))]
    return [sys.executable, "-m", "tests.steps.users", *who, str(root), *words]


def environment(home: Path) -> dict[str, str]:
    """That of a user with this home."""
    return {**os.environ, "HOME": str(home), "GITHUB_ACTIONS": ""}


def run(
    uid: int, groups: list[int], root: Path, *words: str, home: Path
) -> subprocess.CompletedProcess[str]:
    """The same, done."""
    return subprocess.run(
        argv(uid, groups, root, *words),
        cwd=REPOSITORY,
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _publish(root: Path, number: int) -> None:
    print(shelves.artifact(root, number).id)


def _found(root: Path, number: int) -> Artifact | None:
    return store.lookup(root, shelves.key(number), lambda event: print(event, file=sys.stderr))


def _look(root: Path, number: int) -> None:
    found = _found(root, number)
    print(found.id if found else "nothing")
    if found:
        assert store.damaged(found) is None
        assert os.access(found.path / "bin" / "llama-cli", os.X_OK)


def _remove(root: Path, number: int) -> None:
    found = _found(root, number)
    assert found
    store.remove(root, found)


def _sweep(root: Path, number: int) -> None:
    """Everything that is not needed, whoever made it, whatever its age in days is beyond this."""
    seen = sweeping.survey(root, {})
    going = sweeping.decide(seen, Limits(age=number * 86400.0), free=1 << 40, now=2e9)
    sweeping.sweep(root, seen, going)
    print(len(going))


def _inspect(root: Path, number: int) -> None:
    del number
    print(kill.inspect(root))


def _spoil(root: Path, number: int) -> None:
    """As a bad disk would: a file of the folder is another one, and its blob with it."""
    (found,) = (one for one in store.artifacts(root, silent) if one.key == shelves.key(number))
    for path in (
        found.path / "bin" / "llama-cli",
        blobs.path_of(root, found.manifest.files["bin/llama-cli"].sha256),
    ):
        path.unlink()
        path.write_bytes(b"another")


def _learn(root: Path, number: int) -> None:
    facts.keep(root / "facts" / f"{number}.json", b"learnt")


def _know(root: Path, number: int) -> None:
    print((root / "facts" / f"{number}.json").read_text())


def _storm(root: Path, number: int) -> None:
    """Publish one after the other, whatever happens; says what became of each."""
    for one in range(1, number + 1):
        try:
            with store.guarded(root):
                print("kept", shelves.artifact(root, one).id, flush=True)
        except LlamabuildError as error:
            print("refused", error.exit_code, error.message, flush=True)


_WORKS = {
    "learn": _learn,
    "know": _know,
    "storm": _storm,
    "publish": _publish,
    "look": _look,
    "remove": _remove,
    "sweep": _sweep,
    "inspect": _inspect,
    "spoil": _spoil,
}


def _become(uid: int, groups: list[int]) -> None:
    for part in _PARTS:
        package = importlib.import_module(f"llamabuild.{part}")
        for one in pkgutil.iter_modules(package.__path__, f"llamabuild.{part}."):
            importlib.import_module(one.name)
    for name in _LATE:
        importlib.import_module(name)
    os.setgroups(groups)
    os.setgid(uid)
    os.setuid(uid)


def main() -> None:
    uid, groups, root, *words = sys.argv[1:]
    _become(int(uid), [int(one) for one in groups.split(",") if one])
    if words[0] == "--":
        from llamabuild import cli

        sys.argv = ["llamabuild", *words[1:], "--cache", root]
        cli.main()
    os.umask(0o022)
    try:
        opened = store.open_root(Path(root))
        if store.shared(opened):
            os.umask(0o002)
        with store.guarded(opened):
            _WORKS[words[0]](opened, int(words[1]))
    except LlamabuildError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
