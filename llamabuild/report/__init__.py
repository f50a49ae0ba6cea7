"""How a run looks to people and machines: reporters tell the story, pages and JSON the answer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, Final, Protocol, TextIO

from llamabuild.errors import LlamabuildError
from llamabuild.events import Event
from llamabuild.model import Artifact

JSON_VERSION: Final = 1
"""Raised when a field changes its meaning or goes away; new fields do not raise it."""
MODES: Final = ("auto", "terminal", "plain", "json", "github", "quiet")


class Reporter(Protocol):
    """Someone to tell. Calling one tells an event; it writes to the stream it was made with."""

    def __call__(self, event: Event) -> None:
        """Tell an event."""

    def failed(self, error: LlamabuildError) -> None:
        """Tell why the run ends: message, a tool's last lines, and the next step."""

    def summary(self, artifact: Artifact) -> None:
        """Tell what came out, where there is a place for it."""

    def close(self) -> None:
        """Leave the stream as it should be; nothing is told afterwards."""


def choose(environ: Mapping[str, str], stream: TextIO, mode: str = "auto") -> Reporter:
    """The reporter for a mode, one of :data:`MODES`; ``auto`` looks where the run takes place."""
    return _MAKERS[_place(environ, stream) if mode == "auto" else mode](environ, stream)


def _place(environ: Mapping[str, str], stream: TextIO) -> str:
    if environ.get("GITHUB_ACTIONS") == "true":
        return "github"
    if environ.get("CI") or environ.get("TERM") == "dumb" or not stream.isatty():
        return "plain"
    return "terminal"


def _terminal(environ: Mapping[str, str], stream: TextIO) -> Reporter:
    from llamabuild.report.terminal import Terminal

    return Terminal(stream, colour=stream.isatty() and not environ.get("NO_COLOR"))


def _plain(environ: Mapping[str, str], stream: TextIO) -> Reporter:
    from llamabuild.report.plain import Plain

    del environ
    return Plain(stream)


def _quiet(environ: Mapping[str, str], stream: TextIO) -> Reporter:
    from llamabuild.report.plain import Quiet

    del environ
    return Quiet(stream)


def _json(environ: Mapping[str, str], stream: TextIO) -> Reporter:
    from llamabuild.report.jsonl import JsonLines

    del environ
    return JsonLines(stream)


def _github(environ: Mapping[str, str], stream: TextIO) -> Reporter:
    from llamabuild.report.github import Github

    return Github(stream, environ.get("GITHUB_STEP_SUMMARY", ""))


_MAKERS: Final[Mapping[str, Callable[[Mapping[str, str], TextIO], Reporter]]] = {
    "terminal": _terminal,
    "plain": _plain,
    "quiet": _quiet,
    "json": _json,
    "github": _github,
}


def to_json(value: object, kind: str = "") -> str:
    """A noun, a list of them or a mapping of names to them, as one JSON object.

    Always ``{"version": 1, "kind": …}``. A noun stands under its own kind, a list under ``items``,
    a mapping's names beside ``version`` and ``kind``. Sets become sorted lists, paths texts.

    >>> from llamabuild.model import Absence
    >>> to_json(Absence(what="cuda", why="no driver"))
    '{"version":1,"kind":"absence","absence":{"what":"cuda","why":"no driver","hint":"","seen":""}}'
    >>> to_json([], "store")
    '{"version":1,"kind":"store","items":[]}'
    """
    kind = kind or type(value).__name__.lower()
    return encode({"version": JSON_VERSION, "kind": kind}, _named(value, kind))


def _named(value: object, kind: str) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return {"items": value}
    if isinstance(value, Artifact):
        from llamabuild.report import words

        return {kind: value, "wheel": words.wheel(value)}
    return {kind: value}


def error_json(error: LlamabuildError) -> str:
    """An error as JSON: class, exit code, message, hint, and what its class knows beside."""
    return to_json({"error": describe(error)}, "error")


def describe(error: LlamabuildError) -> dict[str, Any]:
    """An error's fields, and its class and exit code."""
    return {"class": type(error).__name__, "exit_code": error.exit_code, **vars(error)}


def encode(head: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
    """One JSON object in one line: ``head`` as it stands, then ``fields`` by name."""
    import msgspec

    first = msgspec.json.encode(head)
    try:
        rest = msgspec.json.encode(fields, enc_hook=_plainly, order="deterministic")
    except UnicodeEncodeError:  # a file name in a message that is not text
        plain = msgspec.to_builtins(fields, enc_hook=_plainly, order="deterministic")
        rest = json.dumps(plain, separators=(",", ":")).encode()
    return (first[:-1] + b"," + rest[1:] if fields else first).decode()


def _plainly(value: object) -> object:
    if isinstance(value, PurePath):
        # A file name need not be text: bytes that are not become "?".
        return os.fspath(value).encode(errors="replace").decode()
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")
