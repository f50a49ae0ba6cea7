"""What an ELF file says of itself: for which machine, what it needs, what it offers.

pyelftools reads headers, the dynamic section, notes and symbol versions: it is pure Python, knows
both classes and byte orders, and needs no binutils on the machine. Symbol tables are read by
:mod:`llamabuild.audit.symbols`, notes by :mod:`llamabuild.audit.notes`.

Sources: the System V ABI (gABI), LSB (symbol versions).
"""

from __future__ import annotations

import io
import mmap
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section as RawSection

from llamabuild.audit import notes, symbols, versions
from llamabuild.errors import IntegrityError

MAGIC: Final = b"\x7fELF"
_HINT: Final = "The file is truncated or damaged: build or download it again."
_BROKEN: Final = (
    *(ELFError, ConstructError, struct.error, zlib.error, ValueError, LookupError, TypeError),
    *(AttributeError, OverflowError, AssertionError, MemoryError, RecursionError, OSError),
)
"""What pyelftools raises for files that are not what they say, and what reading them may raise."""
_MACHINES: Final = {
    ("EM_X86_64", 64, True): "x86_64",
    ("EM_386", 32, True): "i386",
    ("EM_AARCH64", 64, True): "aarch64",
    ("EM_ARM", 32, True): "arm",
    ("EM_RISCV", 64, True): "riscv64",
    ("EM_PPC64", 64, True): "ppc64le",
    ("EM_PPC64", 64, False): "ppc64",
    ("EM_S390", 64, False): "s390x",
    ("EM_LOONGARCH", 64, True): "loongarch64",
}
_KINDS: Final = {"ET_DYN": "shared", "ET_EXEC": "executable", "ET_REL": "object"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section that has bytes in the file."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """The facts about one ELF file.

    ``arch`` is spelled as :meth:`llamabuild.host.Host.system` does; ``kind`` is "shared" (also
    position-independent programs), "executable" or "object". ``isa_needed`` and ``isa_used`` are
    x86-64 levels that the file is marked with. ``versions`` are the highest symbol versions needed
    ("GLIBC", "2.34"). ``exports`` are the defined dynamic symbols that begin with a prefix that was
    asked for. ``dispatched`` are functions of which the best of several is chosen when the file is
    loaded (GNU_IFUNC), by name where there is one.
    """

    arch: str
    kind: str
    interpreter: str = ""
    soname: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    isa_needed: tuple[str, ...] = ()
    isa_used: tuple[str, ...] = ()
    build_id: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    exports: tuple[str, ...] = ()
    stripped: bool = False
    comments: tuple[str, ...] = ()
    dispatched: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()

    @property
    def isa_level(self) -> int:
        """The highest x86-64 level that it is marked as needing, 1 to 4; 0 without a mark."""
        marked = (at for at, name in enumerate(notes.LEVELS, 1) if name in self.isa_needed)
        return max(marked, default=0)


def is_elf(path: Path) -> bool:
    """True for a regular file that begins like ELF."""
    try:
        with path.open("rb") as stream:
            return stream.read(4) == MAGIC
    except OSError:
        return False


def read(path: Path, prefixes: Sequence[str] = ("ggml_", "llama_")) -> Elf:
    """The facts about a file. Raises IntegrityError when it cannot be read, is not ELF or is cut
    off."""
    try:
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return parse(data, path.name, prefixes)
    except (OSError, ValueError) as error:  # mmap: ValueError for an empty file
        raise IntegrityError(f"{path}: {error}", _HINT) from error


def isa_level(path: Path) -> int:
    """The x86-64 level that a file is marked as needing, as the loader of glibc reads it: 4 for
    x86-64-v4, 1 for the least, 0 when it has no mark. Raises IntegrityError for what is no sound
    ELF file."""
    return read(path, ()).isa_level


def parse(data: bytes | mmap.mmap, name: str, prefixes: Sequence[str] = ("ggml_", "llama_")) -> Elf:
    """The facts about a file's bytes; ``name`` is for messages. Raises IntegrityError."""
    try:
        elf = ELFFile(data if isinstance(data, mmap.mmap) else io.BytesIO(data))
        _complete(elf, len(data))
        return _facts(elf, tuple(prefix.encode() for prefix in prefixes))
    except _BROKEN as error:
        why = str(error) or type(error).__name__
        raise IntegrityError(f"{name}: not a sound ELF file: {why}", _HINT) from error


def _complete(elf: ELFFile, size: int) -> None:
    """Raises ValueError when a header or what it describes lies beyond the end of the file."""
    head = elf.header
    for what, offset, count, length in (
        ("program headers", head.e_phoff, elf.num_segments(), head.e_phentsize),
        ("section headers", head.e_shoff, elf.num_sections(), head.e_shentsize),
    ):
        if count and length < elf.elfclass // 2:  # they are 56 and 64 bytes, or 32 and 40
            raise ValueError(f"{what} of {length} bytes")
        _within(what, offset, count * length, size)
    for segment in elf.iter_segments():
        _within("a segment", segment["p_offset"], segment["p_filesz"], size)
    for number in range(elf.num_sections()):
        section = elf._get_section_header(number)  # noqa: SLF001 - names may lie beyond the end
        if section["sh_type"] not in ("SHT_NOBITS", "SHT_NULL"):
            _within("a section", section["sh_offset"], section["sh_size"], size)


def _within(what: str, offset: int, length: int, size: int) -> None:
    if length and offset + length > size:
        raise ValueError(f"{what} should reach to byte {offset + length}, the file has {size}")


def _facts(elf: ELFFile, prefixes: tuple[bytes, ...]) -> Elf:
    head = elf.header
    sections = {section.name: section for section in elf.iter_sections()}
    arch = _MACHINES.get((head.e_machine, elf.elfclass, elf.little_endian))
    arch = arch or f"{head.e_machine} ({elf.elfclass} bit)"
    dynamic = _dynamic(elf)
    isa_needed, isa_used = notes.levels(elf)
    return Elf(
        arch=arch,
        kind=_KINDS.get(head.e_type, str(head.e_type)),
        interpreter=_interpreter(elf),
        soname="".join(dynamic["DT_SONAME"]),
        needed=tuple(dynamic["DT_NEEDED"]),
        rpath=_split(dynamic["DT_RPATH"]),
        runpath=_split(dynamic["DT_RUNPATH"]),
        isa_needed=isa_needed,
        isa_used=isa_used,
        build_id=notes.build_id(sections),
        versions=versions.needed(sections),
        exports=symbols.exports(elf, sections, prefixes),
        stripped=".symtab" not in sections,
        comments=_comments(sections),
        dispatched=symbols.dispatched(elf, sections, arch),
        sections=tuple(
            Section(name=name, offset=section["sh_offset"], size=section["sh_size"])
            for name, section in sections.items()
            if section["sh_type"] not in ("SHT_NOBITS", "SHT_NULL")
        ),
    )


def _dynamic(elf: ELFFile) -> dict[str, list[str]]:
    """The texts of the dynamic section, by tag; a file without section headers has it too."""
    words = {"DT_SONAME": "soname", "DT_RPATH": "rpath", "DT_RUNPATH": "runpath"}
    found: dict[str, list[str]] = {"DT_NEEDED": [], **{tag: [] for tag in words}}
    for segment in islice(elf.iter_segments("PT_DYNAMIC"), 1):
        most = segment["p_filesz"] // (elf.elfclass // 4)
        for tag in islice(segment.iter_tags(), most):
            if tag.entry.d_tag in found:
                found[tag.entry.d_tag].append(getattr(tag, words.get(tag.entry.d_tag, "needed")))
    return found


def _split(paths: list[str]) -> tuple[str, ...]:
    return tuple(part for path in paths for part in path.split(":"))


def _interpreter(elf: ELFFile) -> str:
    """The loader that a program names."""
    return next((str(one.get_interp_name()) for one in elf.iter_segments("PT_INTERP")), "")


def _comments(sections: dict[str, RawSection]) -> tuple[str, ...]:
    """The compilers and linkers that made it, as they call themselves."""
    section = sections.get(".comment")
    parts = section.data().split(b"\0") if section else []
    return tuple(dict.fromkeys(part.decode(errors="replace") for part in parts if part))
