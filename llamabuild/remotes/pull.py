"""Artifacts from a shared store: manifest, signature, files; each is checked before the next.

Nothing is known of an artifact in this cache until all of it is here. What came of a file before an
interruption is not fetched again where the other side can send the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final

from llamabuild import matching, plan
from llamabuild.errors import FetchError, IntegrityError
from llamabuild.events import Emit, Progress, StepEnded, StepStarted
from llamabuild.model import Artifact, File, Manifest
from llamabuild.remotes import signatures
from llamabuild.remotes.index import Shared
from llamabuild.remotes.objects import together
from llamabuild.remotes.push import blob, manifest
from llamabuild.store import blobs, by_id, guarded, manifests
from llamabuild.store.catalogue import Row
from llamabuild.store.files import alone
from llamabuild.store.work import workdir

_TURNS: Final = 3
"""How often a sweep may take files away that have just come."""


def pull(shared: Shared, row: Row, emit: Emit) -> Artifact:
    """Bring an artifact into the cache.

    Raises FetchError when it cannot be had, IntegrityError when it is not what it should be or
    nobody who is trusted signed it, StoreError and DiskFull. What is there until then stays.
    """
    root = shared.cache
    found, data = _manifest(shared, row)
    if not shared.unsigned:
        signatures.check(shared, row.id, row.signers)
    emit(StepStarted(name="pull", title=f"Pulling {row.id[:12]} from {shared.address}"))
    with guarded(root), workdir(root) as held:
        for _ in range(_TURNS):
            _files(shared, found, held, emit)
            manifests.publish(root, matching.group(found.plan), found.key, row.id, data)
            if not _lacking(root, found, held):
                break
        artifact = by_id(root, found.key, row.id, emit)
    if artifact is None:
        raise FetchError(f"{row.id[:12]} cannot be kept", "Check the disk.")
    emit(StepEnded(name="pull", seconds=0, detail=f"{len(found.files)} files"))
    return artifact


def believed(shared: Shared, row: Row) -> Manifest:
    """The manifest of an artifact that :func:`pull` would take, its wheel being there. Nothing is
    kept of it. Raises FetchError and IntegrityError as that does."""
    found, _ = _manifest(shared, row)
    if not shared.unsigned:
        signatures.verified(shared, row.id, row.signers)
    for name, file in found.files.items():
        if name.endswith(".whl") and shared.objects.has(blob(shared, file.sha256)) != file.size:
            raise FetchError(f"{shared.address} lacks the wheel of {row.id[:12]}", _GONE)
    return found


def _manifest(shared: Shared, row: Row) -> tuple[Manifest, bytes]:
    data = shared.objects.read(manifest(shared, row.id), manifests.LARGEST)
    if data is None:
        raise FetchError(f"{shared.address} lacks the manifest of {row.id[:12]}", _GONE)
    found = manifests.decode(data, row.id)
    _check(found, row)
    return found, data


_GONE: Final = "It may have been removed just now. Try again."


def _check(found: Manifest, row: Row) -> None:
    """A manifest is for the key that its plan has, or a wrong one would be found for it."""
    if found.key != row.key:
        raise IntegrityError(
            f"{row.id[:12]} is for {found.key[:12]}, and the index says {row.key[:12]}",
            "Nothing was used of it.",
        )
    if plan.key(found.plan) != found.key:
        raise IntegrityError(
            f"the plan of {row.id[:12]} does not have the key {found.key[:12]}",
            "Another version of llamabuild made it, or somebody changed it: it is not used.",
        )


def _lacking(root: Path, found: Manifest, held: Path) -> dict[str, File]:
    """The files that are not here, by hash. Those that are here are held."""
    wanted = {file.sha256: file for file in found.files.values()}
    return {
        name: file
        for name, file in wanted.items()
        if not _held(blobs.path_of(root, name), file, held)
    }


def _held(blob: Path, file: File, held: Path) -> bool:
    return blobs.renewed(blob, executable=file.executable) and blobs.hold(blob, held)


def _files(shared: Shared, found: Manifest, held: Path, emit: Emit) -> None:
    """Fetch the files that are not here, several at a time."""
    lacking = _lacking(shared.cache, found, held)
    total = sum(file.size for file in lacking.values())
    done = 0
    lock = Lock()

    def moved(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            emit(Progress(name="pull", done=min(done, total), total=total, unit="B"))

    together(lambda file: _one(shared, file, held, moved), lacking.values())


def _one(shared: Shared, file: File, held: Path, moved: Callable[[int], None]) -> None:
    """Fetch a file; once more from its beginning when what is here of it does not go together with
    the rest. Two runs do not write into one file."""
    part = shared.cache / "downloads" / f"{file.sha256}.part"
    target = blobs.path_of(shared.cache, file.sha256)
    with alone(part.with_suffix(".lock")):
        if _held(target, file, held):  # another run's
            return
        resumed = part.exists()
        _download(shared, file, part, moved)
        if resumed and not blobs.sound(part, file):
            part.unlink()
            _download(shared, file, part, moved)
        if not blobs.sound(part, file):
            part.unlink()
            raise IntegrityError(
                f"{shared.address}: the file {file.sha256[:12]} is not what its name says",
                "Nothing was used of it. Ask who keeps the store.",
            )
        blobs.put(shared.cache, part, file, held)
        part.unlink()


def _download(shared: Shared, file: File, part: Path, moved: Callable[[int], None]) -> None:
    if not shared.objects.download(blob(shared, file.sha256), part, file.size, moved):
        raise FetchError(f"{shared.address} lacks the file {file.sha256[:12]}", _GONE)
