"""Released wheels: an artifact's wheel with a label that says what is inside, a measured platform
tag, a bill of materials, and a guard that says what is missing where it cannot run.

Making one is pure: no compiler runs, and the same artifact gives the same bytes (with the same
zlib). Nothing is released that does not pass the gates (:mod:`llamabuild.release.gates`).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from llamabuild.errors import Refused
from llamabuild.events import Emit, Noticed
from llamabuild.host import Host
from llamabuild.model import Artifact
from llamabuild.release import sidecar, tags
from llamabuild.release.gates import check, verdicts
from llamabuild.release.labels import label, variant
from llamabuild.release.repack import Repacked, repack
from llamabuild.store.files import flush_one, fresh, guarded, write
from llamabuild.store.work import workdir
from llamabuild.trust.keys import Signer

__all__ = ["check", "label", "make", "sidecar", "variant", "verdicts"]


def make(
    artifact: Artifact,
    *,
    out: Path,
    cache: Path,
    host: Host,
    emit: Emit,
    bundle: bool | None = None,
    local: bool = False,
    signer: Signer | None = None,
) -> Path:
    """Make the released wheel of an artifact in the folder ``out``, complete or not at all.

    ``bundle`` puts the libraries that it needs inside (but a driver's), True: all, False: none,
    None: those that neither its requirements nor every machine of its platform bring (GCC's
    OpenMP). ``local`` lets pass one that is for this machine only. With a ``signer``, what it was
    made of is signed in ``<wheel>.dsse.json`` beside it.

    Raises Refused with every reason when it does not pass the gates; ToolMissing without
    auditwheel; IntegrityError when the artifact's wheel is damaged; StoreError, DiskFull.
    """
    with guarded(out), workdir(cache) as work:
        made = _repacked(artifact, work, host, bool(bundle) if local else bundle)
        if reasons := check(made.path, host, local=local):
            raise refused(made.path, reasons)
        target = _placed(made.path, out)
        if signer:
            write(sidecar.path(target), sidecar.sign(artifact, target, signer))
    emit(Noticed(message=f"{target.name}: every gate passed"))
    return target


def _repacked(artifact: Artifact, work: Path, host: Host, bundle: bool | None) -> Repacked:
    made = repack(artifact, fresh(work, "wheel-"), host, bundled=bool(bundle))
    if bundle is None and made.local and not tags.declared(artifact.manifest.plan):
        return repack(artifact, fresh(work, "wheel-"), host, bundled=True)
    return made


def refused(wheel: Path, reasons: tuple[str, ...]) -> Refused:
    """The error for a wheel that does not pass, with its reasons."""
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    outside = any("from outside" in one for one in reasons)
    hint = _OUTSIDE if outside else "llamabuild wheel check shows every gate."
    return Refused(f"{wheel.name} is refused: {reasons[0]}{more}", hint, reasons=reasons)


_OUTSIDE = "Put such libraries inside (--bundle-runtime), or keep it on this machine (--local)."


def _placed(made: Path, out: Path) -> Path:
    """The wheel in its folder, by one rename."""
    out.mkdir(parents=True, exist_ok=True)
    beside = fresh(out, ".wheel-")
    try:
        copy = beside / made.name
        shutil.copyfile(made, copy)
        flush_one(copy)
        os.replace(copy, out / made.name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return out / made.name
