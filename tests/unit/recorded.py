"""A machine that answers from recorded texts: it stands for the machine, never for tested code."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from llamabuild.host import Finished, Limits, Memory, Service


class RecordedHost:
    """``files`` maps paths to texts, ``programs`` names to paths, ``answers`` a part of a command
    line to what it gives; the first that fits is taken. ``started`` is what was run."""

    def __init__(
        self,
        *,
        files: Mapping[str, str] | None = None,
        programs: Mapping[str, str] | None = None,
        answers: Mapping[str, Finished | str] | None = None,
        environ: Mapping[str, str] | None = None,
        os: str = "linux",
    ) -> None:
        self._files = {**(files or {}), **dict.fromkeys((programs or {}).values(), "\x7fELF")}
        self._programs = programs or {}
        self._answers = answers or {}
        self._environ = environ or {}
        self._os = os
        self.started: list[str] = []

    @property
    def environ(self) -> Mapping[str, str]:
        return self._environ

    def system(self) -> tuple[str, str, str]:
        return self._os, "6.1", "x86_64"

    def libc(self) -> str:
        return "glibc 2.36"

    def read_text(self, path: str) -> str | None:
        return self._files.get(path)

    def exists(self, path: str) -> bool:
        return path in self._files or any(name.startswith(f"{path}/") for name in self._files)

    def entries(self, folder: str) -> tuple[str, ...]:
        below = (name[len(folder) + 1 :] for name in self._files if name.startswith(f"{folder}/"))
        return tuple(sorted({name.partition("/")[0] for name in below}))

    def which(self, name: str) -> str | None:
        return name if name in self._programs.values() else self._programs.get(name)

    def stamp(self, path: str) -> str | None:
        return path if path in self._files else None

    def digest(self, path: str) -> str | None:
        return path if path in self._files else None

    def cores(self) -> tuple[int, int, int]:
        return 2, 2, 2

    def memory(self) -> Memory:
        return Memory(total=8 << 30, available=6 << 30)

    def disk_free(self, path: Path) -> int:
        return 50 << 30

    def run(
        self,
        argv: Sequence[str],
        *,
        limits: Limits,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
    ) -> Finished:
        command = " ".join(argv)
        self.started.append(command)
        for part, answer in self._answers.items():
            if part in command:
                return Finished(code=0, out=answer, err="") if isinstance(answer, str) else answer
        return Finished(code=127, out="", err="not recorded")

    def stream(
        self,
        argv: Sequence[str],
        *,
        on_line: Callable[[str], None],
        log: Path,
        env: Mapping[str, str],
        cwd: Path | None = None,
    ) -> int:
        raise NotImplementedError

    def serve(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, limits: Limits
    ) -> contextlib.AbstractContextManager[Service]:
        raise NotImplementedError

    def become(self, argv: Sequence[str]) -> int:
        raise NotImplementedError
