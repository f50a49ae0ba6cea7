from __future__ import annotations

import contextlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild.audit import device_code
from llamabuild.audit.device_code import DeviceCode
from llamabuild.audit.elf import Section
from llamabuild.errors import IntegrityError

PTX, SASS = 1, 2
PLAIN, OWN, FAMILY = 0x11, 0x100011, 0x200011


def entry(kind: int, arch: int, flags: int = PLAIN, header: int = 64, size: int = 24) -> bytes:
    """An entry as fatbinary of CUDA 13.0 writes it."""
    fields = (kind, 0x101, header, size, 0, 0, 0, 9, arch, 0, 0, flags)
    return struct.pack("<HHIQIIHHIIIQ", *fields).ljust(header, b"\0") + b"x" * size


def fatbin(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def bundle(*targets: str, offset: int = 4096, size: int = 16) -> bytes:
    """An offload bundle as clang-offload-bundler writes it."""
    every = ("host-x86_64-unknown-linux--", *targets)
    head = b"__CLANG_OFFLOAD_BUNDLE__" + struct.pack("<Q", len(every))
    for number, one in enumerate(every):
        place = (offset + number * size, size if number else 0, len(one))
        head += struct.pack("<QQQ", *place) + one.encode()
    return head.ljust(offset + len(every) * size, b"\1")


def compressed(content: bytes, version: int = 2, method: int = 0) -> bytes:
    packed = zlib.compress(content)
    form = {1: "<IQ", 2: "<IIQ", 3: "<QQQ"}[version]
    total = 8 + struct.calcsize(form) + len(packed)
    sizes = {1: (len(content), 7)}.get(version, (total, len(content), 7))
    return b"CCOB" + struct.pack("<HH", version, method) + struct.pack(form, *sizes) + packed


def find(section: str, data: bytes) -> list[tuple[str, str, int]]:
    before = b"before"
    place = Section(name=section, offset=len(before), size=len(data))
    found = device_code.find(before + data, [place], "lib.so")
    return [(one.kind, one.architecture, one.count) for one in found]


def test_cuda_code_by_kind_and_architecture() -> None:
    one = fatbin(entry(PTX, 90), entry(SASS, 90), entry(SASS, 90, OWN), entry(SASS, 100, FAMILY))
    assert find(".nv_fatbin", one) == [
        ("ptx", "90", 1),
        ("sass", "100f", 1),
        ("sass", "90", 1),
        ("sass", "90a", 1),
    ]


def test_fat_binaries_stand_behind_each_other_with_padding() -> None:
    pieces = fatbin(entry(SASS, 86)) + bytes(24) + fatbin(entry(SASS, 86, header=112)) + bytes(8)
    assert find("__nv_relfatbin", pieces) == [("sass", "86", 2)]
    assert find(".nv_fatbin", bytes(64)) == []


def test_other_kinds_are_told_by_number() -> None:
    assert find(".nv_fatbin", fatbin(entry(64, 90))) == [("kind 64", "90", 1)]


@pytest.mark.parametrize(
    "data",
    [
        fatbin(entry(SASS, 86))[:-1],
        b"garbage!" * 4,
        fatbin(entry(SASS, 86)) + b"\1",
        fatbin(entry(SASS, 86, header=8)),
        fatbin(entry(SASS, 86)[:-24]),
        struct.pack("<IHHQ", 0xBA55ED50, 1, 0, 0),
        struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 1 << 60),
    ],
)
def test_damaged_cuda_code(data: bytes) -> None:
    with pytest.raises(IntegrityError) as error:
        find(".nv_fatbin", data)
    assert error.value.message.startswith("lib.so: section .nv_fatbin is damaged")
    assert error.value.hint


def test_hip_code_of_several_bundles() -> None:
    one = bundle("hipv4-amdgcn-amd-amdhsa--gfx90a:sramecc+:xnack-", "hip-amdgcn-amd-amdhsa-gfx803")
    two = bundle("hipv4-amdgcn-amd-amdhsa-unknown-gfx11-generic", "hipv4-amdgcn-amd-amdhsa--gfx803")
    assert find(".hip_fatbin", one + bytes(64) + two) == [
        ("gfx", "gfx11-generic", 1),
        ("gfx", "gfx803", 2),
        ("gfx", "gfx90a:sramecc+:xnack-", 1),
    ]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_compressed_hip_code(version: int) -> None:
    one = compressed(bundle("hipv4-amdgcn-amd-amdhsa--gfx1100"), version)
    assert find(".hip_fatbin", one + bytes(100) + one) == [("gfx", "gfx1100", 2)]


@pytest.mark.parametrize(
    "data",
    [
        b"nothing of the kind",
        bundle("hipv4-amdgcn-amd-amdhsa--gfx1100")[:-1],
        b"__CLANG_OFFLOAD_BUNDLE__" + struct.pack("<Q", 1 << 60),
        compressed(b"not a bundle"),
        compressed(bundle("hipv4-amdgcn-amd-amdhsa--gfx1100"))[:-5],
        b"CCOB" + struct.pack("<HHIIQ", 2, 0, 28, 4, 0) + b"notazlib",
        b"CCOB" + struct.pack("<HH", 9, 0),
    ],
)
def test_damaged_hip_code(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"section \.hip_fatbin is damaged"):
        find(".hip_fatbin", data)


def test_spirv_modules_are_counted_by_version() -> None:
    module = struct.pack("<IIIII", 0x07230203, 0x10500, 8, 40, 0)
    older = struct.pack("<IIIII", 0x07230203, 0x10000, 8, 40, 0)
    alike = struct.pack("<IIIII", 0x07230203, 0x90500, 8, 40, 0)
    data = b"abc" + module + b"\1" + module + older + alike
    assert find(".rodata", data) == [("spirv", "1.0", 1), ("spirv", "1.5", 2)]
    assert find(".text", data) == []


@given(st.sampled_from([".nv_fatbin", ".hip_fatbin", ".rodata"]), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(section: str, data: bytes) -> None:
    starts = (b"", fatbin(entry(PTX, 90)), struct.pack("<I", 0xBA55ED50), b"CCOB", bundle("gfx1"))
    for start in starts:
        with contextlib.suppress(IntegrityError):
            assert all(count > 0 for _, _, count in find(section, start + data))


WHOLE = fatbin(entry(PTX, 90), entry(SASS, 90)) + fatbin(entry(SASS, 120, OWN, header=112))


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=6))
def test_any_damage_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(WHOLE)
    for place, value in changes:
        damaged[place] = value
    with contextlib.suppress(IntegrityError):
        assert len(find(".nv_fatbin", bytes(damaged))) <= 3


def test_order() -> None:
    assert DeviceCode(kind="ptx", architecture="90", count=1) < DeviceCode(
        kind="sass", architecture="80", count=1
    )
