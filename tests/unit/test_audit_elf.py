from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild import audit
from llamabuild.audit import elf
from llamabuild.errors import IntegrityError

_KINDS = {".dynsym": 11, ".symtab": 2, ".dynstr": 3, ".strtab": 3, ".shstrtab": 3}


def elf_file(sections: dict[str, bytes], machine: int = 62) -> bytes:
    """A 64-bit little-endian file of sections only; a table's strings are the section after it."""
    every = {"": b"", **sections, ".shstrtab": b""}
    names = b"".join(name.encode() + b"\0" for name in every)
    every[".shstrtab"] = names
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, machine, 1, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0
    )
    body, rows = b"", b""
    for number, (name, data) in enumerate(every.items()):
        kind = _KINDS.get(name, 1) if name else 0
        size = {2: 24, 11: 24}.get(kind, 0)
        at = names.find(b"\0" + name.encode() + b"\0") + 1 if name else 0
        rows += struct.pack(
            "<IIQQQQIIQQ", at, kind, 0, 0, 64 + len(body), len(data), number + 1, 0, 1, size
        )
        body += data
    last = len(every) - 1
    head = head[:40] + struct.pack("<Q", 64 + len(body)) + head[48:58]
    return head + struct.pack("<HHH", 64, last + 1, last) + body + rows


def symbol(name: int, info: int, section: int) -> bytes:
    return struct.pack("<IBBHQQ", name, info, 0, section, 0, 0)


NAMES = b"\0ggml_init\0llama_free\0other\0ggml_used\0chosen\0"


def _at(name: bytes) -> int:
    return NAMES.index(name)


SYMBOLS = b"".join(
    (
        symbol(0, 0, 0),
        symbol(_at(b"ggml_init"), 0x12, 1),
        symbol(_at(b"llama_free"), 0x22, 1),
        symbol(_at(b"other"), 0x12, 1),
        symbol(_at(b"ggml_used"), 0x12, 0),
        symbol(_at(b"chosen"), 0x1A, 1),
    )
)
FILE = elf_file({".dynsym": SYMBOLS, ".dynstr": NAMES, ".comment": b"GCC: 12.2\0\0ld 2\0"})


def test_symbols_with_a_prefix_that_are_defined() -> None:
    facts = elf.parse(FILE, "x.so")
    assert facts.exports == ("ggml_init", "llama_free")
    assert elf.parse(FILE, "x.so", ("oth",)).exports == ("other",)


def test_what_is_chosen_at_run_time_is_named() -> None:
    assert elf.parse(FILE, "x.so").dispatched == ("chosen",)


def test_compilers_and_architecture() -> None:
    facts = elf.parse(FILE, "x.so")
    assert facts.comments == ("GCC: 12.2", "ld 2")
    assert (facts.arch, facts.kind, facts.stripped) == ("x86_64", "shared", True)
    assert elf.parse(elf_file({}, machine=183), "x.so").arch == "aarch64"
    assert elf.parse(elf_file({}, machine=4711), "x.so").arch == "4711 (64 bit)"


def test_sections_are_where_they_are_said_to_be() -> None:
    facts = elf.parse(elf_file({".nv_fatbin": b"abc", ".rodata": b"de"}), "x.so")
    data = elf_file({".nv_fatbin": b"abc", ".rodata": b"de"})
    found = {one.name: data[one.offset : one.offset + one.size] for one in facts.sections}
    assert (found[".nv_fatbin"], found[".rodata"]) == (b"abc", b"de")


@pytest.mark.parametrize("length", [0, 3, 4, 20, 63, 64, 200, len(FILE) - 1])
def test_a_file_that_is_cut_off(length: int, tmp_path: Path) -> None:
    path = tmp_path / "libggml.so"
    path.write_bytes(FILE[:length])
    with pytest.raises(IntegrityError) as error:
        elf.read(path)
    assert "libggml.so" in error.value.message
    assert "truncated" in error.value.hint


