"""GitHub Actions: groups, annotations that cannot be forged, the job's summary."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild import events
from llamabuild.errors import BuildFailed, ConfigError
from llamabuild.model import Artifact, File, Speed
from llamabuild.report.github import Github, escaped, escaped_property, harmless
from tests.unit import values


def lines(*told: events.Event) -> list[str]:
    stream = io.StringIO()
    reporter = Github(stream)
    for event in told:
        reporter(event)
    reporter.close()
    return stream.getvalue().splitlines()


def test_a_step_is_a_group_with_the_tools_output() -> None:
    told = lines(
        events.StepStarted(name="compile", title="Compiling 100 %"),
        events.OutputLine(step="compile", line="[1/3] c++"),
        events.StepEnded(name="compile", seconds=3, detail="3 files"),
    )
    assert told == [
        "::group::Compiling 100 %25",
        "Compiling 100 % ...",
        "[1/3] c++",
        "::endgroup::",
        "done: Compiling 100 % (3.0 s): 3 files",
    ]


def test_groups_never_nest_and_never_stay_open() -> None:
    told = lines(
        events.StepStarted(name="a", title="A"),
        events.StepStarted(name="b", title="B"),
    )
    marks = [line.split("::")[1] for line in told if line.startswith("::")]
    assert marks == ["group", "endgroup", "group", "endgroup"]


def test_annotations() -> None:
    assert lines(
        events.Warned(message="50 % slower", hint="use that"),
        events.Healed(remedy="a, b: c", why="w"),
        events.StepFailed(name="attempt", seconds=0, why="it crashed"),
    ) == [
        "::warning::50 %25 slower%0Ause that",
        "::notice title=Healed%3A a%2C b%3A c::w",
        "::warning::attempt: it crashed",
    ]


def test_a_failure_is_one_annotation_with_the_tail_above() -> None:
    stream = io.StringIO()
    reporter = Github(stream)
    reporter(events.StepStarted(name="x", title="X"))
    reporter.failed(BuildFailed("100 % wrong", "Do that", log="/log", tail="a\n::error::forged"))
    assert stream.getvalue().splitlines()[2:] == [
        "::endgroup::",
        "::group::The last lines",
        "a",
        "| ::error::forged",
        "::endgroup::",
        "::error title=BuildFailed::100 %25 wrong%0ADo that%0Alog: /log",
    ]


@given(st.text())
def test_escaping_is_one_line_and_loses_nothing(text: str) -> None:
    for one in (escaped(text), escaped_property(text)):
        assert "\n" not in one
        assert "\r" not in one
        assert unquote(one, errors="strict") == text or "%" in text
    assert not set(escaped_property(text)) & {":", ","}
    back = escaped(text).replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")
    assert back == text


@given(st.text(alphabet=":#[]a \t\r\n\x85"))
def test_no_output_of_a_tool_is_a_command(text: str) -> None:
    line = harmless(text)
    assert not line.strip().startswith("::")
    assert "##[" not in line
    assert len(line.splitlines()) <= 1


def artifact(folder: Path) -> Artifact:
    prefix = values.prefix(folder, "x" * 1024)
    files = {
        "bin/llama-cli": File(sha256="1" * 64, size=1024),
        "wheel/a.whl": File(sha256="ab" * 32, size=1024),
    }
    manifest = values.manifest("k", files)
    speed = (Speed(model="Q4 | tiny", threads=2, prompt=1766.2, generate=9.04),)
    manifest = replace(manifest, proof=replace(manifest.proof, speed=speed), seconds=271.6)
    return Artifact(key="k", id="i", path=prefix, manifest=manifest)


def test_the_summary_is_appended_to(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("# Others wrote this\n")
    reporter = Github(io.StringIO(), str(summary))
    made = artifact(tmp_path / "a")
    reporter.summary(made)
    reporter.summary(made)
    head, blank, titles, rule, one, two = summary.read_text().splitlines()
    assert (head, blank) == ("# Others wrote this", "")
    assert one == two
    cells = one.replace("\\|", "¦").strip("| ").split(" | ")
    assert cells == [
        "cpu-native",
        "cpu",
        "linux-x86_64-test",
        "2.0 KiB",
        "272",
        "1766 / 9.0 (Q4 ¦ tiny)",
        f"`{'ab' * 32}`",
    ]
    assert titles.count("|") == rule.count("|") == one.replace("\\|", "").count("|")


@pytest.mark.parametrize("where", ["", "/nowhere/at/all.md"])
def test_a_summary_that_cannot_be_written_stops_nothing(where: str, tmp_path: Path) -> None:
    stream = io.StringIO()
    Github(stream, where).summary(artifact(tmp_path / "a"))
    assert ("::warning::the summary could not be written" in stream.getvalue()) == bool(where)


def test_an_error_without_a_log_is_short() -> None:
    stream = io.StringIO()
    Github(stream).failed(ConfigError("m"))
    assert stream.getvalue() == "::error title=ConfigError::m\n"
