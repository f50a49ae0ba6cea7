"""Pin → :class:`Source`: downloaded from the first address that has it, verified, unpacked.

The cache holds ``downloads/`` (archives) and ``sources/`` (unpacked trees), both named by hash.
Each is complete or absent, at every moment, whoever is killed; one run works on a file at a time.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from llamabuild.errors import DiskFull, FetchError, IntegrityError, StoreError
from llamabuild.events import Emit, Noticed, Warned
from llamabuild.fetch import index, partial, unpack
from llamabuild.fetch.address import file_name, redact
from llamabuild.fetch.opener import Opener
from llamabuild.fetch.transfer import Patience, Unavailable, WrongBytes, insist
from llamabuild.host import Host
from llamabuild.model import Pin, Source

_SPREAD: Final = 4  # an unpacked source is up to four times its archive (the pinned one: 2.3)


def fetch(
    pin: Pin,
    *,
    cache: Path,
    host: Host,
    emit: Emit,
    offline: bool = False,
    patience: Patience | None = None,
) -> Source:
    """The unpacked source of ``pin``, from the cache if it is there.

    With ``offline`` only local addresses are opened. Raises FetchError when no address has the
    archive, IntegrityError when one gave other bytes or the archive is unsafe, DiskFull, and
    StoreError when the cache cannot be written.
    """
    folder = cache / "sources" / pin.sha256[:16]
    if not folder.is_dir():
        with _disk(cache), _locked(folder, emit):
            if not folder.is_dir():
                _sweep(folder.parent)
                archive = _archive(
                    pin, cache, host, emit, offline=offline, patience=patience or Patience()
                )
                _room(host, folder, _SPREAD * pin.size)
                unpack.unpack(archive, folder, pin, emit)
    return Source(pin=pin, root=unpack.root(folder))


def _archive(
    pin: Pin, cache: Path, host: Host, emit: Emit, *, offline: bool, patience: Patience
) -> Path:
    """The verified archive in the cache."""
    target = cache / "downloads" / f"{pin.sha256[:16]}-{file_name(pin.urls[0])}"
    with _locked(target, emit):
        if partial.verified(target, pin):
            return target
        if target.exists():
            emit(Warned(message=f"{target} is damaged", hint="It is fetched again."))
            target.unlink()
        _room(host, target, pin.size - min(pin.size, partial.received(target)))
        with contextlib.closing(Opener(offline=offline, patience=patience)) as opener:
            known = functools.cache(lambda: index.configured(host, target.parent))
            _first(pin, target, opener, known, patience, emit)
    return target


def _first(
    pin: Pin,
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
    pin: Pin, opener: Opener, known: Callable[[], index.Indexes]
) -> Iterator[tuple[str, Callable[[], str]]]:
    """Each place to ask, with a function that gives the archive's address there."""
    for url in pin.urls:
        if not url.startswith("pypi:"):
            yield url, functools.partial(str, url)
            continue
        file = url.rpartition("/")[2]
        for place in index.places(url, known):
            yield place, functools.partial(index.find, place, file, opener.page)


@contextlib.contextmanager
def _locked(path: Path, emit: Emit) -> Iterator[None]:
    """Alone with ``path``. The lock ends with its process, however that ends."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        emit(Noticed(message=f"waiting for another run that works on {path.name}"))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _sweep(folder: Path) -> None:
    """Remove what dead runs left half unpacked: whatever nobody holds the lock of."""
    from filelock import FileLock, Timeout

    for left in folder.glob("*.part"):
        with contextlib.suppress(Timeout), FileLock(left.with_suffix(".lock"), timeout=0):
            shutil.rmtree(left, ignore_errors=True)


def _room(host: Host, path: Path, need: int) -> None:
    """Raise DiskFull unless ``need`` bytes are free where ``path`` will be."""
    free = host.disk_free(path.parent)
    if free < need:
        raise DiskFull(
            f"{path.parent} has {free / 1e6:.0f} MB free, {need / 1e6:.0f} MB are needed",
            "Free some space, or choose another cache folder.",
        )


@contextlib.contextmanager
def _disk(cache: Path) -> Iterator[None]:
    """What the operating system says about the cache, as one of our errors."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no space left while writing to {cache}",
                "Free some space, or choose another cache folder.",
            ) from error
        raise StoreError(
            f"the cache {cache} cannot be used: {error}", "Choose another cache folder."
        ) from error
