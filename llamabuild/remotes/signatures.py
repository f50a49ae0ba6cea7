"""What builders say of artifacts: ``signatures/<id>/<keyid>.json``, in a store and in a cache.

Each is a DSSE envelope (:mod:`llamabuild.trust.statements`). A cache keeps those that came with an
artifact, so that it can be handed on with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from llamabuild.errors import IntegrityError
from llamabuild.model import Artifact
from llamabuild.remotes.index import Shared
from llamabuild.store import sealed
from llamabuild.trust import statements
from llamabuild.trust.envelope import LIMIT
from llamabuild.trust.keys import SHOWN, Signer

_KEYID: Final = re.compile(r"[0-9a-f]{64}")
_MOST: Final = 8
"""Signatures of one artifact that are looked at."""


def send(shared: Shared, artifact: Artifact, signer: Signer | None) -> tuple[str, ...]:
    """Send the signatures that came with an artifact, and one's own; returns the keys' ids."""
    found = {path.stem: _kept(path) for path in _home(shared, artifact.id).glob("*.json")}
    kept = {keyid: envelope for keyid, envelope in found.items() if envelope}
    if signer:
        said = statements.provenance(artifact.manifest, artifact.id)
        kept[signer.keyid] = statements.sign(said, signer)
    for keyid, envelope in kept.items():
        shared.objects.put(_name(shared, artifact.id, keyid), envelope)
    return tuple(kept)


def _kept(path: Path) -> bytes | None:
    envelope = sealed.read(path, msgspec.Raw)
    return None if envelope is None else bytes(envelope)


def check(shared: Shared, artifact_id: str, signers: Iterable[str]) -> None:
    """Return when a trusted builder signed the artifact; the signature is kept then. Raises as
    :func:`verified`."""
    keyid, envelope = verified(shared, artifact_id, signers)
    sealed.write(_home(shared, artifact_id) / f"{keyid}.json", msgspec.Raw(envelope))


def verified(shared: Shared, artifact_id: str, signers: Iterable[str]) -> tuple[str, bytes]:
    """The id of a trusted builder's key that signed the artifact, and the signature.

    Raises IntegrityError with the reason, FetchError when it cannot be had.
    """
    claimed = [one for one in signers if _KEYID.fullmatch(one)]
    trusted = {one.public.keyid for one in shared.roster}
    known = [one for one in claimed if one in trusted][:_MOST]
    if not known:
        raise IntegrityError(f"{artifact_id[:12]} {_doubt(claimed)}", _TRUST)
    last: IntegrityError | None = None
    for keyid in known:
        envelope = shared.objects.read(_name(shared, artifact_id, keyid), LIMIT) or b""
        try:
            statements.verify(envelope, shared.roster, artifact_id)
        except IntegrityError as error:
            last = error
        else:
            return keyid, envelope
    assert last is not None
    raise last


_TRUST: Final = "If you know whose it is: llamabuild trust add LINE; else build it yourself."


def _doubt(claimed: list[str]) -> str:
    if not claimed:
        return "is not signed"
    names = ", ".join(f"{one[:SHOWN]}…" for one in claimed[:3])
    return f"is signed by {names}, which is not trusted here"


def _home(shared: Shared, artifact_id: str) -> Path:
    return shared.cache / "signatures" / artifact_id


def _name(shared: Shared, artifact_id: str, keyid: str) -> str:
    return shared.name(f"signatures/{artifact_id}/{keyid}.json")
