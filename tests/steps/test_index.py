"""An index on the disk: published to, killed, touched by hand, looked at and mended."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llamabuild import index, release
from llamabuild.cli import main_group
from llamabuild.errors import ConfigError
from llamabuild.events import Event, Warned, silent
from llamabuild.index import Published, checking, folder, names, offers, pages
from llamabuild.store import files
from tests.steps.test_cli import refused, run
from tests.unit import indexed

pytestmark = pytest.mark.steps
NOW = dt.datetime(2026, 11, 22, tzinfo=dt.timezone.utc)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Where wheels are made."""
    return tmp_path / "house"


def publish(top: Path, *wheels: Path, **more: Any) -> Published:
    told: list[Event] = more.pop("told", [])
    return index.publish(
        top, wheels, check=more.pop("check", index.minimal), now=NOW, emit=told.append, **more
    )


def sound(top: Path, wheels: int) -> None:
    """Assert that everything is right and finished."""
    found = checking.check(top)
    assert (found.unsound, found.unfinished, found.wheels) == ((), (), wheels)


def listed(top: Path, variant: str = "cpu") -> dict[str, str]:
    """What both pages of a variant list."""
    at = folder.place(top, variant)
    found = pages.listed_in_json((at / "index.json").read_bytes())
    assert found == pages.listed_in_html((at / "index.html").read_bytes())
    assert found is not None
    return found


def everything(top: Path) -> dict[str, tuple[int, str]]:
    """Every file with its time and hash."""
    return {
        str(one.relative_to(top)): (
            one.stat().st_mtime_ns,
            hashlib.sha256(one.read_bytes()).hexdigest(),
        )
        for one in top.rglob("*")
        if one.is_file() and folder.WORK not in one.parts
    }


# --- publish -------------------------------------------------------------------------------------


def test_wheels_are_published_each_in_its_variant(top: Path, house: Path) -> None:
    first, second = indexed.wheel(house), indexed.wheel(house, indexed.statement("cpu.v3"))
    done = publish(top, first, second)
    assert done == Published(added=(first.name, second.name))
    assert listed(top) == {first.name: ""}
    assert listed(top, "cpu.v3") == {second.name: ""}
    sound(top, 2)
    offered = offers.decode((top / names.ROOT).read_bytes(), "")
    assert [one.name for one in offered.variants] == ["cpu", "cpu.v3"]
    beside = folder.place(top, "cpu", first.name + ".metadata").read_text(encoding="utf-8")
    assert beside.startswith("Metadata-Version: 2.1\nName: llama_cpp_python\n")


def test_again_changes_nothing_and_asks_no_gate(top: Path, house: Path) -> None:
    wheel = indexed.wheel(house)
    publish(top, wheel)
    before = everything(top)
    done = publish(top, wheel, check=lambda _: ("it is never asked",))
    assert done == Published(present=(wheel.name,))
    assert everything(top) == before


def test_only_the_pages_of_what_was_touched_are_written(top: Path, house: Path) -> None:
    publish(top, indexed.wheel(house), indexed.wheel(house, indexed.statement("cpu.v3")))
    before = everything(top)
    publish(top, indexed.wheel(house, indexed.statement(release="0.4.0")))
    after = everything(top)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {
        "index.html",
        "llamabuild-index.json",
        "cpu/llama-cpp-python/index.html",
        "cpu/llama-cpp-python/index.json",
    }


def test_what_was_checked_is_what_is_published(top: Path, house: Path) -> None:
    """The gates see the copy that goes out, under its own name; the given file is not looked at
    again."""
    wheel = indexed.wheel(house)
    data = wheel.read_bytes()

    def gate(copy: Path) -> tuple[str, ...]:
        assert copy.name == wheel.name
        assert copy.read_bytes() == data
        wheel.write_bytes(b"changed meanwhile")
        return ()

    publish(top, wheel, check=gate)
    assert folder.place(top, "cpu", wheel.name).read_bytes() == data


