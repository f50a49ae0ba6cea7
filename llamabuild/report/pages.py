"""The answers that people read on stdout, as text. Tables fit 100 columns where there is no
terminal to ask, and the names of flags are never cut."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from llamabuild import cmake
from llamabuild.model import (
    Artifact,
    Hardware,
    Plan,
    Proof,
    Remedy,
)
from llamabuild.report import absences, words
from llamabuild.report.table import table
from llamabuild.report.words import clean

if TYPE_CHECKING:
    from llamabuild.dialect import Note


def plan_page(plan: Plan, key: str, takes: str = "") -> str:
    """Every option with its value and reason, what was changed and why, and what is not used;
    ``takes`` says how long building it takes, where that is known."""
    head = [
        ("Recipe", f"{plan.recipe} (asked for: {plan.requested or 'nothing special'})"),
        ("Source", f"{plan.pin.name} {plan.pin.version}, llama.cpp {plan.pin.commit}"),
        ("Back-ends", ", ".join(plan.backends)),
        ("Compiler", f"{plan.compiler.family} {plan.compiler.version}  {plan.compiler.cxx}"),
        ("Made for", plan.fingerprint),
        ("Key", key),
    ]
    head += [("Patched", f"{one.name}: {clean(one.why)}") for one in plan.pin.patches]
    head += [("Takes", f"{takes}, as builds like it have here")] if takes else []
    head += [("Run with", shlex.join(plan.runner))] if plan.runner else []
    flags = [(one.name, words.setting(one.value), clean(one.why)) for one in plan.flags]
    files = [(one.source, " ".join(one.options), clean(one.why)) for one in plan.source_options]
    parts = [table(head), "", table(flags, ("flag", "value", "why"))]
    if files:
        parts += ["", table(files, ("file", "options", "why"))]
    near, far = absences.near_and_far(plan.absent)
    rest = ["", absences.not_here(far)] if far else []
    return "\n".join((*parts, *_remedies(plan.remedies), *absences.listed("Not used", near), *rest))


def plan_as(style: str, plan: Plan, key: str, takes: str = "") -> str:
    """A plan as ``page``, ``markdown`` or ``cmake`` (arguments, one a line)."""
    if style == "markdown":
        return plan_markdown(plan)
    if style == "cmake":
        return "\n".join(cmake.define(flag.name, flag.value) for flag in plan.flags)
    return plan_page(plan, key, takes)


def plan_pip(plan: Plan, hardware: Hardware, notes: Sequence[Note]) -> str:
    """The command that makes pip build llama-cpp-python with these options, and as comments what
    llama-cpp-python's own build makes of them."""
    from llamabuild.dialect import pip

    command, told = pip.pip_arguments(
        plan.flags, plan.pin.version, hardware.os, hardware.arch, compiler=plan.compiler
    )
    return "\n".join((*_commented((*notes, *told)), command))


def notes(told: Sequence[Note], style: str) -> list[str]:
    """What became of options that the tree does not have."""
    if not told:
        return []
    if style == "cmake":
        return _commented(told)
    rows = [(one.said, f"{one.name}: {clean(one.why)}") for one in told]
    return ["", "In this llama.cpp:", table(rows)]


def _commented(told: Sequence[Note]) -> list[str]:
    return [f"# {one.said}: {one.name} ({clean(one.why)})" for one in told]


def plan_markdown(plan: Plan) -> str:
    """The options as a Markdown table, for a README."""
    lines = ["| Option | Value | Why |", "|---|---|---|"]
    lines += [
        f"| `{one.name}` | `{_cell(words.setting(one.value))}` | {_cell(one.why)} |"
        for one in plan.flags
    ]
    return "\n".join(lines)


def artifact_page(artifact: Artifact) -> str:
    """Where things are, what was proved, what was changed, and the two lines to go on with."""
    manifest, plan = artifact.manifest, artifact.manifest.plan
    wheel = words.wheel(artifact)
    places = [
        f"Folder     {artifact.path}",
        f"Wheel      {wheel or 'none'}",
    ]  # to copy: not wrapped
    rows = [
        ("Made for", plan.fingerprint),
        ("Back-ends", ", ".join(plan.backends)),
        ("Size", words.size(words.occupied(artifact))),
        ("Took", words.duration(manifest.seconds)),
        ("Key", artifact.key),
    ]
    title = f"llama.cpp {plan.pin.commit[:9]} with {plan.pin.name} {plan.pin.version}, proved."
    following = ["", "Next:", "  llamabuild run llama-server -- -m MODEL.gguf"]
    following += [f"  pip install {shlex.quote(wheel)}"] if wheel else []
    return "\n".join(
        (
            *(title, *places, table(rows)),
            *("", *_proved(manifest.proof)),
            *_remedies(tuple(dict.fromkeys((*plan.remedies, *artifact.healed)))),
            *absences.listed("Not used", absences.near_and_far(plan.absent)[0]),
            *following,
        )
    )


def proof_page(proof: Proof) -> str:
    """Every check that was run, and what came out."""
    rows = [(one.name, clean(one.detail), _error(one.error)) for one in proof.checks]
    return "\n".join((table(rows, ("check", "result", "error")), "", *_proved(proof)))


def store_page(artifacts: Sequence[Artifact], marks: Mapping[str, str] | None = None) -> str:
    """The kept artifacts, one a line, each with its mark, by its id."""
    marks = marks or {}
    if not artifacts:
        return "Nothing is kept yet. Next: llamabuild setup"
    rows = [
        (
            one.key[:12],
            one.manifest.plan.recipe,
            one.manifest.plan.fingerprint,
            words.size(words.occupied(one)),
            one.manifest.created[:10],
            marks.get(one.id, ""),
        )
        for one in artifacts
    ]
    total = sum(words.occupied(one) for one in artifacts)
    listed = table(rows, ("key", "recipe", "made for", "size", "made on", ""))
    return f"{listed}\n\n{words.plural(len(rows), 'artifact')}, {words.size(total)}"


def _proved(proof: Proof) -> list[str]:
    worst = max((check.error for check in proof.checks), default=0.0)
    checks = words.plural(len(proof.checks), "check")
    lines = [
        f"Proved: {checks} passed in {words.duration(proof.seconds)} on {clean(proof.device)}",
        f"  against {clean(proof.reference)}; largest error {_error(worst) or '0'}",
    ]
    if proof.unrun:
        lines.append(f"Not run here: {clean(', '.join(proof.unrun))}")
    lines += [
        f"Speed: {words.rates(one)} tokens/s (prompt / generate), "
        f"{words.plural(one.threads, 'thread')}, {clean(one.model)}"
        for one in proof.speed
    ]
    return lines


def _error(value: float) -> str:
    return f"{value:.1e}" if value else ""


def _remedies(remedies: Sequence[Remedy]) -> list[str]:
    if not remedies:
        return []
    rows = [
        (one.name, clean(f"{one.why} ({one.evidence})" if one.evidence else one.why))
        for one in remedies
    ]
    return ["", "Healed:", table(rows)]


def _cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return clean(text).replace("|", "\\|")
