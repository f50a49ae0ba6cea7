"""Targets become plans on this machine: what a lock file says, and what would be built today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

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

_WORDS: Mapping[str, str] = {
    "compiler": "the compiler",
    "sysroot": "the C library",
    "tools": "the tools",
    "fingerprint": "what it is for",
}
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


def differences(name: str, was: Locked, now: Locked) -> tuple[str, ...]:
    """What is another today than when it was locked, a sentence each; empty when the keys are the
    same. ``name`` is the target's. Pure."""
    if was.key == now.key:
        return ()
    values = [(word, getattr(was, one), getattr(now, one)) for one, word in _WORDS.items()]
    return tuple(
        f"{name}: {word} was {_shown(then)}, here it is {_shown(today)}"
        for word, then, today in values
        if then != today
    ) or (f"{name}: its options or sources are others (key {was.key[:12]}, here {now.key[:12]})",)


def mismatch(differing: tuple[str, ...]) -> LockMismatch:
    """The error for differences, of which there are some."""
    more = f"; … and {len(differing) - 1} more" if len(differing) > 1 else ""
    return LockMismatch(f"{differing[0]}{more}", _HINT, differences=differing)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value) or "nothing"
