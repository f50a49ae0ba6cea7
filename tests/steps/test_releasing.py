"""`index publish --lock`: what was built for a lock file, released and published; what is missing
keeps nothing else back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llamabuild import store
from llamabuild.lockfile import files, locking
from llamabuild.lockfile.entries import Lock, Locked
from llamabuild.matching import group
from llamabuild.model import Artifact
from llamabuild.trust import keys
from tests.steps import test_release, toywheels
from tests.steps.test_cli import run

pytestmark = test_release.pytestmark


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return store.open_root(tmp_path / "cache")


@pytest.fixture
def kept(cache: Path, tmp_path: Path) -> Artifact:
    """An artifact of this cache, with a real wheel."""
    toy = toywheels.artifact(tmp_path / "toy")
    manifest = replace(toy.manifest, files=store.hashes(toy.path))
    return store.publish(
        cache,
        toy.path,
        manifest,
        group=group(manifest.plan),
        requested=manifest.key,
        healed=(),
    )


def lock(path: Path, *targets: Locked) -> Lock:
    made = replace(locking.begun(), targets=targets)
    files.write(path, made)
    return made


def publish(path: Path, cache: Path, *words: str, code: int = 0) -> Any:
    index = path.parent / "index"
    ended = run("index", "publish", str(index), "--lock", str(path), "--json", *words, cache=cache)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    return json.loads(ended.stdout)


def test_what_was_built_is_published_and_written_down(
    cache: Path, kept: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what was signed about it beside it."""
    monkeypatch.setenv(keys.VARIABLE, str(tmp_path / "key.pem"))
    assert run("trust", "new", "team", cache=cache).returncode == 0
    path = tmp_path / "llamabuild.lock"
    lock(path, Locked(name="a", want="cpu-portable", key=kept.key))
    (name,) = publish(path, cache)["added"]
    assert name.startswith("llama_cpp_python-1.2.3+cpu.portable.lb3f9a1c2d-py3-none-manylinux_2_")
    (target,) = files.read(path).targets
    assert target.artifact == kept.id
    assert len(target.wheel) == 64
    again = publish(path, cache)
    assert (again["added"], again["present"]) == ([], [name])
    top = tmp_path / "index"
    assert (top / "cpu.portable" / "llama-cpp-python" / f"{name}.dsse.json").is_file()
    assert run("index", "check", str(top), cache=cache).returncode == 0


def test_what_is_missing_is_named_and_the_rest_is_published(
    cache: Path, kept: Artifact, tmp_path: Path
) -> None:
    path = tmp_path / "llamabuild.lock"
    lock(
        path,
        Locked(name="gone", want="cpu-fat", key="e" * 64),
        Locked(name="never", want="metal"),
        Locked(name="other", want="cpu-portable", key=kept.key, artifact="d" * 64),
        Locked(name="here", want="cpu-portable", key=kept.key),
    )
    error = publish(path, cache, code=13)["error"]
    said = " ".join(error["reasons"])
    assert "gone: an artifact of eeeeeeeeeeee is in no store" in said
    assert "never: it was never planned" in said
    assert "other: the artifact dddddddddddd" in said
    assert "3 of 4 are not published" in error["message"]
    assert files.read(path).targets[3].artifact == kept.id


def test_another_wheel_than_the_locked_one_is_refused(
    cache: Path, kept: Artifact, tmp_path: Path
) -> None:
    path = tmp_path / "llamabuild.lock"
    lock(
        path,
        Locked(name="a", want="x", key=kept.key, artifact=kept.id, wheel="f" * 64),
    )
    error = publish(path, cache, code=13)["error"]
    assert "its wheel was locked with sha256 ffffffffffff" in error["message"]
    assert files.read(path).targets[0].wheel == "f" * 64


def test_nothing_to_publish_is_said(cache: Path, tmp_path: Path) -> None:
    ended = run("index", "publish", str(tmp_path / "index"), cache=cache)
    assert ended.returncode == 2
    assert "there is nothing to publish" in ended.stderr
    assert not (tmp_path / "index").exists()
