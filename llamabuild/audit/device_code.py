"""Which code for GPUs a library carries, read from its bytes without any tool.

* CUDA: sections ``.nv_fatbin`` and ``__nv_relfatbin``. NVIDIA does not publish the layout; it was
  compared with cuobjdump 13.5 for CUDA 11.8 and 13.0 (header flags 0x100000 and 0x200000 mark
  ``90a`` and ``100f``).
* HIP: ``.hip_fatbin``, clang offload bundles ("Clang Offload Bundler" in LLVM's documents), plain
  or compressed.
* Vulkan and SYCL: SPIR-V modules among the data (SPIR-V specification, 2.3).
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from llamabuild.audit.elf import Section
from llamabuild.errors import IntegrityError

_HINT: Final = "The file is truncated or damaged: build or download it again."

_FATBIN: Final = struct.Struct("<IHHQ")  # magic, version, size of this header, size of the rest
_FATBIN_MAGIC: Final = 0xBA55ED50
_ENTRY: Final = struct.Struct("<HHIQIIHHIIIQ")
"""Kind, version, size of this header, size of what follows, compressed size, place of the options,
minor and major version, architecture, place and length of a name, flags."""
_NOT_ZERO: Final = re.compile(rb"[^\0]")
_KINDS: Final = {1: "ptx", 2: "sass", 8: "nvvm"}
_SUFFIXES: Final = ((0x100000, "a"), (0x200000, "f"))

_BUNDLE: Final = b"__CLANG_OFFLOAD_BUNDLE__"
_COMPRESSED: Final = b"CCOB"
_BUNDLES: Final = re.compile(re.escape(_BUNDLE) + b"|" + _COMPRESSED)
_TARGET: Final = re.compile(r"-(gfx[0-9a-f].*|amdgcnspirv)$")
_MOST_TARGETS: Final = 1000
_ENOUGH: Final = 1 << 16
"""Bytes of a compressed bundle to open: its table of contents comes first."""
_SPIRV: Final = re.compile(rb"\x03\x02\x23\x07\0([\0-\x06])\x01\0.{8}\0{4}", re.DOTALL)
"""Magic number, version 1.x, generator, bound, and the reserved word, which is 0."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class DeviceCode:
    """Code of one kind ("sass", "ptx", "gfx", "spirv" …) for one architecture ("90a", "gfx1100";
    for SPIR-V its version), and how many pieces of it there are."""

    kind: str
    architecture: str
    count: int


def read(path: Path, sections: Iterable[Section]) -> tuple[DeviceCode, ...]:
    """The device code in the sections of a file. Raises IntegrityError for damaged code."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return find(data, sections, path.name)


def find(
    data: bytes | mmap.mmap, sections: Iterable[Section], name: str = "this file"
) -> tuple[DeviceCode, ...]:
    """The device code in a file's bytes; ``name`` is for messages. Raises IntegrityError."""
    counts: Counter[tuple[str, str]] = Counter()
    for section in sections:
        if reader := _reader(section.name):
            part = data[section.offset : section.offset + section.size]
            try:
                counts.update(reader(part))
            except (ValueError, struct.error) as error:
                why = f"{name}: section {section.name} is damaged: {error}"
                raise IntegrityError(why, _HINT) from error
    found = (DeviceCode(kind=k, architecture=a, count=n) for (k, a), n in counts.items())
    return tuple(sorted(found))


def _reader(section: str) -> Callable[[bytes], Iterator[tuple[str, str]]] | None:
    if section in (".nv_fatbin", "__nv_relfatbin"):
        return fatbin
    if section.startswith(".hip_fatbin") and section != ".hipFatBinSegment":
        return bundles
    if section.startswith((".rodata", ".data")):
        return spirv
    return None


def fatbin(data: bytes) -> Iterator[tuple[str, str]]:
    """Kind and architecture of every entry of NVIDIA's fat binaries, which stand behind each other
    with padding between. Raises ValueError or struct.error when they are damaged."""
    at = 0
    while padding := _NOT_ZERO.search(data, at):
        at = padding.start()
        magic, version, header, size = _FATBIN.unpack_from(data, at)
        end = at + header + size
        if magic != _FATBIN_MAGIC or header < _FATBIN.size or end > len(data):
            raise ValueError(f"no whole fat binary (version {version}) at byte {at}")
        yield from _entries(data, at + header, end)
        at = end


