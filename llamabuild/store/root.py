"""The cache folder itself: where it is, whose it is, and of which version."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from llamabuild.errors import StoreError
from llamabuild.store.files import refusal, write
from llamabuild.store.work import quarantined

LAYOUT_VERSION = 2
_TAG_FILE = "CACHEDIR.TAG"
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# The cache of llamabuild.\n"
_OLD = ("artifacts", "requested", "verdicts", "current.json")
"""What another layout means otherwise."""


def default_root(environ: Mapping[str, str]) -> Path:
    """``LLAMABUILD_CACHE``, else the user's cache folder of this platform."""
    if chosen := environ.get("LLAMABUILD_CACHE"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("llamabuild"))


def open_root(root: Path) -> Path:
    """Make the cache folder if need be and check that it is ours and of this version; an older one
    is made new, its artifacts set aside.

    Raises StoreError when it is from a newer version, something else, or not writable.
    """
    layout = root / "layout.json"
    try:
        if not layout.exists():
            _found(root, layout)
        version = _version(layout)
        if version < LAYOUT_VERSION:
            _renew(root, layout)
    except OSError as error:
        raise refusal(error, root) from error
    if version > LAYOUT_VERSION:
        raise StoreError(
            f"{root} was made by a newer llamabuild (layout {version}, this one knows "
            f"{LAYOUT_VERSION})",
            "Upgrade llamabuild, or point LLAMABUILD_CACHE to another folder.",
        )
    return root


def _version(layout: Path) -> int:
    """The version in the file, which says nothing else and is therefore not sealed."""
    try:
        version = msgspec.json.decode(layout.read_bytes(), type=dict[str, int])["version"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        version = 0
    if version < 1:
        raise StoreError(
            f"{layout} is damaged: it names no version", f"Remove {layout} and run again."
        )
    return version


def _foreign(path: Path) -> bool:
    """True for what another run does not write that founds the cache at the same time."""
    return not path.name.lstrip(".").startswith((_TAG_FILE, "layout.json"))


def _found(root: Path, layout: Path) -> None:
    if root.exists() and any(map(_foreign, root.iterdir())) and not (root / _TAG_FILE).exists():
        raise StoreError(
            f"{root} holds files that are not llamabuild's",
            "Point LLAMABUILD_CACHE to an empty or new folder.",
        )
    root.mkdir(parents=True, exist_ok=True)
    write(root / _TAG_FILE, _TAG.encode())
    write(layout, msgspec.json.encode({"version": LAYOUT_VERSION}))


def _renew(root: Path, layout: Path) -> None:
    """Artifacts of layout 1 do not say what they require; sources, kits and tools stay."""
    for name in _OLD:
        if (root / name).exists():
            quarantined(root, root / name)
    write(layout, msgspec.json.encode({"version": LAYOUT_VERSION}))


def shared(root: Path) -> bool:
    """True for a folder that a group of users may write: what is made in it has to be the group's
    too. Its owner says so with ``chmod g+ws``."""
    return os.name == "posix" and bool(root.stat().st_mode & 0o020)
