"""Whom to believe, as a user says it: `llamabuild trust`, and runs that look at a store at once."""

from __future__ import annotations

import datetime as dt
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from llamabuild import store
from llamabuild.trust import keys, roster, seen, snapshot
from tests.steps.test_cli import refused, run

pytestmark = pytest.mark.steps


def _new(folder: Path, name: str) -> str:
    """The public line of a new key in ``<folder>/<name>.pem``."""
    ended = run("trust", "new", name, "--key", str(folder / f"{name}.pem"), cache=folder / "c")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_a_key_is_made_sent_trusted_listed_and_removed(tmp_path: Path) -> None:
    cache, path = tmp_path / "c", tmp_path / "anna.pem"
    line = _new(tmp_path, "anna")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keyid = keys.load_signer(str(path)).keyid
    assert keys.parse_public(line).keyid == keyid

    added = run("trust", "add", line, cache=cache)
    assert added.stdout.split()[:3] == [keyid[:16], "anna", "builder"]
    [trusted] = roster.listed(store.open_root(cache))
    assert trusted.public.line == line
    assert run("trust", "ls", cache=cache).stdout == added.stdout

    roles = ["--role", "janitor", "--role", "builder"]
    for words in ([f"{path}.pub"], line.split()):  # a file, and a line that nobody quoted
        again = run("trust", "add", *words, *roles, "--json", cache=cache)
        key = json.loads(again.stdout)["key"]
        assert key["roles"] == ["builder", "janitor"]
    answer = json.loads(run("trust", "ls", "--json", cache=cache).stdout)
    assert (answer["version"], answer["kind"], answer["items"]) == (1, "trust", [key])
    assert (key["keyid"], key["public"], key["name"]) == (keyid, line, "anna")

    gone = run("trust", "rm", keyid[:8], "--json", cache=cache)
    assert json.loads(gone.stdout)["key"] == key
    assert run("trust", "ls", cache=cache).stdout == ""
    refused(run("trust", "rm", "anna", cache=cache), 2, "no trusted key is 'anna'", "trust ls")


def test_where_a_new_key_goes(tmp_path: Path) -> None:
    cache, named = tmp_path / "c", tmp_path / "ci.pem"
    env = {keys.VARIABLE: str(named)}
    answer = json.loads(run("trust", "new", "ci", "--json", cache=cache, env=env).stdout)
    assert answer["key"]["path"] == str(named)
    assert keys.load_signer(str(named)).keyid == answer["key"]["keyid"]
    refused(run("trust", "new", "ci", cache=cache, env=env), 2, "ci.pem is there already", "--key")

    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), keys.VARIABLE: ""}
    assert run("trust", "new", "anna", cache=cache, env=home).returncode == 0
    [made] = tmp_path.rglob("signing-key.pem")
    assert stat.S_IMODE(made.stat().st_mode) == 0o600

    text = {keys.VARIABLE: made.read_text()}
    ended = run("trust", "new", "ci", cache=cache, env=text)
    refused(ended, 2, "a key itself where a file's name should be", "--key")
    assert made.read_text().splitlines()[1] not in ended.stdout + ended.stderr
    ended = run("trust", "new", "ci", "--key", made.read_text(), cache=cache)
    refused(ended, 2, "a key itself where a file's name should be")
    assert made.read_text().splitlines()[1] not in ended.stdout + ended.stderr


def test_wrong_use_is_said_without_secrets(tmp_path: Path) -> None:
    cache, path = tmp_path / "c", tmp_path / "anna.pem"
    line = _new(tmp_path, "anna")
    secret = path.read_text().splitlines()[1]
    for words, said in (
        ([str(path)], "this is a private key"),
        ([path.read_text()], "neither the public line"),
        ([secret], "neither the public line"),
        ([str(tmp_path / "absent.pub")], "neither the public line"),
        ([str(tmp_path)], "neither the public line"),
        ([line[:40]], "not the public line of one key"),
        ([line, "--role", "owner"], "Roles: builder, janitor"),
        ([line, "--rol", "janitor"], "nor an option"),
    ):
        ended = run("trust", "add", *words, cache=cache)
        refused(ended, 2, said)
        assert secret not in ended.stdout + ended.stderr
    refused(run("trust", "new", "\x1b[31m", "--key", str(tmp_path / "k"), cache=cache), 2, "print")
    refused(run("trust", "new", "x", "--key", "/proc/k", cache=cache), 2, "/proc/k")
    assert not roster.listed(cache)


def test_a_damaged_roster_ends_with_9(tmp_path: Path) -> None:
    cache = tmp_path / "c"
    assert run("trust", "add", _new(tmp_path, "anna"), cache=cache).returncode == 0
    [path] = (cache / "trust").glob("*.json")
    path.write_text("{")
    refused(run("trust", "ls", cache=cache), 9, path.name, "Remove the file")


_REMEMBER = """
import datetime as dt, sys
from pathlib import Path
from llamabuild.trust import seen, snapshot
now = dt.datetime(2026, 6, 1, tzinfo=dt.timezone.utc)
first, step = map(int, sys.argv[2:])
for version in range(first, 101, step):
    made = snapshot.Snapshot(store="s", version=version, created=snapshot.stamp(now),
                             expires=snapshot.stamp(now), count=version, shards={})
    assert seen.remember(Path(sys.argv[1]), "remote", made, now=now).version >= version
"""


def test_processes_that_remember_at_once_end_with_the_newest(tmp_path: Path) -> None:
    children = [
        subprocess.Popen([sys.executable, "-c", _REMEMBER, str(tmp_path), str(first), "4"])
        for first in range(1, 5)
    ]
    assert [child.wait(timeout=60) for child in children] == [0] * 4
    newest = seen.recall(tmp_path, "remote")
    assert newest is not None
    assert newest.version == newest.count == 100


def test_the_key_of_a_pipeline_is_in_its_environment(tmp_path: Path) -> None:
    """A secret of a CI system has no file: where it stands is given to what signs."""
    _new(tmp_path, "ci")
    place = keys.where({keys.VARIABLE: (tmp_path / "ci.pem").read_text()})
    now = dt.datetime.now(tz=dt.timezone.utc)
    made = snapshot.following(None, count=0, shards={}, now=now)
    sealed = snapshot.sign(made, keys.load_signer(place))
    public = keys.parse_public((tmp_path / "ci.pem.pub").read_text())
    trusted = roster.add(store.open_root(tmp_path / "c"), public, ["builder"], now=now)
    assert snapshot.open_(sealed, [trusted], None, now) == made


def test_openssl_reads_the_key(tmp_path: Path) -> None:
    """Nobody is tied to this program: the file is what other tools read, and say the same of."""
    _new(tmp_path, "anna")
    argv = ["openssl", "pkey", "-in", str(tmp_path / "anna.pem"), "-pubout", "-outform", "DER"]
    try:
        ended = subprocess.run(argv, capture_output=True, check=False, env={**os.environ})
    except FileNotFoundError:
        pytest.skip("there is no openssl")
    if ended.returncode:
        pytest.skip(f"this openssl does not know Ed25519: {ended.stderr[-80:]!r}")
    public = keys.parse_public((tmp_path / "anna.pem.pub").read_text())
    assert ended.stdout[-32:] == public.raw
