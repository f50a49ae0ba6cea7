"""Where what was made is published, once: of several that publish for one key, one is first."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamabuild.errors import ConfigError
from llamabuild.events import Emit, Noticed
from llamabuild.model import Artifact

if TYPE_CHECKING:
    from llamabuild.remotes import Shared
    from llamabuild.trust.keys import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    """Where artifacts are published, and who signs them (None: nobody)."""

    shared: Shared
    signer: Signer | None


def check(publishing: Publishing) -> None:
    """What could not be published in the end is said before an hour of compiling. Raises
    ConfigError, FetchError, IntegrityError."""
    from llamabuild import remotes

    shared = publishing.shared
    if not shared.objects.writable:
        raise ConfigError(
            f"{shared.address} can only be read",
            "Name the folder or bucket that it hands out; or publish nothing: --no-push",
        )
    remotes.latest(shared, now=_now())


def publish(publishing: Publishing, artifact: Artifact, emit: Emit) -> str:
    """The id of what the store has for the key of an artifact, which is pushed when it has none.
    Of several that push at once one is first, and the others' are not listed."""
    from llamabuild import remotes

    shared = publishing.shared
    if not (known := _listed(shared, artifact)):
        remotes.push(shared, (artifact,), publishing.signer, emit, now=_now(), once=True)
        known = _listed(shared, artifact)
    if known and known != artifact.id:
        emit(Noticed(message=f"{shared.address} has {known[:12]} for this key already."))
    return known


def _listed(shared: Shared, artifact: Artifact) -> str:
    from llamabuild import matching, remotes

    state = remotes.latest(shared, now=_now())
    group = matching.group(artifact.manifest.plan)
    rows = remotes.rows(shared, state, group) if state else ()
    ids = [row.id for row in rows if row.key == artifact.key]
    return artifact.id if artifact.id in ids else next(iter(ids), "")


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.timezone.utc)
