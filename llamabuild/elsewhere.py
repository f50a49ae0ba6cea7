"""Another machine than this one as what to build for: its hardware, and the tools that are here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from llamabuild import probe
from llamabuild.backends import cpu
from llamabuild.events import Warned
from llamabuild.host import Host, RecordedHost
from llamabuild.model import Absence, Device, Flag, Hardware, Toolchain
from llamabuild.recordings import Recording
from llamabuild.toolchains import cross, runner
from llamabuild.toolchains.borrowed import BorrowingHost

_TOOLLESS: Final = frozenset({"cpu", "rpc"})
"""Back-ends that need nothing but the compiler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A recorded machine to build for. ``runner`` is a command that runs its programs here, where
    another one than the usual emulator is wanted."""

    machine: Recording
    runner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a build for another machine needs: its hardware, the toolchain of this machine, CMake
    entries beside those of any plan, what runs its programs here, and what is doubtful."""

    hardware: Hardware
    toolchain: Toolchain
    flags: tuple[Flag, ...]
    runner: tuple[str, ...]
    doubt: Warned | None


def look(target: Target, *, host: Host, cache: Path, asked: str = "auto") -> Found:
    """Everything about a target that planning and proving need. ``asked`` is the toolchain that is
    wanted.

    Raises UnsupportedHardware when nothing for it can be built here, ToolMissing without a
    compiler or an emulator for it, ConfigError for a runner that is none.
    """
    machine = target.machine.machine
    arch = machine.arch
    cross.check_system(machine.os, arch, host)
    options = cpu.all_compiler_options(arch)
    common = cross.detect(arch, options, host=host, cache=cache, system=machine.os, asked=asked)
    if cross.native(machine.os, arch, host):
        hardware, toolchain = probe.replay(BorrowingHost(machine, host), common)
    else:
        hardware, toolchain = probe.replay(RecordedHost(machine), common)
        libc = cross.libc(common.compilers[0], host) or hardware.libc
        hardware = _bare(replace(hardware, libc=libc), host)
        toolchain = common
    why = cross.check_libc(machine.libc, hardware.libc)
    return Found(
        hardware=hardware,
        toolchain=toolchain,
        flags=cross.flags(arch, host, machine.os),
        runner=_runner(target, toolchain, host, cache),
        doubt=Warned(message=f"The result may not start there: {why}.", hint=_OLDER)
        if why
        else None,
    )


_OLDER: Final = "Build on a system that is as old as that machine's, or update that machine."


def _runner(target: Target, toolchain: Toolchain, host: Host, cache: Path) -> tuple[str, ...]:
    if not toolchain.compilers:  # the plan will say so
        return ()
    machine = target.machine.machine
    compiler = toolchain.compilers[0]
    return runner.find(
        machine.arch,
        compiler,
        host=host,
        asked=target.runner,
        system=machine.os,
        disk=str(cache / "wine"),
    )


def _bare(hardware: Hardware, host: Host) -> Hardware:
    """The machine with what can be built for it without a toolkit for its architecture."""
    system, _, here = host.system()
    kinds = (here, hardware.arch) if hardware.os == system else (system, hardware.os)
    lacks = f"a toolkit that runs on {kinds[0]} and builds for {kinds[1]}"
    devices = tuple(
        one if one.backend in _TOOLLESS or one.lacks else replace(one, lacks=lacks)
        for one in hardware.devices
    )
    return replace(hardware, devices=devices, absent=(*_absences(devices, lacks), *hardware.absent))


def _absences(devices: Iterable[Device], lacks: str) -> tuple[Absence, ...]:
    """One for each back-end whose devices are there but cannot be built for."""
    names = {one.backend: one.name for one in devices if one.lacks == lacks}
    hint = "Build on that machine, or for its processor alone: recipe cpu-native."
    return tuple(
        Absence(what=backend, why=f"it takes {lacks}", hint=hint, seen=name)
        for backend, name in names.items()
    )
