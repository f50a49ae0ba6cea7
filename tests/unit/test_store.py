from __future__ import annotations

import os
import shutil
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import store
from llamabuild.errors import ConfigError, IntegrityError, StoreError
from llamabuild.events import Event, Warned, silent
from llamabuild.model import Artifact, File, Remedy
from llamabuild.store import blobs, files, manifests
from tests.unit import values

KEY = "ab" * 32
GROUP = "0123456789abcdef"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return store.open_root(tmp_path / "cache")


def _publish(
    root: Path,
    key: str = KEY,
    requested: str = "",
    recipe: str = "cpu-native",
    text: str = "x",
) -> Artifact:
    with store.workdir(root) as work:
        prefix = values.prefix(work / "prefix", text)
        manifest = values.manifest(key, store.hashes(prefix), recipe)
        return store.publish(root, prefix, manifest, group=GROUP, requested=requested or key)


def manifest_of(root: Path, artifact: Artifact) -> Path:
    return manifests.entry(root, GROUP, artifact.key, artifact.id).path


def blob_of(root: Path, artifact: Artifact, name: str = "bin/llama-cli") -> Path:
    return blobs.path_of(root, artifact.manifest.files[name].sha256)


def change(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_what_is_published_is_found(root: Path) -> None:
    made = _publish(root)
    assert store.lookup(root, KEY, silent) == made
    assert made.wheel.name == "a.whl"
    assert store.artifacts(root, silent) == (made,)
    assert [path.name for path in (root / "work").iterdir()] == ["sweep.lock"]


def test_a_file_of_two_artifacts_is_kept_once_and_their_folders_take_no_room(root: Path) -> None:
    first, second = _publish(root), _publish(root, "cd" * 32)
    assert first.path != second.path
    kept = [path for path in (root / "blobs").rglob("*") if path.is_file()]
    assert len(kept) == 1  # both files of both have the same text
    assert {os.stat(path).st_ino for path in (*first.path.rglob("*.whl"), *kept)} == {
        kept[0].stat().st_ino
    }
    assert not kept[0].stat().st_mode & 0o222


def test_a_program_stays_one(root: Path) -> None:
    with store.workdir(root) as work:
        prefix = values.prefix(work / "prefix")
        (prefix / "bin" / "llama-cli").chmod(0o755)
        manifest = values.manifest(KEY, store.hashes(prefix))
        made = store.publish(root, prefix, manifest, group=GROUP, requested=KEY)
    assert (made.path / "bin" / "llama-cli").stat().st_mode & 0o111
    shutil.rmtree(made.path)
    assert store.lookup(root, KEY, silent) == made
    assert (made.path / "bin" / "llama-cli").stat().st_mode & 0o111


def test_a_healed_request_is_found_under_both_keys(root: Path) -> None:
    asked = "cd" * 32
    made = _publish(root, requested=asked)
    assert store.lookup(root, asked, silent) == made
    assert made.healed == ()
    remedy = Remedy(name="without-avx2", why="it crashed", evidence="SIGILL")
    other = "ef" * 32
    adopted = store.lead(root, made, requested=other, healed=(remedy,))
    assert adopted.healed == (remedy,)
    assert store.lookup(root, other, silent) == adopted
    assert store.lookup(root, KEY, silent) == made
    store.remove(root, made)
    assert store.lookup(root, asked, silent) is None
    assert not list((root / "requested").iterdir())


@pytest.mark.parametrize(
    "damage", ["remove", "add", "link", "manifest", "all", "folder in the way"]
)
def test_a_folder_that_is_not_right_is_made_again_of_its_blobs(root: Path, damage: str) -> None:
    made = _publish(root)
    program = made.path / "bin" / "llama-cli"
    match damage:
        case "remove":
            program.unlink()
        case "add":
            (made.path / "bin" / "extra").write_text("y")
        case "link":
            program.unlink()
            program.symlink_to(made.path / "wheel" / "a.whl")
        case "manifest":
            (made.path / "manifest.json").unlink()
        case "all":
            shutil.rmtree(made.path)
        case "folder in the way":
            program.unlink()
            program.mkdir()
            (program / "x").write_text("x")
    assert store.lookup(root, KEY, silent) == made
    assert store.damaged(made) is None
    assert program.read_text() == "x"


def test_a_changed_file_is_set_aside_and_a_miss(root: Path) -> None:
    made = _publish(root)
    change(made.path / "bin" / "llama-cli", b"y")
    told: list[Event] = []
    assert store.lookup(root, KEY, told.append) is None
    assert "bin/llama-cli is not what was proved" in str(told)
    assert not made.path.exists()
    assert not blob_of(root, made).exists()
    aside = [path for path in (root / "quarantine").rglob("*") if path.is_file()]
    assert any(path.read_bytes() == b"y" for path in aside)
    again = _publish(root)
    assert store.lookup(root, KEY, silent) == again
    assert (again.path / "bin" / "llama-cli").read_text() == "x"


def test_a_damaged_blob_is_mended_by_the_next_who_has_the_same_file(root: Path) -> None:
    made = _publish(root)
    change(blob_of(root, made), b"y")
    assert _publish(root, "cd" * 32).path.is_dir()
    assert store.lookup(root, KEY, silent) == made


@pytest.mark.parametrize(
    "damage",
    ["empty", "other", "cut", "html", "another key", "huge"],
)
def test_a_manifest_that_is_not_what_its_name_says_is_set_aside(root: Path, damage: str) -> None:
    made = _publish(root)
    path = manifest_of(root, made)
    text = path.read_bytes()
    path.unlink()  # it shares its bytes with the folder's
    path.write_bytes(
        {
            "empty": b"",
            "other": b"{}",
            "cut": text[:-100],
            "html": b"<html>404</html>",
            "another key": text.replace(KEY.encode(), b"cd" * 32),
            "huge": text + b" " * manifests.LARGEST,
        }[damage]
    )
    told: list[Event] = []
    assert store.lookup(root, KEY, told.append) is None
    assert "is set aside" in str(told)
    assert not path.exists()
    assert _publish(root) == made


def test_a_manifest_of_another_artifact_is_not_believed(root: Path) -> None:
    made = _publish(root)
    other = manifests.entry(root, GROUP, "cd" * 32, made.id).path
    shutil.copy(manifest_of(root, made), other)
    told: list[Event] = []
    assert store.lookup(root, "cd" * 32, told.append) is None
    assert "it is for abababababab" in str(told)
    assert store.lookup(root, KEY, silent) == made


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/passwd", "../x", "bin/../../x", "bin//x", "bin/", "bin", "bin/a/b", "etc/x"),
        *("bin/.hidden", "bin/a\\b", "bin/a\nb", "bin/ä", "lib/-rf", "manifest.json", "", "."),
        *("C:/x", "wheel/x.txt", "BUILD.LOG", "bin/a\x00"),
    ],
)
def test_evil_names_are_refused(name: str) -> None:
    file = File(sha256="0" * 64, size=1)
    made = values.manifest(KEY, {"wheel/a.whl": file, name: file})
    id_, data = manifests.encode(made)
    with pytest.raises(IntegrityError, match=r"is not a file of an artifact|one wheel"):
        manifests.decode(data, id_)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"wheel/a.whl": File(sha256="0" * 63, size=1)}, "no hash"),
        ({"wheel/a.whl": File(sha256="../" + "0" * 61, size=1)}, "no hash"),
        ({"wheel/a.whl": File(sha256="0" * 64, size=-1)}, "no size"),
        ({}, "one wheel"),
        ({f"wheel/{n}.whl": File(sha256="0" * 64, size=1) for n in "ab"}, "one wheel"),
        (
            {n: File(sha256="0" * 64, size=1) for n in ("wheel/a.whl", "bin/x", "bin/X")},
            "one name on some systems",
        ),
    ],
)
def test_evil_files_are_refused(files: dict[str, File], why: str) -> None:
    id_, data = manifests.encode(values.manifest(KEY, files))
    with pytest.raises(IntegrityError, match=why):
        manifests.decode(data, id_)


