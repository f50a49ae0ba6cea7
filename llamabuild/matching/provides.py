"""What a machine provides to results that come from elsewhere.

Most is in a finished probe. What is asked here beside it takes some 15 ms: the loader's cache, and
the versions of symbols that three libraries of the system define.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llamabuild import data, packages
from llamabuild.audit import versions
from llamabuild.audit.planned import with_implied
from llamabuild.backends.cpu_table import names
from llamabuild.host import Host, Limits, RecordedHost
from llamabuild.model import Device, Hardware

TABLE: Final[dict[str, Any]] = data.load(data.package("matching/matching.toml"))
_LIMITS: Final = Limits(seconds=20)
_CACHED: Final = re.compile(r"(?m)^\t(\S+) \(([^)]*)\) => (.+)$")
_MUSL: Final = ("/lib", "/usr/local/lib", "/usr/lib")
"""Where musl's loader looks, which keeps no cache (its manual, "Dynamic linker")."""
_WINDOWS: Final = "C:/Windows/System32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provides:
    """What a machine provides.

    ``libc`` is the kind of C library; ``versions`` are the highest versions by family, as in
    :class:`~llamabuild.model.Requires`, those that are not there being unknown. ``features`` are
    CPU features that a program may use, with those that come along. ``libraries`` are the names
    that the loader finds, None when that is unknown. ``devices`` are those that a build would run
    on, also where none can be made. ``manager`` is the package manager. ``unknown`` says in words
    what could not be asked: nothing is refused for it.
    """

    os: str
    arch: str
    libc: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    features: frozenset[str] = frozenset()
    libraries: frozenset[str] | None = None
    devices: tuple[Device, ...] = ()
    manager: str = ""
    unknown: tuple[str, ...] = ()


def probe(host: Host, hardware: Hardware) -> Provides:
    """What a machine provides, of which a probe has found ``hardware``. Never raises."""
    kind, _, version = hardware.libc.partition(" ")
    cached = _cached(host, hardware.arch) if kind == "glibc" else {}
    libraries = _libraries(host, hardware, cached)
    defined = _defined(host, cached)
    unknown = (
        "which libraries the loader finds" if libraries is None else "",
        "which versions libstdc++ and others define" if kind == "glibc" and not defined else "",
    )
    glibc = (("GLIBC", version),) if kind == "glibc" and version else ()
    macos = (("macOS", hardware.os_version),) if hardware.os == "macos" else ()
    return Provides(
        os=hardware.os,
        arch=hardware.arch,
        libc=kind,
        versions=(*glibc, *macos, *defined),
        features=_features(hardware),
        libraries=libraries,
        devices=hardware.devices,
        manager=packages.manager(host),
        unknown=tuple(filter(None, unknown)),
    )


def _features(hardware: Hardware) -> frozenset[str]:
    """The usable features, and those that nobody asks for because they come along with them."""
    usable = frozenset(one.name for one in hardware.cpu.features if one.usable)
    return usable | with_implied(usable).difference(names())


def found(text: str, arch: str) -> dict[str, str]:
    r"""The libraries of an architecture in what ``ldconfig -p`` prints, with their paths.

    >>> found("\tlibm.so.6 (libc6,x86-64) => /lib/m\n\tlibm.so.6 (libc6) => /32/m\n", "x86_64")
    {'libm.so.6': '/lib/m'}
    """
    mark = TABLE["loader"].get(arch, "")
    rows = _CACHED.findall(text)
    mine = ((name, path) for name, flags, path in rows if not mark or mark in flags.split(","))
    return dict(reversed([*mine]))  # the first of a name is the one that is loaded


def _cached(host: Host, arch: str) -> dict[str, str]:
    """The loader's cache; empty where it cannot be asked."""
    said = host.run(["/sbin/ldconfig", "-p"], limits=_LIMITS)
    return {} if said.timed_out or said.code else found(said.out, arch)


def _libraries(host: Host, hardware: Hardware, cached: dict[str, str]) -> frozenset[str] | None:
    """The names that the loader finds, also through LD_LIBRARY_PATH; None when nothing tells."""
    if hardware.os == "windows":
        return frozenset(map(str.lower, host.entries(_WINDOWS))) or None
    usual = frozenset(cached)
    if hardware.libc.startswith("musl"):
        usual = frozenset(name for folder in _MUSL for name in host.entries(folder))
    folders = filter(None, host.environ.get("LD_LIBRARY_PATH", "").split(":"))
    return usual.union(*map(host.entries, folders)) if usual else None


def _defined(host: Host, cached: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """The versions of symbols that libraries of the system define. A recorded machine's cannot be
    read here."""
    if isinstance(host, RecordedHost):
        return ()
    files = dict.fromkeys(cached[one] for one in TABLE["defines"].values() if one in cached)
    rows = (row for file in files for row in versions.defined(Path(file)))
    return tuple((family, version) for family, version in rows if family in TABLE["defines"])
