"""The CPU back-end: always present, last in the order, and where instruction sets are decided.

ggml's options are never left to a default: with ``GGML_NATIVE`` on they are ignored, with
``SOURCE_DATE_EPOCH`` set they all default to off, without it the default is Haswell. CMake checks
no dependency between them, so sets are closed here before an option is switched on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import msgspec

from llamabuild import data
from llamabuild.backends.cpu_features import TABLE, Extension, extensions, identify
from llamabuild.backends.cpu_sets import (
    all_compiler_options,
    closed,
    compiler_options,
    expected_options,
    level_name,
    narrower,
    native_features,
    newer_compilers,
    ordered,
    portable_features,
    rows,
)
from llamabuild.backends.interface import Evidence, Found
from llamabuild.errors import UnsupportedHardware
from llamabuild.host import Host
from llamabuild.model import Device, Flag, Hardware, Toolchain

__all__ = [
    "SWITCH",
    "TITLE",
    "all_compiler_options",
    "closed",
    "compiler_options",
    "detect",
    "disagreement",
    "expected_options",
    "fat_flags",
    "flags",
    "isa_flags",
    "judge",
    "level_name",
    "narrower",
    "native_features",
    "newer_compilers",
    "ordered",
    "portable_features",
    "variants",
]

TITLE = "CPU"
SWITCH = "GGML_CPU"
_NATIVE = "`native` hides the choice inside the compiler; every option is spelled out"


class _March(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An option that takes one text for all extensions of an architecture."""

    arch: str
    option: str
    bases: tuple[str, ...]
    implies: dict[str, tuple[str, ...]] = {}


@cache
def _march(arch: str) -> _March | None:
    found = msgspec.convert(data.load(data.package(TABLE))["march"], tuple[_March, ...])
    return next((row for row in found if row.arch == arch), None)


# --- the back-end --------------------------------------------------------------------------------


def detect(host: Host) -> Found:
    """The processor itself, as a device."""
    _, name = identify(host)
    return Found(devices=(Device(backend="cpu", name=name, architecture=host.system()[2]),))


def flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:  # noqa: ARG001
    """Nothing beside the instruction set, which depends on the recipe: see :func:`isa_flags`."""
    return ()


def judge(evidence: Evidence) -> str | None:
    """A run always uses the CPU, so only a list of devices without one is wrong."""
    if any(device.upper().startswith("CPU") for device in evidence.devices):
        return None
    return f"ggml lists no CPU among its devices ({', '.join(evidence.devices) or 'none at all'})"


# --- CMake options -------------------------------------------------------------------------------


def isa_flags(
    arch: str, features: Iterable[str], *, why: Mapping[str, str] | None = None
) -> tuple[Flag, ...]:
    """Every instruction-set option of ggml for ``arch``, ON or OFF. ``why`` says for features
    that are not used what is wrong with them. Options are only ON for a closed set."""
    asked = frozenset(features)
    used = frozenset(closed(asked))
    reasons = _reasons(arch, asked, used, why or {})
    return (
        Flag(name="GGML_NATIVE", value=False, why=_NATIVE),
        Flag(name="GGML_CPU_ALL_VARIANTS", value=False, why="one instruction set, chosen here"),
        *_switches(arch, used, reasons),
        *_text_option(arch, used, reasons),
        *_never(arch),
    )


def fat_flags(arch: str, variants: Iterable[str]) -> tuple[Flag, ...]:
    """The options of a build with one CPU library per kind of processor. ``variants`` are those
    that are kept. Raises UnsupportedHardware where ggml has none for ``arch``."""
    if not rows("variant", arch):
        raise UnsupportedHardware(
            f"there is no table of CPU variants for {arch}", 'Use cpu = "portable" or "native".'
        )
    kept = ", ".join(variants)
    each = "off: every variant sets its own"
    march = _march(arch)
    return (
        Flag(name="GGML_NATIVE", value=False, why=_NATIVE),
        Flag(name="GGML_BACKEND_DL", value=True, why="variants are loaded at run time"),
        Flag(name="GGML_CPU_ALL_VARIANTS", value=True, why=f"the best of {kept} is loaded"),
        *_switches(arch, frozenset(), {row.name: each for row in extensions(arch)}),
        *([Flag(name=march.option, value="", why="every variant sets its own")] if march else ()),
        *_never(arch),
    )


