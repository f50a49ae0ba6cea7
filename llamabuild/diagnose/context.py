"""Context: what this machine has of what a failure is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final

from llamabuild import data, packages
from llamabuild.diagnose.catalogue import Entry
from llamabuild.host import Host
from llamabuild.model import Hardware, Toolchain

_GIB: Final = 1 << 30
_TOOLS: Final = ("nvcc", "cmake", "ninja", "ccache", "glslc")


def facts(entry: Entry, hardware: Hardware, toolchain: Toolchain) -> tuple[str, ...]:
    """What this machine has of what an entry is about, a sentence each: devices and what keeps its
    back-ends from being used, tools with their versions, memory, room.

    >>> from llamabuild.diagnose.catalogue import STAGES  # names of facts are in ABOUT
    >>> sorted(ABOUT)[:3]
    ['ccache', 'cmake', 'compiler']
    """
    told = [*_backends(entry, hardware)]
    for name in entry.context:
        told += ABOUT[name](name, hardware, toolchain)
    return tuple(dict.fromkeys(told))


def installs(entry: Entry, host: Host) -> str:
    """The command of this machine's package manager that brings an entry's packages, or nothing."""
    rows = [_table()[name] for name in entry.packages]
    return packages.install(host, *rows) if rows else ""


@cache
def _table() -> Mapping[str, Mapping[str, str]]:
    return {name: _row(row) for name, row in data.load(data.package(_PACKAGES)).items()}


_PACKAGES: Final = "diagnose/packages.toml"


def _row(row: dict[str, Any]) -> dict[str, str]:
    """A row with what the table that it refers to has; its own words win."""
    file, name = row.pop("see", (None, None))
    other = data.load(data.package(file))["packages"][name] if file else {}
    return {**other, **row}


def _backends(entry: Entry, hardware: Hardware) -> Iterator[str]:
    """Devices of the back-ends that an entry is about, and what keeps them from being used."""
    for name in entry.backends:
        for device in hardware.devices:
            if device.backend == name and name != "cpu":
                kind = " ".join(filter(None, (device.architecture, device.driver)))
                yield f"{device.name} ({kind})" if kind else device.name
                if device.lacks:
                    yield f"{device.name} lacks {device.lacks}"
        yield from (one.why for one in hardware.absent if one.what == name)


def _tool(name: str, hardware: Hardware, toolchain: Toolchain) -> Iterator[str]:
    del hardware
    found = [tool for tool in toolchain.tools if tool.name == name]
    yield from (f"{tool.name} {tool.version} ({tool.path})" for tool in found)
    if not found:
        why = next((one.why for one in toolchain.absent if one.what == name), "not found here")
        yield f"{name}: {why}"


def _compiler(name: str, hardware: Hardware, toolchain: Toolchain) -> Iterator[str]:
    del name, hardware
    yield from (f"{one.family} {one.version} ({one.cxx})" for one in toolchain.compilers)
    if not toolchain.compilers:
        yield from (one.why for one in toolchain.absent if one.what == "compiler")


def _libc(name: str, hardware: Hardware, toolchain: Toolchain) -> Iterator[str]:
    del name, toolchain
    yield f"{hardware.os} {hardware.os_version}, C library {hardware.libc or 'unknown'}"


def _memory(name: str, hardware: Hardware, toolchain: Toolchain) -> Iterator[str]:
    del name, toolchain
    free, total = hardware.memory_available / _GIB, hardware.memory / _GIB
    yield f"{free:.1f} GiB of {total:.1f} GiB of memory are free"


def _disk(name: str, hardware: Hardware, toolchain: Toolchain) -> Iterator[str]:
    del name, toolchain
    yield f"{hardware.disk_free / _GIB:.1f} GiB of disk are free where llamabuild builds"


def _cpu(name: str, hardware: Hardware, toolchain: Toolchain) -> Iterator[str]:
    del name, toolchain
    usable = " ".join(one.name for one in hardware.cpu.features if one.usable)
    yield f"{hardware.cpu.name or hardware.arch}: {usable or 'no extension is known to work'}"


def _python(name: str, hardware: Hardware, toolchain: Toolchain) -> Iterator[str]:
    del name, toolchain
    yield from (one.why for one in hardware.absent if one.what == "python")
    yield f"this machine is {hardware.arch}"


def _elsewhere(name: str, hardware: Hardware, toolchain: Toolchain) -> Iterator[str]:
    """What the back-ends' own sentences say already."""
    del name, hardware, toolchain
    yield from ()


ABOUT: Final[Mapping[str, Callable[[str, Hardware, Toolchain], Iterator[str]]]] = {
    **dict.fromkeys(_TOOLS, _tool),
    **dict.fromkeys(("gpu", "driver", "vulkan", "rocm"), _elsewhere),
    "compiler": _compiler,
    "libc": _libc,
    "memory": _memory,
    "disk": _disk,
    "cpu": _cpu,
    "python": _python,
}
"""What an entry's ``context`` may name."""
