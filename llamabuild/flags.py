"""Groups of options that make up a plan, each option with its reason. Pure."""

from __future__ import annotations

from llamabuild import backends, data
from llamabuild.backends import cpu
from llamabuild.model import Compiler, Flag, Hardware, Pin, Recipe, Toolchain
from llamabuild.toolchains import canary

_COMMON = data.load(data.package("common_flags.toml"))
LIBRARIES: tuple[str, ...] = tuple(_COMMON["target"]["libraries"])
TOOLS: tuple[str, ...] = tuple(_COMMON["target"]["tools"])


def common(
    pin: Pin, toolchain: Toolchain, compiler: Compiler, *, redistributable: bool
) -> tuple[Flag, ...]:
    """What every plan sets, whatever it is for."""
    table = (Flag(name=f["name"], value=f["value"], why=f["why"]) for f in _COMMON["flag"])
    openssl = any(tool.name == "openssl" for tool in toolchain.tools)
    return (
        *table,
        _library("GGML_OPENMP", present=compiler.openmp, redistributable=redistributable),
        _library("LLAMA_OPENSSL", present=openssl, redistributable=redistributable),
        Flag(
            name="LLAMA_BUILD_NUMBER",
            value=str(pin.build_number),
            why="else git of an enclosing repository would be asked",
        ),
        Flag(
            name="LLAMA_BUILD_COMMIT",
            value=pin.commit[:9],
            why="what is known of the commit of the llama.cpp that was asked for"
            if pin.replaced
            else "the commit that the pinned source was made from",
        ),
    )


def _library(option: str, *, present: bool, redistributable: bool) -> Flag:
    """An option for a library that is used when it is here and the result stays here."""
    words = _COMMON["library"][option]
    if redistributable:
        return Flag(name=option, value=False, why=words["elsewhere"])
    return Flag(name=option, value=present, why=words["present" if present else "absent"])


def targets(chosen: tuple[str, ...]) -> tuple[str, ...]:
    """What is built, and nothing else."""
    own = (tool for name in chosen for tool in backends.BACKENDS[name].TRAITS.targets)
    return (*LIBRARIES, *TOOLS, *own)


def switches(chosen: tuple[str, ...]) -> tuple[Flag, ...]:
    """Every back-end's switch, ON or OFF: an old build folder or default never decides."""
    return tuple(
        Flag(
            name=module.SWITCH,
            value=name in chosen,
            why=f"{module.TITLE} is used" if name in chosen else f"{module.TITLE} is not used",
        )
        for name, module in backends.BACKENDS.items()
    )


def isa(
    recipe: Recipe,
    hardware: Hardware,
    compiler: Compiler,
    features: tuple[str, ...],
    without: frozenset[str],
) -> tuple[Flag, ...]:
    """The instruction set: one, spelled out, or in a fat build one for each variant."""
    if recipe.cpu == "fat":
        kept, _ = _variants(hardware, compiler)
        return cpu.fat_flags(hardware.arch, kept, family=compiler.family)
    level = cpu.level(recipe.cpu, hardware.arch)
    could = level.features if level else ()
    why = {}
    if recipe.cpu == "native":
        why = {feature.name: feature.why for feature in hardware.cpu.features if feature.why}
        could = cpu.native_features(hardware.cpu.features)
    left = {name: _why_left_out(compiler, name, without) for name in could if name not in features}
    why = {name: reason for name, reason in (why | left).items() if reason}
    linked = Flag(name="GGML_BACKEND_DL", value=False, why="one set of back-ends, linked in")
    own = cpu.isa_flags(
        hardware.arch,
        features,
        why=why,
        family=compiler.family,
        of_level=level.name if level else "",
    )
    return (linked, *own)


def _variants(
    hardware: Hardware, compiler: Compiler
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The CPU variants that this compiler gets right, and the others with the reason."""
    broken = canary.broken(compiler)
    return cpu.variants(
        hardware.arch, compiler.accepts, broken, os=hardware.os, family=compiler.family
    )


def left_out(recipe: Recipe, hardware: Hardware, compiler: Compiler) -> tuple[str, ...]:
    """Libraries of a fat build that are not kept, by target name."""
    if recipe.cpu != "fat":
        return ()
    return tuple(f"ggml-cpu-{name}" for name, _ in _variants(hardware, compiler)[1])


def _why_left_out(compiler: Compiler, name: str, without: frozenset[str]) -> str:
    """Empty for what only needs something that is left out."""
    if name in without:
        return "off: the recipe or a remedy does without it"
    if not set(cpu.compiler_options((name,))) <= compiler.accepts:
        newer = cpu.newer_compilers(name)
        why = f"off: {compiler.family} {compiler.version} cannot compile for it"
        return f"{why}; {newer} can" if newer else why
    if name in canary.broken(compiler):
        return f"off: {compiler.family} {compiler.version} compiles it wrong"
    return ""
