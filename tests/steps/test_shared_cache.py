"""One cache for several users of a machine: whatever one makes, the others of the group use, mend
and remove; who is not of the group is told so."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llamabuild import store
from llamabuild.events import silent
from tests.steps import users
from tests.steps.test_cli import refused

pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be several users"
    ),
]
TEAM, ANNA, BOB, STRANGER = 64100, 64001, 64002, 64003
As = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that every user can come to; pytest's own are private."""
    made = Path(tempfile.mkdtemp(prefix="llamabuild-users-", dir="/tmp"))
    made.chmod(0o755)
    for uid in (ANNA, BOB, STRANGER):
        (made / str(uid)).mkdir()
        os.chown(made / str(uid), uid, uid)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def root(home: Path) -> Path:
    """What docs say: a folder of the group, ``chmod g+ws``, closed for everybody else."""
    folder = home / "cache"
    folder.mkdir()
    os.chown(folder, 0, TEAM)
    folder.chmod(0o2770)
    return folder


@pytest.fixture
def be(root: Path, home: Path) -> As:
    def be(uid: int, *words: str) -> subprocess.CompletedProcess[str]:
        groups = [] if uid == STRANGER else [TEAM]
        ended = users.run(uid, groups, root, *words, home=home / str(uid))
        if "Permission denied" in ended.stderr and str(users.REPOSITORY) in ended.stderr:
            pytest.skip(f"{users.REPOSITORY} cannot be read by other users")
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended

    return be


@pytest.fixture
def do(be: As) -> Callable[..., str]:
    def do(uid: int, *words: str) -> str:
        ended = be(uid, *words)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()

    return do


Do = Callable[..., str]


def test_what_one_publishes_the_other_finds_and_removes(do: Do, root: Path) -> None:
    made = do(ANNA, "publish", "1")
    assert do(BOB, "look", "1") == made
    assert do(BOB, "publish", "2") == do(ANNA, "look", "2")
    do(BOB, "publish", "1")  # the same again is no error
    assert do(BOB, "inspect", "0") == "2"
    do(BOB, "remove", "1")
    assert do(ANNA, "look", "1") == "nothing"
    do(ANNA, "remove", "2")
    assert do(BOB, "inspect", "0") == "0"
    assert not list(root.glob("blobs/*/*"))


def test_everything_is_the_groups(do: Do, root: Path) -> None:
    do(ANNA, "publish", "1")
    do(BOB, "publish", "2")
    for path in root.rglob("*"):
        state = path.stat()
        assert state.st_gid == TEAM, path
        if path.is_dir():
            assert state.st_mode & 0o2070 == 0o2070, path
        assert state.st_mode & 0o040, path


def test_what_one_learns_the_other_knows(do: Do, root: Path) -> None:
    """What a tag stood for first, above all: others under this name are refused."""
    do(ANNA, "learn", "1")
    assert do(BOB, "know", "1") == "learnt"
    do(BOB, "learn", "1")
    assert do(ANNA, "know", "1") == "learnt"
    assert len(list((root / "facts").iterdir())) == 1


@pytest.mark.parametrize("missing", ["folder", "file", "blob"])
def test_one_mends_what_the_other_made(do: Do, root: Path, missing: str) -> None:
    made = do(ANNA, "publish", "1")
    (folder,) = root.glob("artifacts/*/*")
    if missing == "folder":
        shutil.rmtree(folder)
    elif missing == "file":
        (folder / "bin" / "llama-cli").unlink()
    else:
        do(ANNA, "spoil", "1")
        assert do(BOB, "look", "1") == "nothing"  # a blob is wrong: it cannot be made of the rest
        made = do(BOB, "publish", "1")
    assert do(BOB, "look", "1") == made == do(ANNA, "look", "1")
    assert do(ANNA, "inspect", "0") == "1"


def test_one_sweeps_what_the_other_made(do: Do, root: Path) -> None:
    do(ANNA, "publish", "1")
    do(ANNA, "publish", "2")
    do(BOB, "publish", "3")
    assert int(do(BOB, "sweep", "1")) == 3
    assert do(ANNA, "inspect", "0") == "0"
    assert not list(root.glob("blobs/*/*"))
    assert not list(root.glob("artifacts/*/*"))


def test_the_commands(do: Do, be: As, home: Path) -> None:
    made = do(ANNA, "publish", "1")
    for uid in (ANNA, BOB):
        assert "1 artifact" in do(uid, "--", "store", "ls")
    assert made in do(BOB, "--", "store", "show", made[:8], "--json")
    do(BOB, "--", "store", "pin", made)
    do(ANNA, "--", "store", "unpin", made)
    do(BOB, "--", "store", "pin", made)
    do(ANNA, "--", "store", "gc", "--max-size", "0")
    assert "pinned" in do(ANNA, "--", "store", "ls")
    shared = home / str(BOB) / "shared"
    do(BOB, "--", "store", "push", str(shared), "--unsigned")
    do(BOB, "--", "trust", "new", "bob")
    line = next((home / str(BOB)).rglob("*.pub")).read_text()
    do(ANNA, "--", "trust", "add", line)
    assert "bob" in do(BOB, "--", "trust", "ls")
    do(BOB, "--", "store", "rm", made)
    do(ANNA, "--", "store", "pull", str(shared), made[:8], "--unsigned")
    assert do(BOB, "look", "1") == made
    refused(be(ANNA, "--", "store", "show", "nothing"), 2, "there is no artifact")


