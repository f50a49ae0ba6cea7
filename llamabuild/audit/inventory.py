"""What is in a folder of libraries and programs: the facts, without a judgement."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llamabuild import digest
from llamabuild.audit import device_code, elf, isa, loader, pe
from llamabuild.audit.device_code import DeviceCode
from llamabuild.audit.elf import Elf
from llamabuild.audit.isa import Isa
from llamabuild.errors import IntegrityError
from llamabuild.host import Host

_FOREIGN: Final = {
    b"MZ": "a Windows program, and no objdump (GNU binutils) to read it",
    b"\xcf\xfa\xed\xfe": "a Mach-O file",
    b"\xca\xfe\xba\xbe": "a Mach-O file for several processors",
}
"""First bytes of what is not looked at."""
_LOADED: Final = (".so", ".dll", ".dylib", ".pyd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """A library or program. ``path`` is relative to the folder, with slashes."""

    path: str
    sha256: str
    elf: Elf
    isa: Isa
    device_code: tuple[DeviceCode, ...] = ()

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A library inside a wheel."""

    wheel: str
    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A library that ``path`` needs and the loader of this machine does not find."""

    path: str
    needed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All that was found below ``root``. ``unread`` says, in words, what was not looked at and
    why."""

    root: Path
    binaries: tuple[Binary, ...] = ()
    packed: tuple[Packed, ...] = ()
    missing: tuple[Missing, ...] = ()
    unread: tuple[str, ...] = ()


def _all(name: str) -> bool:  # noqa: ARG001 - every file
    return True


def look(prefix: Path, host: Host, *, instructions: Callable[[str], bool] = _all) -> Inventory:
    """What the ELF and Windows files in a folder (or one file) are and hold; the machine code of
    those whose names ``instructions`` accepts is disassembled. Raises IntegrityError for files that
    are cut off or damaged, and when there is nothing at ``prefix``."""
    if not prefix.exists():
        raise IntegrityError(f"{prefix} does not exist", "Name a folder with libraries, or a file.")
    files = _files(prefix)
    root = prefix if prefix.is_dir() else prefix.parent
    reader = pe.reader(host)
    mine = [file for file in files if elf.is_elf(file) or (reader and pe.is_pe(file))]
    with ThreadPoolExecutor(max_workers=host.cores()[2]) as pool:
        binaries = tuple(
            pool.map(lambda file: _binary(file, root, host, instructions, reader), mine)
        )
    others = (_foreign(file, root) for file in files if file not in set(mine))
    elves = {one.path: one.elf for one in binaries if elf.is_elf(root / one.path)}
    code = dict.fromkeys(f"{one.path}: {one.isa.unread}" for one in binaries if one.isa.unread)
    looked, why = loader.missing(elves, root, host)
    return Inventory(
        root=root,
        binaries=binaries,
        packed=tuple(one for file in files if file.suffix == ".whl" for one in _packed(file)),
        missing=tuple(Missing(path=path, needed=needed) for path, needed in looked),
        unread=(*code, *filter(None, others), *((why,) if why else ())),
    )


def _files(prefix: Path) -> list[Path]:
    """The files themselves, in order of their names; links to them are only other names."""
    if prefix.is_file():
        return [prefix]
    found = (Path(folder, name) for folder, _, names in os.walk(prefix) for name in sorted(names))
    return sorted(file for file in found if file.is_file() and not file.is_symlink())


def _binary(
    file: Path, root: Path, host: Host, disassembled: Callable[[str], bool], reader: str | None
) -> Binary:
    """``reader`` is the program that reads Windows' files."""
    facts = pe.read(file, reader, host) if reader and pe.is_pe(file) else elf.read(file)
    known = disassembled(file.name)
    return Binary(
        path=file.relative_to(root).as_posix(),
        sha256=digest.of_file(file),
        elf=facts,
        isa=isa.look(file, facts.arch, host) if known else isa.Isa(),
        device_code=device_code.read(file, facts.sections),
    )


def _foreign(file: Path, root: Path) -> str:
    """Why a file that some system could load was not looked at, or an empty string."""
    with file.open("rb") as stream:
        head = stream.read(4)
    kind = next((what for magic, what in _FOREIGN.items() if head.startswith(magic)), "")
    if not kind and file.suffix in _LOADED:
        kind = "empty" if not head else "neither ELF nor anything else that is known"
    name = file.relative_to(root).as_posix()
    return f"{name}: {kind}: its contents were not looked at" if kind else ""


def _packed(wheel: Path) -> list[Packed]:
    """The libraries in a wheel. Raises IntegrityError when it cannot be opened."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return [
                Packed(
                    wheel=wheel.name,
                    name=member.rpartition("/")[2],
                    sha256=hashlib.sha256(archive.read(member)).hexdigest(),
                )
                for member in archive.namelist()
                if member.endswith(_LOADED)
            ]
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise IntegrityError(
            f"{wheel}: not a sound wheel: {error}", "Build or download it again."
        ) from error
