"""Which shared store is meant, and whom to believe about it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from llamabuild.errors import ConfigError
from llamabuild.fetch.address import redact
from llamabuild.remotes.index import Shared
from llamabuild.remotes.objects import connect
from llamabuild.trust import roster
from llamabuild.trust.keys import Signer
from llamabuild.trust.roster import BUILDER, Trusted
from llamabuild.trust.snapshot import stamp

VARIABLE: Final = "LLAMABUILD_STORE"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def addresses(given: tuple[str, ...], environ: Mapping[str, str]) -> tuple[str, ...]:
    """The stores that are named: by the command, else by ``LLAMABUILD_STORE`` (several are
    separated by spaces)."""
    return given or tuple(environ.get(VARIABLE, "").split())


def opened(
    address: str,
    cache: Path,
    *,
    unsigned: bool = False,
    untrusted: str = "",
    signer: Signer | None = None,
    new: bool = False,
) -> Shared:
    """A shared store as this cache sees it; nothing is fetched yet.

    ``untrusted`` names the part of builds that nobody vouches for (those of a pull request): what
    comes from there goes into a cache of its own. Who pushes believes their own ``signer``, and may
    begin a ``new`` store. Raises ConfigError when nobody is trusted and nothing may be unsigned,
    and as :func:`llamabuild.remotes.objects.connect`.
    """
    if untrusted and not _NAME.fullmatch(untrusted):
        raise ConfigError(f"{untrusted!r} is no name for a part of a store", "Like: pr-123")
    trusted = roster.listed(cache)
    if signer and signer.public.keyid not in {one.public.keyid for one in trusted}:
        now = stamp(dt.datetime.now(tz=dt.timezone.utc))
        trusted = (*trusted, Trusted(public=signer.public, roles=(BUILDER,), added=now))
    if not trusted and not unsigned and not untrusted:
        raise ConfigError(
            f"nobody is trusted here to say what is in {redact(address)}",
            "llamabuild trust add LINE with a builder's public key; or --unsigned to believe "
            "whoever can write there",
        )
    return Shared(
        objects=connect(address, new=new or signer is not None),
        cache=cache,
        roster=trusted,
        unsigned=unsigned or bool(untrusted),
        prefix=f"untrusted/{untrusted}/" if untrusted else "",
    )
