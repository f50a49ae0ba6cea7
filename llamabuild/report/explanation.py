"""Why an option, a back-end or a CPU feature is used, or why not."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

from llamabuild import backends, dialect
from llamabuild.errors import ConfigError
from llamabuild.model import Absence, Feature, Flag, Hardware, Plan, Toolchain
from llamabuild.options import Options
from llamabuild.report import words
from llamabuild.report.words import clean


def explain(
    name: str,
    plan: Plan,
    hardware: Hardware,
    toolchain: Toolchain,
    options: Options | None = None,
) -> str:
    """What the plan decided about ``name`` and the reasons. A name may mean several things
    (``vulkan`` is a back-end and a part of options' names): each gets its paragraph.

    Raises ConfigError with the nearest names when nothing has this name.
    """
    asked = _plain(name)
    parts = [
        *_told(asked, backends.BACKENDS, lambda one: _backend(one, plan, hardware)),
        *_told(asked, {f.name: f for f in plan.flags}, lambda one: _flag(one, plan)),
        *_told(
            asked,
            {f.name: f for f in hardware.cpu.features},
            lambda one: _feature(one, plan, hardware),
        ),
        *_told(asked, {a.what: a for a in toolchain.absent}, lambda one: _tool(one, toolchain)),
        *_told(asked, {t.name: t for t in toolchain.tools}, lambda one: _tool(one, toolchain)),
        *_told(asked, {r.name: r for r in plan.remedies}, lambda one: _remedy(one, plan)),
    ]
    if not parts and (said := _older(name, plan, options)):
        return said
    if parts:
        return "\n\n".join(dict.fromkeys(parts))
    known = [
        *backends.BACKENDS,
        *(f.name for f in plan.flags),
        *(f.name for f in hardware.cpu.features),
    ]
    by_plain = {_plain(one): one for one in known}
    near = difflib.get_close_matches(asked, by_plain, n=3, cutoff=0.5)
    said = f"; did you mean {', '.join(by_plain[one] for one in near)}?" if near else ""
    raise ConfigError(
        f"the plan has nothing named {name!r}{said}",
        "Give an option, a back-end, a CPU feature or a tool of `llamabuild plan`.",
    )


def _older(name: str, plan: Plan, options: Options | None) -> str:
    """What became of an option that once worked, by the tree or else by the plan's own options."""
    mine = {flag.name: "bool" for flag in plan.flags}
    known = options or Options(declared=mine, aliases={}, read=frozenset())
    said = dialect.explain_name(name.upper(), known)
    return "" if said == "unknown" or "did you mean" in said else f"{name.upper()}: {said}"


def _plain(name: str) -> str:
    """A name without the differences that people do not mean.

    >>> _plain("GGML_AVX512"), _plain("avx-512"), _plain("CMAKE_CUDA_ARCHITECTURES")
    ('avx512', 'avx512', 'cudaarchitectures')
    """
    word = name.lower()
    for prefix in ("ggml_", "llama_", "cmake_"):
        word = word.removeprefix(prefix)
    return "".join(letter for letter in word if letter.isalnum())


def _told(asked: str, known: Iterable[str], say: Callable[[str], str]) -> list[str]:
    return [say(name) for name in known if _plain(name) == asked]


def _backend(name: str, plan: Plan, hardware: Hardware) -> str:
    module = backends.BACKENDS[name]
    devices = [one for one in hardware.devices if one.backend == name]
    if name in plan.backends:
        names = ", ".join(dict.fromkeys(clean(one.name) for one in devices)) or "this machine"
        head = f"{module.TITLE} is used ({module.SWITCH}=ON): for {names}."
        return "\n".join((head, *_own_flags(name, plan, hardware)))
    reasons = [one for one in (*plan.absent, *hardware.absent) if one.what == name]
    if not reasons:
        asked = f"recipe {plan.recipe} asks for {plan.requested}"
        return f"{module.TITLE} is not used: {asked}, and it is used only where it is named."
    return "\n".join((f"{module.TITLE} is not used.", *_absences(reasons)))


def _own_flags(name: str, plan: Plan, hardware: Hardware) -> list[str]:
    toolchain = Toolchain(compilers=(plan.compiler,), tools=plan.tools)
    own = {flag.name for flag in backends.BACKENDS[name].flags(hardware, toolchain)}
    return [_line(flag) for flag in plan.flags if flag.name in own]


def _absences(reasons: Iterable[Absence]) -> list[str]:
    lines = []
    for one in dict.fromkeys(reasons):
        lines.append(f"  because {clean(one.why)}")
        if one.hint:
            lines.append(f"  next: {clean(one.hint)}")
    return lines


def _flag(name: str, plan: Plan) -> str:
    return _line(next(flag for flag in plan.flags if flag.name == name), indent="")


def _line(flag: Flag, indent: str = "  ") -> str:
    return f"{indent}{flag.name} = {words.setting(flag.value) or '(empty)'}: {clean(flag.why)}"


def _feature(name: str, plan: Plan, hardware: Hardware) -> str:
    feature = next(one for one in hardware.cpu.features if one.name == name)
    used = "used" if name in plan.cpu_features else "not used"
    return f"CPU feature {name} is {used}: {_states(feature)}."


def _states(feature: Feature) -> str:
    ran = {True: "executed without a trap", False: "not executed", None: "could not be tried"}
    states = (
        "listed" if feature.advertised else "not listed",
        "enabled by the operating system" if feature.enabled else "not enabled",
        ran[feature.executed],
    )
    why = f" ({clean(feature.why)})" if feature.why else ""
    return ", ".join(states) + why


def _tool(name: str, toolchain: Toolchain) -> str:
    lines = [
        f"{one.name} {one.version}  {one.path}".rstrip()
        for one in toolchain.tools
        if one.name == name
    ]
    missing = [one for one in toolchain.absent if one.what == name]
    return "\n".join((*lines, *((f"{name} is missing.", *_absences(missing)) if missing else ())))


def _remedy(name: str, plan: Plan) -> str:
    remedy = next(one for one in plan.remedies if one.name == name)
    return f"Remedy {name}: {clean(remedy.why)}"
