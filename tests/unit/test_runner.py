from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild.errors import ConfigError, ToolMissing
from llamabuild.host import Finished
from llamabuild.model import Compiler
from llamabuild.toolchains import cross, runner
from tests.unit.recorded import RecordedHost

QEMU = "/usr/bin/qemu-aarch64-static"
ROOT = "/usr/aarch64-linux-gnu"
CROSS = Compiler(
    family="gcc",
    version="12.2.0",
    target="aarch64-linux-gnu",
    cc="/usr/bin/aarch64-linux-gnu-gcc",
    cxx="/usr/bin/aarch64-linux-gnu-g++",
    digest="",
)
WORKS: dict[str, Finished | str] = {
    "-print-sysroot": "/\n",
    QEMU: Finished(code=7, out="", err=""),
    f"{CROSS.cc} ": "",
}


def host(**change: object) -> RecordedHost:
    told: dict[str, object] = {
        "programs": {"qemu-aarch64-static": QEMU},
        "files": {f"{ROOT}/lib/libc.so.6": "", "/etc/os-release": "ID=debian\n"},
        "answers": WORKS,
    }
    return RecordedHost(**{**told, **change})  # type: ignore[arg-type]


def test_a_foreign_architecture_has_the_emulator_with_all_its_extensions() -> None:
    found = runner.find("aarch64", CROSS, host=host())
    assert found == (QEMU, "-L", ROOT, "-cpu", "max")


def test_the_emulator_without_static_in_its_name_serves_too() -> None:
    other = host(programs={"qemu-aarch64": QEMU})
    assert runner.find("aarch64", CROSS, host=other)[0] == QEMU


def test_this_architecture_needs_none_and_nothing_is_run() -> None:
    mine = host()
    assert runner.find("x86_64", CROSS, host=mine) == ()
    assert mine.started == []


def test_the_compilers_own_sysroot_comes_first() -> None:
    own = "/opt/cross/sysroot"
    there = host(
        files={f"{own}/lib/libc.so.6": ""}, answers={**WORKS, "-print-sysroot": f"{own}/\n"}
    )
    assert runner.sysroot(cross.architecture("aarch64"), CROSS, there) == own


def test_libraries_that_are_nowhere_are_not_named() -> None:
    bare = host(files={"/etc/os-release": "ID=debian\n"})
    assert runner.find("aarch64", CROSS, host=bare) == (QEMU, "-cpu", "max")


def test_without_an_emulator_the_package_is_named() -> None:
    with pytest.raises(ToolMissing, match="qemu-aarch64") as caught:
        runner.find("aarch64", CROSS, host=host(programs={}))
    assert caught.value.hint == "Run: apt install qemu-user-static"


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (Finished(code=127, out="", err="qemu: Could not open '/lib/ld.so'\n"), "Could not open"),
        (Finished(code=-4, out="", err=""), "SIGILL"),
        (Finished(code=0, out="", err=""), "exit code 0"),
    ],
)
def test_one_that_does_not_run_a_program_is_said_to(ended: Finished, said: str) -> None:
    broken = host(answers={**WORKS, QEMU: ended})
    with pytest.raises(ToolMissing, match=said):
        runner.find("aarch64", CROSS, host=broken)


def test_what_is_asked_for_is_used_as_it_is() -> None:
    asked = "qemu-aarch64-static -L '/my root' -cpu max,sve=off"
    found = runner.find("aarch64", CROSS, host=host(), asked=asked)
    assert found == (QEMU, "-L", "/my root", "-cpu", "max,sve=off")


@pytest.mark.parametrize("text", ["'open", "  ", "# nothing'"])
def test_a_command_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        runner.parsed(text, host())
    assert "--runner" in caught.value.hint


def test_a_command_that_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(ToolMissing, match="nowhere"):
        runner.parsed("nowhere -x", host())


@given(st.dictionaries(st.sampled_from("ABCD"), st.text(st.sampled_from("x,=/ "), max_size=5)))
def test_no_variable_is_lost_and_none_with_a_comma_is_cut(variables: dict[str, str]) -> None:
    words, left = runner.given((QEMU,), variables)
    told = dict(word.split("=", 1) for word in words[2::2])
    assert {**told, **left} == variables
    assert not any("," in word for word in words)


def windows(**programs: str) -> tuple[str, ...]:
    told = {**{name: f"/usr/bin/{name}" for name in ("env",)}, **programs}
    answers = {"/usr/bin/env": Finished(code=7, out="", err=""), f"{CROSS.cc} ": ""}
    there = host(programs=told, answers=answers)
    return runner.find("x86_64", CROSS, host=there, system="windows", disk="/cache/wine")


def test_windows_programs_are_run_by_wine_with_a_disk_of_its_own() -> None:
    found = windows(wine="/usr/bin/wine")
    assert found == ("/usr/bin/env", "WINEPREFIX=/cache/wine", "WINEDEBUG=-all", "/usr/bin/wine")
    assert runner.name(found) == "wine"


def test_without_wine_nothing_runs_windows_programs() -> None:
    assert windows() == ()
