"""What is kept of a group, in rows: enough to choose by, without reading every manifest.

``index/<group>`` holds the rows of manifests that were read before. It is worked out from them and
can be lost: what is missing in it or damaged is read again. What is chosen by a row is checked by
its manifest.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from llamabuild.errors import IntegrityError
from llamabuild.model import Manifest, Requires
from llamabuild.store import manifests, sealed


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What choosing an artifact takes. ``cpu`` is the recipe's word, ``features`` are the CPU
    features that it was compiled for, ``size`` is that of its files in bytes, ``signers`` are the
    ids of keys that are said to have signed it."""

    id: str
    key: str
    recipe: str
    fingerprint: str
    cpu: str
    features: tuple[str, ...]
    created: str
    size: int
    requires: Requires
    signers: tuple[str, ...] = ()


def row(manifest: Manifest, id_: str, signers: tuple[str, ...] = ()) -> Row:
    """The row of a manifest."""
    return Row(
        id=id_,
        key=manifest.key,
        recipe=manifest.plan.recipe,
        fingerprint=manifest.plan.fingerprint,
        cpu=manifest.plan.cpu,
        features=manifest.plan.cpu_features,
        created=manifest.created,
        size=sum(file.size for file in manifest.files.values()),
        requires=manifest.requires,
        signers=signers,
    )


def rows(root: Path, group: str) -> tuple[Row, ...]:
    """The artifacts of a group. Manifests that cannot be read or are wrong are left out: who looks
    one of them up is told."""
    path = root / "index" / group
    known = {one.id: one for one in sealed.read(path, tuple[Row, ...]) or ()}
    found, new = [], False
    for entry in manifests.everything(root, group):
        one = known.get(entry.id)
        if one is None:
            with contextlib.suppress(IntegrityError, OSError):
                one = row(manifests.read(entry), entry.id)
                new = True
        if one is not None:
            found.append(one)
    if new or len(found) < len(known):
        with contextlib.suppress(OSError):  # a cache that can only be read, a full disk
            sealed.write(path, found)
    return tuple(found)
