"""Numbers and events in words, shared by everything that people read."""

from __future__ import annotations

import re
from typing import NoReturn

from llamabuild.errors import BuildFailed, LlamabuildError
from llamabuild.events import Progress, StepEnded, StepFailed
from llamabuild.model import Artifact, Speed

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def size(count: int) -> str:
    """Bytes as people read them.

    >>> size(0), size(1023), size(76_589_250), size(150_754_820_096)
    ('0 B', '1023 B', '73.0 MiB', '140.4 GiB')
    """
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def duration(seconds: float) -> str:
    """Seconds as people read them.

    >>> duration(0.04), duration(59.96), duration(272), duration(3720)
    ('0.0 s', '60.0 s', '4 min 32 s', '1 h 02 min')
    """
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plural(count: int, noun: str) -> str:
    """A count and its noun.

    >>> plural(1, "check"), plural(2, "check"), plural(0, "file")
    ('1 check', '2 checks', '0 files')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def clean(text: str) -> str:
    """One line without control characters, so that no tool's output can steer a terminal.

    >>> clean("two\\r\\nlines \\x1b[31mred")
    'two lines  [31mred'
    """
    return _CONTROL.sub(" ", text).strip().encode(errors="replace").decode()


def setting(value: bool | str) -> str:
    """A flag's value as CMake writes it.

    >>> setting(True), setting(False), setting("86-real")
    ('ON', 'OFF', '86-real')
    """
    if isinstance(value, bool):
        return "ON" if value else "OFF"
    return value


def moved(event: Progress) -> str:
    """How far it is.

    >>> moved(Progress(name="fetch", done=38_294_625, total=76_589_250, unit="B"))
    '50 % (36.5 MiB of 73.0 MiB)'
    >>> moved(Progress(name="compile", done=3, total=12, unit="files", remaining=62))
    '25 % (3 of 12 files), 1 min 02 s left'
    """
    if event.unit == "B":
        amount = f"{size(event.done)} of {size(event.total)}"
    else:
        amount = f"{event.done} of {event.total} {event.unit}"
    left = "" if event.remaining is None else f", {duration(event.remaining)} left"
    return f"{percent(event)} % ({amount}){left}"


def percent(event: Progress) -> int:
    """Whole per cent done, from 0 to 100; 0 while the total is not known."""
    return max(0, min(100, 100 * event.done // event.total)) if event.total > 0 else 0


def ended(title: str, event: StepEnded | StepFailed) -> str:
    """A step's result in one line.

    >>> ended("Compiling", StepEnded(name="compile", seconds=272, detail="136 files"))
    'Compiling (4 min 32 s): 136 files'
    """
    said = clean(event.detail if isinstance(event, StepEnded) else event.why)
    took = f" ({duration(event.seconds)})" if event.seconds > 0 else ""
    return f"{title}{took}: {said}" if said else f"{title}{took}"


def failure(error: LlamabuildError) -> list[str]:
    """What there is to say about an error beside its message: a tool's last lines, the log, and
    the next step."""
    lines = []
    if isinstance(error, BuildFailed):
        lines += [f"  | {clean(line)}" for line in error.tail.splitlines()]
        if error.cause:
            lines.append(f"cause: {clean(error.cause)}")
        lines += [f"fix: {clean(one)}" for one in error.fix]
        if error.log and error.log not in error.hint:
            lines.append(f"log: {clean(error.log)}")
    if error.hint:
        lines.append(f"next: {clean(error.hint)}")
    return lines


def rates(speed: Speed) -> str:
    """Tokens per second of a prompt and of generation.

    >>> rates(Speed(model="m", threads=2, prompt=1766.4, generate=9.26))
    '1766 / 9.3'
    """
    return " / ".join(
        f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}" for rate in (speed.prompt, speed.generate)
    )


def wheel(artifact: Artifact) -> str:
    """Path of the artifact's wheel by its manifest (the file itself may be gone)."""
    names = (name for name in artifact.manifest.files if name.endswith(".whl"))
    return next((str(artifact.path / name) for name in names), "")


def occupied(artifact: Artifact) -> int:
    """Bytes that the artifact's files take."""
    return sum(file.size for file in artifact.manifest.files.values())


def assert_never(value: NoReturn) -> NoReturn:
    """The end of a ``match`` over a closed union (``typing`` has it from Python 3.11 on)."""
    raise AssertionError(value)
