"""JSON lines for programs: ``{"v": 1, "event": "step_started", "name": …}``, one event a line."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Final, TextIO, get_args

import msgspec

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
        print(line(event), file=self._stream, flush=True)

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
        print(_line(name, fields), file=self._stream, flush=True)


def line(event: Event) -> str:
    """An event as a line.

    >>> from llamabuild.events import Noticed
    >>> line(Noticed(message="so"))
    '{"v":1,"event":"noticed","message":"so"}'
    """
    fields = {one.name: getattr(event, one.name) for one in dataclasses.fields(event)}
    return _line(event_name(type(event).__name__), fields)


def _line(name: str, fields: dict[str, Any]) -> str:
    return encode({"v": JSON_VERSION, "event": name}, fields)


def event_name(class_name: str) -> str:
    """The name of an event class in JSON.

    >>> event_name("StepStarted"), event_name("Healed")
    ('step_started', 'healed')
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", class_name).lower()


class _Line(msgspec.Struct):
    v: int
    event: str


_CLASSES: Final = {event_name(one.__name__): one for one in get_args(Event)}


def parse(text: str) -> Event | None:
    """The event of a line; None for a line that is none, or of another version.

    >>> parse('{"v":1,"event":"noticed","message":"so"}'), parse("so")
    (Noticed(message='so'), None)
    """
    if not text.startswith('{"v":'):
        return None
    try:
        head = msgspec.json.decode(text, type=_Line)
        if head.v != JSON_VERSION or head.event not in _CLASSES:
            return None
        found: Event = msgspec.json.decode(text, type=_CLASSES[head.event])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found