def variants(
    arch: str, accepts: frozenset[str], broken: frozenset[str], *, os: str = "linux"
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Which of ggml's CPU variants to keep, and which not with the reason. ``accepts`` are the
    options that the compiler knows, ``broken`` the features that it compiles wrong."""
    kept, dropped = [], []
    for row in rows("variant", arch):
        if row.os != ("macos" if (arch, os) == ("aarch64", "macos") else ""):
            continue
        needs = [feature for feature in extensions(arch) if feature.upstream in row.has]
        unknown = [o for o in compiler_options(f.name for f in needs) if o not in accepts]
        wrong = [feature.title for feature in needs if feature.name in broken]
        if unknown:
            dropped.append((row.name, f"the compiler does not know {' '.join(unknown)}"))
        elif wrong:
            dropped.append((row.name, f"the compiler gets {', '.join(wrong)} wrong"))
        else:
            kept.append(row.name)
    return tuple(kept), tuple(dropped)


def disagreement(
    machine: Sequence[str], flags: Iterable[Flag], features: Iterable[str]
) -> str | None:
    """None when ``machine``, the ``-m…`` options that a compiler is really given, are those of
    the features (in a fat build every variant has its own), else what is wrong with them."""
    values = {flag.name: flag.value for flag in flags}
    if values.get("GGML_BACKEND_DL") is True:
        return None
    if any("native" in word for word in machine):
        return f"the compiler decides by itself ({' '.join(machine)})"
    arm = values.get("GGML_CPU_ARM_ARCH")
    if arm:
        wanted = {f"-march={arm}"}
    elif "GGML_SSE42" in values:
        wanted = set(compiler_options(features))
    else:  # elsewhere ggml puts one text of its own together from the options
        return None
    got = set(machine) - {word for word in machine if word.startswith(("-mabi=", "-mtune="))}
    if got == wanted:
        return None
    return f"planned {' '.join(sorted(wanted))}, got {' '.join(sorted(got))}"


def _never(arch: str) -> tuple[Flag, ...]:
    never = [row for row in data.load(data.package(TABLE))["never"] if row["arch"] == arch]
    return tuple(Flag(name=row["option"], value=False, why=row["why"]) for row in never)


def _reasons(
    arch: str, asked: frozenset[str], used: frozenset[str], why: Mapping[str, str]
) -> dict[str, str]:
    """Why each feature is used or not; "off: " begins the latter."""
    portable = asked == frozenset(portable_features(arch))
    level = f"part of {level_name(arch, asked)}, which every supported machine has"
    reasons = {}
    for row in extensions(arch):
        lacking = ", ".join(_titles(frozenset(row.requires) - used))
        if row.name in used:
            tried = f"{why[row.name]}" if row.name in why else "executed here"
            runs = f"this CPU runs {row.title} ({tried})"
            reasons[row.name] = level if portable else runs
        elif portable:
            anywhere = "the result must run on any machine of this kind"
            reasons[row.name] = _off(why.get(row.name, anywhere))
        else:
            default = f"it needs {lacking}" if lacking else "not chosen"
            reasons[row.name] = _off(why.get(row.name, default))
    return reasons


def _off(reason: str) -> str:
    return "off: " + reason.removeprefix("off: ")


def _titles(names: Iterable[str]) -> tuple[str, ...]:
    wanted = frozenset(names)
    return tuple(row.title for row in extensions() if row.name in wanted)


def _switches(arch: str, used: frozenset[str], reasons: Mapping[str, str]) -> list[Flag]:
    """One ON/OFF option each; one that stands for several extensions needs all of them."""
    members: dict[str, list[Extension]] = {}
    for row in extensions(arch):
        if row.option:
            members.setdefault(row.option, []).append(row)
    found = []
    for option, sharing in members.items():
        off = [row for row in sharing if row.name not in used]
        why = reasons[(off or sharing)[0].name]
        found.append(Flag(name=option, value=not off, why=why))
    return found


def _text_option(arch: str, used: frozenset[str], reasons: Mapping[str, str]) -> list[Flag]:
    """``-march`` in words: the lowest base that has everything, then each extension's tag."""
    march = _march(arch)
    if march is None:
        return []
    mine = extensions(arch)
    needed = [march.bases.index(row.march) for row in mine if row.name in used]
    base = march.bases[max(needed, default=0)]
    tags = []
    for row in mine:
        if row.name in used:
            tags.append(row.tag)
        elif row.name in march.implies.get(base, ()) and used.issuperset(row.requires):
            tags.append(row.tag.replace("+", "+no"))
    why = "; ".join(f"{row.title}: {reasons[row.name]}" for row in mine)
    return [Flag(name=march.option, value=base + "".join(tags), why=why)]
