"""This machine. The only module that starts processes or asks the operating system."""

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
from pathlib import Path
from typing import IO

from llamabuild import digest
from llamabuild.host import attended, cgroup
from llamabuild.host.interface import (
    FileSystem,
    Finished,
    Interpreter,
    Limits,
    Memory,
    Service,
    Ulimits,
)


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

    def entries(self, folder: str) -> tuple[str, ...]:
        """See :meth:`Host.entries`."""
        try:
            return tuple(sorted(os.listdir(folder)))
        except OSError:
            return ()

    def which(self, name: str) -> str | None:
        """See :meth:`Host.which`."""
        return shutil.which(name)

    def stamp(self, path: str) -> str | None:
        """See :meth:`Host.stamp`."""
        try:
            real = os.path.realpath(path)
            status = os.stat(real)
        except OSError:
            return None
        return f"{real}:{status.st_size}:{status.st_mtime_ns}"

    def digest(self, path: str) -> str | None:
        """See :meth:`Host.digest`."""
        try:
            return digest.of_file(Path(path))
        except OSError:
            return None

    def cores(self) -> tuple[int, int, int]:
        """See :meth:`Host.cores`."""
        import psutil

        logical = psutil.cpu_count(logical=True) or 1
        physical = psutil.cpu_count(logical=False) or logical
        affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
        quota = cgroup.cores(self.read_text)
        usable = min(affinity, max(1, int(quota))) if quota else affinity
        return physical, logical, max(1, usable)

    def memory(self) -> Memory:
        """See :meth:`Host.memory`."""
        import psutil

        machine = psutil.virtual_memory()
        total, used = cgroup.memory(self.read_text)
        if total == 0 or total >= machine.total:
            return Memory(total=machine.total, available=machine.available)
        return Memory(total=total, available=min(machine.available, max(0, total - used)))

    def disk_free(self, path: Path) -> int:
        """See :meth:`Host.disk_free`."""
        return shutil.disk_usage(_there(path)).free

    def filesystem(self, path: Path) -> FileSystem:
        """See :meth:`Host.filesystem`."""
        there = _there(path)
        writable = os.access(there, os.W_OK | os.X_OK)
        if sys.platform == "win32":
            return FileSystem(writable=writable)
        state = os.statvfs(there)
        return FileSystem(
            writable=writable and not state.f_flag & os.ST_RDONLY,
            programs=not state.f_flag & _NOEXEC,
            inodes=state.f_favail if state.f_files else -1,
        )

    def ulimits(self) -> Ulimits:
        """See :meth:`Host.ulimits`."""
        if sys.platform == "win32":
            return Ulimits()
        import resource

        def limit(name: str) -> int:
            kind = getattr(resource, name, None)  # not every system has all of them
            soft = resource.RLIM_INFINITY if kind is None else resource.getrlimit(kind)[0]
            return -1 if soft == resource.RLIM_INFINITY else soft

        return Ulimits(memory=limit("RLIMIT_AS"), locked=limit("RLIMIT_MEMLOCK"))

    def interpreter(self) -> Interpreter:
        """See :meth:`Host.interpreter`."""
        bits = 64 if sys.maxsize > 1 << 32 else 32
        return Interpreter(version=platform.python_version(), bits=bits)

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
        with child, _ended(child, limits.grace):
            _limit_memory(child.pid, limits.memory)
            yield _LocalService(child, limits.seconds)

    def attend(self, argv: Sequence[str]) -> tuple[int, bytes]:
        """See :meth:`Host.attend`."""
        return attended.attend(argv)


_NOEXEC = getattr(os, "ST_NOEXEC", 0)  # Linux tells it, macOS has no such word
_LAST_WORDS = 1.0
"""Seconds to wait for what an ended child wrote; its own children may keep the pipe open."""


class _LocalService:
    """A child whose output is drained by a thread so that it never blocks on a full pipe."""

    def __init__(self, child: subprocess.Popen[bytes], seconds: float) -> None:
        self._child = child
        self._deadline = time.monotonic() + seconds
        self._output: list[str] = []
        self._told = 0
        assert child.stdout is not None
        self._drainer = threading.Thread(target=self._drain, args=(child.stdout,), daemon=True)
        self._drainer.start()

    def _drain(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(ValueError):  # closed while reading: the child was ended
            for raw in stream:
                self._output.append(raw.decode(errors="replace"))

    def code(self) -> int | None:
        """See :meth:`Service.code`."""
        if time.monotonic() > self._deadline:
            _kill_group(self._child)
        code = self._child.poll()
        if code is not None:
            self._drainer.join(_LAST_WORDS)
        return code

    def output(self) -> str:
        """See :meth:`Service.output`."""
        return "".join(self._output)

    def news(self) -> list[str]:
        """See :meth:`Service.news`."""
        fresh = self._output[self._told :]
        self._told += len(fresh)
        return [line.rstrip("\r\n") for line in fresh]


def end_with(parent: int) -> None:
    """End this process as SIGTERM does when its parent, the process ``parent``, is gone: who is
    killed cannot end its children. Only where there are signals and orphans (POSIX)."""
    if os.name != "posix":
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOKS)
        main = threading.main_thread().ident
        if main:  # to the thread that waits for a compiler: any other would not wake it
            signal.pthread_kill(main, signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


_LOOKS = 0.5
"""Seconds between looks at who the parent is."""


def _there(path: Path) -> Path:
    """The path, or its nearest parent that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


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
def _ended(child: subprocess.Popen[bytes], grace: float = 0.0) -> Iterator[None]:
    """Whatever happens inside (Ctrl-C too), the child and its children are gone afterwards. With
    ``grace`` seconds it can end its own children first, which may be in groups of their own."""
    try:
        yield
    finally:
        if grace and child.poll() is None:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(grace)
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