def test_headers_beyond_the_end_are_told_as_such() -> None:
    with pytest.raises(IntegrityError, match="section headers should reach to byte"):
        elf.parse(FILE[:-10], "x.so")
    long = bytearray(elf_file({".rodata": b"abc"}))
    row = struct.unpack_from("<Q", long, 40)[0] + 64
    struct.pack_into("<Q", long, row + 32, 1 << 40)
    with pytest.raises(IntegrityError, match="a section should reach to byte"):
        elf.parse(bytes(long), "x.so")


def test_many_headers_of_no_size_are_no_long_work() -> None:
    damaged = bytearray(FILE)
    struct.pack_into("<QH", damaged, 32, 64, 0)
    struct.pack_into("<HH", damaged, 54, 0, 65000)
    with pytest.raises(IntegrityError, match="program headers of 0 bytes"):
        elf.parse(bytes(damaged), "x.so")


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for text in (data, elf.MAGIC + data, FILE[:64] + data):
        with contextlib.suppress(IntegrityError):
            elf.parse(text, "x.so")


@given(st.lists(st.tuples(st.integers(0, len(FILE) - 1), st.integers(0, 255)), max_size=8))
def test_any_damage_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(FILE)
    for place, value in changes:
        damaged[place] = value
    with contextlib.suppress(IntegrityError):
        elf.parse(bytes(damaged), "x.so")


# --- the mark of a level -------------------------------------------------------------------------

NEEDED, FEATURE_1 = 0xC0008002, 0xC0000002
PT_NOTE, PT_PROPERTY = 4, 0x6474E553


def note(value: int, kind: int = NEEDED, owner: bytes = b"GNU\0") -> bytes:
    return struct.pack("<III4sIIII", 4, 16, 5, owner, kind, 4, value, 0)


def linked(*segments: tuple[int, int, bytes]) -> bytes:
    """A 64-bit file of segments (type, alignment, contents) only."""
    at = 64 + 56 * len(segments)
    rows, body = b"", b""
    for kind, aligned, data in segments:
        place = at + len(body)
        rows += struct.pack(
            "<IIQQQQQQ", kind, 4, place, place, place, len(data), len(data), aligned
        )
        body += data
    head = struct.pack(
        *("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 62, 1, 0, 64, 0, 0, 64, 56),
        *(len(segments), 64, 0, 0),
    )
    return head + rows + body


@pytest.mark.parametrize(
    ("segments", "level"),
    [
        ([], 0),
        ([(PT_NOTE, 8, note(1))], 1),
        ([(PT_NOTE, 8, note(2))], 2),
        ([(PT_NOTE, 8, note(4))], 3),
        ([(PT_NOTE, 8, note(8 | 4 | 1))], 4),
        ([(PT_NOTE, 8, note(4, 0xC0010002))], 0),  # used, not needed
        ([(PT_NOTE, 8, note(4, owner=b"ABC\0"))], 0),
        ([(PT_NOTE, 4, note(4))], 0),  # the loader passes over it
        ([(PT_NOTE, 4, note(8)), (PT_NOTE, 8, note(4))], 3),
        ([(PT_NOTE, 8, note(8)), (PT_PROPERTY, 8, note(4))], 3),
        ([(PT_NOTE, 8, note(8)), (PT_PROPERTY, 8, note(3, FEATURE_1))], 0),
        ([(PT_NOTE, 8, note(8)), (PT_NOTE, 8, note(4))], 3),  # the last is looked at first
        ([(PT_NOTE, 8, note(4) + note(8))], 3),  # and its first counts
    ],
)
def test_the_level_that_the_loader_sees(
    segments: list[tuple[int, int, bytes]], level: int, tmp_path: Path
) -> None:
    path = tmp_path / "libx.so"
    path.write_bytes(linked(*segments))
    assert audit.isa_level(path) == elf.read(path).isa_level == level


def test_the_level_of_what_is_no_library_is_no_level(tmp_path: Path) -> None:
    (tmp_path / "x.so").write_bytes(b"!<arch>\n")
    with pytest.raises(IntegrityError, match=r"x\.so"):
        audit.isa_level(tmp_path / "x.so")


def test_what_is_elf(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(FILE)
    (tmp_path / "b").write_bytes(b"MZ")
    assert [elf.is_elf(tmp_path / name) for name in ("a", "b", "none")] == [True, False, False]
    assert not elf.is_elf(tmp_path)
