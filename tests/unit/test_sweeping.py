"""Sweeping a real store: what is named stays, what is not goes, also while others publish."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from llamabuild import generations, store
from llamabuild.errors import ConfigError
from llamabuild.events import silent
from llamabuild.host import Answers, RecordedHost
from llamabuild.model import Artifact
from llamabuild.store import blobs, manifests, pinned, sweeping
from llamabuild.store.limits import DAY, Limits
from tests.unit import values

HOST = RecordedHost(
    Answers(os="linux", arch="x86_64", libc="glibc 2.36", files={"/etc/machine-id": ("1",)})
)
OTHER = RecordedHost(
    Answers(os="linux", arch="x86_64", libc="glibc 2.36", files={"/etc/machine-id": ("2",)})
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return store.open_root(tmp_path / "cache")


def publish(root: Path, number: int, *, days: float = 0, text: str = "") -> Artifact:
    key = f"{number:064x}"
    with store.workdir(root) as work:
        prefix = values.prefix(work / "prefix", text or f"text {number}")
        (prefix / "bin" / "llama-cli").write_text("the same in all")
        manifest = values.manifest(key, store.hashes(prefix), f"recipe-{number}")
        made = store.publish(root, prefix, manifest, group="g", requested=key)
    then = time.time() - days * DAY
    os.utime(manifests.entry(root, "g", key, made.id).path, (then, then))
    for file in made.manifest.files.values():
        os.utime(blobs.path_of(root, file.sha256), (then, then))
    return made


def gc(root: Path, limits: Limits, needed: Mapping[str, str] | None = None) -> list[str]:
    seen = sweeping.survey(root, needed or {})
    going = sweeping.decide(seen, limits, free=10**12, now=time.time())
    sweeping.sweep(root, seen, going)
    return [one.item.name for one in going]


def blobs_in(root: Path) -> set[str]:
    return {path.name for path in (root / "blobs").rglob("*") if path.is_file()}


def test_an_old_artifact_goes_with_what_only_it_has(root: Path) -> None:
    old, new = publish(root, 1, days=100), publish(root, 2)
    assert len(gc(root, Limits(age=90 * DAY))) == 1
    assert store.lookup(root, old.key, silent) is None
    assert not old.path.exists()
    assert [one.id for one in manifests.everything(root)] == [new.id]
    assert store.lookup(root, new.key, silent) == new
    assert blobs_in(root) == {file.sha256 for file in new.manifest.files.values()}
    assert store.damaged(new) is None


def test_a_blob_without_a_name_goes_after_a_day(root: Path) -> None:
    for days, name in ((2, "old"), (0.5, "new")):
        file = root / name
        file.write_text(name)
        (known,) = store.hashes(root / "x" if file.is_dir() else _alone(root, file)).values()
        held = root / "held"
        held.mkdir(exist_ok=True)
        blobs.put(root, file, known, held)
        shutil.rmtree(held)
        then = time.time() - days * DAY
        os.utime(blobs.path_of(root, known.sha256), (then, then))
        file.unlink()
    assert len(blobs_in(root)) == 2
    gc(root, Limits())
    assert len(blobs_in(root)) == 1


def _alone(root: Path, file: Path) -> Path:
    folder = root / f"folder-{file.name}"
    folder.mkdir()
    (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_what_somebody_holds_stays_until_he_lets_go(root: Path) -> None:
    made = publish(root, 1)
    with store.workdir(root) as held:
        for file in made.manifest.files.values():
            assert blobs.hold(blobs.path_of(root, file.sha256), held)
        store.remove(root, made)
        assert blobs_in(root) == {file.sha256 for file in made.manifest.files.values()}
    sweeping.free(root, blobs_in(root))
    assert blobs_in(root) == set()


def test_removing_frees_what_no_other_has(root: Path) -> None:
    first, second = publish(root, 1), publish(root, 2)
    store.remove(root, first)
    assert blobs_in(root) == {file.sha256 for file in second.manifest.files.values()}
    assert store.lookup(root, second.key, silent) == second


def test_pins_and_generations_stay(root: Path) -> None:
    made = [publish(root, number, days=200) for number in range(6)]
    for one in made[:5]:
        generations.advance(root, HOST, one)
    pinned.add(root, made[5], "the release")
    needed = {**dict.fromkeys(generations.in_use(root, last=2), "g"), **pinned.reasons(root)}
    gc(root, Limits(age=DAY, size=0), needed)
    kept = {one.id for one in store.artifacts(root, silent)}
    assert kept == {one.id for one in made[2:]}
    assert pinned.remove(root, made[5])
    assert not pinned.remove(root, made[5])


def test_a_publisher_finds_again_what_is_just_being_swept(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each step of a sweep somebody publishes an artifact that has the condemned file."""
    for moment in ("condemn", "execute"):
        old = publish(root, 1, days=100, text="shared")
        real = getattr(blobs, moment)
        done: list[Artifact] = []

        def interfere(blob: Path, real: object = real, done: list[Artifact] = done) -> None:
            assert callable(real)
            if not done:
                done.append(publish(root, 7, text="shared"))
            real(blob)

        monkeypatch.setattr(blobs, moment, interfere)
        gc(root, Limits(age=DAY))
        monkeypatch.undo()
        (published,) = done
        assert store.lookup(root, old.key, silent) is None
        for file in published.manifest.files.values():
            assert blobs.path_of(root, file.sha256).exists(), moment
        assert store.lookup(root, published.key, silent) == published
        assert store.damaged(published) is None
        store.remove(root, published)


