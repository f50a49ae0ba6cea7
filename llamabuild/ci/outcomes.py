"""What came of a cell: what a worker answers in one line of JSON, and what is said of all. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec

BUILT: Final = "built"
ADOPTED: Final = "adopted"
THERE: Final = "there"
Word: TypeAlias = Literal["built", "adopted", "there"]


class Hits(msgspec.Struct, frozen=True, kw_only=True):
    """What a compiler cache knew of the files of one language."""

    hits: int = 0
    misses: int = 0


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="result", tag="made"):
    """A cell that was made. ``outcome`` is "built", "adopted" (taken from a store and proved here)
    or "there" (nothing was done). ``id`` is the artifact, ``wheel`` the path of its wheel on the
    machine that made it. ``published`` is the id that the store has for the key, empty when nothing
    was to be published. ``compiler_cache`` says by language what sccache knew, when it was used."""

    name: str
    names: tuple[str, ...]
    key: str
    id: str
    outcome: Word
    wheel: str
    seconds: float
    published: str = ""
    compiler_cache: Mapping[str, Hits] = {}


class Failure(msgspec.Struct, frozen=True, kw_only=True, tag_field="result", tag="failed"):
    """A cell that failed: the exit ``code`` of its worker (negative: a signal ended it), the last
    line of its error, the next action, and where its ``log`` is on the machine where it ran."""

    name: str
    names: tuple[str, ...]
    code: int
    message: str
    hint: str = ""
    log: str = ""
    seconds: float = 0.0


Ended: TypeAlias = Outcome | Failure


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The line of a worker: an outcome's fields, or an error's under ``error``."""

    kind: str
    error: Mapping[str, Any] = {}


def fields(outcome: Outcome) -> dict[str, Any]:
    """What a worker prints, without the version."""
    found = {name: getattr(outcome, name) for name in outcome.__struct_fields__}
    return found if outcome.compiler_cache else {**found, "compiler_cache": {}}


def understood(line: str) -> Answer | Outcome | None:
    """A line of a worker that is its answer: an Outcome, or the Answer of one that failed; None
    for every other line."""
    if not line.startswith("{"):
        return None
    try:
        answer = msgspec.json.decode(line, type=Answer)
        if answer.kind != "cell":
            return answer if answer.kind == "error" else None
        return msgspec.convert(msgspec.json.decode(line) | {"result": "made"}, Outcome)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def encode(ended: Ended) -> bytes:
    """What came of a cell, as JSON."""
    return msgspec.json.encode(ended)


def decode(data: bytes) -> Ended:
    """The same back. Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=Outcome | Failure)


def counts(ended: Iterable[Ended]) -> dict[str, int]:
    """How many were built, adopted, there already, and failed."""
    found = dict.fromkeys((BUILT, ADOPTED, THERE, "failed"), 0)
    for one in ended:
        found[one.outcome if isinstance(one, Outcome) else "failed"] += 1
    return found


def sentence(found: Mapping[str, int]) -> str:
    """Counts in words.

    >>> sentence({"built": 2, "adopted": 0, "there": 1, "failed": 1})
    '2 built, 1 there already, 1 failed'
    """
    words = {"there": "there already"}
    said = [f"{count} {words.get(name, name)}" for name, count in found.items() if count]
    return ", ".join(said) or "nothing to do"
