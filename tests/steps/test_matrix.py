"""`llamabuild matrix`: what a store has is left out, if it is to be believed; what nobody can make
is named, and the rest goes on."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llamabuild import remotes, store
from llamabuild.ci import pruned
from llamabuild.cli import main_group
from llamabuild.events import Event, Warned, silent
from llamabuild.lockfile.entries import Locked
from llamabuild.model import Artifact
from llamabuild.store import blobs
from llamabuild.trust import roster
from tests.steps import shelves
from tests.unit import cells_of
from tests.unit.trust.making import pair

pytestmark = pytest.mark.steps
NOW = dt.datetime.now(tz=dt.timezone.utc)
HERE = Path(__file__).resolve().parent


@pytest.fixture
def builder(tmp_path: Path) -> Path:
    return store.open_root(tmp_path / "builder")


@pytest.fixture
def planner(tmp_path: Path) -> Path:
    """The cache of the machine that plans, which trusts anna."""
    root = store.open_root(tmp_path / "planner")
    roster.add(root, pair("anna")[1], ["builder"], now=NOW)
    return root


@pytest.fixture
def shared(tmp_path: Path, builder: Path) -> Path:
    """A folder with two artifacts, signed by anna."""
    push(tmp_path / "shared", builder, shelves.artifact(builder, 1), shelves.artifact(builder, 2))
    return tmp_path / "shared"


def push(folder: Path, root: Path, *artifacts: Artifact, who: str = "anna") -> None:
    signer = pair(who)[0]
    opened = remotes.opened(str(folder), root, signer=signer, new=True)
    remotes.push(opened, artifacts, signer, silent, now=NOW)


def locked(number: int, **fields: Any) -> Locked:
    return cells_of.target(**{"name": f"target {number}", "key": shelves.key(number), **fields})


def ask(tmp_path: Path, cache: Path, *words: str) -> Result:
    argv = ["matrix", "--lock", str(tmp_path / "llamabuild.lock"), "--cache", str(cache), *words]
    return CliRunner().invoke(main_group, argv, env={"LLAMABUILD_STORE": ""})


def left(result: Result) -> list[str]:
    """The names of what is to be made."""
    said = json.loads(result.stdout)
    assert (said["version"], said["kind"]) == (1, "matrix")
    return [one["names"][0] for shard in said["shards"] for one in shard["cells"]]


def lock(tmp_path: Path, *targets: Locked) -> None:
    cells_of.write(tmp_path / "llamabuild.lock", targets)


# --- what is there -------------------------------------------------------------------------------


def test_what_a_store_has_is_left_out_and_said(tmp_path: Path, planner: Path, shared: Path) -> None:
    lock(tmp_path, locked(1), locked(2), locked(3), cells_of.target("unplanned"))
    result = ask(tmp_path, planner, "--store", str(shared))
    assert result.exit_code == 0, result.stderr
    assert left(result) == ["target 3", "unplanned"]
    assert f"target 1: already in {shared}" in result.stderr
    dropped = json.loads(result.stdout)["dropped"]
    assert [one["names"] for one in dropped] == [["target 1"], ["target 2"]]


def test_the_artifact_that_was_locked_has_to_be_the_one_that_is_there(
    tmp_path: Path, builder: Path, planner: Path, shared: Path
) -> None:
    one = shelves.artifact(builder, 1)
    lock(tmp_path, locked(1, artifact=one.id), locked(2, artifact="f" * 64))
    assert left(ask(tmp_path, planner, "--store", str(shared))) == ["target 2"]


def test_all_artifacts_of_a_key_have_to_be_there_when_targets_name_several(
    tmp_path: Path, builder: Path, planner: Path, shared: Path
) -> None:
    one, other = shelves.artifact(builder, 1), shelves.artifact(builder, 1, text="another build")
    both = (locked(1, artifact=one.id), locked(1, name="again", artifact=other.id))
    lock(tmp_path, *both)
    assert left(ask(tmp_path, planner, "--store", str(shared))) == ["target 1"]
    push(shared, builder, other)
    assert left(ask(tmp_path, planner, "--store", str(shared))) == []


def test_what_a_stranger_signed_is_made_again(
    tmp_path: Path, builder: Path, planner: Path, shared: Path
) -> None:
    """The index is anna's, who knows bob; this machine does not."""
    roster.add(builder, pair("bob")[1], ["builder"], now=NOW)
    push(tmp_path / "bobs", builder, shelves.artifact(builder, 3), who="bob")
    taken = remotes.opened(str(tmp_path / "bobs"), builder, signer=pair("bob")[0])
    state = remotes.latest(taken, now=NOW)
    assert state
    (row,) = remotes.everything(taken, state)
    shutil.copytree(tmp_path / "bobs", shared, dirs_exist_ok=True, ignore=_index)
    group = next(iter(state.shards))
    writer = remotes.opened(str(shared), builder, signer=pair("anna")[0])
    from llamabuild.remotes import index

    index.add(writer, {group: [row]}, pair("anna")[0], now=NOW)
    lock(tmp_path, locked(1), locked(3))
    result = ask(tmp_path, planner, "--store", str(shared))
    assert left(result) == ["target 3"]
    assert "not trusted here" in result.stderr
    assert left(ask(tmp_path, planner, "--store", str(shared), "--unsigned")) == []


