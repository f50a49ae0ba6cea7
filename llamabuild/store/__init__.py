"""The local store: keep what was proved, find it again, never hold anything half-made.

Layout::

    <cache>/layout.json                        version of this layout
    <cache>/blobs/<xx>/<sha256>                files by their contents
    <cache>/manifests/<group>/<key>-<id>.json  what was proved: its files, its plan, its proof
    <cache>/artifacts/<fingerprint>/<id>/      bin/ lib/ wheel/ build.log manifest.json: more names
                                               of blobs, made when somebody wants to use them
    <cache>/requested/<key>.json               the key that a healed request ended with
    <cache>/generations/  pinned/  verdicts/   what was given to machines, stays, and ran on them
    <cache>/quarantine/                        what did not verify
    <cache>/locks/  work/  begun/  downloads/  sources/  facts/

Blobs come first and a manifest last, each complete or absent, each made once and under a name that
its contents decide; small files without such a name begin with their hash
(:mod:`llamabuild.store.sealed`). So whoever is killed leaves at most blobs that nobody names, and
whoever comes second finds what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from llamabuild import digest
from llamabuild.errors import ConfigError, IntegrityError, StoreError
from llamabuild.events import Emit, Warned
from llamabuild.model import Artifact, File, Manifest, Remedy
from llamabuild.store import blobs, leads, manifests, sweeping, views
from llamabuild.store.files import guarded
from llamabuild.store.manifests import VERSION as MANIFEST_VERSION
from llamabuild.store.manifests import Entry
from llamabuild.store.root import default_root, open_root, shared
from llamabuild.store.views import damaged
from llamabuild.store.work import begun, locked, quarantined, workdir

__all__ = [
    "MANIFEST_VERSION",
    "begun",
    "damaged",
    "default_root",
    "guarded",
    "locked",
    "open_root",
    "shared",
    "workdir",
]


def found(root: Path, key: str, emit: Emit) -> Iterator[Artifact]:
    """The artifacts for a key, and for what a healed request with this key ended with; the one
    that was used last before all others. Every file is compared with its recorded hash; what is
    wrong is set aside and counts as a miss."""
    yield from _of_key(root, key, emit)
    if lead := leads.read(root, key):
        yield from (replace(one, healed=lead.remedies) for one in _of_key(root, lead.key, emit))


def lookup(root: Path, key: str, emit: Emit) -> Artifact | None:
    """The first of :func:`found`, or None."""
    return next(found(root, key, emit), None)


def _of_key(root: Path, key: str, emit: Emit) -> Iterator[Artifact]:
    entries = manifests.everything(root, key=key)
    for entry in sorted(entries, key=lambda one: _time(one.path), reverse=True):
        artifact = _opened(root, entry, emit)
        if artifact and _usable(root, artifact, entry, emit):
            yield artifact


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # gone in this moment
        return 0.0


def _opened(root: Path, entry: Entry, emit: Emit) -> Artifact | None:
    """The artifact of a manifest; one that is wrong is set aside. What cannot be read may be right,
    and stays."""
    try:
        return views.opened(root, entry)
    except IntegrityError as error:
        emit(Warned(message=f"{error.message}. It is set aside."))
        quarantined(root, entry.path)
    except FileNotFoundError:
        return None
    except OSError as error:
        emit(Warned(message=f"{entry.path} cannot be read: {error.strerror or error}"))
    return None


def _usable(root: Path, artifact: Artifact, entry: Entry, emit: Emit) -> bool:
    """True when the artifact's folder is there with everything right in it. What is wrong is set
    aside; the manifest stays, for what is missing may come back: built or pulled again."""
    try:
        wrong = views.ready(root, artifact, entry)
    except OSError as error:
        emit(Warned(message=f"{artifact.path} cannot be used: {error.strerror or error}"))
        return False
    if wrong is None:
        blobs.renewed(entry.path, executable=False)
        return True
    emit(Warned(message=f"{artifact.path} is damaged ({wrong} is not what was proved)."))
    return False


def ready(root: Path, artifact: Artifact, emit: Emit) -> bool:
    """Have an artifact's folder there, with every file as it was proved; False when that cannot be,
    which is said."""
    return by_id(root, artifact.key, artifact.id, emit) is not None


def by_id(root: Path, key: str, id_: str, emit: Emit) -> Artifact | None:
    """The artifact with this key and id, ready to use; None when it is not (all) here."""
    entries = manifests.everything(root, key=f"{key}-{id_}")
    entry = next(entries, None)
    artifact = entry and _opened(root, entry, emit)
    return artifact if entry and artifact and _usable(root, artifact, entry, emit) else None


def id_of(manifest: Manifest) -> str:
    """The id that a manifest will have."""
    return manifests.encode(manifest)[0]


def hashes(prefix: Path) -> dict[str, File]:
    """Hash, size and kind of every file below a prefix, by relative path."""
    found = sorted(path for path in prefix.rglob("*") if path.is_file())
    return {path.relative_to(prefix).as_posix(): _known(path) for path in found}


def _known(path: Path) -> File:
    state = path.stat()
    executable = bool(state.st_mode & 0o100)
    return File(sha256=digest.of_file(path), size=state.st_size, executable=executable)


def publish(
    root: Path,
    prefix: Path,
    manifest: Manifest,
    *,
    group: str,
    requested: str,
    healed: tuple[Remedy, ...] = (),
) -> Artifact:
    """Make a proved prefix an artifact: its files, then its manifest. ``group`` is that of its plan
    (:func:`llamabuild.matching.group`), ``requested`` the key that was asked for, which differs
    from the manifest's when the request was ``healed`` on the way.

    A manifest needs a Proof, so an unproved build cannot be published without a type error. Raises
    StoreError and DiskFull.
    """
    if why := manifests.unsafe(manifest.files):
        raise StoreError(f"what was built cannot be kept: {why}", "This is a bug of llamabuild.")
    id_, data = manifests.encode(manifest)
    with guarded(root), workdir(root) as held:
        _put(root, prefix, manifest, held)
        entry = manifests.publish(root, group, manifest.key, id_, data)
        _put(root, prefix, manifest, held)  # what could not be held and was swept until now
        leads.keep(root, requested, manifest.key, healed)
        artifact = views.opened(root, entry)
        if views.ready(root, artifact, entry):  # a blob that was there already is damaged
            _put(root, prefix, manifest, held)
            if wrong := views.ready(root, artifact, entry):
                raise StoreError(f"{artifact.path / wrong} cannot be read back", "Check the disk.")
    return replace(artifact, healed=healed)


def _put(root: Path, prefix: Path, manifest: Manifest, held: Path) -> None:
    for name, known in manifest.files.items():
        blobs.put(root, prefix / name, known, held)


def lead(root: Path, artifact: Artifact, *, requested: str, healed: tuple[Remedy, ...]) -> Artifact:
    """Let the request for the key ``requested``, ``healed`` on its way, come to an artifact that is
    kept already. Raises StoreError, DiskFull."""
    with guarded(root):
        leads.keep(root, requested, artifact.key, healed)
    return replace(artifact, healed=healed)


def artifacts(root: Path, emit: Emit) -> tuple[Artifact, ...]:
    """All that is kept, the newest first. Their folders may still have to be made :func:`ready`.
    Raises StoreError where it may not be looked at."""
    return _newest_first(root, manifests.everything(root), emit)


def _newest_first(
    root: Path,
    entries: Iterable[Entry],
    emit: Emit,
    meant: Callable[[Artifact], bool] = lambda one: True,  # noqa: ARG005
) -> tuple[Artifact, ...]:
    with guarded(root):
        known = [_opened(root, entry, emit) for entry in entries]
    found = (one for one in known if one and meant(one))
    return tuple(sorted(found, key=lambda one: one.manifest.created, reverse=True))


def find(root: Path, name: str, emit: Emit) -> Artifact:
    """The newest artifact whose recipe or path is ``name``, or whose key or id begins with it.

    Raises ConfigError when there is none or the beginning of a key fits several.
    """
    begun = [one for one in manifests.everything(root) if len(name) >= 4 and _begins(one, name)]
    if begun:  # no other manifest has to be read
        fitting = _newest_first(root, begun, emit)
    else:
        entries = manifests.everything(root)
        fitting = _newest_first(root, entries, emit, lambda one: _is_called(one, name))[:1]
    if len({one.key for one in fitting}) == 1:
        return fitting[0]
    if fitting:
        keys = ", ".join(one.key[:12] for one in fitting)
        raise ConfigError(f"{name!r} fits several artifacts: {keys}", "Give more of the key.")
    raise ConfigError(f"there is no artifact {name!r}", "See what there is: llamabuild store ls")


def _is_called(artifact: Artifact, name: str) -> bool:
    return name in (artifact.manifest.plan.recipe, str(artifact.path))


def _begins(entry: Entry, name: str) -> bool:
    return entry.key.startswith(name) or entry.id.startswith(name)


def remove(root: Path, artifact: Artifact) -> None:
    """Forget an artifact: first its manifest, so that nobody finds it any more, then what leads to
    it, its folder, and the files that no other artifact has."""
    if not (root / "CACHEDIR.TAG").exists():
        raise StoreError(f"{root} is not a llamabuild cache", "Nothing was removed.")
    with guarded(root):
        for entry in manifests.everything(root, key=f"{artifact.key}-{artifact.id}"):
            entry.path.unlink(missing_ok=True)
        leads.prune(root)
        views.remove(root, artifact)
        sweeping.free(root, (file.sha256 for file in artifact.manifest.files.values()))
