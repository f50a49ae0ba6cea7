"""Room: memory for compilers, disk for what they make, and paths that tools can bear."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from llamabuild import build
from llamabuild.backends import BACKENDS
from llamabuild.checks.findings import BUILD, Finding, Situation, note, ok, problem, warning
from llamabuild.host import cgroup

_MIB: Final = 1 << 20
_TEMPORARY: Final = 200 * _MIB
"""Bytes: what a few compilers put there at once."""
_INODES: Final = 20_000
"""An unpacked source has 4500 files, a build 1500, the environment of a proof 6000."""
_ADDRESSES: Final = 8 << 30
"""Address space of a child of the proof (:data:`llamabuild.prove.inference.MEMORY`)."""
_WINDOWS_PATH: Final = 259
_LONGEST: Final = 190
"""Characters below the cache of the longest path of a build: the key, CMake's folders and the
longest name of an object file."""
_SOON: Final = 4
"""Room for fewer builds than this will soon be none."""


def memory(situation: Situation) -> Iterator[Finding]:
    """What compilers may take, and limits that programs run into."""
    hardware, host = situation.hardware, situation.host
    names = _built(situation)
    most = max(BACKENDS[name].TRAITS.memory for name in names)
    free, cores = hardware.memory_available, hardware.cores
    jobs = build.jobs(cores, free, names)
    limit = cgroup.memory(host.read_text)[0]
    whose = "this container or session" if limit and limit <= hardware.memory else "this machine"
    words = f"{_size(free)} are free in {whose}; the hungriest compiler takes about {_size(most)}"
    if free < most:
        step = (
            "Close programs, add swap or raise the limit; llamabuild runs one compiler at a time."
        )
        yield warning("memory", words, step, "oom-compiler-killed")
    elif jobs < cores:
        yield note("memory", f"{words}: {jobs} compilers at once for {cores} cores", "")
    else:
        yield ok("memory", words)
    yield from _ulimits(situation)


def _built(situation: Situation) -> tuple[str, ...]:
    """The back-ends that a build here would have, at most."""
    used = {one.backend for one in situation.hardware.devices if not one.lacks}
    by_itself = used - {one.backend for one in situation.hardware.devices if one.kind == "network"}
    return tuple(name for name in BACKENDS if name in by_itself | {"cpu"})


def _ulimits(situation: Situation) -> Iterator[Finding]:
    limits = situation.host.ulimits()
    if 0 <= limits.memory < _ADDRESSES:
        why = f"ulimit -v allows {_size(limits.memory)} of address space: models are mapped whole"
        step = "Run: ulimit -v unlimited"
        yield warning("memory", why, step, "mmap-failed", "oom-compiler-killed")
    if situation.system == "linux" and 0 <= limits.locked < 64 * _MIB:
        why = f"ulimit -l allows {_size(limits.locked)} of locked memory: --mlock has no effect"
        yield note("memory", why, "To use --mlock: ulimit -l unlimited (as root)", "mlock-failed")


def disk(situation: Situation) -> Iterator[Finding]:
    """Room and files in the cache, and what else the temporary folder must give."""
    host, cache = situation.host, situation.cache
    yield from _folder(situation, cache, build.DISK_NEEDED, "the cache", "LLAMABUILD_CACHE")
    temporary = Path(_temporary(situation))
    if host.exists(str(temporary)):
        yield from _folder(
            situation, temporary, _TEMPORARY, "the folder for temporary files", "TMPDIR"
        )
    yield ok("disk", f"{_size(host.disk_free(cache))} are free for {cache}")


def _temporary(situation: Situation) -> str:
    environ = situation.host.environ
    named = next(filter(None, map(environ.get, ("TMPDIR", "TEMP", "TMP"))), "")
    return named or ("C:/Windows/Temp" if situation.system == "windows" else "/tmp")  # noqa: S108 - asked, not used


def _folder(
    situation: Situation, folder: Path, need: int, what: str, variable: str
) -> Iterator[Finding]:
    host = situation.host
    free, state = host.disk_free(folder), host.filesystem(folder)
    step = f"Free some space, or point {variable} to another disk."
    if free < need:
        why = f"{what}, {folder}, has {_size(free)} free; a build needs about {_size(need)}"
        yield problem("disk", why, step, "no-space-left", blocks=(BUILD,))
    elif free < _SOON * need:
        yield note("disk", f"{what}, {folder}, has only {_size(free)} free", step, "no-space-left")
    if 0 <= state.inodes < _INODES:
        why = f"{what}, {folder}, has room for {state.inodes} more files; a build needs {_INODES}"
        yield problem("disk", why, step, "no-space-left", blocks=(BUILD,))
    if variable == "LLAMABUILD_CACHE":  # what else may be wrong with it, the store says
        return
    if not state.programs:
        why = f"{what}, {folder}, is mounted noexec: nothing that is made there can be started"
        step = f"Point {variable} to a folder without noexec, or: mount -o remount,exec"
        yield warning("disk", why, step, "compiler-broken-simple-test")
    if not state.writable:
        why = f"{what}, {folder}, cannot be written"
        yield problem("disk", why, f"Point {variable} to another folder.", blocks=(BUILD,))


def paths(situation: Situation) -> Iterator[Finding]:
    """Characters and lengths in paths that compilers and CMake stumble over."""
    cache = str(situation.cache)
    places = {"the cache": cache, "the folder for temporary files": _temporary(situation)}
    if situation.system == "windows":
        room = _WINDOWS_PATH - _LONGEST
        if len(cache) > room:
            why = f"{cache} has {len(cache)} characters; builds below it pass the {_WINDOWS_PATH}"
            step = f"Point LLAMABUILD_CACHE to a path of at most {room} characters, such as C:\\lb."
            yield problem("paths", why, step, "win-path-too-long", blocks=(BUILD,))
    for what, path in places.items():
        if not path.isascii():
            step = "Where a tool stumbles over it: choose one of plain letters."
            yield note("paths", f"{what}, {path}, has letters beyond ASCII", step)
        if re.search(r"\s", path):
            step = "Where a tool stumbles over it: choose one without."
            yield note("paths", f"{what}, {path}, has a blank in it", step)
    for folder in situation.host.environ.get("PATH", "").split(os.pathsep):
        if folder == ".":
            yield note("paths", "PATH has the current folder in it", "Take `.` out of PATH.")


def _size(count: int) -> str:
    """Bytes in a few words."""
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count >> 20} MiB"
