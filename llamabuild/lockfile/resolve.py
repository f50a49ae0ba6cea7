"""Targets become plans on this machine: what a lock file says, and what would be built today."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from llamabuild import heal, pins, plan
from llamabuild.elsewhere import Target
from llamabuild.errors import ConfigError, LockMismatch
from llamabuild.host import Host
from llamabuild.lockfile import wanted
from llamabuild.lockfile.entries import Locked
from llamabuild.model import Compiler, Pin, Plan, Recipe, Tool
from llamabuild.provide import Means
from llamabuild.recordings import Recording
from llamabuild.request import requested

_HINT = (
    "Use the locked tools (llamabuild lock --tools names them), or renew: llamabuild lock --upgrade"
)


def parts(want: str, recorded: Recording | None, host: Host) -> tuple[Recipe, Target]:
    """What a target's words ask for: a recipe, and the machine that it is for, which is
    ``recorded`` where they name one. Raises ConfigError for words that are not understood."""
    parsed = wanted.parse(want)
    if parsed.machine and recorded is None:
        raise ConfigError(f"target {want!r} lacks its recorded machine", "Lock it again.")
    machine = recorded or wanted.machine(parsed, host)
    return wanted.recipe(parsed), Target(machine=machine)


def planned(want: str, recorded: Recording | None, pin: Pin, means: Means) -> Plan:
    """The plan of a target on this machine. Fetches the tools that are missing for it.

    Raises ConfigError, UnsupportedHardware, ToolMissing, FetchError and what else planning does.
    """
    recipe, target = parts(want, recorded, means.host)
    return requested(recipe, pin, target, means, None).decide(heal.Course())


def locked(one: Locked, decided: Plan, variant: str) -> Locked:
    """A target with what was decided. What came of it stays as long as its key does."""
    key = plan.key(decided)
    same = one.key == key
    system, arch = decided.fingerprint.split("-")[:2]
    return replace(
        one,
        os=system,
        arch=arch,
        variant=variant,
        fingerprint=decided.fingerprint,
        key=key,
        compiler=compiler_in_words(decided.compiler),
        sysroot=decided.sysroot,
        tools=tuple(map(tool_in_words, decided.tools)),
        artifact=one.artifact if same else "",
        wheel=one.wheel if same else "",
    )


def compiler_in_words(compiler: Compiler) -> str:
    """A compiler as lock files name it, with the beginning of its digest: two of one version may be
    made of other files.

    >>> compiler_in_words(Compiler(family="gcc", version="12.2.0", target="x86_64-linux-gnu",
    ...     cc="gcc", cxx="g++", digest="0123456789abcdef"))
    'gcc 12.2.0 x86_64-linux-gnu 0123456789ab'
    """
    return f"{compiler.family} {compiler.version} {compiler.target} {compiler.digest[:12]}"


def tool_in_words(tool: Tool) -> str:
    """A tool as lock files name it.

    >>> tool_in_words(Tool(name="cmake", version="3.31.6", path="/usr/bin/cmake"))
    'cmake 3.31.6'
    """
    return " ".join(word for word in (tool.name, tool.version, tool.digest[:12]) if word)


def pin_of(name: str, sha256: str, commit: str) -> Pin:
    """The pinned source that a lock file names. Raises LockMismatch when this llamabuild has
    another one under that name, or none."""
    known = pins.load_pins()
    found = known.get(name)
    if found is None:
        said = f"this llamabuild has no source {name!r}"
    elif found.sha256 != sha256:
        said = f"the archive of {name} is {found.sha256[:12]} here, {sha256[:12]} there"
    elif found.commit != commit:
        said = f"llama.cpp of {name} is {found.commit} here, {commit} there"
    else:
        return found
    raise LockMismatch(
        said,
        "Use the llamabuild that locked it, or renew: llamabuild lock --upgrade",
        differences=(said,),
    )


class Made(Protocol):
    """What a lock file, or a cell of it, says that something is made with."""

    @property
    def key(self) -> str:
        """What has to come out; empty where nobody knows."""

    @property
    def os(self) -> str:
        """The system that it is for."""

    @property
    def compiler(self) -> str:
        """The compiler, in words."""

    @property
    def sysroot(self) -> str:
        """The C library that it is linked with."""

    @property
    def tools(self) -> tuple[str, ...]:
        """The tools, in words."""


def differences(was: Made, now: Made) -> tuple[str, ...]:
    """What is another here than what was locked, a sentence each; empty when the keys are the same
    or none was locked. What was not written down is not compared. Pure."""
    if not was.key or was.key == now.key:
        return ()
    same = "compiler, C library and tools are the same"
    keys = f"key {now.key[:12]} here, {was.key[:12]} there"
    unknown = f"options or the llamabuild that planned them ({keys}): {same}"
    return tuple(_differences(was, now)) or (unknown,)


def _differences(was: Made, now: Made) -> Iterator[str]:
    pairs = (
        ("compiler", now.compiler, was.compiler),
        ("C library", now.sysroot, was.sysroot),
        ("system", now.os, was.os),
    )
    for word, here, there in pairs:
        if there and here != there:
            yield f"{word}: {here or 'none'} here, {there} there"
    theirs = {one.partition(" ")[0]: one for one in was.tools if one not in now.tools}
    mine = {one.partition(" ")[0]: one for one in now.tools if one not in was.tools}
    for name in dict.fromkeys((*mine, *theirs)) if was.tools else ():
        yield f"{name}: {mine.get(name, 'none')} here, {theirs.get(name, 'none')} there"


def mismatch(differing: tuple[str, ...]) -> LockMismatch:
    """The error for differences, of which there are some."""
    more = f"; … and {len(differing) - 1} more" if len(differing) > 1 else ""
    return LockMismatch(f"{differing[0]}{more}", _HINT, differences=differing)
