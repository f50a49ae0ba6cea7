"""How long a log of 100 MB takes, and how much memory, for several kinds of content.

    python benchmarks/big_log.py [MEGABYTES]

Each kind is diagnosed in a process of its own, whose peak memory counts. Exit code 1 when one takes
more than 3 s of CPU for 100 MB, or more than 200 MB. Another language, which has to be put into
English first, may take longer.
"""

from __future__ import annotations

import io
import itertools
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from llamabuild import diagnose
from llamabuild.diagnose.catalogue import entries

_MOST = (3.0, 200)
_MOST_OF = {"German": (10.0, 200)}

_COMPILE = (
    "[{n}/9999] /usr/bin/c++ -DGGML_BUILD -DGGML_SHARED -I/home/user/llama.cpp/ggml/src/. "
    "-O3 -std=gnu++17 -fPIC -MD -MT file{n}.cpp.o -o file{n}.cpp.o -c /home/user/file{n}.cpp"
)


def compile_lines() -> Iterator[str]:
    """What Ninja says with -v."""
    return (_COMPILE.format(n=n) for n in itertools.count())


def error_lines() -> Iterator[str]:
    """Compilers that find fault with every line."""
    shapes = (
        "/home/user/src/file{n}.cpp:{n}:13: error: use of undeclared identifier 'thing{n}'",
        "/home/user/src/file{n}.cpp:{n}:7: warning: unused variable 'thing{n}' [-Wunused-variable]",
        "file{n}.cpp(33): error C2065: 'thing{n}': undeclared identifier",
        "/usr/bin/ld: file{n}.o: in function `f{n}': undefined reference to `thing{n}'",
    )
    return (shapes[n % len(shapes)].format(n=n) for n in itertools.count())


def all_failures() -> Iterator[str]:
    """Every example of the catalogue, again and again."""
    examples = [line for entry in entries() for one in entry.examples for line in one.split("\n")]
    return (f"{examples[n % len(examples)]} ({n})" for n in itertools.count())


def coloured() -> Iterator[str]:
    """A compiler that believes it writes to a terminal."""
    return (
        f"\x1b[01m\x1b[K{line[:40]}\x1b[m\x1b[K \x1b[01;35m{line[40:]}\x1b[0m"
        for line in error_lines()
    )


def docker() -> Iterator[str]:
    """``docker build --progress=plain``."""
    return (f"#12 {n / 10:.3f} {line}" for n, line in enumerate(compile_lines()))


def github() -> Iterator[str]:
    """A log of GitHub Actions."""
    return (f"2026-01-02T03:04:05.1234567Z {line}" for line in compile_lines())


def progress() -> Iterator[str]:
    """Progress bars, which go back to the beginning of their line."""
    return ("\r".join(f"{k} % of file{n}" for k in range(100)) for n in itertools.count())


def one_line() -> Iterator[str]:
    """No line end at all."""
    return itertools.repeat("x" * 100_000)


def german() -> Iterator[str]:
    """GCC in German."""
    return (f"a{n}.cpp:{n}:3: Fehler: »thing« nicht deklariert" for n in itertools.count())


KINDS: dict[str, tuple[Callable[[], Iterator[str]], str, str]] = {
    "compile lines": (compile_lines, "\n", "utf-8"),
    "error lines": (error_lines, "\n", "utf-8"),
    "all failures": (all_failures, "\n", "utf-8"),
    "coloured": (coloured, "\n", "utf-8"),
    "docker": (docker, "\n", "utf-8"),
    "GitHub": (github, "\n", "utf-8"),
    "CRLF": (compile_lines, "\r\n", "utf-8"),
    "UTF-16": (compile_lines, "\r\n", "utf-16"),
    "progress bars": (progress, "\n", "utf-8"),
    "one line": (one_line, "", "utf-8"),
    "German": (german, "\n", "utf-8"),
}


def main(arguments: list[str]) -> int:
    """Print a table."""
    size = int(arguments[0]) if arguments else 100
    spawn = multiprocessing.get_context("spawn")
    slow = False
    for name in KINDS:
        with tempfile.TemporaryFile() as file, spawn.Pool(1) as pool:
            write(name, file, size << 20)
            file.seek(0)
            path = f"/proc/{multiprocessing.current_process().pid}/fd/{file.fileno()}"
            seconds, memory, first = pool.apply(measure, (path,))
        most = _MOST_OF.get(name, _MOST)
        bad = seconds > most[0] * size / 100 or memory > most[1]
        slow |= bad
        print(f"{'✗' if bad else ' '} {name:14} {seconds:6.2f} s {memory:5.0f} MB  {first}")
    return int(slow)


def write(name: str, file: BinaryIO, size: int) -> None:
    """A log of a kind, of about that many bytes."""
    lines, end, encoding = KINDS[name]
    out = io.TextIOWrapper(file, encoding=encoding, newline="")
    for line in lines():
        out.write(line + end)
        if file.tell() >= size:
            break
    out.flush()
    out.detach()


def measure(path: str) -> tuple[float, float, str]:
    """Seconds of CPU, peak memory in MB, and what came first."""
    diagnose.diagnose_text("")
    begin = time.process_time()
    with open(path, "rb") as log:
        found = diagnose.diagnose(log)
    seconds = time.process_time() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return seconds, memory, found.first.entry.id if found.first else "none"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
