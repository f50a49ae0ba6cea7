"""A machine as a page: what it has, what llama.cpp will use of it, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llamabuild.model import Absence, Compiler, Device, Feature, Hardware, Toolchain
from llamabuild.report import absences, words
from llamabuild.report.table import table
from llamabuild.report.words import clean


def probe_page(hardware: Hardware, toolchain: Toolchain, redundant: Sequence[Absence] = ()) -> str:
    """What this machine has, what llama.cpp will use of it (``redundant`` back-ends would add
    nothing), and what is missing, why, and the command that adds it."""
    near, far = absences.near_and_far((*hardware.absent, *toolchain.absent))
    blocks = [
        table(_has(hardware, toolchain)),
        "\n".join(("llama.cpp will use:", table(_uses(hardware, redundant)))),
    ]
    if near:
        blocks.append("\n".join(absences.listed("Missing", near)[1:]))
    if far:
        blocks.append(absences.not_here(far))
    return "\n\n".join(blocks)


def _has(hardware: Hardware, toolchain: Toolchain) -> list[tuple[str, str]]:
    cpu = hardware.cpu
    place = filter(None, (hardware.virtual_machine, hardware.container))
    free = f"{words.size(hardware.memory_available)} free of {words.size(hardware.memory)}"
    return [
        ("Machine", ", ".join((f"{hardware.os} {hardware.os_version}", hardware.arch, *place))),
        ("C library", hardware.libc or "unknown"),
        ("CPU", clean(cpu.name) or clean(cpu.vendor) or "unknown"),
        ("Cores", f"{hardware.cores} usable ({_cores(hardware)})"),
        ("Memory", free),
        ("Disk", f"{words.size(hardware.disk_free)} free"),
        *(("Device", _device(device)) for device in hardware.devices if _is_a_thing(device)),
        *(row for one in toolchain.compilers for row in _compiler(one)),
        *(("Tool", f"{one.name} {one.version}  {one.path}") for one in toolchain.tools),
    ]


def _is_a_thing(device: Device) -> bool:
    """A device of its own: the CPU has its row, and the network is always there."""
    return device.backend != "cpu" and device.kind != "network"


def _uses(hardware: Hardware, redundant: Sequence[Absence]) -> list[tuple[str, str]]:
    spare = {one.what: one for one in redundant}
    used = [
        device
        for device in hardware.devices
        if device.backend not in spare and _is_a_thing(device) and not device.lacks
    ]
    features = " ".join(one.name for one in hardware.cpu.features if one.usable)
    return [
        *((device.backend, _device(device)) for device in used),
        ("cpu", features or "plain code: no extension is known to work"),
        *(("  not used", _unusable(one)) for one in hardware.cpu.features if _noteworthy(one)),
        *(("  not used", f"{one.what}: {clean(one.why)}") for one in redundant),
    ]


def _cores(hardware: Hardware) -> str:
    return f"{hardware.cpu.physical_cores} physical, {hardware.cpu.logical_cores} logical"


def _noteworthy(feature: Feature) -> bool:
    """The machine claims to have it, and yet it cannot be used."""
    return feature.advertised and not feature.usable


def _unusable(feature: Feature) -> str:
    default = "it was not executed" if feature.enabled else "the operating system does not grant it"
    return f"{feature.name}: {clean(feature.why) or default}"


def _device(device: Device) -> str:
    named = " ".join(filter(None, (device.backend, device.architecture)))
    parts = (named, words.size(device.memory) if device.memory else "", clean(device.driver))
    return f"{clean(device.name)} ({', '.join(filter(None, parts))})"


def _compiler(compiler: Compiler) -> Iterable[tuple[str, str]]:
    yield "Compiler", f"{compiler.family} {compiler.version}  {compiler.cxx}"
    for verdict in compiler.verdicts:
        if not verdict.ok:
            cure = " ".join(verdict.mended_by)
            mended = f"mended by {cure}" if cure else "no option mends it"
            yield "  wrong code", f"{verdict.canary}: {clean(verdict.why)} ({mended})"
