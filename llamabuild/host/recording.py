"""Taking notes of a machine: another host, and everything that it answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from llamabuild.host.interface import (
    FileSystem,
    Finished,
    Host,
    Interpreter,
    Limits,
    Memory,
    Service,
    Ulimits,
)
from llamabuild.host.recorded import Answers, Said, spoken


class _Watched(Mapping[str, str]):
    """An environment that notes which variables are asked for."""

    def __init__(self, environ: Mapping[str, str], seen: dict[str, str]) -> None:
        self._environ = environ
        self._seen = seen

    def __getitem__(self, name: str) -> str:
        value = self._environ[name]
        self._seen[name] = value
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)


class RecordingHost:
    """Another host, and notes of everything that it answers."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._environ: dict[str, str] = {}
        self._files: dict[str, tuple[str, ...]] = {}
        self._found: dict[str, tuple[str, ...]] = {}
        self._exist: dict[str, None] = {}
        self._programs: dict[str, str] = {}
        self._said: list[Said] = []
        self._disk = 0

    def answers(self) -> Answers:
        """What was answered so far."""
        system, version, arch = self._host.system()
        physical, logical, usable = self._host.cores()
        memory = self._host.memory()
        return Answers(
            os=system,
            os_version=version,
            arch=arch,
            libc=self._host.libc(),
            physical_cores=physical,
            logical_cores=logical,
            cores=usable,
            memory=memory.total,
            memory_available=memory.available,
            disk_free=self._disk,
            environ=self._environ,
            files=self._files,
            folders=self._found,
            exist=tuple(self._exist),
            programs=self._programs,
            # Several may be asked at once; what one command said stays in order.
            said=tuple(sorted(self._said, key=lambda one: one.command)),
        )

    @property
    def environ(self) -> Mapping[str, str]:
        """See :meth:`Host.environ`."""
        return _Watched(self._host.environ, self._environ)

    def read_text(self, path: str) -> str | None:
        """See :meth:`Host.read_text`."""
        text = self._host.read_text(path)
        if text is not None:
            self._files[path] = tuple(text.splitlines())
        return text

    def exists(self, path: str) -> bool:
        """See :meth:`Host.exists`."""
        found = self._host.exists(path)
        if found:
            self._exist[path] = None
        return found

    def entries(self, folder: str) -> tuple[str, ...]:
        """See :meth:`Host.entries`."""
        names = self._host.entries(folder)
        if names:
            self._found[folder] = names
        return names

    def which(self, name: str) -> str | None:
        """See :meth:`Host.which`."""
        path = self._host.which(name)
        if path:
            self._programs[name] = path
        return path

    def disk_free(self, path: Path) -> int:
        """See :meth:`Host.disk_free`."""
        self._disk = self._host.disk_free(path)
        return self._disk

    def filesystem(self, path: Path) -> FileSystem:
        """See :meth:`Host.filesystem`; not noted."""
        return self._host.filesystem(path)

    def ulimits(self) -> Ulimits:
        """See :meth:`Host.ulimits`; not noted."""
        return self._host.ulimits()

    def interpreter(self) -> Interpreter:
        """See :meth:`Host.interpreter`; not noted."""
        return self._host.interpreter()

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
        done = self._host.run(argv, limits=limits, env=env, cwd=cwd, stdin=stdin)
        self._said.append(
            Said(
                command=spoken(argv),
                out=tuple(done.out.splitlines()),
                err=tuple(done.err.splitlines()),
                code=done.code,
                timed_out=done.timed_out,
            )
        )
        return done

    def system(self) -> tuple[str, str, str]:
        """See :meth:`Host.system`."""
        return self._host.system()

    def libc(self) -> str:
        """See :meth:`Host.libc`."""
        return self._host.libc()

    def stamp(self, path: str) -> str | None:
        """See :meth:`Host.stamp`."""
        return self._host.stamp(path)

    def digest(self, path: str) -> str | None:
        """See :meth:`Host.digest`."""
        return self._host.digest(path)

    def cores(self) -> tuple[int, int, int]:
        """See :meth:`Host.cores`."""
        return self._host.cores()

    def memory(self) -> Memory:
        """See :meth:`Host.memory`."""
        return self._host.memory()

    def stream(
        self,
        argv: Sequence[str],
        *,
        on_line: Callable[[str], None],
        log: Path,
        env: Mapping[str, str],
        cwd: Path | None = None,
    ) -> int:
        """See :meth:`Host.stream`; not noted."""
        return self._host.stream(argv, on_line=on_line, log=log, env=env, cwd=cwd)

    def serve(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, limits: Limits
    ) -> contextlib.AbstractContextManager[Service]:
        """See :meth:`Host.serve`; not noted."""
        return self._host.serve(argv, env=env, limits=limits)

    def attend(self, argv: Sequence[str]) -> tuple[int, bytes]:
        """See :meth:`Host.attend`; not noted."""
        return self._host.attend(argv)