def test_a_bad_wheel_is_named_and_the_rest_is_published(top: Path, house: Path) -> None:
    good = [indexed.wheel(house, indexed.statement(release=f"0.3.{n}")) for n in range(3)]
    torn = indexed.wheel(house, indexed.statement(release="0.9"))
    torn.write_bytes(torn.read_bytes()[:-40])
    gone = house / "llama_cpp_python-1+cpu-py3-none-any.whl"
    gated = indexed.wheel(house, indexed.statement(release="0.8"))

    def gate(copy: Path) -> tuple[str, ...]:
        return ("a reason", "another") if copy.name == gated.name else ()

    done = publish(top, good[0], torn, good[1], gone, gated, good[2], check=gate)
    assert done.added == tuple(one.name for one in good)
    assert done.refused.keys() == {str(one) for one in (torn, gone, gated)}
    assert done.refused[str(gated)] == ("a reason", "another")
    sound(top, 3)


def test_a_label_is_never_another_file(top: Path, house: Path, tmp_path: Path) -> None:
    wheel = indexed.wheel(house)
    publish(top, wheel)
    before = everything(top)
    other = indexed.wheel(tmp_path / "other", text="X = 1\n")
    for replace in (False, True):
        done = publish(top, other, replace=replace)
        assert "is there with other bytes" in done.refused[str(other)][0]
        assert everything(top) == before


def test_a_place_is_taken_once_and_given_up_only_when_asked(top: Path, house: Path) -> None:
    old = indexed.wheel(house, indexed.statement(build="lbffffffff"))
    new = indexed.wheel(house, indexed.statement(build="lb00000001"))
    elsewhere = indexed.wheel(house, indexed.statement(build="lb2"), tags="py3-none-win_amd64")
    publish(top, old)
    done = publish(top, new, elsewhere)
    assert done.added == (elsewhere.name,)
    assert old.name in done.refused[str(new)][0]
    assert new.name in done.refused[str(new)][0]
    assert publish(top, new, replace=True).replaced == (old.name,)
    assert listed(top) == {
        old.name: f"replaced by {new.name}",
        new.name: "",
        elsewhere.name: "",
    }
    assert folder.place(top, "cpu", old.name).read_bytes() == old.read_bytes()
    sound(top, 3)
    assert new.name in publish(top, old).refused[str(old)][0]
    assert publish(top, old, replace=True).replaced == (new.name,)
    assert listed(top)[new.name] == f"replaced by {old.name}"
    sound(top, 3)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, house: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("x", encoding="utf-8")
    with pytest.raises(ConfigError, match="is no index and not empty"):
        publish(home, indexed.wheel(house))
    with pytest.raises(ConfigError, match="is no index"):
        checking.check(home)
    assert [one.name for one in home.iterdir()] == ["thesis.txt"]


# --- touched by hand -----------------------------------------------------------------------------

WHEEL = "llama_cpp_python-0.3.36+cpu.lb00000001-py3-none-any.whl"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _same_size(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    at = path.stat()
    path.write_bytes(bytes(data))
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns + 1))


def _swap(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"sha256", b"sha265", 1))


def _stranger(path: Path) -> None:
    path.write_bytes(b"x")


