"""The vocabulary of a transfer: what may go wrong at one address, and how patient we are.

These exceptions never leave the package: :func:`llamabuild.fetch.fetch` turns them into a
FetchError or IntegrityError that lists every address.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from llamabuild.events import Emit, Warned

T = TypeVar("T")

_GAIN: Final = 1 << 20  # bytes that make a broken transfer count as progress


class Unavailable(Exception):
    """An address cannot give the file, and asking again is useless."""


class Transient(Exception):
    """It did not work this time: asking again may help."""


class WrongBytes(Exception):
    """What this address gives is not the pinned file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to insist. Seconds; ``wait`` doubles after each attempt in a row that failed.

    ``connect`` and ``read`` bound the silence of a server, not the whole download.
    """

    attempts: int = 5
    wait: float = 0.5
    connect: float = 15.0
    read: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of a package index. ``url`` is where it came from: links are relative to it."""

    url: str
    media_type: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Bytes of a file from ``start`` on. ``total`` is the size of the whole file, if told."""

    start: int
    total: int | None
    blocks: Iterator[bytes]


def insist(
    attempt: Callable[[], T],
    *,
    patience: Patience,
    emit: Emit,
    progress: Callable[[], int] = lambda: 0,
) -> T:
    """The result of ``attempt``, tried again with growing waits while it raises Transient.

    An attempt that moved ``progress`` (bytes kept for the next attempt) by a mebibyte starts the
    count afresh, so a poor line may break often as long as it gets on. Raises Unavailable.
    """
    failures = 0
    while True:
        before = progress()
        try:
            return attempt()
        except Transient as error:
            failures = 1 if progress() - before >= _GAIN else failures + 1
            if failures >= patience.attempts:
                raise Unavailable(f"{error} ({failures} attempts)") from error
            wait = patience.wait * 2 ** (failures - 1)
            emit(Warned(message=f"{error}; trying again in {wait:g} s"))
            time.sleep(wait)