def _entries(data: bytes, at: int, end: int) -> Iterator[tuple[str, str]]:
    while at < end:
        fields = _ENTRY.unpack_from(data, at)
        kind, header, size, number, flags = (fields[n] for n in (0, 2, 3, 8, 11))
        at += header + size
        if header < _ENTRY.size or at > end:
            raise ValueError("an entry of a fat binary reaches beyond it")
        suffix = "".join(letter for bit, letter in _SUFFIXES if flags & bit)
        yield _KINDS.get(kind, f"kind {kind}"), f"{number}{suffix}"


def bundles(data: bytes) -> Iterator[tuple[str, str]]:
    """Kind and architecture of everything in clang's offload bundles, which stand behind each
    other. Raises ValueError or struct.error when they are damaged."""
    at = 0
    while found := _BUNDLES.search(data, at):
        start = found.start()
        if found[0] == _COMPRESSED:
            content, at = _opened(data, start)
            targets = _targets(content, 0)[0] if content else ["compressed"]
        else:
            targets, length = _targets(data, start)
            at = start + length
            if at > len(data):
                raise ValueError("an offload bundle is cut off")
        for target in targets:
            yield ("gfx" if target.startswith("gfx") else "offload"), target
    if at == 0 and data.strip(b"\0"):
        raise ValueError("no offload bundle is there")


def _targets(data: bytes, start: int) -> tuple[list[str], int]:
    """The architectures of a bundle's entries but the host's, and its whole length in bytes.

    >>> head = _BUNDLE + struct.pack("<QQQQ", 1, 4096, 8, 33)
    >>> _targets(head + b"hipv4-amdgcn-amd-amdhsa--gfx90a:x", 0)
    (['gfx90a:x'], 4104)
    """
    if not data.startswith(_BUNDLE, start):
        raise ValueError("no offload bundle is inside")
    at = start + len(_BUNDLE)
    (count,) = struct.unpack_from("<Q", data, at)
    if count > _MOST_TARGETS:
        raise ValueError(f"an offload bundle of {count} entries")
    at, length, found = at + 8, 0, []
    for _ in range(count):
        offset, size, letters = struct.unpack_from("<QQQ", data, at)
        words = data[at + 24 : at + 24 + letters].decode(errors="replace")
        at += 24 + letters
        length = max(length, at - start, offset + size)
        if not words.startswith("host"):
            target = _TARGET.search(words)
            found.append(target[1] if target else words)
    return found, max(length, at - start)


def _opened(data: bytes, start: int) -> tuple[bytes, int]:
    """The beginning of a compressed bundle's content, empty where it cannot be opened, and the
    place behind the bundle."""
    version, method = struct.unpack_from("<HH", data, start + 4)
    if version not in (1, 2, 3):
        raise ValueError(f"a compressed offload bundle of version {version}")
    form = {1: "<IQ", 2: "<IIQ", 3: "<QQQ"}[version]
    total, *_ = struct.unpack_from(form, data, start + 8)
    body = start + 8 + struct.calcsize(form)
    end = start + total if version > 1 else len(data)
    if not body <= end <= len(data):
        raise ValueError("a compressed offload bundle is cut off")
    try:
        return _beginning(data[body:end], method), end if version > 1 else body
    except zlib.error as error:
        raise ValueError(f"a compressed offload bundle cannot be opened: {error}") from error


def _beginning(packed: bytes, method: int) -> bytes:
    """Opened with zlib (0) or Zstandard (1), which Python has from 3.14 on."""
    if method == 0:
        return zlib.decompressobj().decompress(packed, _ENOUGH)
    try:
        zstd: Any = import_module("compression.zstd")
    except ImportError:
        return b""
    try:
        return bytes(zstd.ZstdDecompressor().decompress(packed, _ENOUGH))
    except zstd.ZstdError as error:
        raise ValueError(f"a compressed offload bundle cannot be opened: {error}") from error


def spirv(data: bytes) -> Iterator[tuple[str, str]]:
    """One for every header of a SPIR-V module."""
    return (("spirv", f"1.{found[1][0]}") for found in _SPIRV.finditer(data))