def _less(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"cpu.lb00000001"', b'"cpu.lb00000002"'))


def _size(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"size":', b'"size":1', 1))


def _hash(path: Path) -> None:
    data = path.read_bytes()
    sha256 = json.loads(data)["sha256"].encode()
    path.write_bytes(data.replace(sha256, b"0" * 64))


@pytest.mark.parametrize(
    ("file", "change", "said", "left"),
    [
        (f"cpu/llama-cpp-python/{WHEEL}", Path.unlink, "is missing, and on the page", 1),
        (f"cpu/llama-cpp-python/{WHEEL}", _cut, "its bytes are others", 1),
        (f"cpu/llama-cpp-python/{WHEEL}", _same_size, "its bytes are others", 1),
        (f"cpu/llama-cpp-python/{WHEEL}.metadata", Path.unlink, "is missing", 2),
        (f"cpu/llama-cpp-python/{WHEEL}.metadata", _cut, "is not the METADATA of its wheel", 2),
        (f"cpu/llama-cpp-python/{WHEEL}.llamabuild.json", Path.unlink, "is missing, and", 1),
        (f"cpu/llama-cpp-python/{WHEEL}.llamabuild.json", _less, "says label", 1),
        (f"cpu/llama-cpp-python/{WHEEL}.llamabuild.json", _hash, "its bytes are others", 1),
        (f"cpu/llama-cpp-python/{WHEEL.replace('36', '37')}", _stranger, "was not published", 2),
        ("cpu/llama-cpp-python/passwords.txt", _stranger, "belongs to nothing", 2),
        ("cpu/llama-cpp-python/index.html", _swap, "was changed", 2),
        ("cpu/llama-cpp-python/index.json", _swap, "was changed", 2),
        ("cpu/index.html", _stranger, "was changed", 2),
        ("index.html", _stranger, "was changed", 2),
        ("llamabuild-index.json", _swap, "cannot be read", 2),
        ("llamabuild-index.json", _size, "was changed", 2),
    ],
)
def test_a_hand_in_the_folder_is_found_and_mended(
    top: Path, house: Path, file: str, change: Any, said: str, left: int
) -> None:
    publish(top, indexed.wheel(house), indexed.wheel(house, indexed.statement("cpu.v3")))
    change(top / file)
    before = everything(top)
    found = checking.check(top)
    assert any(said in one for one in found.unsound), found
    assert everything(top) == before
    checking.repair(top)
    again = checking.check(top)
    if file.endswith("passwords.txt"):  # what is not ours is not touched
        assert len(again.unsound) == 1
        (top / file).unlink()
    sound(top, left)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (WHEEL, Path.unlink, "is missing"),
        (WHEEL, _same_size, "was changed: it is taken off the page"),
        (f"{WHEEL}.metadata", Path.unlink, "is missing: it is taken off the page"),
        (f"{WHEEL}.llamabuild.json", _less, "says label"),
        (WHEEL.replace("36", "37"), _stranger, "was not published: it stays off the page"),
        ("index.html", _swap, "index.html was changed: it is written again"),
        ("index.json", _swap, "index.json was changed: it is written again"),
    ],
)
def test_publish_says_what_it_meets_and_lists_only_what_is_right(
    top: Path, house: Path, file: str, change: Any, said: str
) -> None:
    wheel = indexed.wheel(house)
    publish(top, wheel)
    change(folder.place(top, "cpu", file))
    told: list[Event] = []
    other = indexed.wheel(house, indexed.statement(release="0.4.0"))
    publish(top, other, told=told)
    warned = [one.message for one in told if isinstance(one, Warned)]
    assert any(file in one and said in one for one in warned), warned
    harmless = file.startswith("index") or "0.3.37" in file
    assert listed(top) == ({WHEEL: ""} if harmless else {}) | {other.name: ""}
    (folder.place(top, "cpu", WHEEL.replace("36", "37"))).unlink(missing_ok=True)
    done = publish(top, wheel)  # the same again makes it whole
    assert not done.refused
    sound(top, 2)


def test_a_copied_index_goes_on_although_its_times_are_others(top: Path, house: Path) -> None:
    publish(top, indexed.wheel(house))
    wheel = folder.place(top, "cpu", WHEEL)
    os.utime(wheel, (1, 1))
    publish(top, indexed.wheel(house, indexed.statement(release="0.4.0")))
    assert WHEEL in listed(top)
    sound(top, 2)


# --- killed, and several at once -----------------------------------------------------------------

CHILD = """
import contextlib, datetime as dt, sys
from pathlib import Path
from llamabuild import index
from llamabuild.store import files
top, locked, *wheels = sys.argv[1:]
if locked == "without":
    files.alone = lambda path: contextlib.nullcontext()
print("ready", flush=True)
now = dt.datetime(2026, 11, 22, tzinfo=dt.timezone.utc)
for start in range(0, len(wheels), 2):
    done = index.publish(Path(top), [Path(one) for one in wheels[start:start + 2]],
        check=index.minimal, now=now, replace=True, emit=lambda event: None)
    assert not done.refused, done.refused
print("done", flush=True)
"""


def child(top: Path, locked: str, wheels: list[Path]) -> subprocess.Popen[str]:
    made = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(top), locked, *map(str, wheels)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert made.stdout
    assert made.stdout.readline() == "ready\n"
    return made


def test_a_kill_at_any_moment_leaves_an_index(top: Path, house: Path) -> None:
    """Each child adds wheels, two at a time, of which every second one replaces another."""
    rng = random.Random(20261122)
    wheels: list[Path] = []
    killed = 0
    longest = 0.15
    for turn in range(25):
        fresh = [
            indexed.wheel(house, indexed.statement(variant, build, release=f"0.{turn}.{number}"))
            for number in range(4)
            for variant in ("cpu", "cpu.v3")
            for build in ("lb1", "lb2")
        ]
        wheels += fresh
        made = child(top, "with", fresh)
        time.sleep(rng.uniform(0, longest))
        running = made.poll() is None
        made.send_signal(signal.SIGKILL)
        made.communicate()
        killed += running
        if (top / folder.WORK).exists():
            assert checking.check(top).unsound == (), turn
            for variant in folder.variants(top):
                for page in ("index.json", "index.html"):
                    _served_right(folder.place(top, variant), page)
    assert killed >= 10
    done = publish(top, *wheels, replace=True)
    assert not done.refused
    sound(top, len(wheels))
    assert len([one for one in listed(top).values() if not one]) == len(wheels) // 4


