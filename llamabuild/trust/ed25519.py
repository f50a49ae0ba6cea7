"""Ed25519 keys and DSSE signatures: the only module that uses cryptography and securesystemslib.

Both are imported where a key is used: who shares nothing needs neither.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from llamabuild.errors import ConfigError, ToolMissing

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

    PrivateKey: TypeAlias = CryptoSigner

RAW_SIZE: Final = 32
"""Bytes of a public key."""

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_EIGHTH: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER: Final = frozenset({0, 1, _P - 1, _EIGHTH, _P - _EIGHTH})
"""The y coordinates of the eight points whose order divides 8, the curve's cofactor."""


@contextlib.contextmanager
def _packages() -> Iterator[None]:
    """Imports inside say which packages are missing. Raises ToolMissing."""
    try:
        yield
    except ImportError as error:
        raise ToolMissing(
            "signatures need the packages cryptography and securesystemslib",
            "pip install 'llamabuild[team]'",
        ) from error


def doubt(raw: bytes) -> str:
    """What is wrong with 32 bytes as a public key; empty when nothing is.

    The libraries load any 32 bytes as a key. A point of small order must not become one: there are
    signatures that fit every message under it, and anybody can write them down.
    """
    if len(raw) != RAW_SIZE:
        return f"it has {len(raw)} bytes instead of {RAW_SIZE}"
    y = int.from_bytes(raw, "little") & (2**255 - 1)  # the highest bit is the sign of x
    if y in _SMALL_ORDER:
        return "anybody could sign with it (a point of small order)"
    # x² = (y² - 1) / (d·y² + 1) has a solution when numerator times denominator is a square.
    square = pow((y * y - 1) * (_D * y * y + 1), (_P - 1) // 2, _P) == 1
    return "" if y < _P and square else "it is not a point of the curve"


def generate() -> tuple[bytes, bytes]:
    """A new key: the private one as unencrypted PKCS#8 PEM, and the raw public one.

    Raises ToolMissing.
    """
    with _packages():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, key.public_key().public_bytes_raw()


def load(pem: bytes) -> tuple[PrivateKey, bytes]:
    """What signs with a private key in PEM, and the raw public key.

    Raises ConfigError saying what it is instead, never what it holds, and ToolMissing.
    """
    with _packages():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from securesystemslib.signer import CryptoSigner, SSlibKey
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise ConfigError(
            "the signing key is encrypted with a passphrase",
            "Give it without: openssl pkey -in FILE -out PLAIN; then chmod 600 PLAIN",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        # `from None`: what a parser says about a secret is nobody's business.
        raise ConfigError(
            "the signing key is not a private key in PEM (PKCS#8)",
            "Make one: llamabuild trust new NAME",
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        kind = type(key).__name__.removesuffix("PrivateKey").lstrip("_")
        raise ConfigError(
            f"the signing key is of another kind than Ed25519 ({kind})",
            "Make one: llamabuild trust new NAME",
        )
    raw = key.public_key().public_bytes_raw()
    return CryptoSigner(key, SSlibKey.from_crypto(key.public_key())), raw


def sign(signer: PrivateKey, payload: bytes, payload_type: str) -> bytes:
    """The signature over payload and type (DSSE's pre-authentication encoding)."""
    from securesystemslib.dsse import Envelope

    made = signer.sign(Envelope(payload, payload_type, {}).pae())
    return bytes.fromhex(made.signature)


def fits(raw: bytes, signature: bytes, payload: bytes, payload_type: str) -> bool:
    """True when it is the signature over payload and type by the key with these raw public bytes.
    The algorithm is Ed25519 whatever an envelope says. Raises ToolMissing."""
    with _packages():
        import cryptography  # noqa: F401 - without it securesystemslib would use slow Python code
        from securesystemslib.dsse import Envelope
        from securesystemslib.exceptions import UnverifiedSignatureError
        from securesystemslib.signer import Signature, SSlibKey
    key = SSlibKey("", "ed25519", "ed25519", {"public": raw.hex()})
    pae = Envelope(payload, payload_type, {}).pae()
    try:
        key.verify_signature(Signature("", signature.hex()), pae)
    except UnverifiedSignatureError:
        return False
    return True
