"""What an index offers, for programs: ``llamabuild-index.json`` at its top. Pure.

It is read by machines that choose a wheel, before any of them is fetched, and comes from somebody
else's server: what does not read as it should is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import msgspec

from llamabuild.errors import IntegrityError
from llamabuild.index.entries import Entry, replaced
from llamabuild.index.names import PROJECT, ROOT, age, is_variant, named
from llamabuild.model import Requires

VERSION: Final = 1
LARGEST: Final = 64 << 20
"""Bytes of the file; one of 2,000 wheels has some 3 MB."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_UPDATE: Final = "Ask who publishes it; `llamabuild index check` names what is wrong with it."


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One wheel. ``yanked`` says why it is not taken unless just it is asked for; the other fields
    are those of :class:`~llamabuild.index.entries.Entry` and of what the wheel says of itself."""

    file: str
    sha256: str
    size: int
    requires_python: str
    dependencies: tuple[str, ...]
    published: str
    yanked: str = ""
    release: str
    label: str
    created: str
    key: str
    commit: str
    build_number: int
    backends: tuple[str, ...]
    cpu: str
    features: tuple[str, ...]
    requires: Requires
    proved_on: str
    checks: int
    unproved: tuple[str, ...]


class Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """A variant and its wheels, the oldest version first."""

    name: str
    wheels: tuple[Offer, ...]


class Root(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    version: int = VERSION
    project: str = PROJECT
    variants: tuple[Shelf, ...]


def offer(entry: Entry, yanked: str) -> Offer:
    """What an index says of a wheel."""
    about = entry.about
    return Offer(
        file=entry.file,
        sha256=entry.sha256,
        size=entry.size,
        requires_python=entry.requires_python,
        dependencies=entry.dependencies,
        published=entry.published,
        yanked=yanked,
        release=about.release,
        label=about.label,
        created=about.created,
        key=about.key,
        commit=about.commit,
        build_number=about.build_number,
        backends=about.backends,
        cpu=about.cpu,
        features=about.features,
        requires=about.requires,
        proved_on=about.proved_on,
        checks=about.checks,
        unproved=about.unproved,
    )


def root(shelves: Mapping[str, Mapping[str, Entry]]) -> Root:
    """What an index with these wheels, by variant and name, offers. A variant without any is left
    out."""
    found = []
    for name in sorted(one for one in shelves if shelves[one]):
        entries = shelves[name]
        by = {one: f"replaced by {other}" for one, other in replaced(entries).items()}
        wheels = (offer(entries[one], by.get(one, "")) for one in sorted(entries, key=age))
        found.append(Shelf(name=name, wheels=tuple(wheels)))
    return Root(variants=tuple(found))


def encode(found: Root) -> bytes:
    """The file's contents."""
    return msgspec.json.encode(found) + b"\n"


def decode(data: bytes, where: str) -> Root:
    """What an index says it offers. Raises IntegrityError, naming ``where``, for a file that does
    not read, is of another version, or has a name in it that could mean something else."""
    try:
        found = msgspec.json.decode(data, type=Root)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(f"{where}/{ROOT} cannot be read: {error}", _UPDATE) from error
    if found.version != VERSION or found.project != PROJECT:
        said = f"of version {found.version}, for {found.project[:80]!r}"
        raise IntegrityError(f"{where}/{ROOT} is {said}", _UPDATE)
    for shelf in found.variants:
        wrong = _wrong(shelf)
        if wrong:
            raise IntegrityError(f"{where}/{ROOT}: {wrong}", _UPDATE)
    return found


def _wrong(shelf: Shelf) -> str:
    if not is_variant(shelf.name):
        return f"{shelf.name[:80]!r} is no name for a variant"
    for one in shelf.wheels:
        known = named(one.file)
        if known is None or (known.release, known.label) != (one.release, one.label):
            return f"{one.file[:80]!r} is not the name of what it says it is"
        if not f"{one.label}.".startswith(f"{shelf.name}."):
            return f"{one.file} is no wheel of {shelf.name}"
        if not _SHA256.fullmatch(one.sha256) or one.size < 0:
            return f"the hash or size of {one.file} is none"
    return ""


def address(base: str, variant: str, file: str = "") -> str:
    """Where a variant's wheel is, or its directory.

    >>> address("https://host.invalid/index", "cpu", "a+b.whl")
    'https://host.invalid/index/cpu/llama-cpp-python/a%2Bb.whl'
    >>> address("https://host.invalid/index/", "cpu")
    'https://host.invalid/index/cpu/'
    """
    place = f"{base.rstrip('/')}/{variant}/"
    return f"{place}{PROJECT}/{quote(file, safe='')}" if file else place
