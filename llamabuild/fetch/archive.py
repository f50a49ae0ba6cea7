"""The verified archive of a pin: kept, else from the first place that has it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

from llamabuild.errors import FetchError, IntegrityError
from llamabuild.events import Emit, Noticed, Warned
from llamabuild.fetch import index, partial
from llamabuild.fetch.address import file_name, redact
from llamabuild.fetch.opener import Opener
from llamabuild.fetch.place import locked, room
from llamabuild.fetch.transfer import Patience, Unavailable, WrongBytes, insist
from llamabuild.host import Host
from llamabuild.model import Archive


def archive(
    pin: Archive, cache: Path, host: Host, emit: Emit, *, offline: bool, patience: Patience
) -> Path:
    """The verified archive in the cache. Raises FetchError when no address has it, IntegrityError
    when one gave other bytes, DiskFull."""
    target = cache / "downloads" / f"{pin.sha256[:16]}-{file_name(pin.urls[0])}"
    with locked(target, emit):
        if partial.verified(target, pin):
            return target
        if target.exists():
            emit(Warned(message=f"{target} is damaged", hint="It is fetched again."))
            target.unlink()
        room(host, target, pin.size - min(pin.size, partial.received(target)))
        with contextlib.closing(Opener(offline=offline, patience=patience)) as opener:
            known = functools.cache(lambda: index.configured(host, target.parent))
            _first(pin, target, opener, known, patience, emit)
    return target


def _first(
    pin: Archive,
    target: Path,
    opener: Opener,
    known: Callable[[], index.Indexes],
    patience: Patience,
    emit: Emit,
) -> None:
    """Fill ``target`` from the first place that has it; a failure lists every place's reason."""
    failures: list[str] = []
    wrong = False
    for place, locate in _ways(pin, opener, known):
        shown = redact(place)
        try:
            address = insist(locate, patience=patience, emit=emit)
            emit(Noticed(message=f"{pin.name} {pin.version}: fetching from {shown}"))
            body = functools.partial(opener.body, address)
            partial.obtain(target, pin, body, patience=patience, emit=emit)
        except Unavailable as error:
            failures.append(f"{shown}: {error}")
        except WrongBytes as error:
            wrong = True
            failures.append(f"{shown}: {error}")
            emit(Warned(message=f"{shown} has another {pin.name} {pin.version}: {error}"))
        else:
            return
    reasons = "; ".join(failures) or "there is no index and no find-links folder to ask"
    if wrong:
        raise IntegrityError(
            f"{pin.name} {pin.version} is not the pinned file: {reasons}",
            "A mirror or proxy changed it, or the pin is wrong. Nothing of it was kept.",
        )
    raise FetchError(
        f"{pin.name} {pin.version} could not be fetched: {reasons}",
        f"Point PIP_INDEX_URL or PIP_FIND_LINKS at a place that has it, or save it as {target}.",
    )


def _ways(
    pin: Archive, opener: Opener, known: Callable[[], index.Indexes]
) -> Iterator[tuple[str, Callable[[], str]]]:
    """Each place to ask, with a function that gives the archive's address there."""
    for url in pin.urls:
        if not url.startswith("pypi:"):
            yield url, functools.partial(str, url)
            continue
        file = url.rpartition("/")[2]
        for place in index.places(url, known):
            yield place, functools.partial(index.find, place, file, opener.page)
