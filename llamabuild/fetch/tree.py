"""A llama.cpp of the user's choice in place of the one that a pin carries.

The result is a source like any other, in ``<cache>/sources``, complete or absent: the pinned
archive's files with another tree at ``pin.tree``. It is called by the pin and by what is in the
tree, so that one tree is one source, whether it came as a folder, an archive or a tag.

A tag or a commit is never moved, and an address is trusted to go on giving the same: what it gave
first is remembered in ``<cache>/facts`` by the digest of its files (hosts pack archives anew, and
that changes the archive's hash), and other files under the same name are refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from llamabuild import digest, facts, pins
from llamabuild.errors import ConfigError, FetchError, IntegrityError
from llamabuild.events import Emit, Noticed
from llamabuild.fetch import contents, fetch, patch, unpinned, wheel
from llamabuild.fetch.address import redact
from llamabuild.fetch.opener import Opener
from llamabuild.fetch.place import disk, locked, room, sweep
from llamabuild.fetch.transfer import Patience, Unavailable, WrongBytes
from llamabuild.fetch.unpack import extract
from llamabuild.fetch.where import Where
from llamabuild.host import Host
from llamabuild.model import Pin, Source

_MARKS: Final = ("CMakeLists.txt", "include/llama.h")
"""Files by which a llama.cpp is known; those before July 2024 have other ones."""
_ROOM: Final = 600_000_000  # bytes: archive, tree and copy of it


def replaced(
    pin: Pin,
    where: Where,
    *,
    cache: Path,
    host: Host,
    emit: Emit,
    offline: bool = False,
    patience: Patience | None = None,
) -> Source:
    """The source of ``pin`` with another llama.cpp in it, from the cache if it is there.

    Raises ConfigError when there is no llama.cpp, FetchError, IntegrityError when other bytes came
    than were named or seen before, DiskFull, and StoreError when the cache cannot be written.
    """
    if where.folder:
        _check(where.folder, where.shown)
        known = contents.of(where.folder)
    else:
        where = where if where.name or where.sha256 else _hashed(where)
        known = _remembered(where, cache)
    if known and _place(_pin(pin, where, known), cache).is_dir():
        return _source(_pin(pin, where, known), cache)
    base = fetch(pin, cache=cache, host=host, emit=emit, offline=offline, patience=patience)
    opener = Opener(offline=offline, patience=patience or Patience())
    key = cache / "sources" / digest.of_value(["tree", where.shown, where.sha256])[:16]
    with disk(cache), locked(key, emit), contextlib.closing(opener):
        sweep(key.parent)
        room(host, key, _ROOM)
        with _scratch(key) as scratch:
            found = _bring(where, scratch, opener, patience or Patience(), emit)
            made = contents.of(found)
            _hold(where, known, made, cache, emit)
            return _joined(base, _pin(pin, where, made), found, cache, emit)


def _hashed(where: Where) -> Where:
    """A file on the disk may change as a folder does: it is known by what is in it now."""
    try:
        return replace(where, sha256=digest.of_file(Path(where.address)))
    except OSError as error:
        raise ConfigError(
            f"{where.shown} cannot be read: {error.strerror}", "Make it readable."
        ) from error


def _pin(pin: Pin, where: Where, made: str) -> Pin:
    return replace(pin, replaced=made, commit=where.commit, build_number=where.build_number)


def _place(pin: Pin, cache: Path) -> Path:
    return cache / "sources" / pins.identity(pin)[:16]


def _source(pin: Pin, cache: Path) -> Source:
    (name,) = os.listdir(_place(pin, cache))
    return Source(pin=pin, root=_place(pin, cache) / name)


@contextlib.contextmanager
def _scratch(key: Path) -> Iterator[Path]:
    """A folder for what is half done, gone at the end however that comes."""
    folder = key.with_name(key.name + ".part")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bring(where: Where, scratch: Path, opener: Opener, patience: Patience, emit: Emit) -> Path:
    """The tree in a folder of its own. Raises FetchError, IntegrityError, ConfigError."""
    tree = scratch / "tree"
    if where.folder:
        contents.copy(where.folder, tree)
        return tree
    emit(Noticed(message=f"llama.cpp {where.shown}: fetching from {redact(where.address)}"))
    archive = scratch / where.address.rpartition("/")[2]
    try:
        sha256 = unpinned.obtain(where.address, archive, opener, patience=patience, emit=emit)
    except (Unavailable, WrongBytes) as error:
        raise FetchError(
            f"llama.cpp {where.shown} could not be fetched: {redact(where.address)}: {error}",
            "Is the tag or commit right? A folder or an archive on the disk does, too.",
        ) from error
    if where.sha256 and sha256 != where.sha256:
        raise IntegrityError(
            f"{where.shown} has sha256 {sha256}, wanted {where.sha256}",
            "It is not the file that was meant. Nothing of it was kept.",
        )
    tree.mkdir()
    if archive.name.endswith(".zip"):
        wheel.unpack(archive, tree)
    else:
        extract(archive, tree, emit)
    inner = list(tree.iterdir())
    found = inner[0] if len(inner) == 1 and inner[0].is_dir() else tree
    _check(found, where.shown)
    return found


def _check(tree: Path, shown: str) -> None:
    if missing := [name for name in _MARKS if not (tree / name).is_file()]:
        raise ConfigError(
            f"{shown} is no llama.cpp that can be built: it has no {' and no '.join(missing)}",
            "Give a llama.cpp of July 2024 or later: a checkout, an archive of one or a tag.",
        )


def _hold(where: Where, known: str, made: str, cache: Path, emit: Emit) -> None:
    """Remember what a name stands for, or refuse what it did not stand for before."""
    if where.folder:
        if made != known:
            raise IntegrityError(
                f"{where.shown} changed while it was read", "Run again when nobody writes there."
            )
        return
    fact = _fact(where, cache)
    if known and made != known:
        raise IntegrityError(
            f"llama.cpp {where.shown} has other files than before: {made[:16]}, not {known[:16]}",
            f"A tag or commit is never moved. If you trust the new one, remove {fact}.",
        )
    if not known:
        facts.keep(fact, json.dumps({"of": where.shown, "tree": made}).encode())
        if not where.sha256:
            said = f"its files are remembered as {made[:16]}, and others under this name refused."
            emit(Noticed(message=f"llama.cpp {where.shown} was not seen before; {said}"))


def _remembered(where: Where, cache: Path) -> str:
    """The digest of the files that a name or a hash stood for before; empty for a new one."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(_fact(where, cache).read_bytes())["tree"])
    return ""


