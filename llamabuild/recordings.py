"""Recorded machines: what one answered to a probe, as a file that can be planned for anywhere.

A recording holds answers, not conclusions, so that a better probe concludes better from the same
file. Only compilers are kept as what was learned about them. Whatever tells one machine or its
owner from another (serial numbers, UUIDs, user and host names, addresses) is dropped on the way in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from llamabuild import probe, toolchains
from llamabuild.backends import cpu
from llamabuild.errors import ConfigError
from llamabuild.host import Answers, Host, RecordedHost, RecordingHost
from llamabuild.model import Absence, Compiler, Hardware, Tool, Toolchain, Verdict
from llamabuild.toolchains import facts

VERSION: Final = 1
_NO_COMPILER: Final = "no compiler was recorded"


class KnownCompiler(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recorded compiler. Without ``accepts`` (a machine that was described, not recorded) the
    table of minimum versions says what it compiles for."""

    family: str
    version: str
    target: str = ""
    cc: str = ""
    cxx: str = ""
    digest: str = ""
    accepts: tuple[str, ...] | None = None
    openmp: bool = True
    verdicts: tuple[Verdict, ...] = ()


class Recording(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recorded machine. ``sources`` say where the answers of a described one are from."""

    version: int
    about: str = ""
    sources: tuple[str, ...] = ()
    machine: Answers
    compilers: tuple[KnownCompiler, ...] = ()
    tools: tuple[Tool, ...] = ()
    absent: tuple[Absence, ...] = ()
    explicit_compiler: bool = False


def record(host: Host, *, cache: Path, about: str = "") -> Recording:
    """Probe this machine and keep what it answered, without what is personal.

    Raises ToolMissing when there is no cmake or ninja at all.
    """
    watched = RecordingHost(host)
    _, toolchain = probe.probe(watched, cache=cache, tools=host)
    answers = watched.answers()
    made = Recording(
        version=VERSION,
        about=about,
        machine=replace(answers, files=_shortened(answers.files)),
        compilers=tuple(_kept(one) for one in toolchain.compilers),
        tools=tuple(tool for tool in toolchain.tools if not tool.backend),
        absent=toolchain.absent,
        explicit_compiler=toolchain.explicit_compiler,
    )
    return _mapped(made, _scrubber(host))


def write(path: Path, recording: Recording) -> None:
    """Write a recording, complete or not at all. Raises ConfigError when it cannot be written."""
    text = msgspec.json.format(msgspec.json.encode(recording), indent=1)
    try:
        facts.keep_or_raise(path, text + b"\n")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", "Choose another place for it."
        ) from error


def read(path: Path) -> Recording:
    """The recording in a file. Raises ConfigError for a file that is none, or a newer one's."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", "Give a file of `probe --record`."
        ) from error
    return decode(data, str(path))


def decode(data: bytes, where: str) -> Recording:
    """A recording from its bytes. Raises ConfigError saying what is wrong and ``where``."""
    try:
        version = msgspec.json.decode(data, type=_Version).version
        if version > VERSION:
            raise ConfigError(
                f"{where} was recorded by a newer llamabuild (format {version}, here {VERSION})",
                "Update llamabuild, or record the machine with this version.",
            )
        return msgspec.json.decode(data, type=Recording)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{where} is not a recorded machine: {error}",
            "Record one with `llamabuild probe --record FILE`.",
        ) from error


def replay(recording: Recording) -> tuple[Hardware, Toolchain]:
    """What a probe of that machine concludes today. Starts no process."""
    host = RecordedHost(recording.machine)
    found = probe.detect(host)
    known = toolchain(recording)
    return (
        probe.hardware(host, found, cache=Path(os.sep)),
        probe.with_own_tools(known, found),
    )


def toolchain(recording: Recording) -> Toolchain:
    """The recorded compilers and tools, without those of the back-ends."""
    known = tuple(_compiler(one, recording.machine.arch) for one in recording.compilers)
    absent = recording.absent
    if not known and not any(one.what == "compiler" for one in absent):
        hint = toolchains.NO_COMPILER.hint
        absent = (*absent, Absence(what="compiler", why=_NO_COMPILER, hint=hint))
    return Toolchain(
        compilers=known,
        tools=recording.tools,
        absent=absent,
        explicit_compiler=recording.explicit_compiler,
    )


