"""The commands about stores, generations and room, as a user meets them: answers on stdout, one
clear line and the next action on stderr, an exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from llamabuild import generations, store
from llamabuild.cli import main_group
from llamabuild.events import silent
from llamabuild.host import LocalHost
from llamabuild.model import Artifact
from llamabuild.store import manifests
from llamabuild.trust import keys
from tests.steps import kill, shelves
from tests.steps.test_cli import refused, run

pytestmark = pytest.mark.steps
MACHINES = Path(__file__).resolve().parents[1] / "machines"
ZEN4, GRAVITON = (str(MACHINES / f"{name}.json") for name in ("zen4-vm-gcc12", "graviton3"))
DAY = 86400


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return store.open_root(tmp_path / "cache")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The cache of somebody else."""
    return store.open_root(tmp_path / "other")


@pytest.fixture
def anna(tmp_path: Path) -> Iterator[str]:
    """A signing key, which every command of the test finds; its public line."""
    made = run("trust", "new", "anna", "--key", str(tmp_path / "anna.pem"), cache=tmp_path / "k")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(keys.VARIABLE, str(tmp_path / "anna.pem"))
        yield made.stdout.strip()


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No signing key."""
    monkeypatch.setenv(keys.VARIABLE, str(tmp_path / "none.pem"))


def done(*words: str, cache: Path, env: dict[str, str] | None = None) -> str:
    """What a command that ends well says on stdout."""
    ended = run(*words, cache=cache, env=env)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout


def answer(*words: str, cache: Path, kind: str) -> dict[str, Any]:
    """The JSON answer of a command that ends well: a single line, with version and kind."""
    text = done(*words, "--json", cache=cache)
    assert text.count("\n") == 1
    found: dict[str, Any] = json.loads(text)
    assert (found["version"], found["kind"]) == (1, kind)
    return found


def failed(
    *words: str,
    cache: Path,
    code: int,
    said: str,
    hint: str = "",
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """A refusal: the message in one line, the next action in the following, the same as JSON."""
    ended = run(*words, cache=cache, env=env)
    refused(ended, code, said, hint)
    told = ended.stderr.strip().splitlines()
    assert told[-2].startswith("error: "), ended.stderr
    assert said in told[-2]
    assert told[-1].startswith("  next: "), ended.stderr
    again = run(*words, "--json", cache=cache, env=env)
    error = json.loads(again.stdout)["error"]
    assert again.returncode == error["exit_code"] == code
    assert said in error["message"]
    assert error["hint"]
    return ended


def kept(root: Path) -> set[str]:
    return {one.id for one in store.artifacts(root, silent)}


def used(root: Path, artifact: Artifact, days: float) -> None:
    """As if it had been used last so many days ago."""
    (entry,) = manifests.everything(root, key=f"{artifact.key}-{artifact.id}")
    then = time.time() - days * DAY
    os.utime(entry.path, (then, then))


def shared_prefix(root: Path) -> str:
    """Artifacts until the keys of two begin with the same four characters; those characters."""
    seen: set[str] = set()
    for number in range(1, 5000):
        key = shelves.key(number)[:4]
        if key in seen:
            break
        seen.add(key)
    wanted = [one for one in range(1, number + 1) if shelves.key(one)[:4] == key]
    for one in wanted:
        shelves.artifact(root, one)
    return key


# --- push and pull --------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "s3"])
def address(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "a team's store")
    else:
        with shelves.s3(monkeypatch) as found:
            yield found


def test_what_one_pushes_another_who_trusts_him_pulls(
    address: str, anna: str, cache: Path, other: Path
) -> None:
    made = [shelves.artifact(cache, number) for number in (1, 2)]
    pushed = answer("store", "push", address, made[0].key[:8], cache=cache, kind="push")
    assert pushed["pushed"] == [made[0].id]
    assert pushed["bytes"] == sum(file.size for file in made[0].manifest.files.values())
    lines = done("store", "push", address, cache=cache).splitlines()
    assert sorted(lines) == sorted(f"{one.key[:12]}  cpu-native" for one in made)
    assert answer("store", "push", address, cache=cache, kind="push")["bytes"] == 0

    said = ("nobody is trusted here", "trust add")
    failed("store", "pull", address, "--all", cache=other, code=2, said=said[0], hint=said[1])
    done("trust", "add", anna, cache=other)
    assert done("store", "pull", address, made[1].id[:6], cache=other) == (
        f"{made[1].key[:12]}  cpu-native\n"
    )
    assert kept(other) == {made[1].id}
    everything = answer("store", "pull", address, "--all", cache=other, kind="pull")["items"]
    assert {one["id"] for one in everything} == kept(other) == {one.id for one in made}
    assert kill.inspect(other) == 2


def test_what_does_not_fit_this_machine_is_only_pulled_by_name_or_with_all(
    anna: str, cache: Path, other: Path, tmp_path: Path
) -> None:
    here, there = shelves.artifact(cache, 1), shelves.artifact(cache, 2, cpu_features=("sve2_sm4",))
    address = str(tmp_path / "shared")
    done("store", "push", address, cache=cache)
    done("trust", "add", anna, cache=other)
    assert done("store", "pull", address, cache=other) == f"{here.key[:12]}  cpu-native\n"
    assert kept(other) == {here.id}
    done("store", "pull", address, there.key, there.id, cache=other)
    assert kept(other) == {here.id, there.id}
    only = str(tmp_path / "only")
    done("store", "push", only, there.key, cache=cache)
    third = store.open_root(tmp_path / "third")
    done("trust", "add", anna, cache=third)
    ended = run("store", "pull", only, cache=third)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert f"{only} has nothing for this machine" in ended.stderr
    assert answer("store", "pull", only, cache=third, kind="pull")["items"] == []


def test_unsigned_needs_no_key_and_nobodys_trust(
    nobody: None, address: str, cache: Path, other: Path
) -> None:
    made = shelves.artifact(cache)
    said = "signing key"
    failed("store", "push", address, cache=cache, code=2, said=said, hint="llamabuild trust new")
    done("store", "push", address, "--unsigned", cache=cache)
    done("store", "pull", address, "--unsigned", cache=other)
    assert kept(other) == {made.id}


def test_a_signed_store_is_not_made_unsigned_by_somebody(
    anna: str, cache: Path, other: Path, tmp_path: Path
) -> None:
    address = str(tmp_path / "shared")
    shelves.artifact(cache)
    done("store", "push", address, cache=cache)
    done("trust", "add", anna, cache=other)
    shelves.artifact(other, 2)
    run("store", "push", address, "--unsigned", cache=other)
    done("trust", "add", anna, cache=cache)
    failed("store", "pull", address, cache=cache, code=6, said="not signed")


def test_builds_of_a_pull_request_go_into_a_cache_of_their_own(
    nobody: None, address: str, cache: Path, other: Path
) -> None:
    made = shelves.artifact(cache)
    done("store", "push", address, "--untrusted", "pr-7", cache=cache)
    ended = run("store", "pull", address, "--untrusted", "pr-7", cache=other)
    assert ended.stdout == f"{made.key[:12]}  cpu-native\n"
    apart = other / "untrusted" / "pr-7"
    assert f"--cache {apart}" in ended.stderr
    assert (kept(other), kept(apart)) == (set(), {made.id})
    done("store", "push", address, "--unsigned", cache=cache)
    empty = run("store", "pull", address, "--untrusted", "pr-8", cache=other)
    assert (empty.returncode, empty.stdout) == (0, "")
    for name in ("../up", "a/b", ".x"):
        words = ("store", "pull", address, "--untrusted", name)
        failed(*words, cache=other, code=2, said="is no name for a part of a store")
    assert not (other.parent / "up").exists()


def test_names_that_fit_nothing_or_several(
    nobody: None, cache: Path, other: Path, tmp_path: Path
) -> None:
    address = str(tmp_path / "shared")
    common = shared_prefix(cache)
    done("store", "push", address, "--unsigned", cache=cache)
    pull = ("store", "pull", address, "--unsigned")
    failed(*pull, common, cache=other, code=2, said="fits several artifacts", hint="four or more")
    failed(*pull, "ffffffff", cache=other, code=2, said="has no artifact 'ffffffff'")
    failed(*pull, common[:3], cache=other, code=2, said="has no artifact", hint="four or more")
    failed(*pull, "", cache=other, code=2, said="has no artifact ''")
    assert kept(other) == set()
    for words in (("store", "push", address), ("store", "pin"), ("store", "rm"), ("prove",)):
        failed(*words, common, "--unsigned" if "push" in words else "--json", cache=cache, code=2,
               said="fits several artifacts", hint="more of the key")  # fmt: skip
    push = ("store", "push", address, "--unsigned")
    failed(*push, "nonsense", cache=cache, code=2, said="there is no artifact 'nonsense'")


def test_nothing_to_push_and_something_damaged(nobody: None, cache: Path, tmp_path: Path) -> None:
    address = str(tmp_path / "shared")
    push = ("store", "push", address, "--unsigned")
    failed(*push, cache=cache, code=2, said="nothing is kept here", hint="llamabuild setup")
    assert not Path(address).exists()
    good, bad = shelves.artifact(cache, 1), shelves.artifact(cache, 2)
    (bad.path / "bin" / "llama-cli").chmod(0o755)
    (bad.path / "bin" / "llama-cli").write_bytes(b"something else")
    failed(*push, bad.key, cache=cache, code=2, said="is not what was proved", hint="setup")
    ended = run(*push, cache=cache)
    assert ended.stdout == f"{good.key[:12]}  cpu-native\n"
    assert "damaged" in ended.stderr


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [
        ("nonsense://x?token=secret", 2, "nonsense://x is no address of a store"),
        ("s3x://me:secret@x", 2, "s3x://***@x is no address"),
        ("/no/such/folder", 5, "there is no folder /no/such/folder"),
        ("http://127.0.0.1:9/x?token=secret", 5, "http://127.0.0.1:9/x: index/latest.json"),
        ("http://me:secret@127.0.0.1:9/x", 5, "http://***@127.0.0.1:9/x"),
    ],
)
def test_an_address_that_is_wrong_or_down_is_said_without_secrets(
    cache: Path, address: str, code: int, said: str
) -> None:
    ended = failed("store", "pull", address, "--unsigned", cache=cache, code=code, said=said)
    assert "secret" not in ended.stdout + ended.stderr
    ended = run("store", "pull", address, cache=cache)
    refused(ended, 2, "nobody is trusted here")
    assert "secret" not in ended.stdout + ended.stderr


def test_who_reads_makes_no_folder_and_a_file_is_no_store(
    nobody: None, cache: Path, tmp_path: Path
) -> None:
    shelves.artifact(cache)
    run("store", "pull", str(tmp_path / "unmounted"), "--unsigned", cache=cache)
    assert not (tmp_path / "unmounted").exists()
    (tmp_path / "file").write_text("x")
    push = ("store", "push", str(tmp_path / "file"), "--unsigned")
    failed(*push, cache=cache, code=2, said="cannot be a store", hint="s3://")


def test_a_web_server_is_pulled_from_and_not_pushed_to(
    anna: str, cache: Path, other: Path, tmp_path: Path
) -> None:
    made = shelves.artifact(cache)
    done("store", "push", str(tmp_path / "shared"), cache=cache)
    done("trust", "add", anna, cache=other)
    with shelves.served(tmp_path / "shared") as (url, _):
        done("store", "pull", url, cache=other)
        failed("store", "push", url, cache=cache, code=2, said="can only be read", hint="folder")
    assert kept(other) == {made.id}


def test_a_store_that_lies_is_not_believed(
    nobody: None, cache: Path, other: Path, tmp_path: Path
) -> None:
    address = tmp_path / "shared"
    shelves.artifact(cache)
    done("store", "push", str(address), "--unsigned", cache=cache)
    blob = max(address.glob("blobs/*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[1000] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(data)
    pull = ("store", "pull", str(address), "--unsigned")
    failed(*pull, cache=other, code=6, said="is not what its name says", hint="who keeps")
    assert kept(other) == set()
    (address / "index" / "latest.json").write_text("{")
    refused(run(*pull, cache=store.open_root(tmp_path / "third")), 6, "index")


def test_sync_brings_and_gives_and_begins_a_store(
    address: str, anna: str, cache: Path, other: Path
) -> None:
    mine, theirs = shelves.artifact(cache, 1), shelves.artifact(other, 2)
    first = answer("store", "sync", address, cache=cache, kind="sync")
    assert (first["pulled"], first["pushed"]) == ([], [mine.id])
    assert "1 are here, 1 are there" in done("store", "sync", address, cache=other)
    assert kept(other) == {mine.id, theirs.id}
    again = answer("store", "sync", address, cache=cache, kind="sync")
    assert set(again["pulled"]) == {mine.id, theirs.id} == kept(cache)
    empty = store.open_root(cache.parent / "empty")
    done("store", "sync", address, cache=empty)
    assert kept(empty) == kept(cache)


def test_sync_without_a_key_changes_nothing(nobody: None, cache: Path, tmp_path: Path) -> None:
    shelves.artifact(cache)
    address = tmp_path / "new"
    failed("store", "sync", str(address), cache=cache, code=2, said="signing key", hint="trust new")
    assert not address.exists()


# --- why ------------------------------------------------------------------------------------------


def test_why_miss(cache: Path) -> None:
    assert done("store", "why-miss", cache=cache) == "Nothing is kept.\n"
    nothing = answer("store", "why-miss", cache=cache, kind="why")
    assert (nothing["nearest"], nothing["reasons"]) == (None, [])
    made = shelves.artifact(cache)
    page = done("store", "why-miss", "cpu-native", cache=cache)
    assert page.startswith(f"The nearest, {made.key[:12]} (cpu-native), differs in:\n")
    assert "  flag GGML_TEST: not set wanted, 1 kept\n" in page
    why = answer("store", "why-miss", "cpu-native", cache=cache, kind="why")
    assert why["nearest"] == made.key != why["key"]
    assert "flag GGML_TEST: not set wanted, 1 kept" in why["reasons"]
    words = ("store", "why-miss", "cpu-nativ")
    failed(*words, cache=cache, code=2, said="there is no recipe", hint="did you mean")


def test_why_not(cache: Path, tmp_path: Path) -> None:
    made = shelves.artifact(cache, 1)
    arm = shelves.artifact(cache, 2, cpu_features=("sve2_sm4",))
    page = done("store", "why-not", made.key[:8], cache=cache)
    assert page.startswith(f"{made.key[:12]} fits this machine.\n")
    page = done("store", "why-not", arm.id[:8], cache=cache)
    assert page.startswith(f"{arm.key[:12]} does not run on this machine:\n")
    assert "sve2_sm4 missing" in page
    words = ("store", "why-not", made.key, "--machine")
    assert "fits the recorded machine" in done(*words, ZEN4, cache=cache)
    lacking = answer(*words, GRAVITON, cache=cache, kind="why")["missing"]
    assert any("aarch64" in one for one in lacking), lacking
    failed("store", "why-not", "nope", cache=cache, code=2, said="there is no artifact 'nope'")
    failed(*words, str(tmp_path / "none.json"), cache=cache, code=2, said="none.json")
    (tmp_path / "bad.json").write_text("{}")
    failed(*words, str(tmp_path / "bad.json"), cache=cache, code=2, said="bad.json")


# --- room -----------------------------------------------------------------------------------------


def test_gc_says_what_would_go_and_why_and_then_does_it(cache: Path) -> None:
    old, new = shelves.artifact(cache, 1), shelves.artifact(cache, 2)
    used(cache, old, 40)
    used(cache, new, 2)
    gc = ("store", "gc", "--max-age", "30")
    page = done(*gc, "--dry-run", cache=cache)
    assert old.id[:12] in page
    assert "not used for 40 days (at most 30 days)" in page
    assert page.splitlines()[-1].endswith("would be removed")
    (item,) = answer(*gc, "--dry-run", cache=cache, kind="sweep")["items"]
    assert (item["item"]["name"], item["item"]["what"]) == (old.id, "artifact")
    assert kept(cache) == {old.id, new.id}
    assert done(*gc, cache=cache).splitlines()[-1].endswith(" removed")
    assert kept(cache) == {new.id}
    assert kill.inspect(cache) == 1
    assert done(*gc, cache=cache) == "There is nothing to remove.\n"


def test_gc_by_size_takes_the_least_recently_used_and_not_what_is_pinned(cache: Path) -> None:
    made = [shelves.artifact(cache, number) for number in (1, 2, 3)]
    for days, one in zip((30, 20, 10), made, strict=True):
        used(cache, one, days)
    pinned = ("store", "pin", made[0].key[:8], "--why", "release 1.4")
    assert done(*pinned, cache=cache) == f"{made[0].key[:12]}\n"
    ended = run("store", "gc", "--max-size", "2.2M", cache=cache)
    assert "to get down to 2.2 MB; used 20 days ago" in ended.stdout
    assert kept(cache) == {made[0].id, made[2].id}
    ended = run("store", "gc", "--max-size", "0", cache=cache)
    assert "bytes more than that are needed" in ended.stderr
    assert kept(cache) == {made[0].id}
    done("store", "unpin", made[0].key, cache=cache)
    used(cache, made[0], 30)
    done("store", "gc", "--max-size", "0", cache=cache)
    assert kept(cache) == set()
    failed("store", "unpin", made[0].key, cache=cache, code=2, said="there is no artifact")


def test_gc_that_has_room_and_one_that_never_has(cache: Path) -> None:
    made = shelves.artifact(cache)
    used(cache, made, 100)
    for words in (["--max-size", "20G"], ["--max-size", "500M"], ["--min-free", "1"], []):
        assert done("store", "gc", *words, cache=cache) == "There is nothing to remove.\n"
    page = done("store", "gc", "--min-free", "900000T", "--dry-run", cache=cache)
    assert "GB free; used 100 days ago" in page
    assert kept(cache) == {made.id}


@pytest.mark.parametrize("size", ["nonsense", "-5G", "5X", "nan", "inf", "", "G"])
def test_a_size_that_is_none(cache: Path, size: str) -> None:
    made = shelves.artifact(cache)
    used(cache, made, 100)
    for option in ("--max-size", "--min-free"):
        ended = run("store", "gc", f"{option}={size}", cache=cache)
        refused(ended, 2, f"{size!r} is no size; 500M or 20G is one")
    assert kept(cache) == {made.id}


@pytest.mark.parametrize("age", ["-1", "soon", "nan"])
def test_an_age_that_is_none(cache: Path, age: str) -> None:
    refused(run("store", "gc", f"--max-age={age}", cache=cache), 2, "--max-age")


def test_pins_are_asked_for_by_name(cache: Path) -> None:
    made = shelves.artifact(cache)
    failed("store", "pin", "nope", cache=cache, code=2, said="there is no artifact 'nope'")
    failed("store", "unpin", made.key, cache=cache, code=2, said="is not pinned", hint="store ls")
    assert (
        answer("store", "pin", made.key, cache=cache, kind="artifact")["artifact"]["id"] == made.id
    )
    assert answer("store", "unpin", made.key, cache=cache, kind="artifact")
    assert not list((cache / "pinned").iterdir())


# --- generations ----------------------------------------------------------------------------------


def test_before_anything_was_set_up(cache: Path) -> None:
    assert "Nothing is set up yet" in done("generations", cache=cache)
    empty = answer("generations", cache=cache, kind="generations")
    assert (empty["current"], empty["items"]) == (0, [])
    for words in (("rollback",), ("rollback", "1"), ("upgrade",)):
        failed(*words, cache=cache, code=2, said="nothing is set up yet", hint="llamabuild setup")


def test_generations_the_way_back_and_what_stays(cache: Path) -> None:
    made = [shelves.artifact(cache, number) for number in range(1, 7)]
    for one in made[:5]:
        generations.advance(cache, LocalHost(), one)
    known = answer("generations", cache=cache, kind="generations")
    assert known["current"] == 5
    assert [one["id"] for one in known["items"]] == [one.id for one in made[:5]]
    assert len(re.findall("^→ 5 ", done("generations", cache=cache), re.MULTILINE)) == 1

    assert done("rollback", cache=cache).startswith("Generation 4 is current: cpu-native")
    assert answer("rollback", "5", cache=cache, kind="generation")["generation"]["number"] == 5
    failed("rollback", "9", cache=cache, code=2, said="there is no generation 9", hint="1, 2, 3")
    refused(run("rollback", "x", cache=cache), 2, "'x' is not a valid integer")

    for days, one in enumerate(made, 50):
        used(cache, one, days)
    done("store", "gc", "--max-size", "0", cache=cache)
    assert kept(cache) == {one.id for one in made[1:5]}
    failed("rollback", "1", cache=cache, code=2, said="generation 1", hint="llamabuild setup")
    assert answer("generations", cache=cache, kind="generations")["current"] == 5
    done("rollback", "2", cache=cache)
    failed("rollback", cache=cache, code=2, said="gone or damaged", hint="llamabuild setup")


def test_there_is_nothing_before_the_first(cache: Path) -> None:
    generations.advance(cache, LocalHost(), shelves.artifact(cache))
    failed("rollback", cache=cache, code=2, said="there is no earlier generation", hint="1")


def test_the_list_marks_what_is_current_and_pinned(cache: Path) -> None:
    made = {one.key[:12]: one for one in (shelves.artifact(cache, number) for number in range(4))}
    both, current, pinned, plain = made.values()
    done("store", "pin", pinned.key, cache=cache)
    done("store", "pin", both.key, cache=cache)

    def marks() -> dict[str, str]:
        lines = done("store", "ls", cache=cache).splitlines()
        rows = [line.split(maxsplit=6) for line in lines if line[:12] in made]
        return {row[0]: row[6] if len(row) == 7 else "" for row in rows}

    expected = dict.fromkeys(made, "") | {pinned.key[:12]: "pinned", both.key[:12]: "pinned"}
    assert marks() == expected
    generations.advance(cache, LocalHost(), both)
    assert marks() == expected | {both.key[:12]: "current, pinned"}
    generations.advance(cache, LocalHost(), current)
    assert marks() == expected | {current.key[:12]: "current"}
    items = answer("store", "ls", cache=cache, kind="store")["items"]
    assert {one["id"] for one in items} == {one.id for one in made.values()}
    assert plain.key[:12] in done("store", "ls", cache=cache)


# --- stores that setup looks into -----------------------------------------------------------------


def _asked(cache: Path, *words: str, env: dict[str, str] | None = None) -> str:
    """What `build` says of stores before it finds that it has no source to go on with."""
    ended = run("build", "cpu-native", "--offline", *words, cache=cache, env=env or {})
    refused(ended, 5, "cache/downloads")
    return ended.stderr


def test_setup_and_stores_that_cannot_be_asked(cache: Path, tmp_path: Path) -> None:
    absent = str(tmp_path / "unmounted")
    told = _asked(cache, "--store", absent, "--unsigned")
    assert f"there is no folder {absent}. It goes on without it." in told
    assert not Path(absent).exists()
    env = {"LLAMABUILD_STORE": f"{absent} https://me:secret@host.invalid/x"}
    told = _asked(cache, "--unsigned", env=env)
    assert "there is no folder" in told
    assert "https://***@host.invalid/x is not asked: --offline" in told
    assert "secret" not in told
    assert "unmounted" not in _asked(cache, "--reuse", "never", env=env)
    words = ("setup", "--store", "s3x://a", "--unsigned")
    failed(*words, cache=cache, code=2, said="is no address of a store")
    (tmp_path / "there").mkdir()
    words = ("setup", "--store", str(tmp_path / "there"))
    failed(*words, cache=cache, code=2, said="nobody is trusted here", hint="--unsigned")
    failed("setup", "--reuse", "x", cache=cache, code=2, said="no policy 'x'", hint="compatible")


# --- the command line itself ----------------------------------------------------------------------


def _commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, one in group.commands.items():
        if isinstance(one, click.Group):
            yield from _commands(one, (*words, name))
        else:
            yield (*words, name)


def test_every_command_says_what_it_does_with_an_example_that_is_its_own(cache: Path) -> None:
    known = list(_commands(main_group))
    assert {("store", "why-not"), ("rollback",), ("trust", "add")} <= set(known)
    for words in known:
        page = " ".join(done(*words, "--help", cache=cache).split())
        assert f"llamabuild {' '.join(words)}" in page.partition("Example: ")[2], words


def test_commands_stand_in_the_order_of_use(cache: Path) -> None:
    page = done("--help", cache=cache).partition("Commands:")[2].partition("Exit codes")[0]
    names = re.findall(r"^  ([a-z-]+)  ", page, re.MULTILINE)
    assert set(names) == set(main_group.commands)
    assert names[:3] == ["setup", "build", "plan"]
    assert names.index("upgrade") + 2 == names.index("rollback") < names.index("store")


def test_the_shell_completes_commands_of_store(cache: Path) -> None:
    env = {"_LLAMABUILD_COMPLETE": "bash_complete", "COMP_WORDS": "llamabuild store p",
           "COMP_CWORD": "2"}  # fmt: skip
    found = run(cache=cache, env=env).stdout.split()
    assert sorted(found) == ["plain,pin", "plain,pull", "plain,push"]


@pytest.mark.parametrize(
    "words",
    [
        ("store", "push"),
        ("store", "pull"),
        ("store", "sync"),
        ("store", "why-not"),
        ("store", "pin"),
        ("store", "gc", "everything"),
        ("trust", "new"),
        ("rollback", "1", "2"),
    ],
)
def test_wrong_use(cache: Path, words: tuple[str, ...]) -> None:
    refused(run(*words, cache=cache), 2, "Usage: ")
