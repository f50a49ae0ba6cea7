"""How a plan made here differs from the one that a cell was locked with, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from llamabuild import plan as planning
from llamabuild.ci.cells import Cell
from llamabuild.errors import LockMismatch
from llamabuild.model import Compiler, Plan, Tool

_SHOWN = 12


def compiler_words(compiler: Compiler) -> str:
    """A compiler as lock files name it: what of it is in a key.

    >>> compiler_words(Compiler(family="gcc", version="12.2.0", target="x86_64-linux-gnu",
    ...     cc="gcc", cxx="g++", digest="0123456789abcdef"))
    'gcc 12.2.0 x86_64-linux-gnu 0123456789ab'
    """
    return f"{compiler.family} {compiler.version} {compiler.target} {compiler.digest[:_SHOWN]}"


def tool_words(tool: Tool) -> str:
    """A tool as lock files name it.

    >>> tool_words(Tool(name="cmake", version="3.31.6", path="/usr/bin/cmake"))
    'cmake 3.31.6'
    """
    return " ".join(word for word in (tool.name, tool.version, tool.digest[:_SHOWN]) if word)


def check(cell: Cell, decided: Plan) -> None:
    """Raises LockMismatch, naming each difference, when a plan has another key than the cell."""
    key = planning.key(decided)
    if not cell.key or key == cell.key:
        return
    found = tuple(differences(cell, decided)) or (
        "options or the llamabuild that planned them: compiler, C library and tools are the same",
    )
    raise LockMismatch(
        f"{cell.name} would be {key[:_SHOWN]} here, and {cell.key[:_SHOWN]} was locked: "
        f"{'; '.join(found)}",
        "Build it where these are the same, or lock again (`llamabuild lock`).",
        differences=found,
    )


def differences(cell: Cell, decided: Plan) -> Iterator[str]:
    """What is known to differ, a sentence each. What the lock file does not say is not compared."""
    mine = compiler_words(decided.compiler)
    if cell.compiler and mine != cell.compiler:
        yield f"compiler: {mine} here, {cell.compiler} there"
    if cell.sysroot and decided.sysroot != cell.sysroot:
        yield f"C library: {decided.sysroot or 'none'} here, {cell.sysroot} there"
    if cell.tools:
        yield from _tools(cell.tools, tuple(tool_words(one) for one in decided.tools))
    if cell.os and decided.system != cell.os:
        yield f"system: {decided.system} here, {cell.os} there"


def _tools(theirs: tuple[str, ...], mine: tuple[str, ...]) -> Iterator[str]:
    there = {one.partition(" ")[0]: one for one in theirs if one not in mine}
    here = {one.partition(" ")[0]: one for one in mine if one not in theirs}
    for name in dict.fromkeys((*here, *there)):
        yield f"{name}: {here.get(name, 'none')} here, {there.get(name, 'none')} there"
