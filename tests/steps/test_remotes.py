"""Shared stores behind real servers: what is pushed is found, pulled and checked; what lies, is
slow or down is found out, and nothing is lost."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import matching, remotes, store
from llamabuild.errors import (
    ConfigError,
    DiskFull,
    FetchError,
    IntegrityError,
    LlamabuildError,
    StoreError,
)
from llamabuild.events import Event, Progress, silent
from llamabuild.model import Artifact
from llamabuild.remotes import Shared, cleaning, index, objects
from llamabuild.store import blobs
from llamabuild.store.catalogue import Row
from llamabuild.trust import roster, snapshot
from llamabuild.trust.keys import Signer
from tests.steps import kill, shelves
from tests.unit.trust.making import pair

pytestmark = pytest.mark.steps
NOW = dt.datetime.now(tz=dt.timezone.utc)


@pytest.fixture
def builder(tmp_path: Path) -> Path:
    return store.open_root(tmp_path / "builder")


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    """Another machine's cache, which trusts the builder's key."""
    root = store.open_root(tmp_path / "reader")
    roster.add(root, pair("anna")[1], ["builder"], now=NOW)
    return root


@pytest.fixture(params=["folder", "s3"])
def address(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "shared")
    else:
        with shelves.s3(monkeypatch) as found:
            yield found


@pytest.fixture
def folder(tmp_path: Path, builder: Path) -> Path:
    """A shared folder with an artifact, signed by anna."""
    push(str(tmp_path / "shared"), builder, shelves.artifact(builder))
    return tmp_path / "shared"


def push(address: str, root: Path, *artifacts: Artifact, who: str = "anna") -> int:
    signer: Signer = pair(who)[0]
    shared = remotes.opened(address, root, signer=signer)
    return remotes.push(shared, artifacts, signer, silent, now=NOW)


def rows(shared: Shared, now: dt.datetime = NOW) -> list[Row]:
    state = remotes.latest(shared, now=now)
    return remotes.everything(shared, state) if state else []


def pull(address: str, root: Path, emit: object = silent) -> Artifact:
    shared = remotes.opened(address, root)
    (row,) = rows(shared)
    return remotes.pull(shared, row, silent)


def test_what_is_pushed_is_found_by_another_machine_and_the_same(
    address: str, builder: Path, reader: Path
) -> None:
    made = shelves.artifact(builder)
    assert push(address, builder, made) == sum(f.size for f in made.manifest.files.values())
    assert push(address, builder, made) == 0  # nothing twice
    got = pull(address, reader)
    assert (got.key, got.id, got.manifest) == (made.key, made.id, made.manifest)
    assert store.damaged(got) is None
    assert (got.path / "bin" / "llama-cli").stat().st_mode & 0o111
    assert store.lookup(reader, made.key, silent) == got
    assert kill.inspect(reader) == 1
    assert not [path for path in (reader / "downloads").iterdir() if path.suffix == ".part"]


def test_a_lookup_takes_two_requests_and_then_one(
    address: str, builder: Path, reader: Path
) -> None:
    made = [shelves.artifact(builder, number) for number in range(5)]
    push(address, builder, *made)
    group = matching.group(made[0].manifest.plan)
    for requests in (2, 1):
        shared = remotes.opened(address, reader)
        state = remotes.latest(shared, now=NOW)
        assert state
        assert {row.id for row in remotes.rows(shared, state, group)} == {one.id for one in made}
        assert shared.objects.requests == requests


def test_a_web_server_hands_it_out_and_takes_nothing(
    folder: Path, builder: Path, reader: Path
) -> None:
    with shelves.served(folder) as (url, asked):
        got = pull(url, reader)
        assert store.damaged(got) is None
        assert asked[0] == "/index/latest.json"
        with pytest.raises(ConfigError, match="can only be read"):
            push(url, builder, shelves.artifact(builder, 2))


def test_an_artifact_is_handed_on_with_its_signature(
    folder: Path, reader: Path, tmp_path: Path
) -> None:
    got = pull(str(folder), reader)
    third = store.open_root(tmp_path / "third")
    roster.add(third, pair("anna")[1], ["builder"], now=NOW)
    roster.add(third, pair("bob")[1], ["builder"], now=NOW)
    push(str(tmp_path / "second"), reader, got, who="bob")
    shared = remotes.opened(str(tmp_path / "second"), third)
    (row,) = rows(shared)
    assert set(row.signers) == {pair("anna")[1].keyid, pair("bob")[1].keyid}
    roster.remove(third, "bob")
    with pytest.raises(IntegrityError, match="not trusted"):  # bob's index is not believed now
        rows(remotes.opened(str(tmp_path / "second"), third))


def test_eight_push_at_once_and_all_are_there(address: str, builder: Path, reader: Path) -> None:
    made = [shelves.artifact(builder, number) for number in range(8)]
    failures: list[BaseException] = []

    def one(artifact: Artifact) -> None:
        try:
            push(address, builder, artifact)
        except LlamabuildError as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(artifact,)) for artifact in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    found = rows(remotes.opened(address, reader))
    assert {row.id for row in found} == {one.id for one in made}
    state = remotes.latest(remotes.opened(address, reader), now=NOW)
    assert state
    assert (state.version, state.count) == (8, 8)


def test_one_who_is_killed_before_he_says_so_is_gone_on_from(
    folder: Path, builder: Path, reader: Path
) -> None:
    """History has the next version, the index does not name it yet."""
    before = (folder / index.LATEST).read_bytes()
    push(str(folder), builder, shelves.artifact(builder, 2))
    (folder / index.LATEST).write_bytes(before)
    (builder / "trust").rename(builder / "forgotten") if (builder / "trust").exists() else None
    push(str(folder), builder, shelves.artifact(builder, 3))
    assert len(rows(remotes.opened(str(folder), reader))) == 3


# --- whom to believe -----------------------------------------------------------------------------


def test_nobody_is_believed_who_is_not_trusted(folder: Path, tmp_path: Path) -> None:
    stranger = store.open_root(tmp_path / "stranger")
    with pytest.raises(ConfigError, match="nobody is trusted here"):
        remotes.opened(str(folder), stranger)
    roster.add(stranger, pair("bob")[1], ["builder"], now=NOW)
    with pytest.raises(IntegrityError, match=r"signed by .* not trusted"):
        pull(str(folder), stranger)
    assert kill.inspect(stranger) == 0
    shared = remotes.opened(str(folder), stranger, unsigned=True)
    (row,) = rows(shared)
    assert remotes.pull(shared, row, silent).id == row.id


def test_an_artifact_that_somebody_else_signed_is_refused(
    folder: Path, builder: Path, reader: Path
) -> None:
    """Mallory can write into the folder and into an index that he is trusted for."""
    roster.add(reader, pair("carol")[1], ["janitor"], now=NOW)
    shared = replace(remotes.opened(str(folder), reader), unsigned=True)
    evil = shelves.artifact(builder, 66)
    row = remotes.push  # the artifact comes with a signature by nobody who is trusted
    del row
    remotes.push(remotes.opened(str(folder), builder, unsigned=True), [evil], None, silent, now=NOW)
    state = index.latest(shared, now=NOW)
    assert state
    following = snapshot.following(state, count=state.count, shards=state.shards, now=NOW)
    (folder / index.LATEST).write_bytes(snapshot.sign(following, pair("carol")[0]))
    trusting = remotes.opened(str(folder), reader)
    wrong = next(one for one in rows(trusting) if one.id == evil.id)
    with pytest.raises(IntegrityError, match="is not signed"):
        remotes.pull(trusting, wrong, silent)
    janitor = pair("carol")[1].keyid
    with pytest.raises(IntegrityError):  # he says that carol signed it, and there is no signature
        remotes.pull(trusting, _with(wrong, signers=(janitor,)), silent)
    good = next(one for one in rows(trusting) if one.id != evil.id)
    envelope = folder / "signatures" / good.id / f"{good.signers[0]}.json"
    there = folder / "signatures" / evil.id / envelope.name
    there.parent.mkdir(parents=True)
    there.write_bytes(envelope.read_bytes())
    with pytest.raises(IntegrityError, match="about another artifact"):
        remotes.pull(trusting, _with(wrong, signers=good.signers), silent)
    assert kill.inspect(reader) == 0


def _with(row: Row, **changes: object) -> Row:
    import msgspec

    return msgspec.structs.replace(row, **changes)


def test_an_old_index_is_not_believed_once_a_newer_was_seen(
    folder: Path, builder: Path, reader: Path
) -> None:
    old = (folder / index.LATEST).read_bytes()
    push(str(folder), builder, shelves.artifact(builder, 2))
    assert len(rows(remotes.opened(str(folder), reader))) == 2
    (folder / index.LATEST).write_bytes(old)  # as one who was slower would: the history helps
    assert len(rows(remotes.opened(str(folder), reader))) == 2
    for path in (folder / "index" / "history").iterdir():
        if path.stem.endswith("2"):
            path.unlink()
    with pytest.raises(IntegrityError, match="was rolled back: it has version 1, and 2 was seen"):
        rows(remotes.opened(str(folder), reader))
    (folder / index.LATEST).unlink()
    with pytest.raises(IntegrityError, match="has no index, and version 2 was seen"):
        rows(remotes.opened(str(folder), reader))


def test_the_index_of_another_store_is_not_believed(
    folder: Path, builder: Path, reader: Path, tmp_path: Path
) -> None:
    rows(remotes.opened(str(folder), reader))
    push(str(tmp_path / "other"), builder, shelves.artifact(builder, 2))
    shutil.copytree(tmp_path / "other", folder, dirs_exist_ok=True)
    with pytest.raises(IntegrityError, match="that of another store"):
        rows(remotes.opened(str(folder), reader))


@pytest.mark.parametrize(("days", "said"), [(100, "expired on"), (-3, "clocks is wrong")])
def test_a_clock_that_is_wrong_or_a_store_that_stands_still_is_said(
    folder: Path, reader: Path, days: int, said: str
) -> None:
    with pytest.raises(IntegrityError, match=said):
        rows(remotes.opened(str(folder), reader), NOW + dt.timedelta(days=days))
    assert rows(remotes.opened(str(folder), reader), NOW + dt.timedelta(hours=20))


def test_builds_that_nobody_vouches_for_stay_apart(
    folder: Path, builder: Path, reader: Path, tmp_path: Path
) -> None:
    shared = remotes.opened(str(folder), builder, untrusted="pr-7")
    made = shelves.artifact(builder, 2)
    remotes.push(shared, [made], None, silent, now=NOW)
    assert {row.key for row in rows(remotes.opened(str(folder), reader))} != {made.key}
    assert len(rows(remotes.opened(str(folder), reader))) == 1
    apart = store.open_root(tmp_path / "apart")
    (row,) = rows(remotes.opened(str(folder), apart, untrusted="pr-7"))
    assert row.id == made.id
    for name in ("../x", "a/b", "", ".hidden"):
        if name:
            with pytest.raises(ConfigError, match="no name for a part"):
                remotes.opened(str(folder), apart, untrusted=name)


def test_only_a_janitor_takes_away(folder: Path, builder: Path, reader: Path) -> None:
    (row,) = rows(remotes.opened(str(folder), reader))
    anna, carol = pair("anna")[0], pair("carol")
    roster.add(builder, pair("anna")[1], ["builder"], now=NOW)
    index.drop(
        remotes.opened(str(folder), builder, signer=anna), frozenset([row.id]), anna, now=NOW
    )
    with pytest.raises(IntegrityError, match=r"lost artifacts: .* may not remove"):
        rows(remotes.opened(str(folder), reader))
    roster.add(reader, carol[1], ["janitor"], now=NOW)
    roster.add(builder, carol[1], ["janitor"], now=NOW)
    shared = remotes.opened(str(folder), builder, signer=carol[0])
    index.drop(shared, frozenset(), carol[0], now=NOW)
    assert rows(remotes.opened(str(folder), reader)) == []


# --- remotes that lie, stall or are away ---------------------------------------------------------


HTML = b"<!doctype html><title>Sign in</title>" + b" " * 500


@pytest.mark.parametrize("what", ["index", "shard", "manifest", "signature", "blob"])
@pytest.mark.parametrize("lie", ["html", "empty", "cut", "flipped", "longer", "other"])
def test_a_server_that_lies_is_found_out_and_nothing_is_kept(
    folder: Path, reader: Path, what: str, lie: str
) -> None:
    where = {
        "index": "/index/latest.json",
        "shard": "/index/shards/",
        "manifest": "/manifests/",
        "signature": "/signatures/",
        "blob": "/blobs/",
    }[what]

    def answer(handler: shelves.Lying, data: bytes) -> bytes:
        if not handler.path.startswith(where):
            return data
        middle = len(data) // 2
        return {
            "html": HTML,
            "empty": b"",
            "cut": data[:middle],
            "flipped": data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :],
            "longer": data + data[:100],
            "other": (folder / "index" / "latest.json").read_bytes()[::-1],
        }[lie]

    with (
        shelves.served(folder, answer) as (url, _),
        pytest.raises((IntegrityError, FetchError)) as caught,
    ):
        pull(url, reader)
    assert "\n" not in caught.value.message
    assert kill.inspect(reader) == 0
    with shelves.served(folder) as (url, _):  # the same again from an honest one
        _forget_what_was_seen(reader)
        assert store.damaged(pull(url, reader)) is None


def _forget_what_was_seen(root: Path) -> None:
    for path in (root / "trust" / "seen").glob("*.json"):
        path.unlink()


def test_a_manifest_as_large_as_a_disk_is_not_read(folder: Path, reader: Path) -> None:
    def answer(handler: shelves.Lying, data: bytes) -> bytes:
        return bytes(20 << 20) if handler.path.startswith("/manifests/") else data

    with (
        shelves.served(folder, answer) as (url, _),
        pytest.raises(FetchError, match="has 20971520"),
    ):
        pull(url, reader)


def test_a_server_that_falls_silent_is_left(
    folder: Path, reader: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {**objects._CLIENT, "read_timeout": dt.timedelta(seconds=1)}
    monkeypatch.setattr(objects, "_CLIENT", quick)
    monkeypatch.setattr(objects, "_RETRY", {"max_retries": 0})

    def answer(handler: shelves.Lying, data: bytes) -> bytes | None:
        return None if handler.path.startswith("/blobs/") else data

    started = time.monotonic()
    with shelves.served(folder, answer) as (url, _), pytest.raises(FetchError):
        pull(url, reader)
    assert time.monotonic() - started < 20
    assert kill.inspect(reader) == 0


def test_a_server_that_trickles_is_left(
    folder: Path, reader: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_PATIENCE", 0.0)
    monkeypatch.setattr(objects, "_SLOWEST", 10**12)
    with shelves.served(folder) as (url, _), pytest.raises(FetchError, match="is too slow"):
        pull(url, reader)
    assert kill.inspect(reader) == 0


def test_a_server_that_is_down_says_which(reader: Path) -> None:
    with pytest.raises(FetchError, match=r"http://\*\*\*@127.0.0.1:9/") as caught:
        pull("http://me:secret@127.0.0.1:9/?token=alsosecret", reader)
    assert "secret" not in caught.value.message


def test_secrets_are_not_shown(
    tmp_path: Path, reader: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shelves.s3(monkeypatch):
        shared = remotes.opened("s3://nobucket/x", reader)
        with pytest.raises(FetchError) as caught:
            list(shared.objects.listed("index"))
    assert "a secret" not in str(caught.value) + repr(shared)


# --- going on, and bad days ----------------------------------------------------------------------


def test_a_pull_goes_on_where_it_was(address: str, builder: Path, reader: Path) -> None:
    made = shelves.artifact(builder)
    push(address, builder, made)
    file = made.manifest.files["bin/llama-cli"]
    part = reader / "downloads" / f"{file.sha256}.part"
    part.parent.mkdir()
    part.write_bytes((made.path / "bin" / "llama-cli").read_bytes()[: file.size // 2])
    moved: list[int] = []
    shared = remotes.opened(address, reader)
    (row,) = rows(shared)

    def emit(event: Event) -> None:
        if isinstance(event, Progress):
            moved.append(event.done)

    remotes.pull(shared, row, emit)
    other = made.manifest.files["wheel/a.whl"].size  # comes at the same time
    assert {file.size // 2, file.size // 2 + other} & set(moved)
    assert store.damaged(pull(address, reader)) is None


def test_what_is_here_of_a_file_may_be_wrong(address: str, builder: Path, reader: Path) -> None:
    made = shelves.artifact(builder)
    push(address, builder, made)
    for name in ("bin/llama-cli", "wheel/a.whl"):
        file = made.manifest.files[name]
        part = reader / "downloads" / f"{file.sha256}.part"
        part.parent.mkdir(exist_ok=True)
        part.write_bytes(b"?" * (file.size // 2))
    assert store.damaged(pull(address, reader)) is None


def test_a_push_that_was_interrupted_is_not_seen_and_goes_on(
    address: str, builder: Path, reader: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shelves.artifact(builder)

    def die(*words: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(index, "add", die)
        with pytest.raises(KeyboardInterrupt):
            push(address, builder, made)
    assert rows(remotes.opened(address, reader)) == []
    assert push(address, builder, made) == 0
    assert pull(address, reader).id == made.id


def test_two_pull_the_same_at_once(address: str, builder: Path, reader: Path) -> None:
    made = shelves.artifact(builder)
    push(address, builder, made)
    found: list[Artifact] = []
    threads = [threading.Thread(target=lambda: found.append(pull(address, reader))) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.id for one in found] == [made.id] * 4
    assert kill.inspect(reader) == 1


def test_a_row_that_promises_another_key_is_refused(folder: Path, reader: Path) -> None:
    shared = remotes.opened(str(folder), reader)
    (row,) = rows(shared)
    with pytest.raises(IntegrityError, match="and the index says"):
        remotes.pull(shared, _with(row, key="ab" * 32), silent)


def test_a_manifest_whose_plan_has_another_key_is_refused(
    builder: Path, reader: Path, tmp_path: Path
) -> None:
    made = shelves.artifact(builder)
    lying = replace(made.manifest, plan=replace(made.manifest.plan, cpu_features=("avx512f",)))
    with store.workdir(builder) as work:
        prefix = work / "prefix"
        for name in lying.files:
            (prefix / name).parent.mkdir(parents=True, exist_ok=True)
            (prefix / name).write_bytes((made.path / name).read_bytes())
        group = matching.group(lying.plan)
        evil = store.publish(builder, prefix, lying, group=group, requested=made.key)
    push(str(tmp_path / "shared"), builder, evil)
    with pytest.raises(IntegrityError, match="does not have the key"):
        pull(str(tmp_path / "shared"), reader)


def test_a_folder_that_may_not_be_read_is_said(folder: Path, reader: Path) -> None:
    with pytest.raises((ConfigError, FetchError, StoreError)):
        pull(str(folder / "index" / "latest.json"), reader)


def test_a_full_disk_is_said_and_leaves_nothing_half(
    folder: Path, reader: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: object) -> None:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(blobs, "put", full)
    with pytest.raises(DiskFull):
        pull(str(folder), reader)
    monkeypatch.undo()
    assert kill.inspect(reader) == 0
    assert store.damaged(pull(str(folder), reader)) is None


def test_what_is_not_an_index_is_told_before_anything_is_sent(
    builder: Path, tmp_path: Path
) -> None:
    (tmp_path / "shared" / "index").mkdir(parents=True)
    (tmp_path / "shared" / index.LATEST).write_text(json.dumps({"some": "thing"}))
    with pytest.raises(IntegrityError):
        push(str(tmp_path / "shared"), builder, shelves.artifact(builder))
    assert not (tmp_path / "shared" / "blobs").exists()


# --- a janitor -----------------------------------------------------------------------------------


def aged(folder: Path, days: float) -> None:
    then = time.time() - days * 86400
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def test_a_janitor_makes_room_and_what_stays_can_be_had(builder: Path, tmp_path: Path) -> None:
    address, root = str(tmp_path / "shared"), store.open_root(tmp_path / "janitor")
    old = shelves.artifact(builder, 1, text="old")
    new = shelves.artifact(builder, 2, text="new")
    push(address, builder, old, new)
    carol, public = pair("carol")
    for cache in (root, builder):
        roster.add(cache, pair("anna")[1], ["builder"], now=NOW)
        roster.add(cache, public, ["janitor"], now=NOW)
    shared = remotes.opened(address, root, signer=carol)
    (row,) = [one for one in rows(shared) if one.id == old.id]
    going = cleaning.decide(shared, age=None, size=new_size(new), now=NOW)
    assert len(going.rows) == 1
    lost, kept = (old, new) if going.rows[0].id == row.id else (new, old)
    cleaning.clean(shared, going, carol, now=NOW)
    assert [one.id for one in rows(remotes.opened(address, root))] == [kept.id]
    there = [path for path in (tmp_path / "shared").rglob("*") if path.is_file()]
    assert not [path for path in there if lost.id in str(path)]
    aged(tmp_path / "shared", 8)
    files = {file.sha256 for file in kept.manifest.files.values()}
    again = cleaning.decide(shared, age=None, size=None, now=NOW)
    cleaning.clean(shared, again, carol, now=NOW)
    left = {path.name for path in (tmp_path / "shared" / "blobs").rglob("*") if path.is_file()}
    assert left == files
    assert pull(address, root).id == kept.id
    push(address, builder, lost)  # it can come back
    assert len(rows(remotes.opened(address, root))) == 2


def new_size(artifact: Artifact) -> int:
    return sum(file.size for file in artifact.manifest.files.values())


def test_a_cleaning_leaves_alone_what_is_young(folder: Path, builder: Path) -> None:
    (folder / "blobs" / "00").mkdir(exist_ok=True)
    (folder / "blobs" / "00" / ("0" * 64)).write_text("just being pushed")
    roster.add(builder, pair("anna")[1], ["builder", "janitor"], now=NOW)
    shared = remotes.opened(str(folder), builder, signer=pair("anna")[0])
    assert cleaning.decide(shared, age=None, size=None, now=NOW).objects == ()
    aged(folder / "blobs" / "00", 8)
    (one,) = cleaning.decide(shared, age=None, size=None, now=NOW).objects
    assert one.name == "blobs/00/" + "0" * 64


def test_who_is_no_janitor_is_told_before_anything_is_removed(folder: Path, builder: Path) -> None:
    anna = pair("anna")[0]
    shared = remotes.opened(str(folder), builder, signer=anna)
    going = cleaning.decide(shared, age=0.0, size=0, now=NOW)
    before = sorted(folder.rglob("*"))
    with pytest.raises(ConfigError, match="not a janitor's"):
        cleaning.clean(shared, going, anna, now=NOW)
    assert sorted(folder.rglob("*")) == before


def test_a_manifest_that_cannot_be_read_stops_a_cleaning(folder: Path, builder: Path) -> None:
    roster.add(builder, pair("anna")[1], ["builder", "janitor"], now=NOW)
    (folder / "manifests" / "00").mkdir()
    (folder / "manifests" / "00" / "x.json").write_text("{")
    shared = remotes.opened(str(folder), builder, signer=pair("anna")[0])
    with pytest.raises(IntegrityError, match="nothing is removed"):
        cleaning.decide(shared, age=None, size=None, now=NOW)
