"""What ``--llama-cpp WHERE`` means: a folder, an archive with its address, or a tag or commit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llamabuild.errors import ConfigError
from llamabuild.fetch.address import local_path, redact

GITHUB: Final = "https://github.com"
VARIABLE: Final = "LLAMABUILD_GITHUB"
"""The environment variable with another base address: a mirror, or a ``file:`` URL."""
_PROJECT: Final = "ggml-org/llama.cpp"
_ENDINGS: Final = (".tar.gz", ".tgz", ".tar.xz", ".zip")
_COMMIT: Final = re.compile(r"[0-9a-f]{7,40}")
_TAG: Final = re.compile(r"b[0-9]{1,9}|(?:v|gguf-v|ggml-v)[0-9][0-9A-Za-z.+-]{0,63}")
_BUILD: Final = re.compile(r"b([0-9]{1,9})")
_HASH: Final = re.compile(r"sha256=([0-9a-f]{64})")
_HINT: Final = (
    "Give a tag (b1234), a commit, an archive (.tar.gz, .tar.xz or .zip; `#sha256=` behind it is "
    "required to match) or a folder."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A llama.cpp that was asked for. Either ``folder`` is set or ``address``; ``sha256`` is that
    of the archive, where it is known. ``name`` is what always stands for the same: a tag, a commit
    or an address in the network. ``commit`` and ``build_number`` go into what is built."""

    shown: str
    folder: Path | None = None
    address: str = ""
    sha256: str = ""
    name: str = ""
    commit: str = "unknown"
    build_number: int = 0


def understood(text: str, environ: Mapping[str, str]) -> Where:
    """What a text means; what is on the disk comes before a tag of that name. Raises ConfigError.

    >>> understood("b6000", {}).address
    'https://github.com/ggml-org/llama.cpp/archive/b6000.tar.gz'
    >>> understood("b6000", {}).build_number, understood("0c1e570", {}).commit
    (6000, '0c1e570')
    """
    address, _, fragment = text.partition("#")
    sha256 = _HASH.fullmatch(fragment)
    if fragment and not sha256:
        raise ConfigError(f"--llama-cpp {redact(text)}: what follows '#' is no sha256", _HINT)
    if not address:
        return _reference(text, environ)
    path = local_path(address)
    if path is None and not re.match(r"https?:", address, re.IGNORECASE):
        raise ConfigError(
            f"--llama-cpp {redact(text)}: addresses of this kind are not known", _HINT
        )
    if path is not None and path.is_dir():
        if sha256:
            raise ConfigError(f"--llama-cpp {text}: a folder has no sha256", _HINT)
        return Where(shown=str(path), folder=path.absolute())
    if path is None or path.exists() or address.endswith(_ENDINGS):
        return _archive(address, path, sha256[1] if sha256 else "")
    return _reference(text, environ)


def _archive(address: str, path: Path | None, sha256: str) -> Where:
    shown = redact(address)
    if not shown.endswith(_ENDINGS):
        raise ConfigError(f"--llama-cpp {shown} is no archive of a kind that is known", _HINT)
    if path is None:
        return Where(shown=shown, address=address, sha256=sha256, name=address)
    if not path.is_file():
        raise ConfigError(f"--llama-cpp {shown}: there is no such file", _HINT)
    return Where(shown=shown, address=str(path.absolute()), sha256=sha256)


def _reference(text: str, environ: Mapping[str, str]) -> Where:
    if not (_COMMIT.fullmatch(text) or _TAG.fullmatch(text)):
        raise ConfigError(
            f"--llama-cpp {text!r} is no tag, commit, archive or folder that is known", _HINT
        )
    base = environ.get(VARIABLE, "").rstrip("/") or GITHUB
    build = _BUILD.fullmatch(text)
    return Where(
        shown=text,
        address=f"{base}/{_PROJECT}/archive/{text}.tar.gz",
        name=text,
        commit=text,
        build_number=int(build[1]) if build else 0,
    )
