"""A plan made here, held against the cell that it is made for. Pure."""

from __future__ import annotations

from llamabuild.ci.cells import Cell
from llamabuild.errors import LockMismatch
from llamabuild.lockfile import resolve
from llamabuild.lockfile.entries import Locked
from llamabuild.model import Plan


def check(cell: Cell, decided: Plan) -> None:
    """Raises LockMismatch, naming each difference, when a plan has another key than the cell."""
    made = Locked(name=cell.name, want=cell.want)
    now = resolve.locked(made, decided, cell.variant)
    if found := resolve.differences(cell, now):
        raise LockMismatch(
            f"{cell.name} would be {now.key[:12]} here, and {cell.key[:12]} was locked: "
            f"{'; '.join(found)}",
            "Build it where these are the same, or lock again (`llamabuild lock`).",
            differences=found,
        )
