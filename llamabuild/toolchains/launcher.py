"""A compiler cache, if it works: ccache or sccache, tried on one small file before a long build.

A cache makes builds short and must never break one. ccache goes on alone when the remote storage
that it is told to use cannot be reached, but would wait for it at every file; sccache does not even
start then.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from llamabuild.host import Host, Limits
from llamabuild.model import Compiler, Tool
from llamabuild.toolchains import sccache

_LIMITS: Final = Limits(seconds=30)
_BASE: Final = "CCACHE_BASEDIR"
_BROKEN: Final = ("remote_storage_error", "remote_storage_timeout")
"""What ccache notes of a compile whose remote storage did not answer (ccache's manual,
``stats_log``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """What compilers are started with (empty: nothing), in which environment, and what is wrong
    with it, in words."""

    path: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    doubt: str = ""


NO_LAUNCHER: Final = Launcher()


def within(chosen: Launcher, folder: Path, host: Host) -> Launcher:
    """The launcher for a build in ``folder``. What CMake writes there (several sources in one unit)
    is compiled under another path by every build, and would be found by none: ccache leaves the
    folder out of what it compares."""
    if not chosen.path or _BASE in host.environ:
        return chosen
    return replace(chosen, environment=(*chosen.environment, (_BASE, str(folder))))


def tried(tool: Tool | None, compiler: Compiler, *, host: Host, scratch: Path) -> Launcher:
    """The launcher for a build, after it has compiled one file in ``scratch``."""
    if tool is None:
        return NO_LAUNCHER
    source, notes = scratch / "launcher.c", scratch / "launcher.log"
    source.write_text(f"/* {os.urandom(8).hex()} */ int nothing;\n")  # not in any cache yet
    ended = host.run(
        [tool.path, compiler.cc, "-c", str(source), "-o", str(source.with_suffix(".o"))],
        limits=_LIMITS,
        env={**host.environ, "CCACHE_STATSLOG": str(notes)},
        cwd=scratch,
    )
    if ended.code != 0:
        why = "it did not answer in time" if ended.timed_out else _said(ended.err or ended.out)
        return Launcher(doubt=f"{tool.name} is not used: {sccache.redacted(why, host.environ)}")
    if notes.exists() and set(notes.read_text().split()) & set(_BROKEN):
        return Launcher(
            path=tool.path,
            environment=(("CCACHE_REMOTE_STORAGE", ""),),
            doubt=f"{tool.name} cannot reach its remote storage and goes on without it",
        )
    return Launcher(path=tool.path)


def _said(text: str) -> str:
    """What is telling in what it said: the line of the error, which advice may follow.

    >>> _said("sccache: error: Server startup failed\\n\\nRun with SCCACHE_LOG=debug")
    'sccache: error: Server startup failed'
    """
    lines = text.strip().splitlines()
    return next((line for line in lines if "error:" in line), lines[-1] if lines else "it failed")
