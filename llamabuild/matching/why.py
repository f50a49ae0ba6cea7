"""Why nothing that is kept is exactly what is wanted: two plans compared leaf by leaf. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from llamabuild.matching.intention import word
from llamabuild.model import Plan, Tool
from llamabuild.plan import identity


def why_miss(wanted: Plan, kept: Plan) -> tuple[str, ...]:
    """Everything that makes the keys of two plans differ, one sentence each; empty when they are
    equal."""
    mine, other = identity(wanted), identity(kept)
    lines: list[str] = []
    for name in (one for one in mine if mine[one] != other[one]):
        said = tuple(_said(name, mine[name], other[name], wanted, kept))
        lines += said or (f"{name}: in another order",)
    return tuple(lines)


def nearest(wanted: Plan, kept: Iterable[Plan]) -> tuple[Plan, tuple[str, ...]] | None:
    """Of several plans the one that differs in the fewest things, and in which; the first of
    several; None when there is none."""
    pairs = ((plan, why_miss(wanted, plan)) for plan in kept)
    return min(pairs, key=lambda pair: len(pair[1]), default=None)


def _said(name: str, mine: Any, other: Any, wanted: Plan, kept: Plan) -> Iterator[str]:  # noqa: ANN401 - what is hashed
    """The sentences for one part of what is hashed, of which hashes alone would tell nothing."""
    if name == "flags":
        for flag in sorted(mine.keys() | other.keys()):
            if mine.get(flag) != other.get(flag):
                yield _line(f"flag {flag}", mine.get(flag), other.get(flag))
    elif name == "compiler":
        yield _compiler(wanted, kept)
    elif name == "tools":
        yield from _tools(wanted.tools, kept.tools)
    elif name == "sources":
        yield from _sources(dict(_by_first(mine)), dict(_by_first(other)))
    elif isinstance(mine, list):
        yield from (f"{name}: {one} wanted, not kept" for one in mine if one not in other)
        yield from (f"{name}: {one} kept, not wanted" for one in other if one not in mine)
    else:
        yield _line(name, mine, other)


def _line(what: str, mine: object, other: object) -> str:
    return f"{what}: {word(mine)} wanted, {word(other)} kept"


def _compiler(wanted: Plan, kept: Plan) -> str:
    """By name; where that is the same, the programs are not."""
    mine, other = (f"{one.compiler.family} {one.compiler.version}" for one in (wanted, kept))
    if mine != other:
        return _line("compiler", mine, other)
    if wanted.compiler.target != kept.compiler.target:
        return _line("compiler for", wanted.compiler.target, kept.compiler.target)
    return f"compiler: {mine} of other bytes is kept"


def _tools(mine: tuple[Tool, ...], other: tuple[Tool, ...]) -> Iterator[str]:
    known, there = ({tool.name: tool for tool in tools} for tools in (mine, other))
    for name in dict.fromkeys((*known, *there)):
        one, two = known.get(name), there.get(name)
        if one is None or two is None or one.version != two.version:
            yield _line(name, one and (one.version or "here"), two and (two.version or "here"))
        elif one.digest != two.digest:
            yield f"{name}: {one.version or 'one'} of other bytes is kept"
    if [tool.name for tool in mine] != [
        tool.name for tool in other
    ] and known.keys() == there.keys():
        yield "tools: in another order"


def _by_first(rows: list[list[str]]) -> Iterator[tuple[str, str]]:
    return ((row[0], " ".join(row[1:])) for row in rows)


def _sources(mine: dict[str, str], other: dict[str, str]) -> Iterator[str]:
    for source in sorted(mine.keys() | other.keys()):
        if mine.get(source) != other.get(source):
            yield _line(f"options of {source}", mine.get(source), other.get(source))
