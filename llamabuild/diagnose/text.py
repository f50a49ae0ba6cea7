"""Text of logs as their programs wrote it: without colours, prefixes and what copying did to it."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

CHUNK: Final = 1 << 20
"""Bytes that are looked at together."""
_OVERLAP: Final = 4096
"""Bytes of one chunk that begin the next as well: what a pattern spans is shorter."""
_COLOUR: Final = re.compile(
    rb"\x1b\[[0-9;:?]*[ -/]*[@-~]"  # CSI: colours, cursor
    rb"|\x1b\][^\x07\x1b]{0,4000}(?:\x07|\x1b\\)"  # OSC: GCC's links
    rb"|\x1b[()][0-9A-Za-z]|\x1b[=>78cM]"
    rb"|\xe2\x86\x90\[[0-9;?]*[A-Za-z]"  # a browser shows ESC as a left arrow
)
_QUOTES: Final = (
    *(b"\xe2\x80\x98", b"\xe2\x80\x99", b"\xe2\x80\x9b", b"\xc2\xb4", b"`"),
    *(b"\xe2\x80\x9c", b"\xe2\x80\x9d", b"\xe2\x80\x9e", b"\xc2\xab", b"\xc2\xbb"),
)
_PREFIXES: Final = (
    rb"#\d+ (?:\d+\.\d+ )?",  # docker build
    rb"(?:\xef\xbb\xbf)?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,]?\d*(?:Z|[+-]\d\d:?\d\d)? ",
    rb"\[?\d\d:\d\d:\d\d(?:[.,]\d+)?\]? ",
    rb"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ \S+: ",  # journald
    rb"[\w.-]{1,60} +\| ",  # docker compose
    rb"\[[\w./ :-]{1,60}\] ?\| ?",
    rb"> ?",  # mail
    rb"\| ",
    rb" *\d+ \| ",
)
_PREFIX: Final = tuple(re.compile(rb"(?m)^" + one) for one in _PREFIXES)
_MOST: Final = 0.6
"""The share of lines that must have a prefix for it to be one."""


def chunks(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The clean text of a stream in pieces of whole lines, each with the number of its first line
    (from 1). A piece begins with the end of the one before."""
    line, rest, prefix = 1, b"", None
    for block in _blocks(stream):
        text = rest + block
        if prefix is None:
            prefix = prefixes(text[:65536])
        yield line, clean(text, prefix)
        keep = text.rfind(b"\n", 0, max(0, len(text) - _OVERLAP)) + 1
        rest = text[keep or max(0, len(text) - _OVERLAP) :]
        line += text.count(b"\n", 0, len(text) - len(rest))


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Pieces of about ``CHUNK`` bytes that end with a line, in UTF-8 or what passes for it."""
    first = stream.read(CHUNK)
    decoder = _wide(first)
    pending = b""
    while first:
        data = decoder.decode(first).encode() if decoder else first
        data = pending + data.replace(b"\r\n", b"\n")
        first = stream.read(CHUNK)
        end = len(data) if not first else data.rfind(b"\n") + 1
        if not end and len(data) > CHUNK:
            end = len(data)
        pending = data[end:]
        if end:
            yield data[:end]
    if pending:
        yield pending


def _wide(start: bytes) -> codecs.IncrementalDecoder | None:
    """A decoder for what PowerShell writes: UTF-16, with a mark or seen by its zeros."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return codecs.getincrementaldecoder("utf-16")("replace")
    odd = start[1:4096:2]
    if len(odd) > 8 and odd.count(0) > len(odd) * 0.8:
        return codecs.getincrementaldecoder("utf-16-le")("replace")
    return None


def clean(text: bytes, prefix: Iterable[re.Pattern[bytes]] = ()) -> bytes:
    """Text without colours and the prefixes that were found, with one kind of quotes."""
    if b"\x1b" in text or b"\xe2\x86\x90[" in text:
        text = _COLOUR.sub(b"", text)
    if text.count(b"\\n") > 4 + text.count(b"\n"):  # a log inside of JSON
        text = text.replace(b"\\r", b"").replace(b"\\n", b"\n").replace(b'\\"', b'"')
    for quote in _QUOTES:
        text = text.replace(quote, b"'")
    for one in prefix:
        text = one.sub(b"", text)
    return text


def prefixes(sample: bytes) -> tuple[re.Pattern[bytes], ...]:
    """The prefixes that most lines of a sample have, in the order in which they are to be taken
    away."""
    found: list[re.Pattern[bytes]] = []
    text = clean(sample)
    for _ in range(3):
        lines = max(1, sum(1 for line in text.split(b"\n") if line.strip()))
        one = next((p for p in _PREFIX if len(p.findall(text)) >= max(2, _MOST * lines)), None)
        if one is None:
            break
        found.append(one)
        text = one.sub(b"", text)
    return tuple(found)


def unwrapped(text: bytes) -> bytes | None:
    """The text with lines joined that a terminal broke at its width; None when no width shows.

    A width shows when no line is longer than one length that several lines have.
    """
    lines = text.split(b"\n")
    sizes = Counter(len(line) for line in lines)
    width = max(sizes)
    if width < 40 or sizes[width] < 2 or width > 400:
        return None
    joined = bytearray()
    for line in lines:
        joined += line
        if len(line) != width:
            joined += b"\n"
    return bytes(joined)