def _index(folder: str, names: list[str]) -> list[str]:
    return ["index"] if folder.endswith("bobs") else []


@pytest.mark.parametrize("kind", ["signatures", "manifests", "blobs"])
def test_what_only_the_index_knows_is_made_again(
    tmp_path: Path, planner: Path, shared: Path, kind: str
) -> None:
    lock(tmp_path, locked(1), locked(2))
    shutil.rmtree(shared / kind)
    result = ask(tmp_path, planner, "--store", str(shared))
    assert left(result) == ["target 1", "target 2"]
    assert "and 1 more. It is made again." in result.stderr


def test_a_changed_manifest_is_made_again(tmp_path: Path, planner: Path, shared: Path) -> None:
    lock(tmp_path, locked(1), locked(2))
    for path in (shared / "manifests").rglob("*.json"):
        path.write_bytes(path.read_bytes().replace(b"text", b"Text") + b" ")
    assert left(ask(tmp_path, planner, "--store", str(shared))) == ["target 1", "target 2"]


def test_an_index_that_lies_drops_nothing(tmp_path: Path, planner: Path, shared: Path) -> None:
    lock(tmp_path, locked(1))
    latest = shared / "index" / "latest.json"
    latest.write_bytes(latest.read_bytes().replace(b"payload", b"Payload"))
    result = ask(tmp_path, planner, "--store", str(shared))
    assert result.exit_code == 0
    assert left(result) == ["target 1"]
    assert "It goes on without it." in result.stderr


def test_nobody_trusted_is_said_before_anything_is_planned(tmp_path: Path, shared: Path) -> None:
    lock(tmp_path, locked(1))
    result = ask(tmp_path, tmp_path / "new", "--store", str(shared))
    assert result.exit_code == 2
    assert "nobody is trusted" in result.stderr


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "missing"])
def test_a_store_that_cannot_be_reached_is_said_and_the_rest_goes_on(
    tmp_path: Path, planner: Path, shared: Path, address: str
) -> None:
    lock(tmp_path, locked(1), locked(2), locked(3))
    away = address if "//" in address else str(tmp_path / address)
    result = ask(tmp_path, planner, "--store", away, "--store", str(shared))
    assert result.exit_code == 0, result.stderr
    assert left(result) == ["target 3"]
    assert "It goes on without it." in result.stderr
    result = ask(tmp_path, planner, "--store", away)
    assert left(result) == ["target 1", "target 2", "target 3"]


def test_stores_complete_each_other(
    tmp_path: Path, builder: Path, planner: Path, shared: Path
) -> None:
    push(tmp_path / "second", builder, shelves.artifact(builder, 3))
    lock(tmp_path, locked(1), locked(3), locked(4))
    both = ("--store", str(shared), "--store", str(tmp_path / "second"))
    result = ask(tmp_path, planner, *both)
    assert left(result) == ["target 4"]
    assert [Path(one["where"]).name for one in json.loads(result.stdout)["dropped"]] == [
        "shared",
        "second",
    ]


def test_only_without_a_store_this_cache_counts(
    tmp_path: Path, builder: Path, shared: Path
) -> None:
    shelves.artifact(builder, 5)
    lock(tmp_path, locked(1), locked(5), locked(6))
    roster.add(builder, pair("anna")[1], ["builder"], now=NOW)
    assert left(ask(tmp_path, builder)) == ["target 6"]
    assert left(ask(tmp_path, builder, "--store", str(shared))) == ["target 5", "target 6"]


def test_what_a_cache_has_only_in_part_is_made_again(tmp_path: Path, builder: Path) -> None:
    made = [shelves.artifact(builder, number) for number in (1, 2, 3)]
    for artifact, harm in zip(made[:2], ("gone", "short"), strict=True):
        blob = blobs.path_of(builder, artifact.manifest.files["bin/llama-cli"].sha256)
        if harm == "gone":
            blob.unlink()
        else:
            blob.chmod(0o644)
            blob.write_bytes(b"")
    lock(tmp_path, *(locked(number) for number in (1, 2, 3)))
    assert left(ask(tmp_path, builder)) == ["target 1", "target 2"]


