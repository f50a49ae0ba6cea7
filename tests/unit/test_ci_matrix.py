"""Cells to jobs: what is made together, on which runner, and in whose words. Pure."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from llamabuild.ci import cells, folders, github, gitlab, runners
from llamabuild.ci.cells import Cell
from llamabuild.ci.runners import Runner
from llamabuild.ci.shards import Shard, plain, sharded
from llamabuild.errors import ConfigError
from tests.unit.cells_of import cell, lock, target

NEEDS = st.sampled_from(
    [("linux", "x86_64"), ("linux", "aarch64"), ("linux", "x86_64", "cuda"), ("macos", "aarch64")]
)


def named(needs: list[tuple[str, ...]]) -> list[Cell]:
    return [cell(f"cell {number}", *one) for number, one in enumerate(needs)]


# --- shards --------------------------------------------------------------------------------------


@given(st.lists(NEEDS, max_size=80), st.integers(4, 100))
def test_every_cell_is_in_one_shard_and_the_limit_holds(
    needs: list[tuple[str, ...]], most: int
) -> None:
    made = named(needs)
    found = sharded(made, most)
    assert Counter(one.name for shard in found for one in shard.cells) == Counter(
        one.name for one in made
    )
    assert len(found) <= most
    assert all(shard.cells for shard in found)
    assert all(one.needs == shard.needs for shard in found for one in shard.cells)
    assert len({shard.name for shard in found}) == len(found)
    assert sharded(made, most) == found


@given(st.lists(NEEDS, min_size=1, max_size=80), st.integers(4, 100))
def test_shards_are_balanced_and_no_longer_than_they_must_be(
    needs: list[tuple[str, ...]], most: int
) -> None:
    found = sharded(named(needs), most)
    for kind in set(needs):
        sizes = [len(shard.cells) for shard in found if shard.needs == kind]
        assert max(sizes) - min(sizes) <= 1
    longest = max(len(shard.cells) for shard in found)
    shorter = (
        sum(math.ceil(count / (longest - 1)) for count in Counter(needs).values())
        if (longest > 1)
        else math.inf
    )
    assert shorter > most  # with one cell less in a job there would be too many jobs


def test_without_a_limit_every_cell_has_a_job_of_its_own() -> None:
    found = sharded(named([("linux", "x86_64")] * 300))
    assert [len(shard.cells) for shard in found] == [1] * 300
    assert [found[0].name, found[299].name] == ["001-cell-0", "300-cell-299"]


def test_the_order_of_the_lock_file_is_kept_within_a_shard() -> None:
    (only,) = sharded(named([("linux", "x86_64")] * 5), 1)
    assert [one.name for one in only.cells] == [f"cell {number}" for number in range(5)]
    assert only.title == "cell 0 and 4 more"


def test_more_needs_than_jobs_are_refused() -> None:
    with pytest.raises(ConfigError, match="2 different needs, and 1 jobs"):
        sharded([cell("a", "linux"), cell("b", "macos")], 1)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cuda sm_86+sm_89", "cuda-sm_86-sm_89"),
        ("../../etc/passwd", "etc-passwd"),
        ("$(reboot)`x`", "reboot-x"),
        ("${{ secrets.key }}", "secrets.key"),
        ("…", "cell"),
        ("x" * 500, "x" * 60),
    ],
)
def test_names_of_shards_are_safe_for_files_and_shells(name: str, shown: str) -> None:
    assert plain(name) == shown


# --- cells ---------------------------------------------------------------------------------------


def test_targets_of_one_key_are_one_cell_and_those_without_are_not() -> None:
    found = cells.cells(
        lock(
            target("a", key="1" * 64),
            target("b", key="2" * 64),
            target("c", key="1" * 64),
            target("d"),
            target("e"),
        ),
        {},
    )
    assert [one.names for one in found] == [("a", "c"), ("b",), ("d",), ("e",)]


# --- runners -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needs", "labels"),
    [
        (("linux", "x86_64"), ("ubuntu-24.04",)),
        (("linux", "aarch64"), ("ubuntu-24.04-arm",)),
        (("windows", "x86_64"), ("windows-2025",)),
        (("macos", "aarch64"), ("macos-15",)),
        (("macos", "x86_64"), ("macos-15-intel",)),
    ],
)
def test_github_has_a_runner_for_the_usual_needs(
    needs: tuple[str, ...], labels: tuple[str, ...]
) -> None:
    found = runners.choose(needs, runners.of_host("github"))
    assert found
    assert found.labels == labels


def test_a_runner_with_a_gpu_is_not_taken_for_what_needs_none() -> None:
    gpu = runners.parse("linux,x86_64,cuda=[self-hosted, gpu]")
    able = [gpu, *runners.of_host("github")]
    assert runners.choose(("linux", "x86_64", "cuda"), able) == gpu
    assert runners.choose(("linux", "x86_64"), able) != gpu
    assert runners.choose(("cuda",), able) == gpu
    assert runners.choose(("linux", "riscv64"), able) is None


def test_a_named_runner_stands_in_place_of_the_hosts_own() -> None:
    own = runners.parse("linux,x86_64 = big machine")
    assert own.labels == ("big machine",)
    assert runners.choose(("linux", "x86_64"), [own, *runners.of_host("github")]) == own


@pytest.mark.parametrize(
    "text",
    ["", "linux", "=x", "linux=", "linux=[]", "linux,,x86_64=a", "Linux=a", "linux=[a,]",
     "linux=a\nb", "linux='a'", "linux=a]", "a b=c"],
)  # fmt: skip
def test_what_names_no_runner_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="--runner") as caught:
        runners.parse(text)
    assert "self-hosted" in caught.value.hint


def test_cells_that_no_runner_can_make_are_set_apart() -> None:
    made = [cell("a", "linux", "x86_64"), cell("b", "linux", "riscv64"), cell("c", "plan9")]
    able, unable = runners.divided(made, runners.of_host("github"))
    assert [one.name for one in able] == ["a"]
    assert [one.name for one in unable] == ["b", "c"]


def test_every_limit_and_every_runner_has_a_source() -> None:
    limits = runners._table("limits.toml")
    assert limits["github"]["jobs"] == 256
    assert limits["gitlab"]["jobs"] == 200
    for host in limits.values():
        assert all("https://" in host[f"{name}_source"] for name in ("jobs", "bytes"))
    for rows in runners._table("runners.toml").values():
        assert all(row["source"].startswith("https://") for row in rows)


# --- what hosts read -----------------------------------------------------------------------------


def jobs(*made: Cell, most: int | None = None) -> list[tuple[Shard, Runner]]:
    own = runners.parse("linux,riscv64=[self-hosted, risc]")
    able = (own, *runners.of_host("github"))
    found = [(one, runners.choose(one.needs, able)) for one in sharded(made, most)]
    return [(shard, runner) for shard, runner in found if runner]


def test_githubs_matrix_is_one_line_with_a_label_or_a_list_of_them() -> None:
    said = github.matrix(jobs(cell("fat €", "linux", "x86_64"), cell("r", "linux", "riscv64")))
    assert "\n" not in said
    assert json.loads(said) == {
        "include": [
            {"name": "fat €", "runner": "ubuntu-24.04", "shard": "1-fat", "cells": 1},
            {"name": "r", "runner": ["self-hosted", "risc"], "shard": "2-r", "cells": 1},
        ]
    }
    assert github.matrix([]) == '{"include":[]}'


def test_a_matrix_that_github_would_cut_off_is_refused() -> None:
    made = jobs(*named([("linux", "x86_64")] * 50))
    size = len(github.matrix(made).encode("utf-16-le"))
    assert github.matrix(made, size)
    with pytest.raises(ConfigError, match="more than GitHub passes"):
        github.matrix(made, size - 1)


def test_the_largest_matrix_is_well_below_githubs_limit() -> None:
    made = [cell(f"{'long name ' * 10}{number}", "linux", "x86_64") for number in range(5000)]
    limit = runners.jobs_of("github")
    said = github.matrix(jobs(*made, most=limit), runners.bytes_of("github"))
    assert len(json.loads(said)["include"]) == 250  # 20 cells each: 19 would take 264 jobs


def test_gitlabs_pipeline_has_a_job_for_each_kind_of_runner() -> None:
    made = jobs(
        cell("a", "linux", "x86_64"), cell("r", "linux", "riscv64"), cell("b", "linux", "x86_64")
    )
    tree = YAML(typ="safe").load(gitlab.pipeline(made))
    assert list(tree) == ["stages", ".cell", "linux-x86_64-1", "linux-riscv64-2"]
    assert tree["linux-x86_64-1"]["parallel"] == {"matrix": [{"LLAMABUILD_SHARD": ["1-a", "2-b"]}]}
    assert tree["linux-riscv64-2"]["tags"] == ["self-hosted", "risc"]
    assert tree[".cell"]["needs"] == [
        {"pipeline": "$PARENT_PIPELINE_ID", "job": gitlab.PLANNING, "artifacts": True}
    ]


def test_names_that_look_alike_do_not_swallow_jobs() -> None:
    made = [
        (shard, Runner(offers=frozenset(), labels=("x",)))
        for shard in sharded([cell("a", "b+c"), cell("b", "b c"), cell("c", "stages"), cell("d")])
    ]
    tree = YAML(typ="safe").load(gitlab.pipeline(made))
    assert [name for name in tree if name not in ("stages", ".cell")] == [
        "b-c-1", "b-c-2", "stages-3", "cell-4",
    ]  # fmt: skip


def test_a_pipeline_without_cells_has_a_job_all_the_same() -> None:
    tree = YAML(typ="safe").load(gitlab.pipeline([]))
    assert "script" in tree["nothing"]


@given(st.text(max_size=30), st.text(max_size=30))
def test_whatever_a_label_is_the_yaml_says_the_same(label: str, image: str) -> None:
    runner = Runner(offers=frozenset({"linux"}), labels=(f"x{label}",), image=f"x{image}")
    (shard,) = sharded([cell("a", "linux")])
    text = "\n".join(gitlab._lines({"tags": list(runner.labels), "image": runner.image}))
    if "\n" in label or "\n" in image or not (label + image).isprintable():
        return  # nothing of the kind comes through `--runner`
    assert YAML(typ="safe").load(text) == {"tags": [f"x{label}"], "image": f"x{image}"}
    assert shard.name == "1-a"


# --- cells as files ------------------------------------------------------------------------------


def test_cells_are_written_in_their_order_and_read_back(tmp_path: Path) -> None:
    made = named([("linux", "x86_64")] * 12)
    (shard,) = sharded(made, 1)
    folders.write(tmp_path / "deep" / "cells", [shard])
    found = sorted((tmp_path / "deep" / "cells" / shard.name).iterdir())
    assert [cells.decode(one.read_bytes(), str(one)) for one in found] == made
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["cells"]


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "cell.json").write_text("kept")
    with pytest.raises(ConfigError, match="is not empty"):
        folders.write(tmp_path / "old", sharded([cell("a", "linux")]))
    with pytest.raises(ConfigError, match="is not empty"):
        folders.write(tmp_path / "old" / "cell.json", sharded([cell("a", "linux")]))
    assert (tmp_path / "old" / "cell.json").read_text() == "kept"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    folders.write(tmp_path / "cells", sharded([cell("a", "linux")]))
    assert [path.name for path in (tmp_path / "cells").iterdir()] == ["1-a"]


def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Exception, match="disk is full"):
        folders.write(tmp_path / "cells", sharded([cell("a", "linux")]))
    assert list(tmp_path.iterdir()) == []
