"""Back-ends and what they compute on: what each says of this machine, as findings.

Nothing here knows which back-end it is about: their devices and absences carry the reasons.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from llamabuild import choice
from llamabuild.backends import BACKENDS
from llamabuild.checks.findings import Finding, Situation, absent, note, ok, warning
from llamabuild.model import Absence, Device, Hardware
from llamabuild.toolchains import canary

_FAST: Final = ("discrete", "integrated", "")
_ASKS_NOTHING: Final = ("Nothing to do", "To use it all the same", "To take it all the same")
"""Hints of absences that nobody has to mind begin so."""
_CONTAINED: Final = ("KUBERNETES_SERVICE_HOST", "NVIDIA_VISIBLE_DEVICES")


def backend(name: str, situation: Situation) -> Iterator[Finding]:
    """What a back-end can use, cannot use, and why."""
    hardware = situation.hardware
    mine = [one for one in hardware.devices if one.backend == name]
    gone = [one for one in hardware.absent if _about(one) == name]
    used = [one for one in mine if not one.lacks]
    for one in gone:
        if one.what != name:  # a toolkit of several
            yield note(name, one.why, one.hint)
        elif one.seen:
            yield _unused(name, one, bool(used) or served(hardware, name), situation)
        elif not mine:
            yield absent(name, one.why, one.hint)
    if used:
        yield ok(name, _named(used, situation))
    elif not gone:
        yield absent(name, "nothing of its kind is here")


def _about(one: Absence) -> str:
    """The back-end that an absence is about: "cuda", also for "CUDA 13.0"."""
    return one.what.split()[0].casefold() if one.what else ""


def _unused(name: str, one: Absence, otherwise: bool, situation: Situation) -> Finding:
    """Something is here that the back-end cannot use. Where another one computes on it, or its
    toolkit is brought along, nobody has to do anything."""
    if one.hint.startswith(_ASKS_NOTHING) or otherwise:
        return note(name, one.why, one.hint)
    lacking = tuple(
        device for device in situation.hardware.devices if device.backend == name and device.lacks
    )
    if kit := _kit(name, lacking, situation):
        return note(name, f"{one.why}; `llamabuild setup` brings {kit} along")
    return warning(name, one.why, one.hint, *_prevented(name), blocks=(name,))


def _prevented(name: str) -> Iterator[str]:
    """What fails where a check finds something wrong, by the catalogue's own word."""
    from llamabuild.diagnose import entries  # takes a while: only when something is wrong

    return (one.id for one in entries() if one.prevented == f"check: {name}")


def _kit(name: str, lacking: tuple[Device, ...], situation: Situation) -> str:
    """The kit that helps, by its name; empty where none does."""
    from llamabuild import kits

    choose = BACKENDS[name].TRAITS.kit
    if not (lacking and choose):
        return ""
    system, _, arch = situation.host.system()
    return choose(lacking, tuple(kits.kits(f"{system}-{arch}")))


def served(hardware: Hardware, but: str = "") -> bool:
    """True when a GPU, or the like, is computed on by a back-end (other than ``but``)."""
    return any(
        not one.lacks and one.kind in _FAST and one.backend not in ("cpu", but)
        for one in hardware.devices
        if one.name  # the CPU's own libraries are "library"
    )


def _named(used: list[Device], situation: Situation) -> str:
    """The devices, each kind once, and the tools to build for them."""
    names = list(dict.fromkeys(" ".join(filter(None, (d.name, d.driver))) for d in used))
    name = used[0].backend
    tools = (
        f"{one.name} {one.version}" for one in situation.toolchain.tools if one.backend == name
    )
    return "; ".join(filter(None, (", ".join(names), ", ".join(dict.fromkeys(tools)))))


def driver(situation: Situation) -> Iterator[Finding]:
    """GPUs that are here and that no back-end can reach: a driver is missing, too old or broken."""
    hardware = situation.hardware
    reached = {one.backend for one in hardware.devices if one.kind in _FAST}
    lost = [
        one
        for one in hardware.absent
        if one.what in BACKENDS and one.seen and one.what not in reached
        if not one.hint.startswith(_ASKS_NOTHING)
    ]
    drivers = dict.fromkeys(f"{d.name}: {d.driver}" for d in hardware.devices if d.driver)
    if served(hardware):
        yield ok("driver", "; ".join(drivers) or "what is here is reached")
    elif lost and not reached - {"cpu"}:
        first = lost[0]
        yield warning(
            "driver",
            f"{first.seen} is here, and no program can compute on it: {first.why}",
            first.hint,
            *_prevented("driver"),
            blocks=tuple(one.what for one in lost),
        )
    elif drivers:
        yield ok("driver", "; ".join(drivers))
    else:
        yield absent("driver", "there is no GPU that would need one")


def container(situation: Situation) -> Iterator[Finding]:
    """Whether a container was handed the GPU of its machine, and enough of its memory."""
    hardware = situation.hardware
    if not hardware.container:
        yield absent("container", "this is none")
        return
    kept = [one for one in hardware.absent if one.seen and one.what in BACKENDS]
    asked = [name for name in _CONTAINED if situation.host.environ.get(name)]
    if served(hardware) or not (kept or asked):
        return
    said = next((one for one in kept if "container" in one.why), None)
    if said:
        yield warning("container", said.why, said.hint, "docker-no-gpu-driver", blocks=(said.what,))


def cpu(situation: Situation) -> Iterator[Finding]:
    """What the processor says and cannot do, and what the compiler gets wrong for it."""
    hardware = situation.hardware
    refused = [one for one in hardware.cpu.features if one.advertised and not one.usable]
    if refused:
        words = "; ".join(f"{one.name}: {one.why or 'not granted'}" for one in refused)
        yield note(
            "cpu",
            f"said to be there and not usable, so not used: {words}",
            "",
            "illegal-instruction",
        )
    for one in situation.toolchain.compilers[:1]:
        usable = frozenset(each.name for each in hardware.cpu.features if each.usable)
        for verdict in canary.concerning(one, usable, fat=False):
            how = " ".join(verdict.mended_by)
            then = f"`{how}` mends it and is used" if how else "these instructions are not used"
            yield note("cpu", f"{one.cxx} makes wrong code ({verdict.why}); {then}")
    if hardware.virtual_machine in ("Rosetta 2", "Windows on Arm"):
        yield warning(
            "cpu",
            f"{hardware.virtual_machine} translates this program",
            "Run llamabuild with a Python for this machine's own architecture.",
            *("mac-arch-mismatch", "clang-march-native"),
        )


def spare(hardware: Hardware) -> tuple[str, ...]:
    """Back-ends that could be used and add nothing."""
    return tuple(one.what for one in choice.redundant(hardware))
