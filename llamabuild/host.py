"""The keyhole: the only module that starts processes or asks the operating system.

Everything else takes a :class:`Host` as an argument. ``psutil`` answers what it knows (cores,
memory); cgroup limits it does not know and they are read here.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a child may take: wall-clock ``seconds`` and address space in bytes (0 = no limit)."""

    seconds: float
    memory: int = 0


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


class Service(Protocol):
    """A running child, ended when its context closes."""

    def code(self) -> int | None:
        """Exit code, or None while it runs."""

    def output(self) -> str:
        """What it has printed so far (stdout and stderr)."""


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

    def which(self, name: str) -> str | None:
        """The full path of a program, or None."""

    def cores(self) -> tuple[int, int, int]:
        """Physical cores, logical cores, and cores this process may use (at least 1)."""

    def memory(self) -> Memory:
        """Memory of the machine or of the cgroup, whichever is smaller."""

    def disk_free(self, path: Path) -> int:
        """Free bytes on the file system that holds ``path`` (or its nearest parent)."""

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


class LocalHost:
    """This machine."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment of this process."""
        return os.environ

    def system(self) -> tuple[str, str, str]:
        """See :meth:`Host.system`."""
        names = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}
        machines = {"AMD64": "x86_64", "amd64": "x86_64", "arm64": "aarch64", "ARM64": "aarch64"}
        system, machine = platform.system(), platform.machine()
        release = platform.mac_ver()[0] if system == "Darwin" else platform.release()
        return names.get(system, system.lower()), release, machines.get(machine, machine)

    def libc(self) -> str:
        """See :meth:`Host.libc`."""
        name, version = platform.libc_ver()
        if name:
            return f"{name} {version}"
        musl = next(Path("/lib").glob("ld-musl-*.so.1"), None)
        return "musl" if musl else ""

    def read_text(self, path: str) -> str | None:
        """See :meth:`Host.read_text`."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """See :meth:`Host.exists`."""
        return os.path.exists(path)

    def which(self, name: str) -> str | None:
        """See :meth:`Host.which`."""
        return shutil.which(name)

    def cores(self) -> tuple[int, int, int]:
        """See :meth:`Host.cores`."""
        import psutil

        logical = psutil.cpu_count(logical=True) or 1
        physical = psutil.cpu_count(logical=False) or logical
        affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
        quota = cgroup_cores(self.read_text)
        usable = min(affinity, max(1, int(quota))) if quota else affinity
        return physical, logical, max(1, usable)

    def memory(self) -> Memory:
        """See :meth:`Host.memory`."""
        import psutil

        machine = psutil.virtual_memory()
        total, used = cgroup_memory(self.read_text)
        if total == 0 or total >= machine.total:
            return Memory(total=machine.total, available=machine.available)
        return Memory(total=total, available=min(machine.available, max(0, total - used)))

    def disk_free(self, path: Path) -> int:
        """See :meth:`Host.disk_free`."""
        while not path.exists() and path != path.parent:
            path = path.parent
        return shutil.disk_usage(path).free

    def run(
        self,
        argv: Sequence[str],
        *,
        limits: Limits,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
    ) -> Finished:
        """See :meth:`Host.run`."""
        try:
            child = _popen(argv, env=env, cwd=cwd, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        except OSError as error:
            return Finished(code=127, out="", err=str(error))
        with child, _ended(child):
            _limit_memory(child.pid, limits.memory)
            try:
                out, err = child.communicate(stdin.encode(), timeout=limits.seconds)
                timed_out = False
            except subprocess.TimeoutExpired:
                _kill_group(child)
                out, err = child.communicate()
                timed_out = True
        return Finished(
            code=child.returncode,
            out=out.decode(errors="replace"),
            err=err.decode(errors="replace"),
            timed_out=timed_out,
        )

    def stream(
        self,
        argv: Sequence[str],
        *,
        on_line: Callable[[str], None],
        log: Path,
        env: Mapping[str, str],
        cwd: Path | None = None,
    ) -> int:
        """See :meth:`Host.stream`."""
        with log.open("ab") as transcript:
            transcript.write(("$ " + " ".join(argv) + "\n").encode())
            try:
                child = _popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL)
            except OSError as error:
                transcript.write(f"{error}\n".encode())
                on_line(str(error))
                return 127
            with child, _ended(child):
                assert child.stdout is not None
                for raw in child.stdout:
                    transcript.write(raw)
                    on_line(raw.decode(errors="replace").rstrip("\r\n"))
                return child.wait()

    @contextlib.contextmanager
    def serve(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, limits: Limits
    ) -> Iterator[Service]:
        """See :meth:`Host.serve`. ``limits.seconds`` bounds the whole life of the child."""
        child = _popen(argv, env=env, cwd=None, stdin=subprocess.DEVNULL)
        with child, _ended(child):
            _limit_memory(child.pid, limits.memory)
            yield _LocalService(child, limits.seconds)


class _LocalService:
    """A child whose output is drained by a thread so that it never blocks on a full pipe."""

    def __init__(self, child: subprocess.Popen[bytes], seconds: float) -> None:
        self._child = child
        self._deadline = time.monotonic() + seconds
        self._output: list[str] = []
        assert child.stdout is not None
        threading.Thread(target=self._drain, args=(child.stdout,), daemon=True).start()

    def _drain(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(ValueError):  # closed while reading: the child was ended
            for raw in stream:
                self._output.append(raw.decode(errors="replace"))

    def code(self) -> int | None:
        """See :meth:`Service.code`."""
        if time.monotonic() > self._deadline:
            _kill_group(self._child)
            return self._child.wait()
        return self._child.poll()

    def output(self) -> str:
        """See :meth:`Service.output`."""
        return "".join(self._output)


def signal_name(code: int) -> str:
    """The name of the signal behind a negative exit code, or an empty string.

    >>> signal_name(-4), signal_name(0)
    ('SIGILL', '')
    """
    try:
        return signal.Signals(-code).name if code < 0 else ""
    except ValueError:
        return f"signal {-code}"


def cgroup_memory(read: Callable[[str], str | None]) -> tuple[int, int]:
    """Limit and use in bytes of this cgroup (version 2, else 1); limit 0 means none."""
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        text = (read(limit) or "").strip()
        if text.isdigit():
            return int(text), int((read(used) or "0").strip() or 0)
    return 0, 0


def cgroup_cores(read: Callable[[str], str | None]) -> float:
    """Cores that the cgroup's CPU quota allows, as a fraction; 0 means no quota."""
    words = (read("/sys/fs/cgroup/cpu.max") or "").split()
    if not words:
        quota = (read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") or "").strip()
        period = (read("/sys/fs/cgroup/cpu/cpu.cfs_period_us") or "").strip()
        words = [quota, period]
    if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]) > 0:
        return int(words[0]) / int(words[1])
    return 0.0


def python() -> str:
    """The Python that runs this program."""
    return sys.executable


def _popen(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    stdin: int,
    stderr: int = subprocess.STDOUT,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that it can be ended with its children."""
    return subprocess.Popen(
        list(argv),
        env=None if env is None else dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=os.name == "posix",
    )


@contextlib.contextmanager
def _ended(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Whatever happens inside (Ctrl-C too), the child and its children are gone afterwards."""
    try:
        yield
    finally:
        if child.poll() is None:
            _kill_group(child)


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    child.wait()


def _limit_memory(pid: int, limit: int) -> None:
    """Bound the child's address space. Linux only: elsewhere a running child cannot be limited."""
    if limit and sys.platform == "linux":
        import resource

        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
