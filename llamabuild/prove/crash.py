"""Crash evidence: which instruction of which library ended a child, read from a report that a
small preloaded library (``crash.c``) writes when the fault happens. Linux only; elsewhere, and
where nothing could be reported, a crash is known by its signal alone.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from llamabuild import data, instructions, instructions_arm
from llamabuild.errors import Crash
from llamabuild.host import Host, Limits
from llamabuild.model import Compiler
from llamabuild.toolchains import runner

_SOURCE = data.package("prove/crash.c")
_OPTIONS = ("-std=gnu11", "-O1", "-fPIC", "-shared")
_LIMITS = Limits(seconds=60)
_SEPARATORS = " :\t\n"
_SI_KERNEL = 0x80
"""``si_code`` of a fault that is the instruction's own and not a wrong address: on x86-64 a
general protection fault, raised by a misaligned vector access or an invalid tile configuration."""

_TABLES: Final = {
    "x86_64": instructions.feature_of,
    "aarch64": instructions_arm.feature_of,
}
"""What knows the instructions of an architecture, as ``crash.c`` calls it."""


class _Report(msgspec.Struct):
    """One line of a report; ``crash.c`` says what the fields mean."""

    signal: int
    code: int
    arch: str
    instruction: str
    module: str
    offset: int


def preload(compiler: Compiler, *, host: Host, scratch: Path) -> Path | None:
    """Compile the library into ``scratch``. None where there is no preloading, or when the
    compiler cannot make it: evidence is welcome, but a proof does not depend on it."""
    if host.system()[0] != "linux":
        return None
    library = scratch / "llamabuild-crash.so"
    argv = [compiler.cc, *_OPTIONS, str(_SOURCE), "-o", str(library)]
    return library if host.run(argv, limits=_LIMITS).code == 0 else None


def environment(library: Path | None, report: Path) -> dict[str, str]:
    """The variables to add to a child's environment, so that its crash is written to ``report``.

    ``LD_PRELOAD`` is replaced. It cannot name a path with a blank or a colon in it; then there
    are no variables and no evidence.

    >>> sorted(environment(Path("crash.so"), Path("report.json")))
    ['LD_PRELOAD', 'LLAMABUILD_CRASH_REPORT']
    >>> environment(Path("my crash.so"), Path("report.json"))
    {}
    """
    if library is None or any(separator in str(library) for separator in _SEPARATORS):
        return {}
    return {"LD_PRELOAD": str(library), "LLAMABUILD_CRASH_REPORT": str(report)}


def arguments(
    command: Sequence[str], library: Path | None, report: Path
) -> tuple[tuple[str, ...], dict[str, str]]:
    """What to put before a program that the runner ``command`` runs (nothing: this machine does)
    and the variables to add to the environment, so that its crash is written to ``report``.

    >>> arguments((), Path("crash.so"), Path("x.json"))
    ((), {'LD_PRELOAD': 'crash.so', 'LLAMABUILD_CRASH_REPORT': 'x.json'})
    >>> arguments(("qemu-arm", "-L", "/usr/arm"), Path("crash.so"), Path("x.json"))[0][3:]
    ('-E', 'LD_PRELOAD=crash.so', '-E', 'LLAMABUILD_CRASH_REPORT=x.json')
    """
    return runner.given(command, environment(library, report))


def read(report: Path, signal: str) -> Crash:
    """What is known of a child that ended with ``signal`` ("SIGILL").

    The last line of the report about that signal counts: a child's own children may have
    written to it as well. A report that is missing, cut off or garbled tells nothing.
    """
    try:
        lines = report.read_bytes().splitlines()
    except OSError:
        lines = []
    known = [found for found in map(_parsed, lines) if found and _name(found) == signal]
    return _crash(known[-1], signal) if known else Crash(signal=signal)


def _parsed(line: bytes) -> _Report | None:
    try:
        return msgspec.json.decode(line, type=_Report)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _name(report: _Report) -> str:
    try:
        return signals.Signals(report.signal).name
    except ValueError:
        return ""


def _crash(report: _Report, signal: str) -> Crash:
    module = Path(report.module).name
    return Crash(
        signal=signal,
        where=f"{module}+{report.offset:#x}" if module else "",
        instruction=report.instruction,
        feature=_feature(report, signal),
    )


def _feature(report: _Report, signal: str) -> str:
    """The CPU feature to blame: none where an address was wrong or the program gave up."""
    general = report.arch == "x86_64" and signal == "SIGSEGV" and report.code == _SI_KERNEL
    known = _TABLES.get(report.arch)
    if known is None or not (signal == "SIGILL" or general):
        return ""
    try:
        return known(bytes.fromhex(report.instruction))
    except ValueError:
        return ""
