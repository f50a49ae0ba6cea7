"""Hidden symbols of static libraries made visible, so that a shared library can be made of them.

zig keeps its C++ library as archives whose symbols are hidden: each shared library would carry a
C++ library of its own, and an exception that one throws would be of another type for the others.
No tool of the kit changes visibility; it is two bits of each symbol (System V ABI, ``st_other``).
"""

from __future__ import annotations

import struct
from typing import Final

_MAGIC: Final = b"!<arch>\n"
_HEADER: Final = 60
_SYMTAB: Final = 2
_HIDDEN: Final = 2
_BINDINGS: Final = (1, 2)  # global, weak
_SYMBOL: Final = 24


def shown(archive: bytes) -> bytes:
    """The archive with every hidden global symbol of its 64-bit little-endian ELF members visible.

    Raises ValueError for what is no such archive.
    """
    if not archive.startswith(_MAGIC):
        raise ValueError("not an archive")
    data = bytearray(archive)
    at = len(_MAGIC)
    while at + _HEADER <= len(data):
        size = int(data[at + 48 : at + 58])
        body = at + _HEADER
        if data[body : body + 6] == b"\x7fELF\x02\x01":
            _show(data, body)
        at = body + size + (size & 1)
    return bytes(data)


def _show(data: bytearray, start: int) -> None:
    """The same for one member that begins at ``start``."""
    (sections,) = struct.unpack_from("<Q", data, start + 40)
    width, count = struct.unpack_from("<HH", data, start + 58)
    for n in range(count):
        header = start + sections + n * width
        kind = struct.unpack_from("<I", data, header + 4)[0]
        if kind != _SYMTAB:
            continue
        offset, size = struct.unpack_from("<QQ", data, header + 24)
        for place in range(start + offset, start + offset + size, _SYMBOL):
            if data[place + 4] >> 4 in _BINDINGS and data[place + 5] & 3 == _HIDDEN:
                data[place + 5] &= ~3 & 0xFF
