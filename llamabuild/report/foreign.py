"""The page about a llama.cpp that was not made here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from llamabuild import report
from llamabuild.report import words
from llamabuild.report.table import table
from llamabuild.report.words import clean

if TYPE_CHECKING:
    from llamabuild.examination import Beside, Examined
    from llamabuild.inspection import Part
    from llamabuild.prove.findings import Finding, Unasked

_KINDS = {
    "folder": "a folder of libraries",
    "server": "a llama-server",
    "library": "a library",
    "wheel": "a wheel",
    "environment": "a Python environment with llama_cpp",
}
_FEW = 4
_REMEDY = "`llamabuild setup` makes a llama.cpp for this machine and keeps it when it is proved."


def page(found: Examined) -> str:
    """What it is, what was proved, what fails and what to do, what was not asked, and its speed."""
    rows = [
        ("What", f"{_KINDS[found.kind]}{f', {found.label}' if found.label else ''}"),
        ("Version", found.version or "not told"),
        ("Back-ends", ", ".join(found.devices) or "none was reached"),
        ("Weights in", ", ".join(found.buffers) or "nothing was computed"),
        *([("Chosen", ", ".join(found.loaded))] if found.loaded else []),
    ]
    parts = [
        str(found.path),
        table([(name, clean(text)) for name, text in rows]),
        *_code(found.parts, found.loaded),
        *_listed("Missing libraries", found.missing),
        *_listed("Worth knowing", found.doubts),
        "",
        _verdict(found),
        *_failures(found.failures),
        *_unknown(found.unknown),
        *_unasked(found.unasked),
        "",
        _speed(found.beside),
    ]
    return "\n".join(parts)


def as_json(found: Examined) -> str:
    """The same as one JSON object of the kind "examination"."""
    return report.to_json({"examination": asdict(found)}, "examination")


def _code(parts: Sequence[Part], chosen: Sequence[str]) -> list[str]:
    """What each file was compiled for. One of several variants that was not chosen is not told
    what this CPU lacks: nobody runs it."""
    rows = [
        (part.path, "; ".join(_compiled(part, told=not chosen or part.path in chosen)))
        for part in parts
        if part.features or part.device_code
    ]
    return ["", table(rows, ("file", "compiled for"))] if rows else []


def _compiled(part: Part, *, told: bool) -> list[str]:
    lines = [" ".join(part.features)] if part.features else []
    lines += [f"code for devices: {', '.join(part.device_code)}"] if part.device_code else []
    if part.lacking and told:
        how = ", and asks what there is" if part.asks else ""
        lines.append(f"this CPU lacks {', '.join(part.lacking)}{how}")
    return lines


def _verdict(found: Examined) -> str:
    if not found.asked:
        return "Nothing could be proved."
    largest = f"; largest error {found.largest:.1e}" if found.largest else ""
    return f"Proved: {found.held} of {words.plural(found.asked, 'case')} hold{largest}"


def _failures(failures: Sequence[Finding]) -> list[str]:
    """Each failure with its cause; the remedy once for each kind."""
    lines: list[str] = []
    for kind in dict.fromkeys(one.kind for one in failures):
        mine = [one for one in failures if one.kind == kind]
        lines += ["", f"FAILS ({kind}):"]
        lines.append(table([(f"  {one.case}", clean(one.why)) for one in mine]))
        lines.append(f"  next: {clean(mine[0].hint)}")
    return [*lines, "", _REMEDY] if lines else []


def _unknown(unknown: Sequence[Finding]) -> list[str]:
    if not unknown:
        return []
    return ["", f"Unknown to this release: {', '.join(one.case for one in unknown)}"]


def _unasked(unasked: Sequence[Unasked]) -> list[str]:
    if not unasked:
        return []
    lines = [f"  {clean(one.why)}:\n    {_some(one.cases)}" for one in unasked]
    return ["", "Not asked:", *lines]


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are.

    >>> _some(["a", "b"]), _some(list("abcdef"))
    ('a; b', 'a; b; c; d; 2 more')
    """
    more = len(names) - _FEW
    return "; ".join((*names[:_FEW], *([f"{more} more"] if more > 0 else [])))


def _speed(beside: Beside) -> str:
    if not beside.key:
        return f"Speed: {clean(beside.why)}"
    rows = [
        (f"  {what}", f"{its:.0f} tokens/s", f"{its / ours:.2f} of ours ({ours:.0f})")
        for what, its, ours in zip(("a prompt", "generating"), beside.its, beside.ours, strict=True)
    ]
    threads = words.plural(beside.threads, "thread")
    head = f"Speed beside our {beside.key[:12]}, taking turns, {threads}:"
    return "\n".join((head, table(rows), *([f"  {clean(beside.why)}"] if beside.why else [])))


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"{title}:", *(f"  {clean(line)}" for line in lines)] if lines else []
