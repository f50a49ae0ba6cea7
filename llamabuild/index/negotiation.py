"""HTTP as far as a static index needs it: which format, which part, and whether at all. Pure.

RFC 9110 sections 12.5.1 (Accept), 13 (conditional requests) and 14 (ranges); PEP 691 for the names
of the formats.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from typing import Final

JSON: Final = "application/vnd.pypi.simple.v1+json"
HTML: Final = "application/vnd.pypi.simple.v1+html"
PLAIN: Final = "text/html"
_OFFERED: Final = {
    PLAIN: PLAIN,
    HTML: HTML,
    JSON: JSON,
    "application/vnd.pypi.simple.latest+html": HTML,
    "application/vnd.pypi.simple.latest+json": JSON,
}
"""What may be asked for, and what is given: where several are as welcome, the first."""
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def preferred(accept: str) -> str:
    """The format of a page for an Accept header. Nobody is refused: who wants neither gets HTML.

    >>> preferred(""), preferred("*/*"), preferred("text/html;q=0.1, " + JSON)
    ('text/html', 'text/html', 'application/vnd.pypi.simple.v1+json')
    """
    wishes = dict(map(_wish, filter(None, accept.lower().split(","))))
    best, weight = PLAIN, 0.0
    for name, given in _OFFERED.items():
        major = name.partition("/")[0]
        wanted = wishes.get(name, wishes.get(f"{major}/*", wishes.get("*/*", 0.0)))
        if wanted > weight:
            best, weight = given, wanted
    return best


def _wish(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip() for part in text.split(";"))
    for one in parameters:
        key, _, value = one.partition("=")
        if key.strip() == "q":
            return name, float(value) if re.fullmatch(r"[01](\.\d{0,3})?", value.strip()) else 0.0
    return name, 1.0


def part(header: str, size: int) -> tuple[int, int] | None:
    """First byte and end of the part that a Range header asks for; None for the whole file. An
    empty part (``start == end``) cannot be had.

    >>> part("bytes=0-9", 100), part("bytes=90-", 100), part("bytes=-10", 100)
    ((0, 10), (90, 100), (90, 100))
    >>> part("bytes=100-", 100), part("bytes=0-1,5-6", 100), part("bytes=9-1", 100)
    ((100, 100), None, None)
    """
    found = _RANGE.fullmatch(header.replace(" ", ""))
    if not found or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    start, end = int(first), min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return None
    return (start, end) if start < size else (size, size)


def known(none_match: str, since: str, etag: str, modified: float) -> bool:
    """True when who asks has just this: by If-None-Match, else by If-Modified-Since."""
    if none_match:
        tags = [one.strip().removeprefix("W/") for one in none_match.split(",")]
        return "*" in tags or etag in tags
    return _not_after(modified, since)


def continues(if_range: str, etag: str, modified: float) -> bool:
    """True when a part may be given: without If-Range, or when it names just this."""
    return not if_range or if_range.strip() == etag or date(modified) == if_range.strip()


def date(seconds: float) -> str:
    """A time as HTTP writes it."""
    return email.utils.formatdate(int(seconds), usegmt=True)


def _not_after(modified: float, header: str) -> bool:
    try:
        found = email.utils.parsedate_to_datetime(header)
        when = found if found.tzinfo else found.replace(tzinfo=dt.timezone.utc)
        return int(modified) <= when.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return False
