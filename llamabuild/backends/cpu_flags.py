"""CMake options for a set of CPU features, each with its reason. Pure.

What ggml's options are called, which take a text, and which do not exist with Visual C++ is data
(``cpu_features.toml``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llamabuild.backends.cpu_sets import closed, level, level_name, portable_features
from llamabuild.backends.cpu_table import MSVC, Extension, extensions, march, never
from llamabuild.errors import UnsupportedHardware
from llamabuild.model import Flag

_NATIVE = "`native` hides the choice inside the compiler; every option is spelled out"
_PORTABLE_MSVC = "Install clang (LLVM for Windows): with it ggml builds for any Arm processor."


def isa_flags(
    arch: str,
    features: Iterable[str],
    *,
    why: Mapping[str, str] | None = None,
    family: str = "",
    of_level: str = "",
) -> tuple[Flag, ...]:
    """Every instruction-set option of ggml for ``arch`` and a ``family`` of compilers, ON or OFF.
    ``why`` says for features that are not used what is wrong with them, ``of_level`` for which
    level the result is, where it is for one. Options are only ON for a closed set. Raises
    UnsupportedHardware where a compiler cannot be told what to use."""
    asked = frozenset(features)
    used = frozenset(closed(asked, family))
    said = _why_not(family) | dict(why or {})
    reasons = (
        _level_reasons(of_level, arch, used, said, family)
        if of_level
        else _reasons(arch, asked, used, said, family)
    )
    return (
        _native(arch, asked, family),
        Flag(name="GGML_CPU_ALL_VARIANTS", value=False, why="one instruction set, chosen here"),
        *_switches(arch, used, reasons, family),
        *_text_options(arch, used, reasons, family),
        *_never(arch),
    )


def fat_flags(arch: str, variants: Iterable[str], *, family: str = "") -> tuple[Flag, ...]:
    """The options of a build with one CPU library per kind of processor. ``variants`` are those
    that are kept. Raises UnsupportedHardware where there are none."""
    kept = ", ".join(variants)
    if not kept:
        raise UnsupportedHardware(
            f"ggml has no CPU variants for {arch} here", 'Use cpu = "portable" or "native".'
        )
    each = "off: every variant sets its own"
    text = march(arch)
    names = text.options if text else ()
    return (
        Flag(name="GGML_NATIVE", value=False, why=_NATIVE),
        Flag(name="GGML_BACKEND_DL", value=True, why="variants are loaded at run time"),
        Flag(name="GGML_CPU_ALL_VARIANTS", value=True, why=f"the best of {kept} is loaded"),
        *_switches(arch, frozenset(), {row.name: each for row in extensions(arch)}, family),
        *(Flag(name=name, value="", why="every variant sets its own") for name in names),
        *_never(arch),
    )


def _native(arch: str, asked: frozenset[str], family: str) -> Flag:
    """OFF, but for a compiler that ggml cannot tell what to use."""
    text = march(arch)
    if not (text and text.msvc and family == MSVC):
        return Flag(name="GGML_NATIVE", value=False, why=_NATIVE)
    if asked == frozenset(portable_features(arch)):
        raise UnsupportedHardware(
            f"Visual C++ builds ggml for this very {arch} processor only", _PORTABLE_MSVC
        )
    return Flag(name="GGML_NATIVE", value=True, why=text.msvc)


def _never(arch: str) -> tuple[Flag, ...]:
    return tuple(Flag(name=row.option, value=False, why=row.why) for row in never(arch))


def _why_not(family: str) -> dict[str, str]:
    if family != MSVC:
        return {}
    return {row.name: row.msvc.never for row in extensions() if row.msvc.never}


def _reasons(
    arch: str,
    asked: frozenset[str],
    used: frozenset[str],
    why: Mapping[str, str],
    family: str,
) -> dict[str, str]:
    """Why each feature is used or not; "off: " begins the latter."""
    portable = asked == frozenset(portable_features(arch))
    level = f"part of {level_name(arch, asked)}, which every supported machine has"
    reasons = {}
    for row in extensions(arch):
        lacking = ", ".join(_titles(row.needs(family) - used))
        if row.name in used:
            if row.name in why:
                runs = f"this CPU lists {row.title} ({why[row.name]})"
            else:
                runs = f"this CPU runs {row.title} (executed here)"
            reasons[row.name] = level if portable else runs
        elif portable:
            anywhere = "the result must run on any machine of this kind"
            reasons[row.name] = _off(why.get(row.name, anywhere))
        else:
            default = f"it needs {lacking}" if lacking else "not chosen"
            reasons[row.name] = _off(why.get(row.name, default))
    return reasons


def _level_reasons(
    name: str, arch: str, used: frozenset[str], why: Mapping[str, str], family: str
) -> dict[str, str]:
    """The same for a level: what this machine has does not matter."""
    row = level(name, arch)
    part = frozenset(row.features if row else ())
    reasons = {}
    for one in extensions(arch):
        reasons[one.name] = f"part of {name}, which the result is for"
        if one.name not in used:
            lacking = ", ".join(_titles(one.needs(family) - used))
            default = f"it needs {lacking}" if one.name in part else f"no {reasons[one.name]}"
            reasons[one.name] = _off(why.get(one.name, default))
    return reasons


def _off(reason: str) -> str:
    return "off: " + reason.removeprefix("off: ")


def _titles(names: Iterable[str]) -> tuple[str, ...]:
    wanted = frozenset(names)
    return tuple(row.title for row in extensions() if row.name in wanted)


def _switches(
    arch: str, used: frozenset[str], reasons: Mapping[str, str], family: str
) -> list[Flag]:
    """One ON/OFF option each; one that stands for several extensions needs all of them."""
    members: dict[str, list[Extension]] = {}
    for row in extensions(arch):
        if row.option and (row.msvc.declared or family != MSVC):
            members.setdefault(row.option, []).append(row)
    found = []
    for option, sharing in members.items():
        off = [row for row in sharing if row.name not in used]
        why = reasons[(off or sharing)[0].name]
        found.append(Flag(name=option, value=not off, why=why))
    return found


def _text_options(
    arch: str, used: frozenset[str], reasons: Mapping[str, str], family: str
) -> tuple[Flag, ...]:
    """``-march`` in words: the lowest base that has everything, then each extension's tag."""
    text = march(arch)
    if text is None:
        return ()
    if text.msvc and family == MSVC:
        return tuple(Flag(name=name, value="", why=text.msvc) for name in text.options)
    mine = [row for row in extensions(arch) if row.march]
    needed = [text.bases.index(row.march) for row in mine if row.name in used]
    base = text.bases[max(needed, default=0)]
    tags = []
    for row in mine:
        if row.name in used:
            tags.append(row.tag)
        elif row.name in text.implies.get(base, ()) and used.issuperset(row.requires):
            tags.append(row.tag.replace("+", "+no"))
    why = "; ".join(f"{row.title}: {reasons[row.name]}" for row in mine)
    return tuple(Flag(name=name, value=base + "".join(tags), why=why) for name in text.options)
