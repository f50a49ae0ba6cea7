"""Text of logs as their programs wrote it: without colours, prefixes, other languages and what
copying did to it."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, Final

from llamabuild.diagnose import words
from llamabuild.diagnose.patterns import Patterns

CHUNK: Final = 1 << 17
"""Bytes that are looked at together."""
_OVERLAP: Final = 4096
"""Bytes of one chunk that begin the next as well: what a pattern spans is shorter."""
_SAMPLE: Final = 1 << 16
"""Bytes at the beginning of a log that say which prefixes its lines have."""
SOFT: Final = b"\r\n"
"""What ends a part of a line: where a progress bar went back to its beginning, and at the ends of
lines inside of JSON. Lines themselves end without the carriage return."""

_COLOUR: Final = re.compile(
    rb"(?:\x1b|\^\[|\xe2\x90\x9b|\xe2\x86\x90(?=\[)|\\x1[bB]|\\u001[bB]|\\033|\\e(?=\[))"
    # as it is, and as `cat -v`, fonts, browsers and Python show it
    rb"(?:\[[0-9;:?]*[ -/]*[@-~]"  # CSI: colours, cursor
    rb"|\][^\x07\x1b\n]{0,4000}(?:\x07|\x1b\\)"  # OSC: GCC's links
    rb"|[()][0-9A-Za-z]|[=>78cM])"
    rb"|\[(?:\d{1,3};){0,4}\d{1,3}m(?:\[K)?|\[m\[K"  # where ESC itself was lost
)
_CSI: Final = re.compile(rb"\x1b\[[0-9;:?]*[ -/]*[@-~]")
_COLOURED: Final = Patterns(
    [
        r"\x1b|\^\[|\xe2\x90\x9b|\xe2\x86\x90\[|\\x1[bB]|\\u001|\\033|\\e\[|\[(?:\d{1,3}(?:;\d{1,3})*)?m"
    ]
)
_QUOTES: Final = (
    *(b"\xe2\x80\x98", b"\xe2\x80\x99", b"\xe2\x80\x9b", b"\xc2\xb4", b"`"),
    *(b"\xe2\x80\x9a", b"\xe2\x80\xb9", b"\xe2\x80\xba", b"\xe3\x80\x8c", b"\xe3\x80\x8d"),
    *(b"\xe2\x80\x9c", b"\xe2\x80\x9d", b"\xe2\x80\x9e", b"\xc2\xab", b"\xc2\xbb"),
)
_MOJIBAKE: Final = re.compile(
    rb"(?:\xc3\xa2\xe2\x82\xac|\xce\x93\xc3\x87|\xc3\x94\xc3\x87|\xd0\xb2\xd0\x82)"
    rb"(?:[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2})?"  # cp1252, cp437, cp850, cp1251
    rb"|\xe9\x88\xa5(?:[\xe4-\xef][\x80-\xbf]{2}|\?)?"  # GBK: the quote took a letter with it
    rb"|(?:\xef\xbf\xbd)+"  # a terminal without Unicode
)
_BROKEN: Final = (
    *(b"\xc3\xa2\xe2\x82\xac", b"\xce\x93\xc3\x87", b"\xc3\x94\xc3\x87", b"\xd0\xb2\xd0\x82"),
    *(b"\xe9\x88\xa5", b"\xef\xbf\xbd"),
)
"""What each quote in a wrong encoding begins with."""
_JSON: Final = re.compile(rb'\\(?:[nrt"\'/\\]|u[0-9a-fA-F]{4})')
_JSON_MEANS: Final = {b"\\n": SOFT, b"\\r": b"", b"\\t": b"\t"}
_TIME: Final = rb"\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,:]\d+)?"
_CERTAIN: Final = (
    rb"#\d+ (?:\d+\.\d+ )?",  # docker build
    _TIME + rb"(?: ?Z|[+-]\d\d:?\d\d)?\]?(?: \d\d[OE][ +])?[ \t]*",  # GitHub, GitLab, kubectl
    rb"\[?\d\d:\d\d:\d\d(?:[.,]\d+)?\]? ",
    rb"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d [^\s:]+ [^\s:]+: ",  # journald
    rb"\[(?:pod|container)/[^\]\n]{1,200}\] ",  # kubectl
    rb"\[[\w.-]{1,60} \d+\.\d+\.\d+[\w.+-]*\] ",  # cargo -vv
    rb"\d+\.\d\d\.\d{3}\.\d{3} (?:[IWD] )?",  # llama.cpp; E says that the line is an error
    rb" {0,4}\d+>",  # MSBuild
)
_LIKELY: Final = (
    rb"(?:[^\t\n]{1,100}\t){2}(?=\d{4}-\d\d-\d\dT)",  # gh run view --log
    rb"[\w.-]{1,60} [\w.@-]{1,60}\[\d+\]: ",  # journald -o short-iso, after its time
    rb"[\w.@-]{1,80} +\| ",  # docker compose, docker service logs
    rb"\[[\w./ :-]{1,60}\] ?\| ?",
    rb"\[[\w./@ :-]{1,60}\]:? ",
    rb" *> ?",  # mail, nix
    rb" *\| ",
    rb" *(?:\xe2\x94\x82|\xe2\x95\x8e|\xe2\x94\x83) ?",  # boxes of pip, rattler and rich
    rb" *\d+ ?[|:] ",
    rb"[a-z][\w.+-]{1,60}> ",  # nix
)
_PREFIX: Final = re.compile(rb"\n(?:" + rb"|".join(_CERTAIN) + rb")+")
_BEGINS: Final = (
    r"\n(?:#\d|\[?\d{1,4}[.:-]\d\d|[A-Z][a-z]{2}[ ][ \d]\d[ ]"
    r"|\[(?:pod|container)/|\[[\w.-]+[ ]\d|[ ]{0,4}\d+>)"
)
_PREFIXED: Final = Patterns([_BEGINS])
"""How lines begin that may have one: without counting long repetitions."""
_LIKELY_PREFIX: Final = tuple(re.compile(rb"\n" + one) for one in _LIKELY)
_MOST: Final = 0.6
"""The share of lines that must have a likely prefix for it to be one."""

Prefixes = tuple[re.Pattern[bytes], ...]


def chunks(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The clean text of a stream in pieces of whole lines, each with the number of its first line
    (from 1). A piece begins with the end of the one before. Parts of lines end with ``SOFT``."""
    line, rest, likely = 1, b"", None
    for block in _blocks(stream):
        text = rest + block
        if likely is None:
            likely = prefixes(text[:_SAMPLE])
        yield line, clean(text, likely)
        keep = text.rfind(b"\n", 0, max(0, len(text) - _OVERLAP)) + 1
        rest = text[keep or max(0, len(text) - _OVERLAP) :]
        line += ends(text, len(text) - len(rest))