@pytest.mark.parametrize("moment", ["condemn", "execute"])
def test_a_sweep_that_is_killed_loses_nothing(
    root: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(root, 1, days=100)
    new = publish(root, 2)

    def die(blob: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(blobs, moment, die)
    with pytest.raises(KeyboardInterrupt):
        gc(root, Limits(age=DAY))
    monkeypatch.undo()
    assert store.lookup(root, new.key, silent) == new
    publish(root, 1)  # what was condemned is in use again
    gc(root, Limits())
    assert len(store.artifacts(root, silent)) == 2
    assert not [name for name in blobs_in(root) if name.endswith(blobs.CONDEMNED)]


def test_other_things_go_when_nobody_used_them(root: Path) -> None:
    for name, days in (("sources/old", 100), ("sources/new", 1), ("begun/old", 4), ("kits/k", 95)):
        (root / name).mkdir(parents=True)
        (root / name / "x").write_text("x" * 1000)
        os.utime(root / name, (time.time() - days * DAY,) * 2)
    assert sorted(gc(root, Limits(age=90 * DAY))) == ["begun/old", "kits/k", "sources/old"]
    assert (root / "sources" / "new" / "x").exists()
    assert not (root / "kits" / "k").exists()


def test_a_manifest_that_cannot_be_read_keeps_what_it_names(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(root, 1, days=100)
    real = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path.suffix == ".json":
            raise OSError(5, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match="Input/output"):
        gc(root, Limits(age=DAY))
    monkeypatch.undo()
    assert len(blobs_in(root)) == 2


# --- generations ---------------------------------------------------------------------------------


def test_generations_and_the_way_back(root: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is set up"):
        generations.current(root, HOST)
    first, second = publish(root, 1), publish(root, 2)
    for one in (first, first, second):
        generations.advance(root, HOST, one)
    assert [one.number for one in generations.listed(root, HOST)] == [1, 2]
    assert generations.current(root, HOST).id == second.id
    back = generations.roll_back(root, HOST, None, silent)
    assert (back.number, generations.current(root, HOST).id) == (1, first.id)
    with pytest.raises(ConfigError, match="no earlier generation"):
        generations.roll_back(root, HOST, None, silent)
    assert generations.roll_back(root, HOST, 2, silent).id == second.id
    with pytest.raises(ConfigError, match="no generation 9"):
        generations.roll_back(root, HOST, 9, silent)
    assert generations.artifact(root, generations.current(root, HOST), silent) == second


def test_what_was_asked_for_is_remembered_not_what_stood_in_for_it(root: Path) -> None:
    made = publish(root, 1)
    assert generations.advance(root, HOST, made, "cpu-native").recipe == "cpu-native"
    assert generations.advance(root, HOST, made, "cpu-native").number == 1
    assert generations.advance(root, HOST, made).recipe == made.manifest.plan.recipe
    assert [one.number for one in generations.listed(root, HOST)] == [1, 2]


def test_machines_have_their_own(root: Path) -> None:
    first, second = publish(root, 1), publish(root, 2)
    generations.advance(root, HOST, first)
    generations.advance(root, OTHER, second)
    assert generations.current(root, HOST).id == first.id
    assert generations.current(root, OTHER).id == second.id


def test_going_back_to_what_is_gone_changes_nothing(root: Path) -> None:
    first, second = publish(root, 1), publish(root, 2)
    generations.advance(root, HOST, first)
    generations.advance(root, HOST, second)
    store.remove(root, first)
    with pytest.raises(ConfigError, match=r"generation 1 .* is gone"):
        generations.roll_back(root, HOST, None, silent)
    assert generations.current(root, HOST).id == second.id


@pytest.mark.parametrize("damage", [b"", b"x", b"99", b'"1"'])
def test_a_damaged_pointer_means_the_last(root: Path, damage: bytes) -> None:
    first, second = publish(root, 1), publish(root, 2)
    generations.advance(root, HOST, first)
    generations.advance(root, HOST, second)
    (pointer,) = root.glob("generations/*/current")
    pointer.write_bytes(damage)
    assert generations.current(root, HOST).id == second.id
    (pointer.parent / "2.json").write_text("{")
    assert generations.current(root, HOST).id == first.id
