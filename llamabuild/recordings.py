"""Recorded machines: what one answered to a probe, as a file that can be planned for anywhere.

A recording holds answers, not conclusions, so that a better probe concludes better from the same
file. Only compilers are kept as what was learned about them. Whatever tells one machine or its
owner from another (serial numbers, UUIDs, user and host names, addresses) is dropped on the way in.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from llamabuild import probe, toolchains
from llamabuild.anonymous import scrubbed, scrubber, shortened
from llamabuild.backends import cpu
from llamabuild.errors import ConfigError
from llamabuild.host import Answers, Host, RecordedHost, RecordingHost
from llamabuild.model import Absence, Compiler, Hardware, Tool, Toolchain, Verdict

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
    made = Recording(
        version=VERSION,
        about=about,
        machine=watched.answers(),
        compilers=tuple(_kept(one) for one in toolchain.compilers),
        tools=tuple(tool for tool in toolchain.tools if not tool.backend),
        absent=toolchain.absent,
        explicit_compiler=toolchain.explicit_compiler,
    )
    return anonymous(made, host)


def anonymous(recording: Recording, host: Host) -> Recording:
    """The recording without what is personal to ``host`` or its user, and without repetitions."""
    files = shortened(recording.machine.files)
    short = msgspec.structs.replace(recording, machine=replace(recording.machine, files=files))
    plain = scrubbed(msgspec.to_builtins(short), scrubber(host))
    return msgspec.convert(plain, type=Recording)


def write(path: Path, recording: Recording) -> None:
    """Write a recording, complete or not at all. Raises ConfigError when it cannot be written."""
    from llamabuild.store import files

    try:
        files.write(path, encode(recording))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", "Choose another place for it."
        ) from error


def encode(recording: Recording) -> bytes:
    """A recording as JSON that a review can read."""
    return msgspec.json.format(msgspec.json.encode(recording), indent=1) + b"\n"


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
    return probe.replay(RecordedHost(recording.machine), toolchain(recording))


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