def ends(text: bytes, place: int) -> int:
    """How many lines end before a place."""
    return text.count(b"\n", 0, place) - text.count(SOFT, 0, place)


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Pieces of about ``CHUNK`` bytes that end with a line, in UTF-8 or what passes for it."""
    first = stream.read(CHUNK)
    decoder = _wide(first)
    pending = b""
    while first:
        data = pending + (decoder.decode(first).encode() if decoder else first)
        first = stream.read(CHUNK)
        end = len(data) if not first else data.rfind(b"\n") + 1
        if not end and len(data) > CHUNK:
            end = len(data)
        pending = data[end:]
        if end:
            yield _ended(data[:end])
    if pending:
        yield _ended(pending)


def _ended(text: bytes) -> bytes:
    """Text with the line ends of Unix; a carriage return that stands alone ends a part of a line.
    Without the zeros of UTF-16 that was appended to something else."""
    if b"\0" in text:
        text = text.replace(b"\0", b"")
    if b"\r" in text:
        text = text.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n").replace(b"\r", SOFT)
    return text


def _wide(start: bytes) -> codecs.IncrementalDecoder | None:
    """A decoder for what PowerShell writes: UTF-16, with a mark or seen by its zeros."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return codecs.getincrementaldecoder("utf-16")("replace")
    for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        odd = start[first:4096:2]
        if len(odd) > 8 and odd.count(0) > len(odd) * 0.8:
            return codecs.getincrementaldecoder(name)("replace")
    return None


