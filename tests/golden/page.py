"""The page that lists every recorded machine, what is chosen for it, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llamabuild.model import Absence, Hardware, Plan

_HEAD = """\
# Machines

What `llamabuild plan` decides for every machine in `tests/machines`, and why. Written by
`make golden`; a test holds it to the code.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A machine and its automatic plan, or why it has none."""

    about: str
    sources: tuple[str, ...]
    hardware: Hardware
    plan: Plan | None
    why_not: str
    redundant: tuple[Absence, ...]


def page(entries: Mapping[str, Entry]) -> str:
    """The whole page."""
    index = [f"- [{one.about}](#{name})" for name, one in entries.items()]
    parts = (section(name, one) for name, one in entries.items())
    return "\n".join((_HEAD, *index, "", *parts))


def section(name: str, entry: Entry) -> str:
    """One machine."""
    lines = [f'<a id="{name}"></a>', f"## {entry.about}", ""]
    lines += _chosen(entry) if entry.plan else [f"No plan: {entry.why_not}"]
    lines += [f"- not used: {one.what}: {one.why}" for one in entry.redundant]
    lines += [f"- {one.what}: {one.why}. {one.hint}" for one in entry.hardware.absent if one.seen]
    if entry.sources:
        lines += ["", f"From: {'; '.join(entry.sources)}"]
    return "\n".join((*lines, ""))


def _chosen(entry: Entry) -> Iterable[str]:
    made = entry.plan
    assert made is not None
    yield f"`{made.fingerprint}`, {made.compiler.family} {made.compiler.version}"
    yield ""
    own = (one for one in entry.hardware.devices if one.backend in made.backends[:-1])
    for device, count in Counter(one for one in own if not one.lacks).items():
        times = f"{count} × " if count > 1 else ""
        named = f"{device.name} ({device.architecture})" if device.architecture else device.name
        yield f"- {device.backend}: {times}{named}, driver {device.driver or 'unknown'}"
    for flag in made.flags:
        if "ARCH" in flag.name or "TARGETS" in flag.name or "CPUTYPE" in flag.name:
            yield f"- `{flag.name}={flag.value}`: {flag.why}"
    yield f"- CPU: {' '.join(made.cpu_features) or 'plain code'}"
    for feature in entry.hardware.cpu.features:
        if feature.advertised and feature.name not in made.cpu_features:
            yield f"- without {feature.name}: {feature.why or _why(made, feature.name)}"
    for remedy in made.remedies:
        yield f"- healed, {remedy.name}: {remedy.why}"


def _why(made: Plan, name: str) -> str:
    option = f"GGML_{name}".upper()
    return next((flag.why for flag in made.flags if flag.name == option), "see the plan")