def _fact(where: Where, cache: Path) -> Path:
    """Where it is remembered: by the hash of the archive, else by its name."""
    return cache / "facts" / f"tree-{digest.of_value(where.sha256 or where.name)[:24]}.json"


def _joined(base: Source, pin: Pin, tree: Path, cache: Path, emit: Emit) -> Source:
    """The source with the tree in it, published under its name."""
    place = _place(pin, cache)
    with locked(place, emit):
        if not place.is_dir():
            with _scratch(place) as scratch:
                root = scratch / "new" / base.root.name
                shutil.copytree(base.root, root, ignore=_without(base.tree))
                tree.rename(root / pin.tree)
                _patch(pin, root, emit)
                if hasattr(os, "sync"):
                    os.sync()
                (scratch / "new").rename(place)
    return _source(pin, cache)


def _without(tree: Path) -> Callable[[str, list[str]], list[str]]:
    return lambda folder, _: [tree.name] if Path(folder) == tree.parent else []


def _patch(pin: Pin, root: Path, emit: Emit) -> None:
    """The pin's patches, as far as they fit: another llama.cpp may have what they bring."""
    for one in pin.patches:
        try:
            patch.apply(one, root)
        except IntegrityError as error:
            emit(Noticed(message=f"{error.message}; it is left out ({one.why})"))
