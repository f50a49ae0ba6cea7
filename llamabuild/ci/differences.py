"""How a plan made here differs from the one that a cell was locked with, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from llamabuild import plan as planning
from llamabuild.ci.cells import Cell
from llamabuild.errors import LockMismatch
from llamabuild.lockfile.resolve import compiler_in_words, tool_in_words
from llamabuild.model import Plan

_SHOWN = 12


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
    mine = compiler_in_words(decided.compiler)
    if cell.compiler and mine != cell.compiler:
        yield f"compiler: {mine} here, {cell.compiler} there"
    if cell.sysroot and decided.sysroot != cell.sysroot:
        yield f"C library: {decided.sysroot or 'none'} here, {cell.sysroot} there"
    if cell.tools:
        yield from _tools(cell.tools, tuple(tool_in_words(one) for one in decided.tools))
    if cell.os and decided.system != cell.os:
        yield f"system: {decided.system} here, {cell.os} there"


def _tools(theirs: tuple[str, ...], mine: tuple[str, ...]) -> Iterator[str]:
    there = {one.partition(" ")[0]: one for one in theirs if one not in mine}
    here = {one.partition(" ")[0]: one for one in mine if one not in theirs}
    for name in dict.fromkeys((*here, *there)):
        yield f"{name}: {here.get(name, 'none')} here, {there.get(name, 'none')} there"