def test_a_bucket_is_asked_for_its_index_once(
    tmp_path: Path, builder: Path, planner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shelves.s3(monkeypatch) as address:
        signer = pair("anna")[0]
        made = [shelves.artifact(builder, number) for number in range(6)]
        writer = remotes.opened(address, builder, signer=signer, new=True)
        remotes.push(writer, made, signer, silent, now=NOW)
        reader = remotes.opened(address, planner)
        asked = {shelves.key(number): frozenset[str]() for number in range(8)}
        found = pruned.there(reader, asked, silent, now=NOW)
        assert found == {one.key for one in made}
        assert reader.objects.requests == 2 + 3 * len(made)  # manifest, signature, wheel of each


def test_doubts_are_told_once(tmp_path: Path, planner: Path, shared: Path) -> None:
    shutil.rmtree(shared / "signatures")
    told: list[Event] = []
    asked = {shelves.key(number): frozenset[str]() for number in (1, 2)}
    reader = remotes.opened(str(shared), planner)
    assert not pruned.there(reader, asked, told.append, now=NOW)
    assert [type(one) for one in told] == [Warned]


# --- what is asked for ---------------------------------------------------------------------------


def test_what_no_runner_makes_is_named_and_the_rest_is_printed(
    tmp_path: Path, planner: Path
) -> None:
    lock(tmp_path, locked(1), locked(2, arch="riscv64"))
    result = ask(tmp_path, planner, "--format", "github")
    assert result.exit_code == 3
    assert [one["name"] for one in json.loads(result.stdout)["include"]] == ["target 1"]
    assert "no runner offers linux, riscv64: target 2" in result.stderr
    assert "--runner 'linux,riscv64=LABEL'" in result.stderr
    given = ask(
        tmp_path, planner, "--format", "github", "--runner", "linux,riscv64=[self-hosted, risc]"
    )
    assert given.exit_code == 0
    assert json.loads(given.stdout)["include"][1]["runner"] == ["self-hosted", "risc"]


def test_json_maps_only_to_runners_that_were_named(tmp_path: Path, planner: Path) -> None:
    lock(tmp_path, locked(1), locked(2, arch="riscv64"))
    assert left(ask(tmp_path, planner)) == ["target 1", "target 2"]
    named = ask(tmp_path, planner, "--json", "--runner", "linux,x86_64=mine")
    assert named.exit_code == 3
    said = json.loads(named.stdout)
    assert [one["runner"] for one in said["shards"]] == [["mine"]]
    assert said["unserved"] == [{"names": ["target 2"], "needs": ["linux", "riscv64"]}]


@pytest.mark.parametrize(("form", "limit"), [("github", 256), ("gitlab", 200)])
def test_the_hosts_limit_holds_whatever_is_asked_for(
    tmp_path: Path, planner: Path, form: str, limit: int
) -> None:
    many = (cells_of.target(f"t{number}", key=f"{number:064x}") for number in range(600))
    lock(tmp_path, *many)
    folder = tmp_path / form
    words = ("--format", form, "--max-shards", "1000", "--output-dir", str(folder))
    result = ask(tmp_path, planner, *words)
    assert result.exit_code == 0, result.stderr
    assert limit * 3 // 4 <= len(list(folder.iterdir())) <= limit
    assert len(list(folder.rglob("*.json"))) == 600
    few = ask(tmp_path, planner, "--format", form, "--max-shards", "2")
    assert "600 to be made, in 2 jobs" in few.stderr


@pytest.mark.parametrize(
    ("words", "text", "code", "said"),
    [
        (("--format", "azure"), "version = 1", 2, "'azure' is not one of"),
        (("--max-shards", "0"), "version = 1", 2, "is not in the range"),
        (("--runner", "nonsense"), "version = 1", 2, "does not say what is needed"),
        ((), None, 2, "llamabuild.lock"),
        ((), "version = ", 2, "llamabuild.lock"),
        ((), "version = 7", 2, "version"),
        ((), 'version = 1\n[source]\npin = "x"\nversion = "1"\n', 2, "sha256"),
        ((), "version = 1\n[[target]]\nname = 3\n", 2, "llamabuild.lock"),
    ],
)
def test_wrong_use_and_damaged_files_are_said_in_a_line(
    tmp_path: Path, planner: Path, words: tuple[str, ...], text: str | None, code: int, said: str
) -> None:
    if text is not None:
        (tmp_path / "llamabuild.lock").write_text(text)
    argv = ["matrix", "--lock", str(tmp_path / "llamabuild.lock"), "--cache", str(planner), *words]
    result = CliRunner().invoke(main_group, argv)
    assert result.exit_code == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_recorded_machine_travels_in_its_cell(tmp_path: Path, planner: Path) -> None:
    machine = HERE.parent / "machines" / "zen4-vm-gcc12.json"
    shutil.copy(machine, tmp_path / "laptop.json")
    lock(tmp_path, locked(1, machine="laptop.json"))
    result = ask(tmp_path, planner, "--output-dir", str(tmp_path / "cells"))
    assert result.exit_code == 0, result.stderr
    (file,) = (tmp_path / "cells").rglob("*.json")
    assert json.loads(file.read_bytes())["machine"]["machine"]["arch"] == "x86_64"
    (tmp_path / "laptop.json").unlink()
    result = ask(tmp_path, planner)
    assert (result.exit_code, "laptop.json" in result.stderr) == (2, True)


def test_nothing_is_printed_when_the_cells_cannot_be_written(tmp_path: Path, planner: Path) -> None:
    lock(tmp_path, locked(1))
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "mine").touch()
    words = ("--format", "github", "--output-dir", str(tmp_path / "cells"))
    result = ask(tmp_path, planner, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is not empty" in result.stderr


def test_help_ends_with_an_example() -> None:
    result = CliRunner().invoke(main_group, ["matrix", "--help"])
    assert "Example: llamabuild matrix --format github" in result.stdout
