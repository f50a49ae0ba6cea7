"""``mutants.toml`` → :class:`Mutant`: what to break, and how the proof must call it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from llamabuild import data
from llamabuild.errors import ConfigError

TABLE = Path(__file__).with_name("mutants.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Exact text of one source file to replace. ``after`` is the head of the function that
    ``old`` stands in (its first occurrence counts); without it ``old`` must stand in the file
    exactly once."""

    file: str
    old: str
    new: str
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One way to be broken. ``expects`` are the classes of failure that are right, the best
    first. Broken are the source (``edits``, and compiler ``options`` for the file of the first
    edit), the finished ``files`` or the ``surroundings`` (functions of :mod:`tests.mutants.files`
    and :mod:`tests.mutants.surroundings`, with one ``argument``).

    ``needs`` are CPU features without which the changed code would not run; ``seconds`` bounds
    each child, for those that hang; ``pending`` says what the proof still lacks to see it.
    """

    name: str
    about: str
    expects: tuple[str, ...]
    edits: tuple[Edit, ...] = ()
    options: tuple[str, ...] = ()
    files: str = ""
    surroundings: str = ""
    argument: str = ""
    needs: tuple[str, ...] = ()
    seconds: float = 0.0
    pending: str = ""


def load(path: Path = TABLE) -> tuple[Mutant, ...]:
    """All mutants, in the file's order. Raises ConfigError for a table that says nothing, says
    something twice, or says it wrongly."""
    try:
        found = msgspec.convert(data.load(path)["mutant"], tuple[Mutant, ...])
    except (KeyError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"{path}: {error}", "tests/mutants/table.py describes the form."
        ) from error
    seen: set[str] = set()
    for mutant in found:
        if mutant.name in seen or not mutant.expects:
            raise ConfigError(f"{path}: {mutant.name} is there twice, or expects nothing")
        if not (mutant.edits or mutant.files or mutant.surroundings):
            raise ConfigError(f"{path}: {mutant.name} breaks nothing")
        seen.add(mutant.name)
    return found


def applied(text: str, edit: Edit) -> str:
    """The text with the edit done.

    Raises ConfigError unless it changes exactly the one place that it means.

    >>> second = Edit(file="", after="g()", old="a;", new="b;")
    >>> applied("f() { a; }\\ng() { a; }\\n", second)
    'f() { a; }\\ng() { b; }\\n'
    """
    anchor = edit.after or edit.old
    if text.count(anchor) != 1:
        raise ConfigError(f"{edit.file}: {anchor!r} stands there {text.count(anchor)} times")
    start = text.index(anchor)
    place = text.find(edit.old, start)
    if place < 0 or "\n}" in text[start:place]:
        raise ConfigError(f"{edit.file}: {edit.old!r} does not stand in {edit.after!r}")
    if edit.old == edit.new:
        raise ConfigError(f"{edit.file}: {edit.old!r} is replaced by itself")
    return text[:place] + edit.new + text[place + len(edit.old) :]