@pytest.mark.parametrize("fingerprint", ["../..", "a/b", "", ".", "x" + chr(0)])
def test_a_fingerprint_that_is_no_name_is_refused(fingerprint: str) -> None:
    made = values.manifest(KEY, {"wheel/a.whl": File(sha256="0" * 64, size=1)})
    made = replace(made, plan=values.plan(fingerprint))
    id_, data = manifests.encode(made)
    with pytest.raises(IntegrityError, match="no name for a folder"):
        manifests.decode(data, id_)


def test_a_newer_manifest_is_not_used_and_said(root: Path) -> None:
    newer = replace(values.manifest(KEY, {}), version=99)
    id_, data = manifests.encode(newer)
    with pytest.raises(IntegrityError, match="version 99"):
        manifests.decode(data, id_)


def test_a_blob_that_is_gone_is_a_miss_until_it_is_back(root: Path) -> None:
    made = _publish(root)
    shutil.rmtree(made.path)
    blob_of(root, made).unlink()
    told: list[Event] = []
    assert store.lookup(root, KEY, told.append) is None
    assert any(isinstance(event, Warned) for event in told)
    _publish(root, "cd" * 32)
    assert store.lookup(root, KEY, silent) == made


def test_two_results_of_one_key_live_side_by_side(root: Path) -> None:
    first, second = _publish(root, text="one"), _publish(root, text="two")
    assert first.key == second.key
    assert first.id != second.id
    os.utime(manifest_of(root, first), (1, 1))
    assert store.lookup(root, KEY, silent) == second
    change(blob_of(root, second), b"?")
    assert store.lookup(root, KEY, silent) == first
    assert store.lookup(root, KEY, silent) == first


