"""What may be asked of a machine, and the values it answers with."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a child may take: wall-clock ``seconds`` and address space in bytes (0 = no limit).
    ``grace`` are the seconds that a served child has to end by itself before it is killed."""

    seconds: float
    memory: int = 0
    grace: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a process ended. ``code`` is negative for a signal, 127 when it could not start."""

    code: int
    out: str
    err: str
    timed_out: bool = False

    @property
    def signal(self) -> str:
        """The name of the signal that ended it ("SIGILL"), or an empty string."""
        return signal_name(self.code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of memory this process may use in all, and what is free of it now."""

    total: int
    available: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """What holds a folder. ``writable`` is False when this user may not write there, ``programs``
    when nothing may be started from there (noexec); ``inodes`` are the files that it has room for
    (-1: it does not count them, or it is not known)."""

    writable: bool = True
    programs: bool = True
    inodes: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ulimits:
    """What this process and its children may take, in bytes: ``memory`` is address space,
    ``locked`` what may be kept from being swapped out. -1 is no limit, or none that is known."""

    memory: int = -1
    locked: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """The Python that runs this program: its version ("3.11.2", empty where that is not known) and
    the ``bits`` of its pointers."""

    version: str = ""
    bits: int = 64


class Service(Protocol):
    """A running child, ended when its context closes."""

    def code(self) -> int | None:
        """Exit code, or None while it runs; what an ended child printed is all there then."""

    def output(self) -> str:
        """What it has printed so far (stdout and stderr)."""

    def news(self) -> list[str]:
        """The lines that it has printed since this was last asked."""


class Host(Protocol):
    """What may be asked of a machine."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment of this process."""

    def system(self) -> tuple[str, str, str]:
        """Operating system ("linux", "macos", "windows"), its version, and the processor
        architecture in one spelling ("x86_64", "aarch64", "riscv64" …)."""

    def libc(self) -> str:
        """The C library, as "glibc 2.36" or "musl 1.2", or an empty string."""

    def read_text(self, path: str) -> str | None:
        """The text of a file, or None when it cannot be read."""

    def exists(self, path: str) -> bool:
        """True when the path exists."""

    def entries(self, folder: str) -> tuple[str, ...]:
        """The names in a folder, sorted; none when it cannot be read."""

    def which(self, name: str) -> str | None:
        """The full path of a program, or None."""

    def stamp(self, path: str) -> str | None:
        """A text that changes when the file does (real path, size, time), or None."""

    def digest(self, path: str) -> str | None:
        """SHA-256 of a file, or None when it cannot be read."""

    def cores(self) -> tuple[int, int, int]:
        """Physical cores, logical cores, and cores this process may use (at least 1)."""

    def memory(self) -> Memory:
        """Memory of the machine or of the cgroup, whichever is smaller."""

    def disk_free(self, path: Path) -> int:
        """Free bytes on the file system that holds ``path`` (or its nearest parent)."""

    def filesystem(self, path: Path) -> FileSystem:
        """What holds ``path`` (or its nearest parent)."""

    def ulimits(self) -> Ulimits:
        """Limits of this process."""

    def interpreter(self) -> Interpreter:
        """The Python that runs this program."""

    def run(
        self,
        argv: Sequence[str],
        *,
        limits: Limits,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
    ) -> Finished:
        """Run to the end and capture. Never raises for what the child does."""

    def stream(
        self,
        argv: Sequence[str],
        *,
        on_line: Callable[[str], None],
        log: Path,
        env: Mapping[str, str],
        cwd: Path | None = None,
    ) -> int:
        """Run to the end, giving each output line to ``on_line`` and appending it to ``log``."""

    def serve(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, limits: Limits
    ) -> contextlib.AbstractContextManager[Service]:
        """Start a child that is ended, with all its children, when the context closes."""

    def attend(self, argv: Sequence[str]) -> tuple[int, bytes]:
        """Let a program have the terminal; its exit code, and the end of what it said on stderr.
        Raises OSError when it cannot be started."""


def signal_name(code: int) -> str:
    """The name of the signal behind a negative exit code, or an empty string.

    >>> signal_name(-4), signal_name(0)
    ('SIGILL', '')
    """
    try:
        return signal.Signals(-code).name if code < 0 else ""
    except ValueError:
        return f"signal {-code}"
