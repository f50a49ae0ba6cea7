"""The CPU back-end: always present, last in the order, and where instruction sets are decided.

ggml's options are never left to a default: with ``GGML_NATIVE`` on they are ignored, with
``SOURCE_DATE_EPOCH`` set they all default to off, without it the default is Haswell. CMake checks
no dependency between them, so sets are closed here before an option is switched on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from llamabuild.backends.cpu_features import extensions, identify
from llamabuild.backends.cpu_flags import fat_flags, isa_flags
from llamabuild.backends.cpu_sets import (
    all_compiler_options,
    closed,
    compiler_options,
    expected_options,
    lacking,
    level,
    level_name,
    levels,
    narrower,
    native_features,
    newer_compilers,
    ordered,
    portable_features,
    variant_rows,
)
from llamabuild.backends.interface import (
    Doubt,
    Evidence,
    Found,
    Traits,
    any_driver,
    any_fit,
    any_together,
    listed,
)
from llamabuild.host import Host
from llamabuild.model import Device, Flag, Hardware, Toolchain

__all__ = [
    "SWITCH",
    "TITLE",
    "TRAITS",
    "all_compiler_options",
    "closed",
    "compiler_options",
    "detect",
    "disagreement",
    "driver",
    "expected_options",
    "fat_flags",
    "fit",
    "flags",
    "isa_flags",
    "judge",
    "lacking",
    "level",
    "level_name",
    "levels",
    "narrower",
    "native_features",
    "newer_compilers",
    "ordered",
    "portable_features",
    "together",
    "variants",
]

TITLE = "CPU"
SWITCH = "GGML_CPU"
TRAITS = Traits()
"""Of a CPU build the hungriest unit, httplib.cpp, peaked at 0.66 GB with GCC 12."""
together = any_together
driver = any_driver
fit = any_fit
_ARCHES = (("GGML_AVX512", "AVX512"), ("GGML_AVX2", "AVX2"), ("GGML_AVX", "AVX"))
"""Visual C++: ggml passes the highest of these, else SSE4.2 or nothing."""
_NOT_OURS = ("-mabi=", "-mtune=", "-mmacosx-version-min=", "-mmacos-version-min=")


def detect(host: Host) -> Found:
    """The processor itself, as a device."""
    _, name = identify(host)
    return Found(devices=(Device(backend="cpu", name=name, architecture=host.system()[2]),))


def flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:  # noqa: ARG001
    """Nothing beside the instruction set, which depends on the recipe: see :func:`isa_flags`."""
    return ()


def judge(evidence: Evidence) -> Doubt | None:
    """A run always uses the CPU, so only a list of devices without one is wrong."""
    return listed(evidence, "CPU")


def variants(
    arch: str,
    accepts: frozenset[str],
    broken: frozenset[str],
    *,
    os: str = "linux",
    family: str = "",
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Which of ggml's CPU variants to keep, and which not with the reason. ``accepts`` are the
    options that the compiler knows, ``broken`` the features that it compiles wrong. What ggml does
    not make at all on an ``os`` or with a ``family`` of compilers is in neither."""
    kept, dropped = [], []
    for row in variant_rows(arch, os, family):
        needs = [feature for feature in extensions(arch) if feature.upstream in row.has]
        options = (*compiler_options(feature.name for feature in needs), *row.compiler)
        unknown = [option for option in options if option not in accepts]
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
    """None when ``machine``, the ``-m…`` and ``/arch`` options that a compiler is really given,
    are those of the features (in a fat build every variant has its own), else what is wrong."""
    values = {flag.name: flag.value for flag in flags}
    if values.get("GGML_BACKEND_DL") is True or values.get("GGML_NATIVE") is True:
        return None
    if any("native" in word for word in machine):
        return f"the compiler decides by itself ({' '.join(machine)})"
    got = {word for word in machine if not word.startswith(_NOT_OURS)}
    arm, power = (values.get(f"GGML_CPU_{x}") for x in ("ARM_ARCH", "POWERPC_CPUTYPE"))
    if arm:
        wanted = {f"-march={arm}"}
    elif power:
        wanted = {f"-mcpu={power}"}
    elif "GGML_FMA" in values:
        wanted = set(compiler_options(features))
    elif "GGML_SSE42" in values:
        got = {word for word in got if word.startswith("/arch")}
        wanted = _msvc_words(values)
    else:  # elsewhere ggml puts one text of its own together from the options
        return None
    if got == wanted:
        return None
    return f"planned {' '.join(sorted(wanted))}, got {' '.join(sorted(got))}"


def _msvc_words(values: Mapping[str, bool | str]) -> set[str]:
    lowest = "SSE4.2" if values["GGML_SSE42"] is True else ""
    best = next((word for option, word in _ARCHES if values.get(option) is True), lowest)
    return {f"/arch:{best}"} if best else set()