def test_a_lost_race_returns_the_winner(root: Path) -> None:
    results: list[Artifact] = []
    threads = [threading.Thread(target=lambda: results.append(_publish(root))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len({one.path for one in results}) == 1
    assert len(store.artifacts(root, silent)) == 1


def test_a_file_system_without_links_will_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError(1, "Operation not permitted", str(source), None, str(target))

    monkeypatch.setattr(os, "link", refuse)
    made = _publish(root)
    assert store.lookup(root, KEY, silent) == made
    assert not [
        path for path in root.rglob("*") if path.suffix.startswith(".") and ".json." in path.name
    ]
    change(made.path / "bin" / "llama-cli", b"y")
    assert store.lookup(root, KEY, silent) == made  # its blob is another file
    assert (made.path / "bin" / "llama-cli").read_text() == "x"


def test_find_by_a_key_reads_no_other_manifest(root: Path) -> None:
    first, second = _publish(root), _publish(root, "cd" * 32)
    change(manifest_of(root, second), b"damaged")
    told: list[Event] = []
    assert store.find(root, KEY[:10], told.append) == first
    assert told == []
    with pytest.raises(ConfigError, match="no artifact"):
        store.find(root, "cdcdcdcd", told.append)
    assert "It is set aside" in str(told)


def test_find_by_key_id_recipe_or_path(root: Path) -> None:
    first = _publish(root)
    second = _publish(root, "abcd" + "0" * 60, recipe="auto")
    assert store.find(root, "auto", silent) == second
    assert store.find(root, KEY[:10], silent) == first
    assert store.find(root, first.id[:10], silent) == first
    assert store.find(root, str(first.path), silent) == first
    with pytest.raises(ConfigError, match="there is no artifact"):
        store.find(root, "ffffffffff", silent)
    _publish(root, "abcd" + "1" * 60, recipe="other")
    with pytest.raises(ConfigError, match="fits several"):
        store.find(root, "abcd", silent)


def test_create_is_the_first_ones(tmp_path: Path) -> None:
    assert files.create(tmp_path / "a" / "n", b"1", tmp_path / "work")
    assert not files.create(tmp_path / "a" / "n", b"2", tmp_path / "work")
    assert files.create(tmp_path / "a" / "n", b"1", tmp_path / "work")
    assert (tmp_path / "a" / "n").read_bytes() == b"1"
    assert list((tmp_path / "work").iterdir()) == []


def test_what_is_made_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        root = store.open_root(tmp_path / "cache")
        _publish(root)
        modes = {stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*") if path.is_dir()}
        assert modes == {0o775}
        assert (root / "layout.json").stat().st_mode & 0o664 == 0o664
    finally:
        os.umask(before)


def test_a_newer_layout_is_refused(root: Path) -> None:
    (root / "layout.json").write_text('{"version": 99}')
    with pytest.raises(StoreError, match="newer llamabuild"):
        store.open_root(root)


def test_an_older_layout_is_made_new_and_nothing_is_lost(root: Path) -> None:
    (root / "layout.json").write_text('{"version": 1}')
    old = root / "artifacts" / "linux-x86_64" / KEY
    old.mkdir(parents=True)
    (old / "manifest.json").write_text("{}")
    (root / "sources").mkdir()
    store.open_root(root)
    store.open_root(root)
    assert not (root / "artifacts").exists()
    assert len(list((root / "quarantine").rglob("manifest.json"))) == 1
    assert (root / "sources").is_dir()


def test_a_damaged_layout_is_refused(root: Path) -> None:
    (root / "layout.json").write_text("garbage")
    with pytest.raises(StoreError, match="damaged"):
        store.open_root(root)


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="not llamabuild's"):
        store.open_root(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="file"):
        store.open_root(tmp_path / "file" / "cache")


def test_leftovers_of_the_dead_are_swept_and_those_of_the_living_are_not(root: Path) -> None:
    dead = root / "work" / "build-dead"
    dead.mkdir(parents=True)
    (dead / "x").write_text("x")
    unfinished = root / "work" / ".manifest.json-0"
    unfinished.write_text("{")
    os.utime(unfinished, (1, 1))
    with store.workdir(root) as living:
        assert not dead.exists()
        assert not unfinished.exists()
        with store.workdir(root):
            assert living.exists()
    assert not living.exists()


def test_a_cache_that_several_found_at_once_is_theirs(tmp_path: Path) -> None:
    for turn in range(40):
        roots: list[Path] = []
        failures: list[StoreError] = []

        def found(name: Path, roots: list[Path] = roots, said: list[StoreError] = failures) -> None:
            try:
                roots.append(store.open_root(name))
            except StoreError as error:
                said.append(error)

        threads = [threading.Thread(target=found, args=(tmp_path / str(turn),)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert len(roots) == 6
