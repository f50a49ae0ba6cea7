"""A machine as a value: what it answered, and a host that answers so again."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llamabuild.host.interface import (
    FileSystem,
    Finished,
    Interpreter,
    Limits,
    Memory,
    Service,
    Ulimits,
)

NOT_RECORDED = "this was not recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One answer of a program, as lines. ``code`` is as in :class:`Finished`."""

    command: str
    out: tuple[str, ...] = ()
    err: tuple[str, ...] = ()
    code: int = 0
    timed_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a machine answered to the questions of a probe. Texts are kept as lines.

    ``environ`` are variables that were asked for and set, ``files`` texts that were read,
    ``folders`` the names that were listed in folders, ``exist`` other paths that were found,
    ``programs`` where names were found on PATH. ``said`` holds the answers of programs in order;
    the same command may answer differently when it is run again. Memory and disk are bytes. A
    probe does not ask for the last three.
    """

    os: str
    os_version: str = ""
    arch: str
    libc: str = ""
    physical_cores: int = 1
    logical_cores: int = 1
    cores: int = 1
    memory: int = 0
    memory_available: int = 0
    disk_free: int = 0
    environ: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exist: tuple[str, ...] = ()
    programs: Mapping[str, str] = field(default_factory=dict)
    said: tuple[Said, ...] = ()
    filesystem: FileSystem = field(default_factory=FileSystem)
    ulimits: Ulimits = field(default_factory=Ulimits)
    interpreter: Interpreter = field(default_factory=Interpreter)


def spoken(argv: Sequence[str]) -> str:
    """A command as it is recorded: programs and scripts by name, not by where they are here.

    >>> spoken(["/usr/bin/python3.11", "-I", "-S", "/home/u/llamabuild/backends/cuda_child.py"])
    'python cuda_child.py'
    >>> spoken(["/opt/rocm/bin/rocminfo"]), spoken(["/usr/bin/nvcc", "--dryrun", "x.cu"])
    ('rocminfo', 'nvcc --dryrun x.cu')
    """
    name = os.path.basename(argv[0].replace("\\", "/")).removesuffix(".exe")
    if not name.startswith("python"):
        return " ".join((name, *argv[1:]))
    rest = (word for word in argv[1:] if word not in ("-I", "-S"))
    words = (os.path.basename(word) if word.endswith(".py") else word for word in rest)
    return " ".join(("python", *words))


class _NeverServes:
    """What a machine that is only a value cannot do."""

    def stream(
        self,
        argv: Sequence[str],
        *,
        on_line: Callable[[str], None],  # noqa: ARG002
        log: Path,
        env: Mapping[str, str],  # noqa: ARG002
        cwd: Path | None = None,  # noqa: ARG002
    ) -> int:
        """Like a program that could not be started."""
        log.write_text(f"{spoken(argv)}: {NOT_RECORDED}\n")
        return 127

    def serve(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,  # noqa: ARG002
        limits: Limits,  # noqa: ARG002
    ) -> contextlib.AbstractContextManager[Service]:
        """Raises OSError, like a program that could not be started."""
        raise OSError(f"{spoken(argv)}: {NOT_RECORDED}")

    def attend(self, argv: Sequence[str]) -> tuple[int, bytes]:
        """Raises OSError, like a program that could not be started."""
        raise OSError(f"{spoken(argv)}: {NOT_RECORDED}")


class RecordedHost(_NeverServes):
    """A machine that answers as it once did. What it was not asked then is not there now."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._said: dict[str, list[Said]] = {}
        for one in answers.said:
            self._said.setdefault(one.command, []).append(one)
        self._asked: Counter[str] = Counter()
        self._folders = _folders(answers)

    @property
    def environ(self) -> Mapping[str, str]:
        """See :meth:`Host.environ`."""
        return self._answers.environ

    def system(self) -> tuple[str, str, str]:
        """See :meth:`Host.system`."""
        return self._answers.os, self._answers.os_version, self._answers.arch

    def libc(self) -> str:
        """See :meth:`Host.libc`."""
        return self._answers.libc

    def read_text(self, path: str) -> str | None:
        """See :meth:`Host.read_text`."""
        lines = self._answers.files.get(path)
        return None if lines is None else _text(lines)

    def exists(self, path: str) -> bool:
        """See :meth:`Host.exists`."""
        known = (self._answers.files, self._folders, self._answers.programs.values())
        return any(path in some for some in (*known, self._answers.exist))

    def entries(self, folder: str) -> tuple[str, ...]:
        """See :meth:`Host.entries`."""
        return tuple(sorted(self._folders.get(folder, ())))

    def which(self, name: str) -> str | None:
        """See :meth:`Host.which`."""
        programs = self._answers.programs
        return name if name in programs.values() else programs.get(name)

    def stamp(self, path: str) -> str | None:
        """See :meth:`Host.stamp`."""
        return path if self.exists(path) else None

    def digest(self, path: str) -> str | None:
        """See :meth:`Host.digest`."""
        return self.stamp(path)

    def cores(self) -> tuple[int, int, int]:
        """See :meth:`Host.cores`."""
        return self._answers.physical_cores, self._answers.logical_cores, self._answers.cores

    def memory(self) -> Memory:
        """See :meth:`Host.memory`."""
        return Memory(total=self._answers.memory, available=self._answers.memory_available)

    def disk_free(self, path: Path) -> int:  # noqa: ARG002
        """See :meth:`Host.disk_free`."""
        return self._answers.disk_free

    def filesystem(self, path: Path) -> FileSystem:  # noqa: ARG002
        """See :meth:`Host.filesystem`."""
        return self._answers.filesystem

    def ulimits(self) -> Ulimits:
        """See :meth:`Host.ulimits`."""
        return self._answers.ulimits

    def interpreter(self) -> Interpreter:
        """See :meth:`Host.interpreter`."""
        return self._answers.interpreter

    def run(
        self,
        argv: Sequence[str],
        *,
        limits: Limits,  # noqa: ARG002
        env: Mapping[str, str] | None = None,  # noqa: ARG002
        cwd: Path | None = None,  # noqa: ARG002
        stdin: str = "",  # noqa: ARG002
    ) -> Finished:
        """The recorded answer; asked again, the next one, and the last one from then on."""
        command = spoken(argv)
        answers = self._said.get(command)
        if not answers:
            return Finished(code=127, out="", err=NOT_RECORDED)
        one = answers[min(self._asked[command], len(answers) - 1)]
        self._asked[command] += 1
        return Finished(
            code=one.code, out=_text(one.out), err=_text(one.err), timed_out=one.timed_out
        )


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _folders(answers: Answers) -> dict[str, set[str]]:
    """Every folder that the recorded paths imply, with its names."""
    found = {folder: set(names) for folder, names in answers.folders.items()}
    paths = (*answers.files, *answers.exist, *answers.folders, *answers.programs.values())
    for path in paths:
        parent, name = os.path.split(path)
        while name and name not in found.setdefault(parent, set()):
            found[parent].add(name)
            parent, name = os.path.split(parent)
    return found
