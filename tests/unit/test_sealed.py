"""Small files that begin with their own hash: what was changed in them is not read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from llamabuild import store
from llamabuild.errors import StoreError
from llamabuild.events import silent
from llamabuild.store import blobs, files, leads, manifests, pinned, sealed, sweeping
from llamabuild.store.leads import Lead
from tests.unit import values
from tests.unit.trust.making import flips

LEAD = Lead(key="ab" * 32, remedies=())


def test_what_was_written_is_read_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lead.json"
    assert sealed.read(path, Lead) is None
    sealed.write(path, LEAD)
    assert sealed.read(path, Lead) == LEAD
    whole = path.read_bytes()
    changed = (*flips(whole), *(whole[:length] for length in range(len(whole))), whole + b" ")
    for data in changed:
        assert sealed.decode(data, Lead) is None


@pytest.mark.parametrize("data", [b'{"key":3}', b'"\xff"', b"["])
def test_what_another_version_sealed_is_not_read(data: bytes, tmp_path: Path) -> None:
    text = hashlib.sha256(data).hexdigest().encode() + b"\n" + data
    assert sealed.decode(text, Lead) is None
    assert sealed.decode(sealed.encode(3), Lead) is None


def test_a_changed_lead_leads_nowhere_and_goes(tmp_path: Path) -> None:
    root = store.open_root(tmp_path / "cache")
    with store.workdir(root) as work:
        prefix = values.prefix(work / "prefix")
        manifest = values.manifest("ab" * 32, store.hashes(prefix))
        made = store.publish(root, prefix, manifest, group="g", requested="cd" * 32)
    path = root / "requested" / f"{'cd' * 32}.json"
    assert store.lookup(root, "cd" * 32, silent) == made
    leads.prune(root)
    assert path.exists()
    files.write(path, path.read_bytes().replace(b"abab", b"abac"))
    assert store.lookup(root, "cd" * 32, silent) is None
    leads.prune(root)
    assert not path.exists()


def test_a_changed_pin_still_holds(tmp_path: Path) -> None:
    root = store.open_root(tmp_path / "cache")
    sealed.write(root / "pinned" / "x.json", {"key": "k", "why": "release"})
    assert pinned.reasons(root) == {"x": "release"}
    files.write(root / "pinned" / "x.json", b'{"key": "k", "why": "other"}')
    assert pinned.reasons(root) == {"x": ""}


def test_a_manifest_that_is_no_text_ends_no_sweep(tmp_path: Path) -> None:
    root = store.open_root(tmp_path / "cache")
    entry = manifests.entry(root, "g", "ab" * 32, "cd" * 32)
    files.write(entry.path, b'{"files": {"\xff": 1}}')
    assert sweeping.survey(root, {}).items == ()


def test_a_changed_manifest_in_a_folder_is_put_right(tmp_path: Path) -> None:
    """Where it is a file of its own, and no further name of the one that was checked."""
    root = store.open_root(tmp_path / "cache")
    with store.workdir(root) as work:
        prefix = values.prefix(work / "prefix")
        manifest = values.manifest("ab" * 32, store.hashes(prefix))
        made = store.publish(root, prefix, manifest, group="g", requested="ab" * 32)
    path = made.path / manifests.NAME
    whole = path.read_bytes()
    files.write(path, whole.replace(b"cpu-native", b"cpu-nativf"))
    assert store.damaged(made) == manifests.NAME
    assert store.lookup(root, made.key, silent) == made
    assert path.read_bytes() == whole
    assert all(blobs.sound(made.path / name, file) for name, file in made.manifest.files.items())


@pytest.mark.parametrize("text", ['{"version":0}', '{"versioo":2}', '{"version":"\xff"}', "{}"])
def test_a_layout_without_a_version_is_refused_and_nothing_moved(text: str, tmp_path: Path) -> None:
    root = store.open_root(tmp_path / "cache")
    (root / "requested").mkdir()
    (root / "layout.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError, match="it names no version"):
        store.open_root(root)
    assert (root / "requested").is_dir()
    (root / "layout.json").unlink()
    assert store.open_root(root) == root
