"""What leaves the machine only if its owner sends it: a report, without secrets."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from llamabuild import anonymous, data
from llamabuild.host import Host


@cache
def _table() -> tuple[tuple[re.Pattern[str], str], ...]:
    rows = data.load(data.package("diagnose/secrets.toml"))["secret"]
    return tuple((re.compile(row["pattern"]), row["put"]) for row in rows)


def scrubber(host: Host) -> Callable[[str], str]:
    """A function that takes secrets, names of people and machines, and personal paths out of a
    text: those that this machine knows, and what looks like one.

    Version numbers of four parts may go with the addresses that they look like.
    """
    personal = anonymous.scrubber(host)

    def scrub(text: str) -> str:
        for pattern, put in _table():
            text = pattern.sub(put, text)
        return "\n".join(map(personal, text.split("\n")))

    return scrub
