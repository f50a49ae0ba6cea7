"""The page of an index for people: which variants there are, and what each needs. Pure."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterator
from typing import Final

from llamabuild.backends import BACKENDS
from llamabuild.index.names import PROJECT
from llamabuild.index.offers import Offer, Root, Shelf
from llamabuild.model import Requires

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;"
    "padding:.4em 1em .4em 0;border-bottom:1px solid #8884}code{font-size:90%}"
)
_INTRODUCTION: Final = (
    "Each variant is an index of its own. <code>llamabuild index use ADDRESS</code> says "
    "which one is for a machine, why, and how to install it."
)


def needs(requires: Requires) -> tuple[str, ...]:
    """What a wheel needs, in words.

    >>> needs(Requires(os="linux", arch="x86_64", libc="glibc", versions=(("GLIBC", "2.28"),),
    ...     features=("avx2", "fma"), backends=("cpu",)))
    ('linux on x86_64', 'glibc ≥ 2.28', 'CPU with avx2, fma')
    """
    kinds = {"GLIBC": "glibc"}
    versions = [
        f"{kinds.get(family, family)} ≥ {version}"
        for family, version in requires.versions
        if family in ("GLIBC", "macOS")
    ]
    cpu = [f"CPU with {', '.join(requires.features)}"] if requires.features else []
    chosen = ["chooses its code for the CPU when it starts"] if requires.variants else []
    return (
        f"{requires.os} on {requires.arch}",
        *(versions or [requires.libc] if requires.libc or versions else []),
        *cpu,
        *chosen,
        *_devices(requires),
    )


def _devices(requires: Requires) -> Iterator[str]:
    drivers = dict(requires.drivers)
    for name in (one for one in requires.backends if one != "cpu"):
        title = BACKENDS[name].TITLE if name in BACKENDS else name
        least = f", driver ≥ {drivers[name]}" if name in drivers else ""
        yield f"a device for {title}{least}"
    if requires.device_code:
        yield f"code for {', '.join(f'{kind} {name}' for kind, name in requires.device_code)}"


def page(root: Root) -> bytes:
    """``index.html`` at the top."""
    rows = "\n".join(map(_row, root.variants))
    head = "<tr><th>Variant</th><th>Newest</th><th>Needs</th><th>Proof</th></tr>"
    lines = (
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{PROJECT} wheels</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        f"<h1>{PROJECT} wheels</h1>",
        f"<p>{_INTRODUCTION}</p>",
        f"<table>\n{head}\n{rows}\n</table>",
        "</body>",
        "</html>",
    )
    return _sealed("\n".join(lines).encode() + b"\n")


def _sealed(text: bytes) -> bytes:
    return text + f"<!-- sha256 {hashlib.sha256(text).hexdigest()} -->\n".encode()


def intact(data: bytes) -> bool:
    """True for a page that is as it was written, be it long ago.

    >>> intact(page(Root(variants=()))), intact(page(Root(variants=())).replace(b"wheels", b"W"))
    (True, False)
    """
    text, mark, _ = data.rpartition(b"<!-- sha256 ")
    return bool(mark) and _sealed(text) == data


def _row(shelf: Shelf) -> str:
    newest = ([one for one in shelf.wheels if not one.yanked] or [*shelf.wheels])[-1]
    name = html.escape(shelf.name)
    cells = (
        f'<a href="{name}/{PROJECT}/">{name}</a>',
        f"{html.escape(newest.release)}<br>{len(shelf.wheels)} in all",
        "<br>".join(map(html.escape, needs(newest.requires))),
        html.escape(_proof(newest)),
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _proof(offer: Offer) -> str:
    left = f"; not run: {', '.join(offer.unproved)}" if offer.unproved else ""
    return f"{offer.checks} checks on {offer.proved_on}{left}" if offer.checks else "none"
