"""What children of ours print: one JSON object, whatever a driver prints before it."""

from __future__ import annotations

from typing import TypeVar

import msgspec

_Answer = TypeVar("_Answer")


def last_object(text: str, kind: type[_Answer]) -> _Answer | None:
    """The last line that begins a JSON object, as a value of ``kind``; None when it is not one.
    Only whole answers count, and an empty object says nothing.

    >>> last_object('driver says hello\\n{"a": 1}\\n', dict), last_object('{"a": 1', dict)
    ({'a': 1}, None)
    >>> last_object("{}", dict) is None
    True
    """
    line = next((line for line in reversed(text.splitlines()) if line.startswith("{")), "")
    if line.strip() == "{}":
        return None
    try:
        return msgspec.json.decode(line.encode(errors="replace"), type=kind)
    except (msgspec.DecodeError, RecursionError):
        return None
