"""Another llama.cpp under the same bindings: its source, its words, and whether the two fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from llamabuild import fetch, options, pins, plan
from llamabuild.dialect import Note
from llamabuild.events import Emit, Noticed
from llamabuild.host import Host
from llamabuild.model import Pin, Plan, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A llama.cpp of the user's choice. ``shown`` is what the user called it; ``source`` is the
    pinned one with this llama.cpp in it, ``known`` the options that it declares."""

    shown: str
    source: Source
    known: options.Options

    @property
    def pin(self) -> Pin:
        """The pin that names exactly this source."""
        return self.source.pin

    def render(self, decided: Plan, arch: str) -> tuple[Plan, tuple[Note, ...]]:
        """A plan in the words of this tree, and what became of options that it does not have.
        Raises as :func:`llamabuild.plan.in_words_of` does."""
        folder = self.source.tree
        return plan.in_words_of(self.known, decided, arch, lambda name: (folder / name).is_file())


def take(
    where: str, pin: Pin, *, host: Host, cache: Path, emit: Emit, offline: bool = False
) -> Tree:
    """The llama.cpp that ``where`` means (see :mod:`llamabuild.fetch.where`) within ``pin``'s
    source, fetched where it is not there. Raises what fetching raises, and ConfigError when there
    is no llama.cpp."""
    from llamabuild.fetch import tree  # a parser of archives that most runs do not need
    from llamabuild.fetch.where import understood

    meant = understood(where, host.environ)
    source = tree.replaced(pin, meant, cache=cache, host=host, emit=emit, offline=offline)
    known = options.declared(source.tree, cache=cache, sha256=pins.identity(source.pin))
    return Tree(shown=meant.shown, source=source, known=known)


def check(
    tree: Tree | None, decided: Plan, *, host: Host, cache: Path, emit: Emit, offline: bool = False
) -> None:
    """Return when the Python bindings fit the tree; None is the one that they came with, which
    need not be asked. Raises AbiMismatch naming what differs, before anything is compiled."""
    if tree is None:
        return
    from llamabuild import abi

    whole = replace(tree.pin, replaced="")
    carried = fetch.fetch(whole, cache=cache, host=host, emit=emit, offline=offline)
    abi.check(
        tree.source.root / "llama_cpp",
        tree.source.tree,
        cc=decided.compiler.cc,
        host=host,
        carried=carried.tree,
        what=f"llama.cpp {tree.shown}",
    )
    emit(Noticed(message=f"llama.cpp {tree.shown} has the interface that the bindings are for."))
