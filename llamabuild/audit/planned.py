"""What a plan says of the files that come out: for which processor, with which extensions, which
CPU variants, which code for devices. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from llamabuild import data
from llamabuild.backends import cpu_sets
from llamabuild.backends.cpu_table import extensions
from llamabuild.model import Plan

TABLE: Final[dict[str, Any]] = data.load(data.package("audit/audit.toml"))
VARIANT: Final = re.compile(r"(?:lib)?ggml-cpu-(.+)\.(?:so|dll)")
"""A library of which one of several is chosen at run time, with its name."""
KERNELS: Final = re.compile(r"(?:lib)?ggml-cpu(?:-.+)?\.(?:so(?:\.\d+)*|dll)")
"""Libraries that are compiled with options for the instruction set."""
_ARCHES: Final = {"amd64": "x86_64", "arm64": "aarch64", "powerpc64le": "ppc64le"}


def architecture(plan: Plan) -> str:
    """The processor architecture that a plan's compiler makes code for.

    The first part of its target, in the spelling of :meth:`llamabuild.host.Host.system`.
    """
    first = plan.compiler.target.partition("-")[0]
    return _ARCHES.get(first, first)


def marked(plan: Plan) -> cpu_sets.Row | None:
    """The level that the libraries of a plan are marked as needing; None where they are not."""
    level = cpu_sets.level(plan.cpu, architecture(plan))
    return level if plan.system == "linux" else None


def needed(plan: Plan) -> tuple[str, ...]:
    """The features without which nothing of a plan's result runs, but for variants: a loader wants
    the whole level, also of code that does without a part of it."""
    level = marked(plan)
    return cpu_sets.ordered((*plan.cpu_features, *(level.features if level else ())))


def planned(plan: Plan, name: str, arch: str) -> frozenset[str]:
    """The features that a file may use: a variant of a fat build has its own."""
    variant = VARIANT.fullmatch(name)
    row = next(
        (r for r in cpu_sets.rows("variant", arch) if variant and r.name == variant[1]), None
    )
    if row is None:
        return frozenset(plan.cpu_features)
    return frozenset(one.name for one in extensions(arch) if one.upstream in row.has)


def allowed(plan: Plan, name: str, arch: str) -> frozenset[str]:
    """The same with all that comes along."""
    return with_implied(planned(plan, name, arch))


def with_implied(features: Iterable[str]) -> frozenset[str]:
    """Features with all that come along with them.

    >>> sorted(with_implied(["sve2"]))
    ['bf16', 'sve', 'sve2']
    """
    known = frozenset(features)
    while True:
        more = {also for one in known for also in TABLE["implies"].get(one, ())}
        if more <= known:
            return known
        known |= more


def library(plan: Plan, name: str) -> str:
    """The file name of one of ggml's libraries, without its ending; on Windows without "lib"."""
    return name if plan.system == "windows" else f"lib{name}"


def variants(plan: Plan) -> tuple[tuple[str, str], ...]:
    """The CPU variants that a fat build keeps, by name and file; none for any other build."""
    if not any(flag.name == "GGML_CPU_ALL_VARIANTS" and flag.value is True for flag in plan.flags):
        return ()
    rows = cpu_sets.variant_rows(architecture(plan), plan.system, plan.compiler.family)
    ending = "dll" if plan.system == "windows" else "so"
    kept = (row.name for row in rows if f"ggml-cpu-{row.name}" not in plan.left_out)
    return tuple((name, f"{library(plan, f'ggml-cpu-{name}')}.{ending}") for name in kept)


def device_codes(words: str) -> frozenset[tuple[str, str]] | None:
    """What a list of CMake architectures asks for; None for one that leaves it to CMake.

    >>> sorted(device_codes("80-real;90") or ())
    [('ptx', '90'), ('sass', '80'), ('sass', '90')]
    >>> device_codes("gfx1100"), device_codes("native")
    (frozenset({('gfx', 'gfx1100')}), None)
    """
    found: set[tuple[str, str]] = set()
    for word in filter(None, words.replace(",", ";").split(";")):
        name, _, kind = word.partition("-") if word[0].isdigit() else (word, "", "gfx")
        if name.startswith("gfx"):
            found.add(("gfx", name))
        elif not name[0].isdigit():
            return None
        else:  # ggml makes plain 12x to 12xa (ggml-cuda/CMakeLists.txt)
            name += "a" if re.fullmatch(r"12\d", name) else ""
            found |= {
                (k, name) for k, w in (("sass", "real"), ("ptx", "virtual")) if kind in ("", w)
            }
    return frozenset(found)


def planned_codes(plan: Plan) -> frozenset[tuple[str, str]] | None:
    """The code for devices that a plan asks for; None where it is left to CMake."""
    values = {flag.name: str(flag.value) for flag in plan.flags}
    asked: set[tuple[str, str]] = set()
    for backend, row in TABLE["devices"].items():
        lists = [values[name] for name in row["flags"] if values.get(name)]
        if backend in plan.backends:
            known = device_codes(lists[0]) if lists else None
            if known is None:
                return None
            asked |= known
    return frozenset(asked)
