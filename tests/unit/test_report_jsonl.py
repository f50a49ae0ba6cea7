"""JSON lines: every event, every field, one object a line."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

from llamabuild.errors import ConfigError
from llamabuild.model import Artifact
from llamabuild.report.jsonl import JsonLines
from tests.unit import values
from tests.unit.test_report import ONE_OF_EACH


def test_events_come_back_whole() -> None:
    stream = io.StringIO()
    reporter = JsonLines(stream)
    for event in ONE_OF_EACH:
        reporter(event)
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(told) == len(ONE_OF_EACH)
    for event, answer in zip(ONE_OF_EACH, told, strict=True):
        assert answer.pop("v") == 1
        assert answer.pop("event").replace("_", "") == type(event).__name__.lower()
        assert answer == dataclasses.asdict(event)
    assert stream.getvalue().startswith('{"v":1,"event":"step_started",')


def test_the_end_is_an_event_too() -> None:
    stream = io.StringIO()
    reporter = JsonLines(stream)
    artifact = Artifact(key="k", id="i", path=Path("/a/k"), manifest=values.manifest("k", {}))
    reporter.summary(artifact)
    reporter.failed(ConfigError("m", "h"))
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first == {"v": 1, "event": "artifact", "key": "k", "path": "/a/k"}
    assert second["event"] == "failed"
    assert (second["class"], second["exit_code"]) == ("ConfigError", 2)
