"""A recorded machine that borrows the tools of this one.

Devices, drivers, processor and memory are the recorded machine's; toolkits, headers and libraries
to link with are those that are here. Which question goes where is data (``cross.toml``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import msgspec

from llamabuild import data
from llamabuild.host import Answers, Finished, Host, Limits, RecordedHost
from llamabuild.toolchains.cross import TABLE


class _Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the recorded machine is asked for, where ``cross.toml`` explains it."""

    programs: tuple[str, ...]
    paths: tuple[str, ...]
    variables: tuple[str, ...]


@cache
def _machine() -> _Machine:
    return msgspec.convert(data.load(TABLE)["machine"], _Machine)


def is_program(path: str) -> bool:
    """True for a program that tells about the machine.

    >>> is_program("/opt/rocm/bin/rocminfo"), is_program("/usr/bin/python3.11"), is_program("nvcc")
    (True, True, False)
    """
    name = os.path.basename(path.replace("\\", "/")).removesuffix(".exe")
    return name in _machine().programs or name.startswith("python")


def is_path(path: str) -> bool:
    """True for a path that tells about the machine.

    >>> is_path("/dev/kfd"), is_path("/usr/lib/libvulkan.so.1"), is_path("/usr/lib/libvulkan.so")
    (True, True, False)
    """
    return is_program(path) or any(re.search(one, path) for one in _machine().paths)


def is_variable(name: str) -> bool:
    """True for a variable that tells about the machine.

    >>> is_variable("CUDA_VISIBLE_DEVICES"), is_variable("CUDA_HOME")
    (True, False)
    """
    return any(re.search(one, name) for one in _machine().variables)


class BorrowingHost(RecordedHost):
    """A recorded machine whose questions about tools are answered by another host."""

    def __init__(self, answers: Answers, lender: Host) -> None:
        super().__init__(answers)
        self._lender = lender

    @property
    def environ(self) -> Mapping[str, str]:
        """See :meth:`Host.environ`."""
        theirs = {name: value for name, value in super().environ.items() if is_variable(name)}
        ours = self._lender.environ.items()
        return {name: value for name, value in ours if not is_variable(name)} | theirs

    def libc(self) -> str:
        """The C library that is linked with, which is the lender's."""
        return self._lender.libc()

    def read_text(self, path: str) -> str | None:
        """See :meth:`Host.read_text`."""
        return super().read_text(path) if is_path(path) else self._lender.read_text(path)

    def exists(self, path: str) -> bool:
        """See :meth:`Host.exists`."""
        return super().exists(path) if is_path(path) else self._lender.exists(path)

    def entries(self, folder: str) -> tuple[str, ...]:
        """See :meth:`Host.entries`."""
        return super().entries(folder) if is_path(folder) else self._lender.entries(folder)

    def which(self, name: str) -> str | None:
        """See :meth:`Host.which`."""
        return super().which(name) if is_program(name) else self._lender.which(name)

    def stamp(self, path: str) -> str | None:
        """See :meth:`Host.stamp`."""
        return super().stamp(path) if is_path(path) else self._lender.stamp(path)

    def digest(self, path: str) -> str | None:
        """See :meth:`Host.digest`."""
        return super().digest(path) if is_path(path) else self._lender.digest(path)

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
        if is_program(argv[0]):
            return super().run(argv, limits=limits)
        return self._lender.run(argv, limits=limits, env=env, cwd=cwd, stdin=stdin)
