"""The local store: keep what was proved, find it again, never hold anything half-made.

Layout, readable by a person at the first level::

    <cache>/layout.json                        version of this layout
    <cache>/artifacts/<fingerprint>/<key>/     bin/ lib/ wheel/ build.log manifest.json
    <cache>/requested/<key>.json               the key that a healed request ended with
    <cache>/locks/  work/  downloads/  sources/  facts/

An entry is filled in ``work/`` on the same file system and appears by one rename, after its
manifest was written and everything was flushed.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from llamabuild import digest
from llamabuild.errors import ConfigError, StoreError
from llamabuild.events import Emit, Warned
from llamabuild.model import Artifact, Manifest, Remedy
from llamabuild.store.files import flush, flush_one, guarded, refusal, write
from llamabuild.store.work import begun, discard, locked, workdir

__all__ = ["begun", "guarded", "locked", "workdir"]

LAYOUT_VERSION = 1
MANIFEST_VERSION = 1
_MANIFEST = "manifest.json"
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# The cache of llamabuild.\n"


def default_root(environ: Mapping[str, str]) -> Path:
    """``LLAMABUILD_CACHE``, else the user's cache folder of this platform."""
    if chosen := environ.get("LLAMABUILD_CACHE"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("llamabuild"))


def open_root(root: Path) -> Path:
    """Make the cache folder if need be and check that it is ours and of this version.

    Raises StoreError when it is from a newer version, something else, or not writable.
    """
    layout = root / "layout.json"
    try:
        if not layout.exists():
            _found(root, layout)
        version = msgspec.json.decode(layout.read_bytes(), type=dict[str, int])["version"]
    except (msgspec.DecodeError, KeyError) as error:
        raise StoreError(
            f"{layout} is damaged: {error}", f"Remove {root} and run again."
        ) from error
    except OSError as error:
        raise refusal(error, root) from error
    if version > LAYOUT_VERSION:
        raise StoreError(
            f"{root} was made by a newer llamabuild (layout {version}, this one knows "
            f"{LAYOUT_VERSION})",
            "Upgrade llamabuild, or point LLAMABUILD_CACHE to another folder.",
        )
    return root


def _found(root: Path, layout: Path) -> None:
    if root.exists() and any(root.iterdir()) and not (root / "CACHEDIR.TAG").exists():
        raise StoreError(
            f"{root} holds files that are not llamabuild's",
            "Point LLAMABUILD_CACHE to an empty or new folder.",
        )
    root.mkdir(parents=True, exist_ok=True)
    write(root / "CACHEDIR.TAG", _TAG.encode())
    write(layout, msgspec.json.encode({"version": LAYOUT_VERSION}))


def lookup(root: Path, key: str, emit: Emit) -> Artifact | None:
    """The artifact for a key, or for what a healed request with this key ended with. Every file
    is compared with its recorded hash; a damaged entry is set aside and counts as a miss."""
    artifact = _entry(root, key, emit)
    if artifact is None and (lead := _read_lead(root / "requested" / f"{key}.json")):
        found = _entry(root, lead.key, emit)
        return found and replace(found, healed=lead.remedies)
    return artifact


class _Lead(msgspec.Struct, frozen=True):
    """Where a healed request ended, and the remedies on the way."""

    key: str
    remedies: tuple[Remedy, ...]


def _read_lead(path: Path) -> _Lead | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Lead)
    except (OSError, msgspec.DecodeError):
        return None


def _entry(root: Path, key: str, emit: Emit) -> Artifact | None:
    for path in (root / "artifacts").glob(f"*/{key}"):
        artifact = read(path)
        if artifact and not (wrong := damaged(artifact)):
            return artifact
        why = f"{wrong} is not what was proved" if artifact else "its manifest cannot be read"
        emit(Warned(message=f"{path} is damaged ({why}); it is removed and built again."))
        discard(root, path)
    return None


