"""A small file from somebody's server, in memory: nobody said before what is in it."""

from __future__ import annotations

import contextlib

from llamabuild.errors import FetchError
from llamabuild.events import Emit
from llamabuild.fetch.address import redact
from llamabuild.fetch.opener import Opener
from llamabuild.fetch.transfer import Patience, Transient, Unavailable, WrongBytes, insist


def read(
    address: str, *, limit: int, emit: Emit, patience: Patience | None = None, hint: str = ""
) -> bytes:
    """What is at an address, local or not, if it has at most ``limit`` bytes. Raises FetchError,
    whose next step is ``hint``."""
    patience = patience or Patience(attempts=3)
    with contextlib.closing(Opener(offline=False, patience=patience)) as opener:

        def attempt() -> bytes:
            return _attempt(address, opener, limit)

        try:
            return insist(attempt, patience=patience, emit=emit)
        except (Unavailable, WrongBytes) as error:
            raise FetchError(f"{redact(address)} cannot be had: {error}", hint) from error


def _attempt(address: str, opener: Opener, limit: int) -> bytes:
    found = bytearray()
    with opener.body(address, 0) as body:
        for block in body.blocks:
            found += block
            if len(found) > limit:
                raise Unavailable(f"it has more than {limit >> 20} MiB")
        if body.total is not None and len(found) < body.total:
            raise Transient(f"it ended after {len(found)} of {body.total} bytes")
    return bytes(found)
