"""Which patterns of the catalogue are slow: each alone on hostile lines of 1 MB.

    python benchmarks/catalogue_fuzz.py [SECONDS OF CPU A PATTERN MAY TAKE, 0.05]

The lines are made of what the pattern itself is made of (its own words, repeated and cut), of one
letter, of blanks, of brackets, and of random bytes. Prints the slowest; exit code 1 when one takes
longer than it may.
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Iterator

from llamabuild.diagnose.catalogue import benign, entries
from llamabuild.diagnose.patterns import Patterns

_SIZE = 1 << 20
_SHOWN = 15
_MAY_TAKE = 0.05


def main(arguments: list[str]) -> int:
    """Print the slowest patterns."""
    may_take = float(arguments[0]) if arguments else _MAY_TAKE
    taken = sorted(((*slowest(source), name, source) for name, source in sources()), reverse=True)
    for seconds, line, name, source in taken[:_SHOWN]:
        print(f"{seconds * 1000:8.1f} ms  {line:10} {name:34} {source[:120]}")
    print(f"{len(taken)} patterns; the slowest took {taken[0][0] * 1000:.1f} ms")
    return int(taken[0][0] > may_take)


def sources() -> Iterator[tuple[str, str]]:
    """Every pattern of the catalogue and whose it is."""
    for entry in entries():
        for source in (*entry.patterns, *entry.needs, *entry.unless):
            yield entry.id, source
    for one in benign():
        for source in one.patterns:
            yield one.id, source


def slowest(source: str) -> tuple[float, str]:
    """The longest time that a pattern took (the better of two searches), and in which line."""
    pattern = Patterns([source])
    pattern.present(b"warm")
    times = []
    for name, line in hostile(source):
        tries = []
        for _ in range(2):
            begin = time.process_time()
            next(pattern.finds(0, line), None)
            tries.append(time.process_time() - begin)
        times.append((min(tries), name))
    return max(times)


def hostile(source: str) -> Iterator[tuple[str, bytes]]:
    """Lines that a pattern may take long for, by name."""
    words = literals(source)
    whole = " ".join(words).encode() or b"x"
    yield "itself", _line(whole + b" ")
    yield "begun", _line(whole[: max(1, len(whole) * 2 // 3)])
    yield "first word", _line((words[0] if words else "x").encode() + b" ")
    yield "letter", b"a" * _SIZE
    yield "blanks", b" " * _SIZE
    yield "brackets", _line(b"([{'\"<")
    yield "random", random.Random(1).randbytes(_SIZE).replace(b"\n", b" ")


def literals(source: str) -> list[str]:
    """The words that stand in a pattern."""
    return re.findall(r"[A-Za-z_]{3,}", re.sub(r"\\[A-Za-z]|\(\?P<\w+>|\(\?[a-z]+\)", " ", source))


def _line(piece: bytes) -> bytes:
    return (piece * (_SIZE // len(piece) + 1))[:_SIZE]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
