"""Kit → a folder in the cache with its tools, complete or absent at every moment.

Every wheel is verified as a whole against its pinned hash, so that the list of hashes that is
inside it is not asked again.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from llamabuild import kits
from llamabuild.events import Emit, StepEnded, StepStarted
from llamabuild.fetch.archive import archive
from llamabuild.fetch.place import disk, locked, room, sweep, used
from llamabuild.fetch.transfer import Patience
from llamabuild.fetch.wheel import unpack
from llamabuild.host import Host
from llamabuild.model import Kit


def fetch(
    kit: Kit,
    *,
    ready: Callable[[Kit, Path, Host], None],
    cache: Path,
    host: Host,
    emit: Emit,
    offline: bool = False,
) -> Path:
    """The folder of a kit, from the cache if it is there and complete. ``ready`` does what has to
    be done to the unpacked wheels before others see them.

    With ``offline`` only local addresses are opened. Raises FetchError when no address has a
    wheel, IntegrityError when one gave other bytes, DiskFull before anything is fetched, and
    StoreError when the cache cannot be written.
    """
    folder = kits.folder(kit, cache)
    if kits.complete(folder):
        used(folder)
        return folder
    with disk(cache), locked(folder, emit):
        if not kits.complete(folder):
            shutil.rmtree(folder, ignore_errors=True)  # something of it is missing
            sweep(folder.parent)
            room(host, folder, kit.size + kit.unpacked)
            _fill(kit, folder, ready, cache, host, emit, offline=offline)
    return folder


def _fill(
    kit: Kit,
    folder: Path,
    ready: Callable[[Kit, Path, Host], None],
    cache: Path,
    host: Host,
    emit: Emit,
    *,
    offline: bool,
) -> None:
    started = time.monotonic()
    emit(StepStarted(name="kit", title=f"Fetching {kit.name}: {kit.what} ({kit.size >> 20} MiB)"))
    files = [
        archive(wheel, cache, host, emit, offline=offline, patience=Patience())
        for wheel in kit.wheels
    ]
    temporary = folder.with_name(folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        for file in files:
            unpack(file, temporary)
        ready(kit, temporary, host)
        listed = json.dumps(kits.contents(temporary))
        (temporary / kits.CONTENTS).write_text(listed, encoding="utf-8")
        if hasattr(os, "sync"):
            os.sync()
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for file in files:  # half a gigabyte that nobody asks for again
        file.unlink(missing_ok=True)
    emit(StepEnded(name="kit", seconds=time.monotonic() - started, detail=str(folder)))
