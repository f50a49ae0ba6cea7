"""An artifact's folder: ``artifacts/<fingerprint>/<id>/`` with ``bin/``, ``lib/`` and ``wheel/``.

It is made of names of blobs, and made again when it is not what it should be. It appears by one
rename; before anybody uses it, every file in it is compared with the manifest.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llamabuild import digest
from llamabuild.model import Artifact, File
from llamabuild.store import blobs, manifests
from llamabuild.store.files import flush_one, place
from llamabuild.store.manifests import Entry
from llamabuild.store.work import discard, quarantined, workdir

_READERS = 4
"""Threads that take hashes: it is the processor's work, and readers wait for the disk."""


def damaged(artifact: Artifact) -> str | None:
    """None when the folder holds every file as recorded and nothing else, else one that is wrong.

    Raises OSError when a file cannot be read, which says nothing of what is in it.
    """
    wanted = artifact.manifest.files
    present = set(_present(artifact.path))
    if odd := present.symmetric_difference({*wanted, manifests.NAME}):
        return min(odd)
    if digest.of_file(artifact.path / manifests.NAME) != artifact.id:
        return manifests.NAME
    with ThreadPoolExecutor(max_workers=_READERS) as pool:
        verdicts = pool.map(lambda one: _fits(artifact, *one), wanted.items())
        return next((name for name, fits in zip(wanted, verdicts, strict=True) if not fits), None)


def _fits(artifact: Artifact, name: str, known: File) -> bool:
    path = artifact.path / name
    return not path.is_symlink() and path.is_file() and blobs.sound(path, known)


def _present(folder: Path) -> Iterator[str]:
    """The relative paths of all that is no folder; whatever else it is counts as a file."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(folder).as_posix()


def ready(root: Path, artifact: Artifact, entry: Entry) -> str | None:
    """Have the folder there and right; None when it is. Else one blob is missing or wrong: its name
    among the artifact's files, and a wrong one is out of the way then.

    Raises OSError when something cannot be read or written.
    """
    if artifact.path.is_dir():
        if damaged(artifact) is None:
            return None
        quarantined(root, artifact.path)
    for name, known in artifact.manifest.files.items():
        blob = blobs.path_of(root, known.sha256)
        blobs.pardon(blob)
        if not blob.is_file():
            return name
        if not blobs.sound(blob, known):
            quarantined(root, blob)
            return name
    _make(root, artifact, entry.path)
    return None


def _make(root: Path, artifact: Artifact, manifest: Path) -> None:
    with workdir(root) as work:
        folder = work / "view"
        folder.mkdir()
        place(manifest, folder / manifests.NAME)
        for name, known in artifact.manifest.files.items():
            place(blobs.path_of(root, known.sha256), folder / name)
        artifact.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(folder, artifact.path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another process was first
                raise
        flush_one(artifact.path.parent)


def remove(root: Path, artifact: Artifact) -> None:
    """Remove the folder; the blobs stay."""
    if artifact.path.is_dir():
        discard(root, artifact.path)


def opened(root: Path, entry: Entry) -> Artifact:
    """The artifact of a manifest, whether its folder is there or not.

    Raises IntegrityError when the manifest is not what its name says, OSError when it cannot be
    read.
    """
    found = manifests.read(entry)
    folder = root / "artifacts" / found.plan.fingerprint / entry.id
    return Artifact(key=entry.key, id=entry.id, path=folder, manifest=found)
