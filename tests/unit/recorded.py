"""A machine that answers from recorded texts: it stands for the machine, never for tested code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from llamabuild import host
from llamabuild.host import Answers, Finished, Limits


class RecordedHost(host.RecordedHost):
    """A recorded machine in few words. ``files`` maps paths to texts, ``programs`` names to paths,
    ``answers`` a part of a command line to what it gives; the first that fits is taken.
    ``started`` is what was run."""

    def __init__(
        self,
        *,
        files: Mapping[str, str] | None = None,
        programs: Mapping[str, str] | None = None,
        answers: Mapping[str, Finished | str] | None = None,
        environ: Mapping[str, str] | None = None,
        os: str = "linux",
    ) -> None:
        self._texts = files or {}
        self._parts = answers or {}
        self.started: list[str] = []
        super().__init__(
            Answers(
                os=os,
                os_version="6.1",
                arch="x86_64",
                libc="glibc 2.36",
                physical_cores=2,
                logical_cores=2,
                cores=2,
                memory=8 << 30,
                memory_available=6 << 30,
                disk_free=50 << 30,
                environ=environ or {},
                exist=tuple(self._texts),
                programs=programs or {},
            )
        )

    def read_text(self, path: str) -> str | None:
        return self._texts.get(path)

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
        for part, answer in self._parts.items():
            if part in command:
                return Finished(code=0, out=answer, err="") if isinstance(answer, str) else answer
        return Finished(code=127, out="", err="not recorded")
