"""Choosing a reporter, what all of them owe, and JSON of every noun."""

from __future__ import annotations

import io
import json
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild import errors, events, report
from llamabuild.errors import BuildFailed, Crash, LlamabuildError, ProofFailed
from llamabuild.model import Artifact, Compiler, Feature, File
from llamabuild.report.github import Github
from llamabuild.report.jsonl import JsonLines
from llamabuild.report.plain import Plain, Quiet
from llamabuild.report.terminal import Terminal
from tests.unit import values


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


ONE_OF_EACH: tuple[events.Event, ...] = (
    events.StepStarted(name="build", title="Building 100 %"),
    events.Progress(name="build", done=1, total=3, unit="files", remaining=2.5),
    events.OutputLine(step="build", line="[1/3] c++ -c a.cpp"),
    events.Noticed(message="a fact"),
    events.Warned(message="careful", hint="do this"),
    events.Healed(remedy="no-dse", why="the compiler is wrong"),
    events.Progress(name="fetch", done=5, total=0, unit="B"),
    events.StepEnded(name="build", seconds=12.5, detail="3 files"),
    events.StepFailed(name="attempt", seconds=0, why="wrong numbers"),
)
FAILURE = BuildFailed("compile failed", "Free memory", step="compile", log="/l", tail="a\nerror: b")


@pytest.mark.parametrize(
    ("environ", "tty", "mode", "kind"),
    [
        ({}, True, "auto", Terminal),
        ({}, False, "auto", Plain),
        ({"CI": "true"}, True, "auto", Plain),
        ({"TERM": "dumb"}, True, "auto", Plain),
        ({"GITHUB_ACTIONS": "true", "CI": "true"}, True, "auto", Github),
        ({"GITHUB_ACTIONS": "false"}, True, "auto", Terminal),
        ({"GITHUB_ACTIONS": "true"}, True, "quiet", Quiet),
        ({"CI": "1"}, False, "terminal", Terminal),
        ({}, True, "plain", Plain),
        ({}, True, "json", JsonLines),
        ({}, False, "github", Github),
    ],
)
def test_the_place_or_the_user_chooses(
    environ: dict[str, str], tty: bool, mode: str, kind: type
) -> None:
    assert type(report.choose(environ, Tty() if tty else io.StringIO(), mode)) is kind


def test_the_sample_has_every_event() -> None:
    assert {type(one) for one in ONE_OF_EACH} == set(typing.get_args(events.Event))


@pytest.mark.parametrize("mode", report.MODES)
def test_every_reporter_takes_every_event_and_tells_why_it_ends(mode: str) -> None:
    stream = io.StringIO()
    reporter = report.choose({}, stream, mode)
    for event in ONE_OF_EACH:
        reporter(event)
    reporter.failed(FAILURE)
    reporter.close()
    said = stream.getvalue()
    for words in ("compile failed", "Free memory", "error: b", "/l"):
        assert words in said
    assert "careful" in said
    assert said.endswith("\n")


@pytest.mark.parametrize("mode", ["plain", "github", "quiet", "terminal", "json"])
@given(text=st.text(max_size=80))
def test_no_text_steers_the_terminal(mode: str, text: str) -> None:
    stream = io.StringIO()
    reporter = report.choose({}, stream, mode)
    for event in (
        events.Noticed(message=text),
        events.OutputLine(step="x", line=text),
        events.Warned(message=text, hint=text),
        events.Healed(remedy=text, why=text),
    ):
        reporter(event)
    reporter.failed(BuildFailed(text, text, log=text, tail=text))
    reporter.close()
    assert not set(stream.getvalue()) & (set(map(chr, range(32))) - {"\n"})


def decoded(text: str) -> dict[str, Any]:
    answer = json.loads(text)
    assert isinstance(answer, dict)
    return answer


def test_json_has_version_kind_and_the_noun() -> None:
    plan = decoded(report.to_json(values.plan()))
    assert (plan["version"], plan["kind"]) == (1, "plan")
    assert plan["plan"]["compiler"]["family"] == "gcc"
    hardware = {"hardware": values.hardware("avx"), "toolchain": values.toolchain()}
    probe = decoded(report.to_json(hardware, "probe"))
    assert (probe["version"], probe["kind"]) == (1, "probe")
    assert probe["hardware"]["cpu"]["features"][0]["name"] == "avx"
    assert decoded(report.to_json([values.pin()], "pins"))["items"][0]["version"] == "1.2.3"


def test_json_does_not_depend_on_the_order_of_sets() -> None:
    options = [f"-m{number}" for number in range(50)]
    one = values.compiler(accepts=frozenset(options))
    other: Compiler = values.compiler(accepts=frozenset(reversed(options)))
    assert report.to_json(one) == report.to_json(other)
    assert decoded(report.to_json(one))["compiler"]["accepts"] == sorted(options)


def test_json_of_an_artifact_has_paths_and_the_wheel(tmp_path: Path) -> None:
    manifest = values.manifest(
        "k",
        {
            "wheel/a.whl": File(sha256="0" * 64, size=1024),
            "bin/llama-cli": File(sha256="1" * 64, size=1024),
        },
    )
    gone = Artifact(key="k", id="i", path=tmp_path / "gone", manifest=manifest)
    answer = decoded(report.to_json(gone))
    assert answer["wheel"] == str(tmp_path / "gone" / "wheel" / "a.whl")
    assert answer["artifact"]["path"] == str(tmp_path / "gone")
    assert answer["artifact"]["manifest"]["key"] == "k"


def test_json_survives_file_names_that_are_not_text() -> None:
    feature = Feature(name="a\udcff", advertised=True, enabled=True, executed=True)
    assert decoded(report.to_json(feature))["feature"]["name"]
    path = decoded(report.to_json({"path": Path("/a\udcff")}, "x"))["path"]
    assert path == "/a?"


@pytest.mark.parametrize(
    "error",
    [
        FAILURE,
        ProofFailed(
            "died", kind="illegal-instruction", check="c", crash=Crash(signal="SIGILL", where="l+1")
        ),
        errors.ConfigError("no such recipe 'x'", "Recipes: auto."),
    ],
)
def test_json_of_an_error_has_all_that_is_known(error: LlamabuildError) -> None:
    answer = decoded(report.error_json(error))
    assert (answer["version"], answer["kind"]) == (1, "error")
    told = answer["error"]
    assert told["class"] == type(error).__name__
    assert (told["exit_code"], told["message"]) == (error.exit_code, error.message)
    assert told["hint"] == error.hint
    if isinstance(error, ProofFailed):
        assert told["crash"]["signal"] == "SIGILL"
    if isinstance(error, BuildFailed):
        assert (told["log"], told["tail"]) == ("/l", "a\nerror: b")
