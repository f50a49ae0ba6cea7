"""The page about a lock file."""

from __future__ import annotations

from llamabuild.lockfile.entries import Lock, Locked
from llamabuild.report.table import table


def lock_page(lock: Lock) -> str:
    """The source, and the targets with what is known of them, one a line."""
    source = table([("Source", f"{lock.pin} {lock.version}, llama.cpp {lock.commit}")])
    if not lock.targets:
        return f"{source}\n\nThere are no targets. Next: llamabuild lock cpu-fat"
    head = ("target", "variant", "key", "artifact", "made with")
    return f"{source}\n\n{table([_row(one) for one in lock.targets], head)}"


def _row(one: Locked) -> tuple[str, ...]:
    made = one.compiler.rpartition(" ")[0]
    made = f"{made}, {one.sysroot}" if made else f"not planned yet ({one.toolchain})"
    return (one.name, one.variant or "–", one.key[:12] or "–", one.artifact[:12] or "–", made)
