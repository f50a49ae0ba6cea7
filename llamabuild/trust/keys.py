"""Signing keys: a private one in a file that only its owner reads, a public one in a line.

A private key never appears in a message, a ``repr`` or an exception.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from llamabuild.errors import ConfigError
from llamabuild.store.files import write
from llamabuild.trust import ed25519

KIND: Final = "llamabuild-ed25519"
VARIABLE: Final = "LLAMABUILD_SIGNING_KEY"
SHOWN: Final = 16
"""Characters of a keyid that people are shown."""
_LIMIT: Final = 64 << 10
_NAME_LENGTH: Final = 64
_LINE: Final = f"{KIND} <base64 of the key> <name>"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A public key and the name that people know it by; ``raw`` are its 32 bytes."""

    name: str
    raw: bytes

    @property
    def keyid(self) -> str:
        """SHA-256 of the raw bytes, as lower-case hex."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def line(self) -> str:
        """The one line that is sent around; :func:`parse_public` reads it."""
        return f"{KIND} {base64.b64encode(self.raw).decode()} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A loaded private key, and its public key, which has no name of its own."""

    public: PublicKey
    key: ed25519.PrivateKey = field(repr=False, compare=False)

    @property
    def keyid(self) -> str:
        """The id of its public key."""
        return self.public.keyid

    def sign(self, payload: bytes, payload_type: str) -> bytes:
        """The DSSE signature over a payload and its type."""
        return ed25519.sign(self.key, payload, payload_type)


def parse_public(line: str) -> PublicKey:
    """The key of a public line. Raises ConfigError saying what is wrong with it.

    The line itself is never repeated: it could be a private key by mistake.
    """
    if "PRIVATE KEY" in line:
        raise ConfigError(
            "this is a private key, and nobody else may have it",
            "Send the public line, which stands beside it in a file that ends in .pub.",
        )
    words = line.strip().split(maxsplit=2)
    if len(words) != 3 or words[0] != KIND or "\n" in line.strip():
        raise ConfigError("this is not the public line of one key", f"It looks like: {_LINE}")
    try:
        raw = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(
            "the key in the public line is not base64", "Copy the whole line, without line breaks."
        ) from None
    if wrong := ed25519.doubt(raw):
        raise ConfigError(
            f"the key in the public line cannot be used: {wrong}", "Copy the whole line again."
        )
    return PublicKey(name=checked_name(words[2]), raw=raw)


def checked_name(name: str) -> str:
    """A name of a key that can be printed anywhere. Raises ConfigError."""
    if not name or len(name) > _NAME_LENGTH or not name.isprintable() or name != name.strip():
        raise ConfigError(
            f"a key's name has 1 to {_NAME_LENGTH} printable characters, and no spaces around them",
            "Like: anna, or ci-release",
        )
    return name


def where(environ: Mapping[str, str]) -> str:
    """What :func:`load_signer` takes: ``LLAMABUILD_SIGNING_KEY``, which is a path or the PEM text
    itself, else the path in the user's configuration folder."""
    if chosen := environ.get(VARIABLE):
        return chosen
    import platformdirs

    return str(Path(platformdirs.user_config_dir("llamabuild")) / "signing-key.pem")


def file_of(place: str) -> Path:
    """The file that a place names. Raises ConfigError when it is the key itself."""
    if _is_text(place):
        raise ConfigError(
            "there is a key itself where a file's name should be",
            f"Name a file with --key, or in {VARIABLE}.",
        )
    return Path(place).expanduser()


def create(path: Path, name: str) -> PublicKey:
    """Make a signing key: the private one in ``path``, which only its owner can read, the public
    line in ``<path>.pub``. Complete or absent; nothing is overwritten.

    Raises ConfigError when there is something already or it cannot be written, and ToolMissing.
    """
    beside = path.with_name(f"{path.name}.pub")
    checked_name(name)
    for taken in (path, beside):
        if taken.exists():
            raise _taken(taken)
    pem, raw = ed25519.generate()
    public = PublicKey(name=name, raw=raw)
    try:
        _write_private(path, pem)
        write(beside, f"{public.line}\n".encode())
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "Name another file: --key FILE") from error
    return public


def _taken(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} is there already, and a key is never overwritten",
        "Its public line stands in the file that ends in .pub; for another key: --key FILE",
    )


def _write_private(path: Path, pem: bytes) -> None:
    """Unlike a rename, a hard link never replaces what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".key-")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(pem)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(name, path)
    finally:
        os.unlink(name)


def load_signer(place: str) -> Signer:
    """The signing key in a file, or in the text itself (:func:`where`).

    Raises ConfigError when it is no key, encrypted, of another algorithm, or a file that others can
    read; ToolMissing without the packages.
    """
    pem = place.replace("\\n", "\n").encode() if _is_text(place) else _read(Path(place))
    key, raw = ed25519.load(pem)
    return Signer(public=PublicKey(name="this machine's key", raw=raw), key=key)


def _is_text(place: str) -> bool:
    return place.lstrip().startswith("-----BEGIN")


def _read(path: Path) -> bytes:
    try:
        with path.expanduser().open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            pem = stream.read(_LIMIT)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", "") or "no file can have this name"
        raise ConfigError(
            f"the signing key {_named(path)} cannot be read: {why}",
            f"Make one: llamabuild trust new NAME; or let {VARIABLE} name its file.",
        ) from None
    if os.name == "posix" and mode & 0o077:  # Windows keeps a user's folders from others
        raise ConfigError(
            f"the signing key {path} can be read by others (mode {mode & 0o777:04o})",
            f"chmod 600 {path}",
        )
    return pem


def _named(path: Path) -> str:
    """A path for a message, unless it may be a bare key that stands where a path should: base64 and
    hex have no dot in them."""
    plain = re.fullmatch(r"[\w./\\~: -]{1,200}", str(path)) and "." in path.name
    return str(path) if plain else "(its name is not shown: it may be a key)"