def clean(text: bytes, likely: Prefixes = ()) -> bytes:
    """Text without colours and prefixes, with one kind of quotes, in English."""
    if b"\x1b[" in text:  # most by far, and quickly found
        text = _CSI.sub(b"", text)
    text = _on_lines(_COLOUR, _COLOURED, text, b"")
    if text.count(b"\\n") > 4 + text.count(b"\n") or b'{"log":"' in text:
        text = _JSON.sub(_unescaped, text)
    text = _on_lines(_PREFIX, _PREFIXED, b"\n" + _quoted(text), b"\n")
    for one in likely:
        text = _on_lines(_PREFIX, _PREFIXED, one.sub(b"\n", text), b"\n")
    return words.english(text[1:])


def _on_lines(pattern: re.Pattern[bytes], maybe: Patterns, text: bytes, put: bytes) -> bytes:
    """``pattern.sub(put, text)``, done only on lines (with the line end before them) that show
    ``maybe``: these are found many times as fast."""
    parts, done = [], 0
    for found in maybe.finds(0, text):
        if found.end() <= done:
            continue
        begin = max(done, text.rfind(b"\n", 0, found.start() + 1))
        end = text.find(b"\n", found.end())
        end = len(text) if end < 0 else end
        parts += [text[done:begin], pattern.sub(put, text[begin:end])]
        done = end
    return b"".join((*parts, text[done:])) if parts else text


def _quoted(text: bytes) -> bytes:
    """Text with ``'`` for all quotes, and blanks and colons of ASCII."""
    text = text.replace(b"`", b"'")
    if text.isascii():
        return text
    text = text.removeprefix(codecs.BOM_UTF8)
    if any(sign in text for sign in _BROKEN):
        text = _MOJIBAKE.sub(_quote, text)
    for quote in _QUOTES:
        text = text.replace(quote, b"'")
    for blank in (b"\xc2\xa0", b"\xe2\x80\xaf"):
        text = text.replace(blank, b" ")
    return text.replace(b"\xef\xbc\x9a", b": ")


def _quote(found: re.Match[bytes]) -> bytes:
    """The quote that a wrong encoding made of it, and the letter that it swallowed."""
    shown = found[0].decode()
    if shown.startswith("鈥"):
        return b"'" + shown[1:].encode("gbk", "ignore")[1:]
    return found[0] if len(shown) > 3 else b"'"


def _unescaped(found: re.Match[bytes]) -> bytes:
    escape = found[0]
    if escape.startswith(b"\\u"):
        return chr(int(escape[2:].decode(), base=16)).encode("utf-8", "replace")
    return _JSON_MEANS.get(escape, escape[1:])


def prefixes(sample: bytes) -> Prefixes:
    """The likely prefixes that most lines of a sample have, in the order in which they are to be
    taken away."""
    found: list[re.Pattern[bytes]] = []
    text = b"\n" + clean(sample)
    for _ in range(3):
        lines = sum(1 for line in text.split(b"\n") if line.strip())
        least = max(2, _MOST * lines)
        one = next((p for p in _LIKELY_PREFIX if len(p.findall(text)) >= least), None)
        if one is None:
            break
        found.append(one)
        text = _PREFIX.sub(b"\n", one.sub(b"\n", text))
    return tuple(found)


def unwrapped(text: bytes) -> bytes | None:
    """The text with lines joined that a terminal broke at its width; None when no width shows.

    A width shows when several lines have it and hardly any line is longer.
    """
    lines = text.decode("utf-8", "replace").split("\n")
    width = _width(Counter(len(line) for line in lines))
    if width is None:
        return None
    joined: list[str] = []
    for line in lines:
        joined.append(line)
        if len(line) != width:
            joined.append("\n")
    return "".join(joined).encode()


def _width(sizes: Counter[int]) -> int | None:
    """The longest length that two lines have, if no more than one in thirty is longer."""
    longer = 0
    for size in sorted(sizes, reverse=True):
        if 40 <= size <= 400 and sizes[size] > 1:
            return size
        longer += sizes[size]
        if longer > sum(sizes.values()) / 30:
            return None
    return None
