"""DSSE envelopes: a payload, its type, and signatures over both.

Whoever stores an envelope can put anything into it, so everything outside the signatures is judged
here, and callers get nothing but the bytes that were signed. Signatures by keys that nobody here
knows are ignored; one by a trusted key has to fit.
Format: https://github.com/secure-systems-lab/dsse/blob/v1.0.2/envelope.md
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from llamabuild.errors import IntegrityError
from llamabuild.trust import ed25519
from llamabuild.trust.keys import SHOWN, Signer
from llamabuild.trust.roster import Roster, Trusted

LIMIT: Final = 8 << 20
"""Bytes of an envelope at most; read no more than one byte beyond from anywhere."""
_AGAIN: Final = "Nothing was used of it. It is as it was stored: ask who keeps the store."
_HEX: Final = frozenset("0123456789abcdef")


class _Signature(msgspec.Struct, frozen=True):
    sig: str
    keyid: str = ""


class _Envelope(msgspec.Struct, frozen=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: tuple[_Signature, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The payload that was signed, and every trusted key that signed it (one at least)."""

    payload: bytes
    signers: tuple[Trusted, ...]


def seal(payload: bytes, payload_type: str, *signers: Signer) -> bytes:
    """An envelope around a payload, signed by each; without signers it is not signed."""
    made = tuple(
        _Signature(sig=_base64(signer.sign(payload, payload_type)), keyid=signer.keyid)
        for signer in signers
    )
    sealed = _Envelope(payload=_base64(payload), payload_type=payload_type, signatures=made)
    return msgspec.json.encode(sealed)


def opened(envelope: bytes, payload_type: str, roster: Roster, what: str) -> Opened:
    """The payload of an envelope that a trusted key signed. ``what`` names it in messages.

    Raises IntegrityError with the reason, and ToolMissing.
    """
    read, payload = _read(envelope, payload_type, what)
    known = {one.public.keyid: one for one in roster}
    signers = []
    for signature in read.signatures:
        if trusted := known.get(signature.keyid):
            raw = _bytes(signature.sig, "signatures", what)
            if not ed25519.fits(trusted.public.raw, raw, payload, payload_type):
                raise _refused(f"{what}: the signature by {trusted} does not fit the content")
            signers.append(trusted)
    if not signers:
        raise _unknown(read, what)
    return Opened(payload=payload, signers=tuple(signers))


def unverified(envelope: bytes, payload_type: str, what: str) -> bytes:
    """The payload of an envelope, whoever signed it, if anybody. Raises IntegrityError when it is
    no envelope with such a payload."""
    return _read(envelope, payload_type, what)[1]


def _read(envelope: bytes, payload_type: str, what: str) -> tuple[_Envelope, bytes]:
    if len(envelope) > LIMIT:
        raise _refused(f"{what} is too large: {len(envelope)} bytes, at most {LIMIT}")
    if envelope.lstrip()[:1] == b"<":
        raise IntegrityError(
            f"{what} is a web page (HTML or XML), not a signed envelope",
            "A proxy or a login page may answer in the store's place: open its address.",
        )
    try:
        read = msgspec.convert(_json(envelope, what), _Envelope)
    except msgspec.ValidationError as error:
        raise _refused(f"{what} is not a DSSE envelope: {error}") from error
    if read.payload_type != payload_type:
        raise _refused(f"{what} holds {read.payload_type[:80]!r} and not {payload_type!r}")
    keyids = [one.keyid for one in read.signatures]
    if len(set(keyids)) < len(keyids):
        raise _refused(f"{what} is not a DSSE envelope: one key signed twice")
    return read, _bytes(read.payload, "payload", what)


def _json(envelope: bytes, what: str) -> Any:  # noqa: ANN401 - built-in values
    """Raises IntegrityError, also for a name that occurs twice: readers differ on which counts."""
    try:
        return json.loads(envelope.decode(), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        why = "it is empty" if not envelope.strip() else str(error)
        raise _refused(f"{what} is not JSON: {why}") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice in an object")
    return found


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str, field: str, what: str) -> bytes:
    """Standard or URL-safe base64 in its one canonical form: two texts never mean the same bytes.

    Raises IntegrityError.
    """
    standard = text.translate(str.maketrans("-_", "+/"))
    try:
        data = base64.b64decode(standard, validate=True)
    except ValueError as error:
        raise _refused(f"{what} is not a DSSE envelope: {field} is not base64") from error
    if _base64(data) != standard:
        raise _refused(f"{what} is not a DSSE envelope: {field} is not canonical base64")
    return data


def _unknown(read: _Envelope, what: str) -> IntegrityError:
    if not read.signatures:
        return IntegrityError(
            f"{what} is not signed",
            "Sign it where it is made, or say that this store may be unsigned.",
        )
    keys = ", ".join(_shown(one.keyid) for one in read.signatures[:3])
    return IntegrityError(
        f"{what} is signed by {keys}, which is not trusted",
        "When you know whose key that is: llamabuild trust add LINE, with the line they send you.",
    )


def _shown(keyid: str) -> str:
    """A keyid of somebody unknown, as far as it is one."""
    return f"{keyid[:SHOWN]}…" if keyid and set(keyid) <= _HEX else "a key without a valid keyid"


def _refused(message: str) -> IntegrityError:
    return IntegrityError(message, _AGAIN)