def test_one_goes_on_with_what_the_other_did_not_finish_pulling(
    do: Do, root: Path, home: Path
) -> None:
    made = do(ANNA, "publish", "1")
    shared = home / str(ANNA) / "shared"
    do(ANNA, "--", "store", "push", str(shared), "--unsigned")
    do(ANNA, "remove", "1")
    blob = max(shared.glob("blobs/*/*"), key=lambda path: path.stat().st_size)
    (root / "downloads").mkdir(exist_ok=True)
    part = root / "downloads" / f"{blob.name}.part"
    part.write_bytes(blob.read_bytes()[:1000])
    os.chown(part, ANNA, TEAM)
    part.chmod(0o664)
    (root / "downloads").chmod(0o2775)
    os.chown(root / "downloads", ANNA, TEAM)
    do(BOB, "--", "store", "pull", str(shared), made[:8], "--unsigned")
    assert do(ANNA, "look", "1") == made
    assert do(BOB, "inspect", "0") == "1"


def test_both_at_once(do: Do, root: Path, home: Path) -> None:
    argv = [(uid, str(number)) for number in (1, 2, 3) for uid in (ANNA, BOB)]
    with ThreadPoolExecutor(max_workers=4) as pool:
        made = list(pool.map(lambda one: do(one[0], "publish", one[1]), argv))
    assert len(set(made)) == 3
    assert do(BOB, "inspect", "0") == "3"


def test_who_is_not_of_the_group_is_refused(do: Do, be: As, root: Path) -> None:
    do(ANNA, "publish", "1")
    for words in (("store", "ls"), ("store", "gc"), ("generations",), ("probe",)):
        refused(be(STRANGER, "--", *words), 9, str(root), "Permission denied", "LLAMABUILD_CACHE")


def test_who_may_only_read_looks_and_changes_nothing(do: Do, be: As, root: Path) -> None:
    made = do(ANNA, "publish", "1")
    root.chmod(0o2775)
    assert made in do(STRANGER, "--", "store", "ls", "--json")
    assert made[:12] in do(STRANGER, "--", "store", "show", made[:8], "--json")
    assert do(STRANGER, "look", "1") == made
    assert "Nothing is set up yet" in do(STRANGER, "--", "generations")
    for words in (("rm", made[:8]), ("pin", made[:8]), ("gc", "--max-size", "0")):
        if words[0] == "gc":
            os.utime(next(root.glob("manifests/*/*")), (0, 0))
        ended = be(STRANGER, "--", "store", *words)
        refused(ended, 9, "Permission denied", f"Make {root} writable")
    refused(be(STRANGER, "publish", "2"), 9, "Permission denied")
    assert do(BOB, "look", "1") == made
    assert do(BOB, "inspect", "0") == "1"


def test_permissions_that_go_away_for_a_while_cost_what_is_made_meanwhile(
    do: Do, root: Path, home: Path
) -> None:
    do(ANNA, "publish", "1000")
    argv = users.argv(ANNA, [TEAM], root, "storm", "60")
    env = users.environment(home / str(ANNA))
    child = subprocess.Popen(
        argv,
        cwd=users.REPOSITORY,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    folders = [root / name for name in ("blobs", "manifests", "work", "artifacts")]
    rng, told = random.Random(20261121), []
    assert child.stdout
    for turn, line in enumerate(child.stdout):
        told.append(line.split(maxsplit=2))
        if turn % 2:  # every other one is let alone
            folder = folders[turn // 2 % len(folders)]
            time.sleep(rng.uniform(0, 0.02))
            folder.chmod(0)
            time.sleep(0.01)
            folder.chmod(0o2775)
    err = child.communicate()[1]
    assert (child.returncode, err) == (0, "")
    kept = {line[1] for line in told if line[0] == "kept"}
    refusals = [line for line in told if line[0] == "refused"]
    assert len(kept) + len(refusals) == 60
    assert len(kept) > 2
    assert len(refusals) > 2
    assert {line[1] for line in refusals} == {"9"}
    assert len(kept) + 1 <= int(do(BOB, "inspect", "0")) <= 61
    assert {one.id for one in store.artifacts(root, silent)} >= kept
    assert do(ANNA, "storm", "60").count("kept") == 60
    assert do(BOB, "inspect", "0") == "61"


def test_a_cache_of_one_user_stays_his(home: Path) -> None:
    """Without ``chmod g+ws`` nothing becomes the group's to write."""
    root = home / str(ANNA) / "own"
    ended = users.run(ANNA, [TEAM], root, "publish", "1", home=home)
    assert ended.returncode == 0, ended.stderr
    assert not store.shared(root)
    assert not [path for path in root.rglob("*") if path.stat().st_mode & 0o022]
