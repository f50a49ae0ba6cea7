"""What the notes of an ELF file say: the x86-64 levels that it is marked with, and its build id.

Sources: the x86-64 psABI (GNU_PROPERTY_X86_ISA_1_NEEDED and _USED), the gABI extension for program
properties (PT_GNU_PROPERTY), glibc's elf/dl-load.c and sysdeps/x86/dl-prop.h (where it looks).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from elftools.elf.elffile import ELFFile
from elftools.elf.notes import iter_notes
from elftools.elf.sections import Section as RawSection

LEVELS: Final = ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4")
"""The bits of GNU_PROPERTY_X86_ISA_1_NEEDED and _USED, lowest first."""
_PROPERTIES: Final = "NT_GNU_PROPERTY_TYPE_0"


def levels(elf: ELFFile) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The levels that a file is marked as needing and as using."""
    bits = {"GNU_PROPERTY_X86_ISA_1_NEEDED": 0, "GNU_PROPERTY_X86_ISA_1_USED": 0}
    for item in next(_properties(elf), {"n_desc": ()})["n_desc"]:
        if item["pr_type"] in bits and isinstance(item["pr_data"], int):
            bits[item["pr_type"]] |= item["pr_data"]
    needed, used = (
        tuple(level for at, level in enumerate(LEVELS) if mask >> at & 1) for mask in bits.values()
    )
    return needed, used


def build_id(sections: dict[str, RawSection]) -> str:
    """The build id, or an empty string."""
    section = sections.get(".note.gnu.build-id")
    if section is None or section["sh_type"] != "SHT_NOTE":
        return ""
    found = (note for note in section.iter_notes() if note["n_type"] == "NT_GNU_BUILD_ID")
    return next((str(note["n_desc"]) for note in found), "")


def _properties(elf: ELFFile) -> Iterator[Any]:
    """The notes about properties in the order in which the loader would take them; it takes one."""
    for offset, size in _places(elf):
        for note in iter_notes(elf, offset, size):
            if note["n_type"] == _PROPERTIES and note["n_name"] == "GNU":
                yield note


def _places(elf: ELFFile) -> list[tuple[int, int]]:
    """Offsets and sizes of where a loader looks: in the segment that is for properties; without
    one, in all aligned segments of notes, the last first. What is not linked yet has sections."""
    segments = [(one["p_type"], one) for one in elf.iter_segments()]
    own = [one for kind, one in segments if kind == "PT_GNU_PROPERTY"]
    aligned = elf.elfclass // 8
    others = [one for kind, one in segments if kind == "PT_NOTE" and one["p_align"] == aligned]
    if segments:
        return [(one["p_offset"], one["p_filesz"]) for one in reversed(own or others)]
    sections = (one for one in elf.iter_sections() if one["sh_type"] == "SHT_NOTE")
    return [(one["sh_offset"], one["sh_size"]) for one in sections]