class _Version(msgspec.Struct):
    version: int


def _kept(compiler: Compiler) -> KnownCompiler:
    return KnownCompiler(
        family=compiler.family,
        version=compiler.version,
        target=compiler.target,
        cc=compiler.cc,
        cxx=compiler.cxx,
        digest=compiler.digest,
        accepts=tuple(sorted(compiler.accepts)),
        openmp=compiler.openmp,
        verdicts=compiler.verdicts,
    )


def _compiler(known: KnownCompiler, arch: str) -> Compiler:
    names = {"gcc": ("gcc", "g++"), "msvc": ("cl", "cl")}
    cc, cxx = names.get(known.family, ("clang", "clang++"))
    accepts = known.accepts
    if accepts is None:
        accepts = cpu.expected_options(known.family, known.version, arch)
    return Compiler(
        family=known.family,
        version=known.version,
        target=known.target or arch,
        cc=known.cc or cc,
        cxx=known.cxx or cxx,
        digest=known.digest or f"{known.family} {known.version}",
        accepts=frozenset(accepts),
        openmp=known.openmp,
        verdicts=known.verdicts,
    )


# --- what is not kept ----------------------------------------------------------------------------

_PERSONAL: Final = re.compile(r"(?i)^(\s*[^:=]*(?:serial|uuid|unique_id|asset)[^:=]*[:=]).*")
_UUID: Final = re.compile(r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_HARDWARE_ADDRESS: Final = re.compile(r"(?i)\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b")
_BUILT_BY: Final = re.compile(r"\([^()\s]+@[^()\s]+\)")


def _scrubber(host: Host) -> Callable[[str], str]:
    """A function that removes from a line what is personal to this machine or its user."""
    environ = host.environ
    home = environ.get("HOME", "") or environ.get("USERPROFILE", "")
    names = {os.path.basename(home): "user"}
    names |= {
        environ.get(name, ""): "user" for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")
    }
    names |= {environ.get(name, ""): "host" for name in ("HOSTNAME", "COMPUTERNAME")}
    names |= {(host.read_text("/etc/hostname") or "").strip(): "host"}
    words = {name: other for name, other in names.items() if len(name) > 2 and name != "root"}
    named = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in words)) if words else None

    def scrub(line: str) -> str:
        line = _PERSONAL.sub(r"\1", line)
        line = _UUID.sub("00000000-0000-0000-0000-000000000000", line)
        line = _HARDWARE_ADDRESS.sub("00:00:00:00:00:00", line)
        line = _BUILT_BY.sub("(user@host)", line)
        return named.sub(lambda match: words[match[0]], line) if named else line

    return scrub


def _mapped(recording: Recording, scrub: Callable[[str], str]) -> Recording:
    """Every text in a recording, scrubbed."""

    def walk(value: Any) -> Any:  # noqa: ANN401 - whatever a recording is made of
        if isinstance(value, str):
            return scrub(value)
        if isinstance(value, Mapping):
            return {scrub(str(key)): walk(item) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item) for item in value]
        return value

    plain = msgspec.to_builtins(recording)
    return msgspec.convert(walk(plain), type=Recording)


def _shortened(files: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """``/proc/cpuinfo`` of many equal processors as that of one of each kind."""
    name = "/proc/cpuinfo"
    return {
        path: tuple(_distinct(lines)) if path == name else tuple(lines)
        for path, lines in files.items()
    }


def _distinct(lines: Iterable[str]) -> list[str]:
    """The first processor of each kind; what makes a kind are its features and its model.

    >>> _distinct(["processor: 0", "flags: a", "", "processor: 1", "flags: a", ""])
    ['processor: 0', 'flags: a', '']
    """
    blocks: dict[tuple[str, ...], list[str]] = {}
    block: list[str] = []
    for line in (*lines, ""):
        block.append(line)
        if not line.strip():
            told = ("flags", "features", "isa", "cpu", "model", "vendor", "uarch")
            kind = tuple(
                one for one in block if one.lower().startswith(told) and "mhz" not in one.lower()
            )
            blocks.setdefault(kind, block)
            block = []
    return [line for kept in blocks.values() for line in kept if len(kept) > 1]
