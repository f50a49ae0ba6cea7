"""Addresses: which are local, what a file is called, and what of an address may be shown."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit


def local_path(address: str) -> Path | None:
    """The path behind a ``file:`` URL or a plain path, None for everything else.

    >>> local_path("file:///a%20b/c.tar.gz").as_posix(), local_path("c.tar.gz").as_posix()
    ('/a b/c.tar.gz', 'c.tar.gz')
    >>> local_path("https://host.invalid/c.tar.gz") is None
    True
    """
    match = re.match(r"([a-z][a-z0-9+.-]+):", address, re.IGNORECASE)  # two letters: not "C:"
    if match is None:
        return Path(address)
    if match[1].lower() != "file":
        return None
    from urllib.request import url2pathname

    return Path(url2pathname(urlsplit(address).path))


def file_name(address: str) -> str:
    """The last part of an address, with only characters that are safe in a file name.

    >>> file_name("pypi:some-project/some_project-1.0.tar.gz")
    'some_project-1.0.tar.gz'
    >>> file_name("https://host.invalid/a/b%2Fc%20d.tar.gz?token=1#sha256=2")
    'c_d.tar.gz'
    """
    path = address if local_path(address) else unquote(urlsplit(address).path)
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", re.split(r"[/\\]", path)[-1])
    return name if name.strip(".") else "archive"


def redact(address: str) -> str:
    """An address as it may be shown: without user, password, query (tokens) and fragment.

    >>> redact("https://me:secret@host.invalid:8443/a.tar.gz?token=1#sha256=2")
    'https://***@host.invalid:8443/a.tar.gz'
    >>> redact("/a/path")
    '/a/path'
    """
    if local_path(address) is not None or "://" not in address:
        return address
    parts = urlsplit(address)
    _user, at, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{'***@' if at else ''}{host}{parts.path}"
