"""Where a finished build is proved, and ways to spoil that: environment, plan, Python packages."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llamabuild import fetch, pins
from llamabuild.events import silent
from llamabuild.host import Finished, Limits, LocalHost, Service
from llamabuild.model import Build
from llamabuild.prove.child import MARKER


class Surroundings(LocalHost):
    """This machine with other ``variables``, a number of ``cores`` (0: its own) and at most
    ``seconds`` for a child (0: what is asked for)."""

    def __init__(
        self, variables: Mapping[str, str] | None = None, *, cores: int = 0, seconds: float = 0
    ) -> None:
        self._variables = dict(variables or {})
        self._cores = cores
        self._seconds = seconds

    @property
    def environ(self) -> Mapping[str, str]:
        return {**os.environ, **self._variables}

    def cores(self) -> tuple[int, int, int]:
        return (self._cores,) * 3 if self._cores else super().cores()

    def _bounded(self, limits: Limits) -> Limits:
        return replace(limits, seconds=min(limits.seconds, self._seconds or limits.seconds))

    def run(
        self,
        argv: Sequence[str],
        *,
        limits: Limits,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
    ) -> Finished:
        bounded = self._bounded(limits)
        return super().run(argv, limits=bounded, env=env or self.environ, cwd=cwd, stdin=stdin)

    @contextlib.contextmanager
    def serve(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, limits: Limits
    ) -> Iterator[Service]:
        bounded = self._bounded(limits)
        with super().serve(argv, env=env or self.environ, limits=bounded) as service:
            yield service

    def with_variables(self, **variables: str) -> Surroundings:
        """The same with more variables."""
        all_of_them = {**self._variables, **variables}
        return Surroundings(all_of_them, cores=self._cores, seconds=self._seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A build ready to be proved. ``folder`` is its own, ``cache`` the cache of sources."""

    build: Build
    python: Path
    host: Surroundings
    folder: Path
    cache: Path
    gpu: bool = False

    @property
    def packages(self) -> Path:
        """``site-packages`` of the environment with the wheel."""
        return next((self.python.parent.parent / "lib").glob("python*/site-packages"))


def foreign_library(subject: Subject, argument: str) -> Subject:
    """A library of another build comes first, through the variable and with the name given as
    ``VARIABLE NAME``. It would even compute: the same code, with one more byte at its end."""
    variable, name = argument.split()
    elsewhere = subject.folder / "elsewhere"
    elsewhere.mkdir()
    data = (subject.build.prefix / "lib" / name).read_bytes()
    (elsewhere / name).write_bytes(data + b"\0")
    value = elsewhere if variable == "LD_LIBRARY_PATH" else elsewhere / name
    return replace(subject, host=subject.host.with_variables(**{variable: str(value)}))


def other_bindings(subject: Subject, argument: str) -> Subject:
    """The Python files of another release of llama-cpp-python beside these libraries."""
    pin = pins.pin(argument)
    source = fetch.fetch(pin, cache=subject.cache, host=LocalHost(), emit=silent)
    package = subject.packages / "llama_cpp"
    for old in [*package.rglob("*.py"), *package.rglob("*.pyc")]:
        old.unlink()
    shutil.copytree(source.root / "llama_cpp", package, dirs_exist_ok=True)
    return subject


def planned_backends(subject: Subject, argument: str) -> Subject:
    """The plan says that other back-ends were built in, and the proof is to use the device."""
    plan = replace(subject.build.plan, backends=tuple(argument.split()))
    return replace(subject, build=replace(subject.build, plan=plan), gpu=True)


def planned_without(subject: Subject, argument: str) -> Subject:
    """The plan allows fewer CPU features (those that do not begin with ``argument``) than the
    machine code uses."""
    features = subject.build.plan.cpu_features
    kept = tuple(name for name in features if not name.startswith(argument))
    plan = replace(subject.build.plan, cpu_features=kept)
    return replace(subject, build=replace(subject.build, plan=plan))


_FORGER = f"""\
import sys
if "child" in " ".join(sys.orig_argv):
    print()
    print({MARKER!r} + '{{"tokens": [5, 6], "devices": ["CPU: forged"], "system": "", "log": ""}}')
    sys.stdout.flush()
    import os
    os._exit(0)
"""


def forged_answer(subject: Subject, argument: str) -> Subject:
    """Python code that runs in every child before it does and prints an answer of its own."""
    del argument
    (subject.packages / "sitecustomize.py").write_text(_FORGER)
    return subject


SURROUNDINGS: Mapping[str, Callable[[Subject, str], Subject]] = {
    "foreign-library": foreign_library,
    "other-bindings": other_bindings,
    "planned-backends": planned_backends,
    "planned-without": planned_without,
    "forged-answer": forged_answer,
}
