"""Artifacts to a shared store: files, manifest, signature, and last the index that names them.

What is there already is not sent again, so a push that was interrupted goes on; until the index is
written, nobody sees any of it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock

from llamabuild import matching
from llamabuild.errors import ConfigError
from llamabuild.events import Emit, Progress, StepEnded, StepStarted, silent
from llamabuild.model import Artifact, File
from llamabuild.remotes import index, signatures
from llamabuild.remotes.index import Shared
from llamabuild.remotes.objects import together
from llamabuild.store import catalogue, manifests
from llamabuild.store.catalogue import Row
from llamabuild.trust.keys import Signer


def push(
    shared: Shared,
    artifacts: Sequence[Artifact],
    signer: Signer | None,
    emit: Emit,
    *,
    now: dt.datetime,
    once: bool = False,
) -> int:
    """Publish artifacts whose folders are ready; returns how many bytes were sent. With ``once``
    an artifact for whose key the store has another one by then is not listed.

    Raises ConfigError for a store that can only be read, FetchError when it cannot be written, and
    IntegrityError when what it says of itself is not to be believed.
    """
    if not shared.objects.writable:
        raise ConfigError(
            f"{shared.address} can only be read",
            "Push to the folder or bucket that it hands out.",
        )
    index.latest(shared, now=now)  # what is not to be believed is said before anything is sent
    emit(StepStarted(name="push", title=f"Pushing {len(artifacts)} to {shared.address}"))
    sent = _files(shared, artifacts, emit)
    groups: dict[str, list[Row]] = {}
    for artifact in artifacts:
        row = _described(shared, artifact, signer)
        groups.setdefault(matching.group(artifact.manifest.plan), []).append(row)
    index.add(shared, groups, signer, now=now, once=once)
    sent += _files(shared, artifacts, silent)  # what a janitor took away before they were listed
    emit(StepEnded(name="push", seconds=0, detail=f"{sent} bytes sent"))
    return sent


def _files(shared: Shared, artifacts: Iterable[Artifact], emit: Emit) -> int:
    """Send the files that are not there, several at a time."""
    wanted: dict[str, tuple[Path, File]] = {}
    for artifact in artifacts:
        for name, file in artifact.manifest.files.items():
            wanted.setdefault(file.sha256, (artifact.path / name, file))
    total = sum(file.size for _, file in wanted.values())
    done = sent = 0
    lock = Lock()

    def one(item: tuple[Path, File]) -> None:
        nonlocal done, sent
        path, file = item
        name = blob(shared, file.sha256)
        missing = shared.objects.has(name) != file.size
        if missing:
            shared.objects.put(name, path)
        with lock:
            done += file.size
            sent += file.size if missing else 0
            emit(Progress(name="push", done=done, total=total, unit="B"))

    together(one, wanted.values())
    return sent


def blob(shared: Shared, sha256: str) -> str:
    """The name of a file's object."""
    return shared.name(f"blobs/{sha256[:2]}/{sha256}")


def manifest(shared: Shared, id_: str) -> str:
    """The name of a manifest's object."""
    return shared.name(f"manifests/{id_[:2]}/{id_}.json")


def _described(shared: Shared, artifact: Artifact, signer: Signer | None) -> Row:
    """Send manifest and signatures; returns what the index says of the artifact."""
    data = (artifact.path / manifests.NAME).read_bytes()
    shared.objects.put(manifest(shared, artifact.id), data)
    signers = signatures.send(shared, artifact, signer)
    return catalogue.row(artifact.manifest, artifact.id, signers)
