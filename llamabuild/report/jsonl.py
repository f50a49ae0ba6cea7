"""JSON lines for programs: ``{"v": 1, "event": "step_started", "name": …}``, one event a line."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, TextIO

from llamabuild.errors import LlamabuildError
from llamabuild.events import Event
from llamabuild.model import Artifact
from llamabuild.report import JSON_VERSION, describe, encode


class JsonLines:
    """Every event with all its fields: nothing to choose, so nothing to match."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """See :class:`llamabuild.report.Reporter`."""
        fields = {one.name: getattr(event, one.name) for one in dataclasses.fields(event)}
        self._say(event_name(type(event).__name__), fields)

    def failed(self, error: LlamabuildError) -> None:
        """See :class:`llamabuild.report.Reporter`."""
        self._say("failed", describe(error))

    def summary(self, artifact: Artifact) -> None:
        """See :class:`llamabuild.report.Reporter`."""
        self._say("artifact", {"key": artifact.key, "path": artifact.path})

    def close(self) -> None:
        """See :class:`llamabuild.report.Reporter`."""
        self._stream.flush()

    def _say(self, name: str, fields: dict[str, Any]) -> None:
        line = encode({"v": JSON_VERSION, "event": name}, fields)
        print(line, file=self._stream, flush=True)


def event_name(class_name: str) -> str:
    """The name of an event class in JSON.

    >>> event_name("StepStarted"), event_name("Healed")
    ('step_started', 'healed')
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", class_name).lower()