def _served_right(at: Path, page: str) -> None:
    """Everything that a page lists is there, with its hash."""
    if not (at / page).exists():
        return
    data = (at / page).read_bytes()
    read = pages.listed_in_json if page.endswith("json") else pages.listed_in_html
    found = read(data)
    assert found is not None
    for name in found:
        sha256 = hashlib.sha256((at / name).read_bytes()).hexdigest()
        assert sha256.encode() in data
        assert (at / f"{name}.metadata").exists()


@pytest.mark.parametrize("locked", ["with", "without"])
def test_several_may_publish_at_once(top: Path, house: Path, locked: str) -> None:
    shares = [
        [
            indexed.wheel(house, indexed.statement(variant, f"lb{who}", release=f"0.{who}.{turn}"))
            for turn in range(6)
            for variant in ("cpu", "cpu.v3")
        ]
        for who in range(3)
    ]
    folder_made = publish(top, indexed.wheel(house))
    assert folder_made.added
    children = [child(top, locked, share) for share in shares]
    for one in children:
        assert one.communicate(timeout=120)[0] == "done\n"
        assert one.returncode == 0
    sound(top, 1 + sum(map(len, shares)))


@pytest.mark.parametrize("variant", ["cpu", "cpu.v3"])
def test_who_publishes_meanwhile_without_a_lock_is_not_undone(
    top: Path, house: Path, monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    """The other one begins and ends after this one has read the records."""
    monkeypatch.setattr(files, "alone", lambda _: contextlib.nullcontext())
    other = indexed.wheel(house, indexed.statement(variant, release="0.4.0"))

    def gate(_: Path) -> tuple[str, ...]:
        assert publish(top, other).added == (other.name,)
        return ()

    publish(top, indexed.wheel(house, indexed.statement(release="0.2.0")))
    mine = indexed.wheel(house)
    publish(top, mine, check=gate)
    assert mine.name in listed(top)
    assert other.name in listed(top, variant)
    sound(top, 3)


# --- the commands --------------------------------------------------------------------------------


def test_the_commands(top: Path, house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gates have tests of their own, and wheels with libraries."""
    monkeypatch.setattr(release, "check", lambda *_: ())

    def published(*words: str) -> Result:
        return CliRunner().invoke(
            main_group, ["index", "publish", str(top), *words, "--cache", str(house / "cache")]
        )

    wheel = indexed.wheel(house)
    assert published(str(wheel)).stdout == f"{wheel.name}\n"
    said = json.loads(published(str(wheel), "--json").stdout)
    assert (said["version"], said["kind"], said["present"]) == (1, "publish", [wheel.name])
    assert run("index", "check", str(top), cache=house / "cache").stdout == "1 wheels, all sound.\n"
    other = indexed.wheel(house, indexed.statement(build="lb2"))
    third = indexed.wheel(house, indexed.statement(release="0.4"))
    ended = published(str(other), str(third))
    assert ended.exit_code == 13
    for words in ("1 of 2 are not published", other.name, wheel.name):
        assert words in ended.stderr
    _cut(folder.place(top, "cpu", third.name))
    refused(run("index", "check", str(top), cache=house / "cache"), 13, third.name)
    mended = run("index", "check", str(top), "--repair", cache=house / "cache")
    assert mended.stdout == "1 wheels, all sound.\n"
    assert third.name in mended.stderr


def test_an_index_that_cannot_be_written_is_said(top: Path, house: Path) -> None:
    top.write_text("a file", encoding="utf-8")
    wheel = indexed.wheel(house)
    refused(run("index", "publish", str(top), str(wheel), cache=house / "c"), 2, "is no index")


def test_silence(top: Path, house: Path) -> None:
    """What the other tests listen to need not be heard."""
    done = index.publish(top, [indexed.wheel(house)], check=index.minimal, now=NOW, emit=silent)
    assert done.added
