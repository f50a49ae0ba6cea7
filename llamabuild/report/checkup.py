"""What checks found, as a page: what is wrong first, with what to do, and at last what is fine."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from llamabuild.report import words
from llamabuild.report.words import clean

if TYPE_CHECKING:
    from llamabuild.checks import Checked, Finding

_WIDTH = 98
_TITLES = {"problem": "Problems", "warning": "Warnings", "note": "Worth knowing"}


def page(done: Sequence[Checked]) -> str:
    """Every line names its check; what is fine is one line for all."""
    findings = [one for each in done for one in each.findings]
    blocks = []
    for state, title in _TITLES.items():
        if mine := [one for one in findings if one.state == state]:
            blocks.append("\n".join((f"{title}:", *(line for one in mine for line in _told(one)))))
    fine = [each for each in done if each.state == "ok"]
    gone = [each.check.name for each in done if each.state == "absent"]
    if len(done) == 1 and fine:
        blocks.append("\n".join(line for one in fine[0].findings for line in _told(one)))
    elif fine:
        blocks.append(f"Fine: {', '.join(each.check.name for each in fine)}")
    if gone:
        blocks.append(f"Not here: {', '.join(gone)}")
    return "\n\n".join((*blocks, verdict(findings)))


def verdict(findings: Iterable[Finding]) -> str:
    """The page's last line.

    >>> verdict([])
    'Nothing stands in the way of llama.cpp on this machine.'
    """
    states = [one.state for one in findings]
    counts = [words.plural(states.count(one), one) for one in ("problem", "warning")]
    said = [count for count in counts if not count.startswith("0 ")]
    return (
        f"{' and '.join(said)}. What llamabuild makes is still proved before it is kept."
        if said
        else "Nothing stands in the way of llama.cpp on this machine."
    )


def foreseen(findings: Sequence[Finding]) -> list[str]:
    """Below a plan: what is to be expected of its build; nothing where all is well."""
    lines = [line for one in findings for line in _told(one)]
    return ["", "Before a build:", *lines] if lines else []


def _told(one: Finding) -> list[str]:
    """A finding under the name of its check, and the next step below it."""
    head = f"  {one.check:<12}"
    lines = textwrap.wrap(
        clean(one.why),
        _WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    if one.next:
        lines.append(f"{' ' * len(head)}next: {clean(one.next)}")  # one line, to be copied
    return lines