def read(path: Path) -> Artifact | None:
    """The artifact in a folder, its files not checked; None when its manifest is unreadable."""
    try:
        manifest = msgspec.json.decode((path / _MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None
    if manifest.version != MANIFEST_VERSION or manifest.key != path.name:
        return None
    return Artifact(key=manifest.key, path=path, manifest=manifest)


def damaged(artifact: Artifact) -> str | None:
    """None when every recorded file has its recorded hash and nothing was added, else one that
    is wrong."""
    present = set(_files(artifact.path))
    if extra := present - set(artifact.manifest.files):
        return min(extra)
    for name, wanted in artifact.manifest.files.items():
        if name not in present or digest.of_file(artifact.path / name) != wanted:
            return name
    return None


def _files(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() and path.name != _MANIFEST:
            yield path.relative_to(folder).as_posix()


def hashes(prefix: Path) -> dict[str, str]:
    """SHA-256 of every file below a prefix, by relative path."""
    return {name: digest.of_file(prefix / name) for name in sorted(_files(prefix))}


def publish(
    root: Path,
    prefix: Path,
    manifest: Manifest,
    *,
    requested: str,
    healed: tuple[Remedy, ...] = (),
) -> Artifact:
    """Make a proved prefix an entry of the store in one rename. ``requested`` is the key that was
    asked for, which differs from the manifest's when the request was ``healed`` on the way.

    A manifest needs a Proof, so an unproved build cannot be published without a type error. When
    another process was first, its entry is returned.
    """
    with guarded(root):
        target = root / "artifacts" / manifest.plan.fingerprint / manifest.key
        write(prefix / _MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        flush(prefix)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(prefix, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        flush_one(target.parent)
        _lead(root, requested, manifest.key, healed)
    artifact = read(target)
    if artifact is None:
        raise StoreError(f"{target} cannot be read back", "Check the disk.")
    return replace(artifact, healed=healed)


def adopt(
    root: Path, key: str, emit: Emit, *, requested: str, healed: tuple[Remedy, ...]
) -> Artifact | None:
    """What a healed request has come to, when that very thing is already kept."""
    artifact = _entry(root, key, emit)
    if artifact is None:
        return None
    with guarded(root):
        _lead(root, requested, key, healed)
    return replace(artifact, healed=healed)


def _lead(root: Path, requested: str, key: str, remedies: tuple[Remedy, ...]) -> None:
    """Asking for ``requested`` again finds ``key``."""
    if requested != key:
        lead = msgspec.json.encode(_Lead(key=key, remedies=remedies))
        write(root / "requested" / f"{requested}.json", lead)


def artifacts(root: Path) -> tuple[Artifact, ...]:
    """All readable entries, the newest first."""
    found = (read(path) for path in (root / "artifacts").glob("*/*"))
    return tuple(
        sorted((one for one in found if one), key=lambda one: one.manifest.created, reverse=True)
    )


def find(root: Path, name: str) -> Artifact:
    """The artifact whose key starts with ``name``, or whose recipe or path it is (the newest).

    Raises ConfigError when there is none or the beginning of a key fits several.
    """
    known = artifacts(root)
    exact = [one for one in known if name in (one.manifest.plan.recipe, str(one.path))]
    fitting = exact[:1] or [one for one in known if one.key.startswith(name) and len(name) >= 4]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        keys = ", ".join(one.key[:12] for one in fitting)
        raise ConfigError(f"{name!r} fits several artifacts: {keys}", "Give more of the key.")
    raise ConfigError(f"there is no artifact {name!r}", "See what there is: llamabuild store ls")


def remove(root: Path, artifact: Artifact) -> None:
    """Remove an entry and what leads to it."""
    if not (root / "CACHEDIR.TAG").exists():
        raise StoreError(f"{root} is not a llamabuild cache", "Nothing was removed.")
    discard(root, artifact.path)
    for alias in (root / "requested").glob("*.json"):
        lead = _read_lead(alias)
        if lead is None or lead.key == artifact.key:
            alias.unlink(missing_ok=True)


def make_current(root: Path, artifact: Artifact) -> None:
    """Remember what ``setup`` gave last."""
    with guarded(root):
        write(root / "current.json", msgspec.json.encode(artifact.key))


def current(root: Path) -> Artifact:
    """What ``setup`` gave last. Raises ConfigError when there is none (any more)."""
    with contextlib.suppress(OSError, msgspec.DecodeError, ConfigError):
        return find(root, msgspec.json.decode((root / "current.json").read_bytes(), type=str))
    raise ConfigError("nothing is set up yet", "Run `llamabuild setup` first.")
