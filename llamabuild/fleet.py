"""Many machines, few builds: which machines one build can serve, and what each would lose. Pure.

Machines share a build when operating system, architecture and kind of C library are the same and
every back-end can serve all its devices with one toolkit. Where their CPUs differ, the build
carries all of ggml's CPU variants, and each machine loads the best that it can run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from llamabuild import backends, choice, plan
from llamabuild.backends import cpu, cpu_features, cpu_sets
from llamabuild.errors import LlamabuildError
from llamabuild.model import Device, Hardware, Pin, Plan, Recipe, Toolchain

_AUTO = Recipe(name="auto", summary="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Machines that one build serves. ``hardware`` is what they are together: all accelerators,
    the CPU features that all have, the oldest C library. ``losses`` are, by machine, what its own
    build would use and this one does not; ``notes`` what the build has to observe."""

    machines: tuple[str, ...]
    hardware: Hardware
    backends: tuple[str, ...]
    cpu: str
    losses: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A group with its plan on the machine that builds, or why that one cannot."""

    group: Group
    plan: Plan | None
    why_not: str = ""


def groups(machines: Mapping[str, Hardware]) -> tuple[Group, ...]:
    """The fewest groups that serve all machines, the largest first.

    Machines are joined in the order of their devices' architectures: what a toolkit supports is a
    range of them, and joining along a range gives the fewest.
    """
    apart: list[list[str]] = []
    for name in sorted(machines, key=lambda one: _order(machines[one])):
        home = next((some for some in apart if _fits(name, some, machines)), None)
        if home is None:
            apart.append([name])
        else:
            home.append(name)
    made = (_group(names, machines) for names in apart)
    return tuple(sorted(made, key=lambda group: (-len(group.machines), group.machines)))


def jobs(
    found: Iterable[Group], pin: Pin, builder: Hardware, toolchain: Toolchain
) -> tuple[Job, ...]:
    """Each group planned on the machine that builds."""
    return tuple(_job(group, pin, builder, toolchain) for group in found)


def separate(machines: Mapping[str, Hardware]) -> int:
    """How many builds it would take when every machine got exactly its own."""
    return len({_own(hardware) for hardware in machines.values()})


def _job(group: Group, pin: Pin, builder: Hardware, toolchain: Toolchain) -> Job:
    mine, theirs = (builder.os, builder.arch), (group.hardware.os, group.hardware.arch)
    if mine != theirs:
        return Job(group=group, plan=None, why_not=f"has to be built on {' '.join(theirs)}")
    if _libc(builder.libc) > _libc(group.hardware.libc):
        here, there = builder.libc or "this C library", group.hardware.libc
        why = f"built with {here} it would not start where there is {there}"
        return Job(group=group, plan=None, why_not=why)
    recipe = Recipe(name="fleet", summary="", backends=group.backends, cpu=group.cpu)
    try:
        made = plan.plan(recipe, pin, group.hardware, toolchain)
    except LlamabuildError as error:
        return Job(group=group, plan=None, why_not=f"{error.message}. {error.hint}")
    lacking = [name for name in group.backends[:-1] if not _tooled(name, toolchain)]
    if lacking:
        titles = ", ".join(backends.BACKENDS[name].TITLE for name in lacking)
        return Job(group=group, plan=None, why_not=f"this machine lacks the tools for {titles}")
    return Job(group=group, plan=made)


def _tooled(name: str, toolchain: Toolchain) -> bool:
    return any(tool.backend == name for tool in toolchain.tools)


def _order(hardware: Hardware) -> tuple[object, ...]:
    architectures = (_natural(one.architecture) for one in _used(hardware))
    return (hardware.os, hardware.arch, _kind(hardware.libc), sorted(architectures))


def _natural(text: str) -> tuple[int, ...]:
    return tuple(int(number, 36) for number in re.findall(r"[0-9]+[a-z]?", text))


def _kind(libc: str) -> str:
    return libc.partition(" ")[0]


def _libc(libc: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]+", libc))


def _used(hardware: Hardware) -> tuple[Device, ...]:
    """The accelerators that an automatic plan uses once their tools are there."""
    able = replace(
        hardware, devices=tuple(replace(device, lacks="") for device in hardware.devices)
    )
    used = choice.chosen(_AUTO, able, frozenset())
    return tuple(one for one in able.devices if one.backend in used and one.backend != "cpu")


def _own(hardware: Hardware) -> tuple[object, ...]:
    """What tells a machine's own build from another's."""
    devices = sorted({(one.backend, one.architecture) for one in _used(hardware)})
    where = (hardware.os, hardware.arch, hardware.libc)
    return (*where, cpu.native_features(hardware.cpu.features), tuple(devices))


def _fits(name: str, others: Sequence[str], machines: Mapping[str, Hardware]) -> bool:
    """True when a machine can join others."""
    mine, first = machines[name], machines[others[0]]
    if (mine.os, mine.arch, _kind(mine.libc)) != (first.os, first.arch, _kind(first.libc)):
        return False
    together = [*others, name]
    if not _one_cpu(together, machines) and not cpu_sets.variant_rows(mine.arch, mine.os):
        return False
    devices = [device for one in together for device in _used(machines[one])]
    return not any(
        module.together(tuple(one for one in devices if one.backend == backend))
        for backend, module in backends.BACKENDS.items()
    )


def _one_cpu(names: Sequence[str], machines: Mapping[str, Hardware]) -> bool:
    return len({cpu.native_features(machines[one].cpu.features) for one in names}) == 1


def _group(names: Sequence[str], machines: Mapping[str, Hardware]) -> Group:
    oldest = min(names, key=lambda one: (_libc(machines[one].libc), one))
    base = machines[oldest]
    accelerators = tuple(dict.fromkeys(one for name in names for one in _used(machines[name])))
    processor = next(one for one in base.devices if one.backend == "cpu")
    same = _one_cpu(names, machines)
    used = {one.backend for one in accelerators} | {"cpu"}
    losses = {} if same else {name: _loss(machines[name]) for name in names}
    return Group(
        machines=tuple(sorted(names)),
        hardware=replace(base, devices=(*accelerators, processor), absent=()),
        backends=tuple(name for name in backends.BACKENDS if name in used),
        cpu="native" if same else "fat",
        losses={name: loss for name, loss in losses.items() if loss},
        notes=_notes(names, machines, oldest),
    )


def _notes(names: Sequence[str], machines: Mapping[str, Hardware], oldest: str) -> tuple[str, ...]:
    libcs = {machines[name].libc for name in names}
    if len(libcs) < 2:
        return ()
    return (f"has to be built with {machines[oldest].libc} or older, for {oldest}",)


def _loss(hardware: Hardware) -> str:
    """What the best of ggml's variants does not use of a CPU, in words; empty when nothing."""
    mine = frozenset(cpu.native_features(hardware.cpu.features))
    known = cpu_features.extensions(hardware.arch)
    words = {row.upstream for row in known if row.name in mine}
    rows = [
        row for row in cpu_sets.variant_rows(hardware.arch, hardware.os) if set(row.has) <= words
    ]
    best = max(rows, key=lambda row: len(row.has), default=None)
    lost = [
        row.title
        for row in known
        if row.name in mine and row.upstream not in (best.has if best else ())
    ]
    if not lost:
        return ""
    name = f"variant {best.name}" if best else "plain code"
    return f"{name} does without {', '.join(dict.fromkeys(lost))}"
