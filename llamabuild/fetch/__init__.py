"""Pin → :class:`Source`: fetched from the first address that has it, verified, unpacked, patched.

The cache holds ``downloads/`` (archives) and ``sources/`` (trees), both named by hash: an archive
by its own, a tree by that of the archive and the patches applied to it. Each is complete or
absent, at every moment, whoever is killed; one run works on a file at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from llamabuild import pins
from llamabuild.errors import StoreError
from llamabuild.events import Emit
from llamabuild.host import Host
from llamabuild.model import Pin, Source

if TYPE_CHECKING:
    from llamabuild.fetch.transfer import Patience

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
    archive, IntegrityError when one gave other bytes, the archive is unsafe or a patch does not
    fit, DiskFull, and StoreError when the cache cannot be written.
    """
    folder = cache / "sources" / pins.identity(pin)[:16]
    if not folder.is_dir():
        _fill(folder, pin, cache, host, emit, offline=offline, patience=patience)
    from llamabuild.fetch.place import used
    from llamabuild.fetch.unpack import root

    used(folder)

    return Source(pin=pin, root=root(folder))


def _fill(
    folder: Path,
    pin: Pin,
    cache: Path,
    host: Host,
    emit: Emit,
    *,
    offline: bool,
    patience: Patience | None,
) -> None:
    """Download and unpack. What only this needs is imported here: a source that is already there
    must not cost the time."""
    if pin.replaced:  # nobody but fetch.tree puts such a source together
        raise StoreError(
            f"{folder}, the source with another llama.cpp in it, is gone from the cache",
            "Run again with --llama-cpp.",
        )
    from llamabuild.fetch.archive import archive
    from llamabuild.fetch.place import disk, locked, room, sweep
    from llamabuild.fetch.transfer import Patience
    from llamabuild.fetch.unpack import unpack

    with disk(cache), locked(folder, emit):
        if folder.is_dir():
            return
        sweep(folder.parent)
        patience = patience or Patience()
        file = archive(pin, cache, host, emit, offline=offline, patience=patience)
        room(host, folder, _SPREAD * pin.size)
        unpack(file, folder, pin, emit)
