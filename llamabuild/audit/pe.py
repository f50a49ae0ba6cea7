"""What a Windows program or library says of itself, in the words of :class:`Elf`.

objdump reads it, which takes its code apart as well and comes with every compiler for Windows:
a library for the three facts that are compared with a plan would be one more dependency.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from llamabuild.audit.elf import Elf
from llamabuild.errors import IntegrityError
from llamabuild.host import Host, Limits

_MAGIC: Final = b"MZ"
_LIMITS: Final = Limits(seconds=60)
_FORMATS: Final = {"pei-x86-64": "x86_64", "pei-aarch64-little": "aarch64", "pei-i386": "i386"}
_PROGRAMS: Final = ("x86_64-w64-mingw32-objdump", "objdump")
_FORMAT: Final = re.compile(r"file format (\S+)")
_NEEDED: Final = re.compile(r"^\s*DLL Name: (\S+)\s*$", re.MULTILINE)
_NAME: Final = re.compile(r"^Name\s+[0-9a-f]+ (\S+)\s*$", re.MULTILINE)


def is_pe(path: Path) -> bool:
    """True for a regular file that begins like a program for Windows (or DOS)."""
    try:
        with path.open("rb") as stream:
            return stream.read(2) == _MAGIC
    except OSError:
        return False


def reader(host: Host) -> str | None:
    """The program that reads such files, where there is one."""
    return next(filter(None, map(host.which, _PROGRAMS)), None)


def read(path: Path, program: str, host: Host) -> Elf:
    """The facts about a file. Raises IntegrityError when it is not sound."""
    said = host.run([program, "-p", str(path)], limits=_LIMITS, env={"LC_ALL": "C"})
    if said.code != 0 or not _FORMAT.search(said.out):
        why = (said.err or said.out).strip().splitlines() or ["it cannot be read"]
        raise IntegrityError(
            f"{path}: not a sound Windows program: {why[-1]}", "Build or download it again."
        )
    return parse(said.out)


def parse(text: str) -> Elf:
    r"""The facts in what ``objdump -p`` prints.

    >>> parse("x.dll:     file format pei-x86-64\n\n\tDLL Name: KERNEL32.dll\n").needed
    ('KERNEL32.dll',)
    """
    found = _FORMAT.search(text)
    name = _NAME.search(text)
    return Elf(
        arch=_FORMATS.get(found[1], found[1]) if found else "",
        kind="shared" if name else "executable",
        soname=name[1] if name else "",
        needed=tuple(dict.fromkeys(_NEEDED.findall(text))),
    )
