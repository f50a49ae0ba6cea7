"""Words: what compilers and C libraries say in other languages, in English.

The catalogue's patterns are English. Where a compiler speaks another language, the words around
codes and names are put back (``words.toml``) instead of writing every pattern ten times.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from llamabuild import data
from llamabuild.diagnose.patterns import Patterns, spaced

_TABLE: Final = data.package("diagnose/words.toml")


def english(text: bytes) -> bytes:
    """The text with the known phrases of other languages replaced. Names, codes and numbers stay,
    and so does every line end outside of a phrase."""
    known, replacements = _known()
    for number in known.present(text):
        pattern, said = replacements[number]
        text = pattern.sub(said, text)
    return text


@cache
def _known() -> tuple[Patterns, tuple[tuple[re.Pattern[bytes], bytes], ...]]:
    sources: list[str] = []
    replacements: list[tuple[re.Pattern[bytes], bytes]] = []
    for row in data.load(_TABLE)["word"]:
        for source in row["said"]:
            sources.append(source)
            replacements.append((re.compile(spaced(source).encode()), row["english"].encode()))
    return Patterns(sources), tuple(replacements)
