"""Whether the loader of this machine would find the libraries that others need.

It is worked out, not tried: nothing that is looked at is run. The order is that of ld.so(8):
DT_RPATH where there is no DT_RUNPATH, LD_LIBRARY_PATH, DT_RUNPATH, the cache, the usual folders.
A library finds what is already loaded under the same name, so what stands in the same folder tree
counts as found by it (bindings load one after the other); a program must find it by itself.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from llamabuild.audit.elf import Elf
from llamabuild.host import Host, Limits

_LIMITS = Limits(seconds=20)
_USUAL = ("/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib")
SYSTEM_NAMES = ("ld-linux", "ld-musl", "ld64.so", "linux-vdso")
"""Beginnings of names that the kernel or the loader itself provides."""


def missing(
    binaries: Mapping[str, Elf], root: Path, host: Host
) -> tuple[tuple[tuple[str, str], ...], str]:
    """Pairs of a file and a library that it needs and that would not be found; and why this could
    not be said, or an empty string. ``binaries`` are the files by their path below ``root``."""
    system, _, arch = host.system()
    foreign = sorted({elf.arch for elf in binaries.values() if elf.arch != arch})
    if system != "linux":
        return (), f"which libraries the loader finds: this machine runs {system}"
    why = f"which libraries the loader of {', '.join(foreign)} finds: this is {arch}"
    cached = frozenset(names(host.run(["/sbin/ldconfig", "-p"], limits=_LIMITS).out))
    own = {
        name for path, elf in binaries.items() for name in (posixpath.basename(path), elf.soname)
    }
    found = tuple(
        (path, needed)
        for path, elf in binaries.items()
        if elf.arch == arch
        for needed in elf.needed
        if not (needed in cached or needed.startswith(SYSTEM_NAMES))
        if elf.interpreter or needed not in own
        if not any(host.exists(f"{at}/{needed}") for at in _folders(path, elf, root, host))
    )
    return found, why if foreign else ""


def names(text: str) -> Iterator[str]:
    r"""The libraries in what ``ldconfig -p`` prints.

    >>> list(names("2 libs found\n\tlibm.so.6 (libc6,x86-64) => /lib/libm.so.6\n"))
    ['libm.so.6']
    """
    return (found[1] for found in re.finditer(r"(?m)^\t(\S+) \(", text))


def _folders(path: str, elf: Elf, root: Path, host: Host) -> Iterator[str]:
    """Where the loader looks for what a file needs, but for its cache."""
    origin = posixpath.dirname((root.absolute() / path).as_posix())
    own = (*(() if elf.runpath else elf.rpath), *elf.runpath)
    asked = host.environ.get("LD_LIBRARY_PATH", "").split(":")
    for folder in (*own, *asked):
        if folder:
            yield folder.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", origin)
    yield from _USUAL
    yield from (f"{usual}/{elf.arch}-linux-gnu" for usual in ("/lib", "/usr/lib"))
