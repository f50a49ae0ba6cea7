"""Decide: facts, a recipe and a pin become a :class:`~llamabuild.model.Plan`. Pure.

Every option is explicit and carries its reason. Two identities come out: the *key* hashes all
that can change the bytes, the *fingerprint* says in words what the result asks of a machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from llamabuild import backends, choice, digest, flags, pins
from llamabuild.backends import apple, cpu
from llamabuild.errors import ConfigError, ToolMissing
from llamabuild.model import (
    Compiler,
    Flag,
    Hardware,
    Pin,
    Plan,
    Recipe,
    Remedy,
    SourceOption,
    Toolchain,
)
from llamabuild.remedies import ALL, Permitted
from llamabuild.toolchains import NO_COMPILER, canary, compilers, isa_note, tools, zig

if TYPE_CHECKING:
    from llamabuild.dialect import Note
    from llamabuild.options import Options

KEY_VERSION = 1
"""Raise it when the same plan would be built in another way."""


def plan(
    recipe: Recipe,
    pin: Pin,
    hardware: Hardware,
    toolchain: Toolchain,
    *,
    without: frozenset[str] = frozenset(),
    compiler: Compiler | None = None,
    healed: tuple[Remedy, ...] = (),
    permitted: Permitted = ALL,
) -> Plan:
    """The whole decision. ``without`` are CPU features (and, for ``auto``, back-ends) not to use
    although they are there, ``compiler`` is one to use instead of the first; both come from
    remedies. ``permitted`` says by name what a canary's trouble may be answered with.

    Raises UnsupportedHardware when an explicit back-end is absent, ToolMissing without a
    compiler, ConfigError when two sides want one option differently.
    """
    without |= set(recipe.without)
    chosen = choice.chosen(recipe, hardware, without)
    compiler = compiler or _own_compiler(chosen, hardware, toolchain) or _compiler(toolchain)
    usable = _cpu_features(recipe, hardware, compiler) - without
    wanted = frozenset(cpu.closed(usable, compiler.family))
    compiler, sources, remedies, wanted = _mend(recipe, toolchain, compiler, wanted, permitted)
    features = cpu.ordered(wanted)
    merged = _merge(
        flags.switches(chosen),
        apple.platform_flags(hardware, toolchain),
        flags.isa(recipe, hardware, compiler, features, without),
        isa_note.flags(recipe.cpu, hardware, compiler),
        *(backends.BACKENDS[name].flags(hardware, toolchain) for name in chosen),
        usual=flags.common(pin, toolchain, compiler, redistributable=recipe.cpu != "native"),
        asked=recipe.flags,
    )
    return Plan(
        recipe=recipe.name,
        pin=pin,
        backends=chosen,
        cpu_features=features,
        flags=merged,
        source_options=sources,
        targets=flags.targets(chosen),
        left_out=flags.left_out(recipe, hardware, compiler),
        compiler=compiler,
        tools=tuple(
            tool
            for tool in toolchain.tools
            if tool.name not in tools.COMPILER_CACHES and tool.backend in ("", *chosen)
        ),
        sysroot=_libc(hardware, compiler),
        fingerprint=_fingerprint(recipe, hardware, compiler, features, chosen),
        remedies=(*remedies, *healed),
        absent=(*hardware.absent, *choice.redundant(hardware))
        if recipe.backends == ("auto",)
        else (),
        requested=", ".join(recipe.backends),
        cpu=recipe.cpu,
        without=recipe.without,
        asked=tuple(flag.name for flag in recipe.flags),
    )


def in_words_of(
    options: Options, plan: Plan, arch: str, exists: Callable[[str], bool]
) -> tuple[Plan, tuple[Note, ...]]:
    """The same plan in the words of a tree, and what became of options that it does not have.
    ``exists`` tells whether the tree has a file.

    Raises UnsupportedHardware when the tree lacks a back-end of the plan, ConfigError when it
    lacks something else that was decided.
    """
    from llamabuild import dialect  # a plan for the pinned tree does without

    said = dialect.render(
        plan.flags,
        options,
        arch,
        family=plan.compiler.family,
        tree="the llama.cpp that was asked for"
        if plan.pin.replaced
        else f"llama.cpp of {plan.pin.name} {plan.pin.version}",
    )
    sources, moved = dialect.render_sources(plan.source_options, exists)
    features = tuple(name for name in plan.cpu_features if name not in said.lost)
    rendered = replace(plan, flags=said.flags, source_options=sources, cpu_features=features)
    return rendered, (*said.notes, *moved)


def key(plan: Plan) -> str:
    """SHA-256 over everything that can change the bytes of the result, and nothing else."""
    return digest.of_value(identity(plan))


def identity(plan: Plan) -> dict[str, object]:
    """Everything that can change the bytes of the result: what :func:`key` hashes.

    Not in it: reasons, paths, the machine's name, memory, driver or number of cores.
    """
    return {
        "version": KEY_VERSION,
        "source": pins.identity(plan.pin),
        "commit": plan.pin.commit,
        "build": plan.pin.build_number,
        "flags": {flag.name: flag.value for flag in plan.flags},
        "sources": [[option.source, *option.options] for option in plan.source_options],
        "targets": sorted(plan.targets),
        "left out": sorted(plan.left_out),
        "features": sorted(plan.cpu_features),
        "compiler": [plan.compiler.digest, plan.compiler.target],
        "tools": [[tool.name, tool.version, tool.digest] for tool in plan.tools],
        "sysroot": plan.sysroot,
    }


def _own_compiler(
    chosen: tuple[str, ...], hardware: Hardware, toolchain: Toolchain
) -> Compiler | None:
    """The compiler that a back-end wants for the whole tree, of its own tools."""
    pairs = dict(backends.BACKENDS[name].TRAITS.compilers[::-1] for name in chosen)
    tool = next((tool for tool in toolchain.tools if pairs.get(tool.name)), None)
    if not tool:
        return None
    folder, file = os.path.split(tool.path)
    return Compiler(
        family=tool.name,
        version=tool.version,
        target=f"{hardware.arch}-{hardware.os}",
        cc=os.path.join(folder, file.replace(tool.name, pairs[tool.name])),
        cxx=tool.path,
        digest=tool.digest,
        accepts=frozenset(cpu.expected_options(tool.name, tool.version, hardware.arch)),
        openmp=True,
    )


def _compiler(toolchain: Toolchain) -> Compiler:
    old = [why for one in toolchain.compilers if (why := compilers.too_old(one))]
    for one in toolchain.compilers:
        if not compilers.too_old(one):
            return one
    reason = next((item for item in toolchain.absent if item.what == "compiler"), None)
    if old:
        raise ToolMissing("; ".join(old), compilers.NEWER)
    raise ToolMissing(
        reason.why if reason else NO_COMPILER.why, reason.hint if reason else NO_COMPILER.hint
    )


def _cpu_features(recipe: Recipe, hardware: Hardware, compiler: Compiler) -> frozenset[str]:
    """The extensions that the code may use: usable here and known to the compiler, or those that
    the recipe is for, which this machine may lack."""
    if recipe.cpu == "portable":
        return frozenset(cpu.portable_features(hardware.arch))
    if recipe.cpu == "fat":
        return frozenset()
    if recipe.cpu != "native":
        return _of_level(recipe.cpu, hardware.arch, compiler)
    usable = cpu.native_features(hardware.cpu.features)
    return frozenset(
        name for name in usable if set(cpu.compiler_options((name,))) <= compiler.accepts
    )


def _of_level(name: str, arch: str, compiler: Compiler) -> frozenset[str]:
    """Raises ConfigError for a level of another architecture, ToolMissing for a compiler that does
    not know all of it: a part of a level is none."""
    level = cpu.level(name, arch)
    if level is None:
        choices = ("native", "portable", "fat", *(row.name for row in cpu.levels(arch)))
        raise ConfigError(
            f"{name} is no microarchitecture level of {arch}",
            f"Choices of cpu for {arch}: {', '.join(choices)}.",
        )
    for feature in level.features:
        if not set(cpu.compiler_options((feature,))) <= compiler.accepts:
            newer = cpu.newer_compilers(feature)
            raise ToolMissing(
                f"{compiler.family} {compiler.version} cannot compile for {name}: "
                f"it does not know {feature}",
                f"Install {newer or 'a newer compiler'}, or choose a lower level.",
            )
    return frozenset(level.features)


def _mend(
    recipe: Recipe,
    toolchain: Toolchain,
    compiler: Compiler,
    features: frozenset[str],
    permitted: Permitted,
) -> tuple[Compiler, tuple[SourceOption, ...], tuple[Remedy, ...], frozenset[str]]:
    """Answer what the canaries found about the compiler, the cheapest way that keeps the
    features: options for one file, then another compiler, then going without. What is not
    permitted is left for the proof to find."""
    sources: list[SourceOption] = []
    remedies: list[Remedy] = []
    for trouble in canary.concerning(compiler, features, fat=recipe.cpu == "fat"):
        other = _sound(toolchain, trouble.canary)
        if trouble.mended_by and permitted(trouble.canary):
            sources += canary.source_options(trouble)
            remedies.append(canary.remedy(trouble))
        elif other and recipe.cpu != "fat" and permitted("other-compiler"):
            compiler = other
            why = f"{trouble.why}; {other.family} {other.version} compiles it right"
            remedies.append(Remedy(name="other-compiler", why=why))
        elif permitted(f"without-{trouble.canary}"):
            lost = canary.features(trouble.canary)
            features = frozenset(cpu.closed(features - lost, compiler.family))
            why = f"{trouble.why}; no option and no other compiler mends it"
            remedies.append(Remedy(name=f"without-{trouble.canary}", why=why))
    return compiler, tuple(sources), tuple(remedies), features


def _sound(toolchain: Toolchain, name: str) -> Compiler | None:
    """Another compiler whose verdict on a canary is good, unless the user chose the compiler."""
    if toolchain.explicit_compiler:
        return None
    for compiler in toolchain.compilers:
        if any(verdict.canary == name and verdict.ok for verdict in compiler.verdicts):
            return compiler
    return None


def _merge(
    *groups: tuple[Flag, ...], usual: tuple[Flag, ...], asked: tuple[Flag, ...]
) -> tuple[Flag, ...]:
    """All flags, each once: what is usual, in its place what was decided here, and in that place
    what the recipe asked for. Raises ConfigError when two back-ends set one option differently:
    there is no silent last-wins."""
    decided: dict[str, Flag] = {}
    for flag in (flag for group in groups for flag in group):
        known = decided.setdefault(flag.name, flag)
        if known.value != flag.value and all(flag.name != own.name for own in asked):
            raise ConfigError(
                f"{flag.name} is wanted as {known.value!r} ({known.why}) "
                f"and as {flag.value!r} ({flag.why})",
                f"Decide with a [flags] entry {flag.name} in the recipe.",
            )
    merged = {flag.name: flag for flag in usual} | decided
    return tuple((merged | {flag.name: flag for flag in asked}).values())


def _libc(hardware: Hardware, compiler: Compiler) -> str:
    """What the result is linked with: the compiler's own C library, or the machine's."""
    return zig.libc(compiler.target) or hardware.libc


def _fingerprint(
    recipe: Recipe,
    hardware: Hardware,
    compiler: Compiler,
    features: tuple[str, ...],
    chosen: tuple[str, ...],
) -> str:
    """Like ``linux-x86_64-glibc2.36-avx512-vnni-bf16`` or ``…-avx2-cuda90``; what is for a level
    asks for the whole of it."""
    named = recipe.cpu not in ("native", "portable")
    level = recipe.cpu if named else cpu.level_name(hardware.arch, features)
    devices = sorted(
        {
            f"{one.backend}{one.architecture}"
            for one in hardware.devices
            if one.backend in chosen[:-1] and not one.lacks
        }
    )
    libc = _libc(hardware, compiler).replace(" ", "")
    return "-".join(filter(None, (hardware.os, hardware.arch, libc, level, *devices)))
