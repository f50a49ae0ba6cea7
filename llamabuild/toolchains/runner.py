"""Running here what was built for another machine: by QEMU's user-mode emulation, Windows programs
by Wine, or as asked.

An emulator translates every instruction, so that a proof under it shows which kernels run and what
they compute, and nothing about speed. Wine translates none: the processor must have what a program
was compiled for.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from llamabuild import data, packages
from llamabuild.errors import ConfigError, ToolMissing
from llamabuild.host import Finished, Host, Limits
from llamabuild.model import Compiler
from llamabuild.toolchains import cross

_LIMITS: Final = Limits(seconds=60)
_PROGRAM: Final = "int main(void) { return 7; }\n"
_ANSWER: Final = 7
_WINES: Final = ("wine", "wine64", "wine-stable")
_EXAMPLE: Final = "For example: --runner 'qemu-aarch64-static -L /usr/aarch64-linux-gnu -cpu max'"


def find(
    arch: str,
    compiler: Compiler,
    *,
    host: Host,
    asked: str = "",
    system: str = "linux",
    disk: str = "",
) -> tuple[str, ...]:
    """The program, with arguments, that runs here what ``compiler`` makes for ``arch``; nothing
    where this machine does, unless one is ``asked`` for. It has run a program. Without Wine there
    is none for Windows: what is made is not proved then, and marked. ``disk`` is the folder that
    Wine makes Windows' disk of.

    Raises ToolMissing when there is none or it does not work, ConfigError for a wrong ``asked``.
    """
    if asked:
        command = parsed(asked, host)
    elif cross.native(system, arch, host):
        return ()
    elif system == "windows":
        if not (command := _wine(disk, host)):
            return ()
    else:
        command = _qemu(arch, compiler, host)
    _tried(command, arch, compiler, host)
    return command


def parsed(text: str, host: Host) -> tuple[str, ...]:
    """A command that somebody wrote, as words, its program by its full path; no shell reads it.

    Raises ConfigError when it is none, ToolMissing when its program is not there.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"the runner {text!r} cannot be read: {error}", _EXAMPLE) from error
    if not words:
        raise ConfigError("the runner is empty", _EXAMPLE)
    program = host.which(words[0])
    if not program:
        raise ToolMissing(f"the runner {words[0]} is not on PATH", "Install it, or give its path.")
    return (os.path.abspath(program), *words[1:])


def given(
    command: Sequence[str], variables: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """A runner's ``command`` (empty: there is none) so that the program that it runs sees
    ``variables``, and those to put into the environment instead.

    QEMU sets variables of the program alone with ``-E``: in its own environment ``LD_PRELOAD``
    would name a library of another architecture. It cuts values at commas; those go another way,
    on which QEMU hands on what it sees itself. Other runners hand on everything.

    >>> given(("/usr/bin/qemu-arm", "-cpu", "max"), {"A": "b", "C": "d,e"})
    (('/usr/bin/qemu-arm', '-cpu', 'max', '-E', 'A=b'), {'C': 'd,e'})
    >>> given(("sde64", "--"), {"A": "b"})
    (('sde64', '--'), {'A': 'b'})
    """
    if not command or not os.path.basename(command[0]).startswith("qemu-"):
        return tuple(command), dict(variables)
    apart = {name: value for name, value in variables.items() if "," not in value}
    words = (word for name, value in apart.items() for word in ("-E", f"{name}={value}"))
    return (*command, *words), {name: variables[name] for name in variables if name not in apart}


def name(command: Sequence[str]) -> str:
    """What a runner is called.

    >>> name(("/usr/bin/qemu-arm", "-cpu", "max")), name(("/usr/bin/env", "A=b", "/usr/bin/wine"))
    ('qemu-arm', 'wine')
    """
    words = (os.path.basename(word) for word in command)
    return next((word for word in words if word in _WINES), os.path.basename(command[0]))


def _wine(disk: str, host: Host) -> tuple[str, ...]:
    """Wine, or nothing where there is none."""
    program = next(filter(None, map(host.which, _WINES)), None)
    env = host.which("env")
    return (env, f"WINEPREFIX={disk}", "WINEDEBUG=-all", program) if program and env else ()


def _qemu(arch: str, compiler: Compiler, host: Host) -> tuple[str, ...]:
    row = cross.architecture(arch)
    names = (f"qemu-{arch}-static", f"qemu-{arch}")
    program = next(filter(None, map(host.which, names)), None)
    if not program:
        raise ToolMissing(
            f"{arch} programs cannot be run here to prove them: no {names[1]} is on PATH",
            packages.install(host, data.load(cross.TABLE)["emulator"]["packages"]),
        )
    root = sysroot(row, compiler, host)
    libraries = ("-L", root) if root else ()
    return (program, *libraries, *(("-cpu", row.cpu) if row.cpu else ()))


def sysroot(row: cross.Architecture, compiler: Compiler, host: Host) -> str:
    """The folder whose ``lib`` holds the loader and the libraries of an architecture's programs,
    or an empty string: that of the compiler, else the one that Debian and Arch Linux use."""
    asked = host.run([compiler.cxx, "-print-sysroot"], limits=_LIMITS).out.strip().rstrip("/")
    places = (asked, f"/usr/{row.triple}")
    return next((place for place in places if place and host.exists(f"{place}/lib")), "")


def _tried(command: tuple[str, ...], arch: str, compiler: Compiler, host: Host) -> None:
    """Raises ToolMissing when the runner does not run what the compiler makes."""
    with tempfile.TemporaryDirectory(prefix="llamabuild-runner-") as folder:
        source, program = Path(folder, "program.c"), Path(folder, "program.exe")
        source.write_text(_PROGRAM)
        made = host.run([compiler.cc, str(source), "-o", str(program)], limits=_LIMITS)
        ended = host.run([*command, str(program)], limits=_LIMITS) if made.code == 0 else made
    if ended.code != _ANSWER:
        raise ToolMissing(
            f"{' '.join(command)} does not run {arch} programs of {compiler.cc}: {_said(ended)}",
            _EXAMPLE,
        )


def _said(ended: Finished) -> str:
    lines = (ended.err or ended.out).strip().splitlines()
    return lines[-1] if lines else ended.signal or f"exit code {ended.code}"
