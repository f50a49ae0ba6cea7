"""Pages about stores: what goes in a sweep, why something is not used, generations."""

from __future__ import annotations

from collections.abc import Sequence

from llamabuild.generations import Generation
from llamabuild.remotes.cleaning import Cleaning
from llamabuild.report import words
from llamabuild.report.table import table
from llamabuild.store.limits import Item, Removal


def sweep_page(going: Sequence[Removal], *, only_shown: bool) -> str:
    """What goes, why, and how much room that makes."""
    if not going:
        return "There is nothing to remove."
    loose = [one for one in going if one.item.what == "file"]
    rows = [
        (one.item.what, _short(one.item), words.size(one.size), one.why)
        for one in going
        if one.item.what != "file"
    ]
    if loose:
        size = words.size(sum(one.size for one in loose))
        rows.append(("files", str(len(loose)), size, "no artifact has them"))
    total = words.size(sum(one.size for one in going))
    said = "would be removed" if only_shown else "removed"
    return f"{table(rows, ('what', 'name', 'size', 'why'))}\n\n{total} {said}"


def cleaning_page(going: Cleaning, *, only_shown: bool) -> str:
    """What goes from a shared store."""
    rows = [(one.id[:12], one.recipe, words.size(one.size), one.created[:10]) for one in going.rows]
    listed = [table(rows, ("artifact", "recipe", "size", "made on")), ""] if rows else []
    said = "would be removed" if only_shown else "removed"
    objects = words.plural(len(going.objects), "object")
    last = f"{words.plural(len(rows), 'artifact')}, {objects}, {words.size(going.size)} {said}"
    return "\n".join((*listed, last))


def _short(item: Item) -> str:
    """An artifact's id as it is shown elsewhere; other names have to fit."""
    return item.name[: 12 if item.what == "artifact" else 28]


def generations_page(known: Sequence[Generation], now: int) -> str:
    """This machine's generations, one a line; the current one is marked."""
    if not known:
        return "Nothing is set up yet. Next: llamabuild setup"
    rows = [
        (
            f"{'→' if one.number == now else ' '} {one.number}",
            one.recipe,
            one.key[:12],
            one.id[:12],
            one.created[:16].replace("T", " "),
        )
        for one in known
    ]
    return table(rows, ("n", "recipe", "key", "artifact", "given"))


def generation_line(one: Generation) -> str:
    """The current generation in one line."""
    return f"Generation {one.number} is current: {one.recipe}, {one.key[:12]}"


def why_page(title: str, reasons: Sequence[str]) -> str:
    """A sentence and its reasons, one a line."""
    return "\n".join((title, *(f"  {words.clean(one)}" for one in reasons)))
