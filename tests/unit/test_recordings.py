from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild import recordings
from llamabuild.errors import ConfigError
from llamabuild.host import Answers, Finished, Limits, RecordedHost, RecordingHost, Said
from tests.unit.recorded import RecordedHost as Machine

LIMITS = Limits(seconds=1)
CPUINFO = """\
processor\t: 0
model name\t: A CPU
cpu MHz\t\t: 800.000
flags\t\t: fpu avx

processor\t: 1
model name\t: A CPU
cpu MHz\t\t: 3600.000
flags\t\t: fpu avx

processor\t: 2
model name\t: A CPU
flags\t\t: fpu

Serial\t\t: 10000000deadbeef
"""
OWNED = Machine(
    files={
        "/proc/cpuinfo": CPUINFO,
        "/etc/hostname": "annas-laptop\n",
        "/proc/version": "Linux version 6.1.0 (anna@annas-laptop) (gcc 12.2) #1 SMP\n",
        "/home/anna/.config/x": "serial = 4711\n",
    },
    programs={"vulkaninfo": "/home/anna/bin/vulkaninfo"},
    answers={
        "vulkaninfo": "deviceUUID = 3f2b1c4d-0000-1111-2222-333344445555\n"
        "deviceName = A GPU of anna\nmac 52:54:00:12:34:56\n"
    },
    environ={"HOME": "/home/anna", "USER": "anna", "SECRET_TOKEN": "hunter2"},
)
SECRETS = ("anna", "annas-laptop", "hunter2", "deadbeef", "3f2b1c4d", "52:54:00", "4711")


def asked() -> recordings.Recording:
    """A recording of everything that the owned machine was asked."""
    host = RecordingHost(OWNED)
    for path in ("/proc/cpuinfo", "/proc/version", "/home/anna/.config/x", "/nowhere"):
        host.read_text(path)
    assert host.which("vulkaninfo")
    assert host.environ.get("HOME")
    host.run(["/home/anna/bin/vulkaninfo", "--summary"], limits=LIMITS)
    return recordings.anonymous(
        recordings.Recording(version=recordings.VERSION, machine=host.answers()), OWNED
    )


def test_nothing_personal_is_kept() -> None:
    text = recordings.encode(asked()).decode()
    assert [word for word in SECRETS if word in text] == []
    assert "A GPU of user" in text


def test_a_name_that_everybody_has_stays_a_word() -> None:
    cloud = Machine(files={"/etc/os-release": "ID=ubuntu\n"}, environ={"HOME": "/home/ubuntu"})
    host = RecordingHost(cloud)
    host.read_text("/etc/os-release")
    made = recordings.Recording(version=recordings.VERSION, machine=host.answers())
    assert recordings.anonymous(made, cloud).machine.files["/etc/os-release"] == ("ID=ubuntu",)


def test_processors_that_are_alike_are_kept_once() -> None:
    lines = asked().machine.files["/proc/cpuinfo"]
    assert [line for line in lines if line.startswith("processor")] == [
        "processor\t: 0",
        "processor\t: 2",
    ]


def test_what_was_asked_is_answered_again_and_nothing_else() -> None:
    host = RecordedHost(asked().machine)
    assert host.read_text("/proc/version") == (
        "Linux version 6.1.0 (user@host) (gcc 12.2) #1 SMP\n"
    )
    assert host.read_text("/nowhere") is None
    assert host.which("vulkaninfo") == "/home/user/bin/vulkaninfo"
    done = host.run(["/home/user/bin/vulkaninfo", "--summary"], limits=LIMITS)
    assert "deviceName = A GPU" in done.out
    other = host.run(["/home/user/bin/vulkaninfo"], limits=LIMITS)
    assert (other.code, "not recorded" in other.err) == (127, True)
    assert host.entries("/home/user") == (".config", "bin")
    assert host.exists("/home/user/bin")


def test_a_command_that_answered_differently_does_so_again() -> None:
    said = (Said(command="x", out=("1",)), Said(command="x", out=("2",), code=3))
    host = RecordedHost(Answers(os="linux", arch="x86_64", said=said))
    first, *later = [host.run(["/bin/x"], limits=LIMITS) for _ in range(3)]
    assert first == Finished(code=0, out="1\n", err="")
    assert later == [Finished(code=3, out="2\n", err="")] * 2


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers(), st.lists))
def test_whatever_is_in_a_file_there_is_one_clear_error(value: Any) -> None:
    with pytest.raises(ConfigError):
        recordings.decode(json.dumps(value).encode(), "x.json")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a recorded machine"),
        (b"\xff\xfe", "not a recorded machine"),
        (b'{"version": 99, "surprise": 1}', "newer llamabuild (format 99"),
        (b'{"version": 1}', "machine"),
        (b'{"version": 1, "machine": {"os": "linux", "arch": 3}}', "$.machine.arch"),
        (b'{"version": 1, "machine": {"os": "linux", "arch": "x"}, "more": 1}', "more"),
    ],
)
def test_a_file_that_is_none_says_what_is_wrong(data: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=r"x\.json") as caught:
        recordings.decode(data, "x.json")
    assert said in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        recordings.read(tmp_path / "no.json")


def test_a_place_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        recordings.write(tmp_path / "folder", asked())
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_written_and_read_is_the_same(tmp_path: Path) -> None:
    recordings.write(tmp_path / "m.json", asked())
    assert recordings.read(tmp_path / "m.json") == asked()


def test_a_machine_without_recorded_compilers_says_so() -> None:
    bare = recordings.Recording(version=1, machine=Answers(os="linux", arch="x86_64"))
    known = recordings.toolchain(bare)
    assert known.compilers == ()
    assert known.absent[0].hint


def test_what_a_described_compiler_accepts_comes_from_the_table() -> None:
    old = recordings.KnownCompiler(family="gcc", version="9.4.0")
    bare = recordings.Recording(
        version=1, machine=Answers(os="linux", arch="x86_64"), compilers=(old,)
    )
    (compiler,) = recordings.toolchain(bare).compilers
    assert "-mavx512vnni" in compiler.accepts
    assert "-mavxvnni" not in compiler.accepts
