"""A child pipeline for GitLab, as YAML. Pure.

One job for each kind of runner, with its shards as ``parallel:matrix``. The cells themselves are an
artifact of the job that planned (``--output-dir``), in the pipeline that started this one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from llamabuild import data
from llamabuild.ci.runners import Runner
from llamabuild.ci.shards import Shard, plain
from llamabuild.errors import ConfigError

PLANNING: Final = "llamabuild-plan"
"""The job that has to keep the cells."""
FOLDER: Final = "cells"
"""The folder that it has to keep them in."""
_PLAIN: Final = re.compile(r"\.?[A-Za-z][A-Za-z0-9_-]*")
_HEAD: Final = "# Made by `llamabuild matrix --format gitlab`; do not edit.\n"


def pipeline(jobs: Sequence[tuple[Shard, Runner]], most: int | None = None) -> str:
    """The pipeline that makes the cells of these shards. One without cells has a job that says so,
    for GitLab starts none without jobs. Raises ConfigError when it is longer than ``most`` bytes.
    """
    groups: dict[tuple[Runner, tuple[str, ...]], list[Shard]] = {}
    for shard, runner in jobs:
        groups.setdefault((runner, shard.needs), []).append(shard)
    made = [_job(runner, shards) for (runner, _), shards in groups.items()]
    names = [f"{plain('-'.join(one))}-{number}" for number, (_, one) in enumerate(groups, 1)]
    tree = {"stages": ["cells"], ".cell": _cell(), **dict(zip(names, made, strict=True))}
    said = _HEAD + "\n".join(_lines(tree if groups else _NOTHING)) + "\n"
    if most is not None and len(said.encode()) > most:
        raise ConfigError(
            f"the pipeline has {len(said)} bytes, more than GitLab reads",
            "Allow fewer jobs: --max-shards",
        )
    return said


_NOTHING: Final[Mapping[str, Any]] = {
    "stages": ["cells"],
    "nothing": {
        "stage": "cells",
        "variables": {"GIT_STRATEGY": "none"},
        "script": ["echo 'Every cell is in the store already.'"],
    },
}


def _job(runner: Runner, shards: Sequence[Shard]) -> dict[str, Any]:
    image = {"image": runner.image} if runner.image else {}
    return {
        "extends": ".cell",
        "tags": list(runner.labels),
        **image,
        "parallel": {"matrix": [{"LLAMABUILD_SHARD": [one.name for one in shards]}]},
    }


def _cell() -> dict[str, Any]:
    """What all jobs have in common; what they run stands in a table."""
    steps = data.load(data.package("ci") / "gitlab.toml")
    needs = {"pipeline": "$PARENT_PIPELINE_ID", "job": PLANNING, "artifacts": True}
    return {
        "stage": "cells",
        "needs": [needs],
        "before_script": [text.strip() for text in steps["before"]],
        "script": [text.strip() for text in steps["script"]],
        "artifacts": {
            "name": "wheels-$LLAMABUILD_SHARD",
            "paths": [".llamabuild/cache/artifacts/*/*/wheel/*.whl"],
            "when": "always",
            "expire_in": "1 week",
        },
    }


def _lines(value: Any, indent: str = "") -> Iterator[str]:  # noqa: ANN401 - whatever JSON can say
    """A tree as YAML: blocks for what has parts, JSON's scalars for the rest."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            key = name if _PLAIN.fullmatch(name) else json.dumps(name)
            yield from _entry(f"{indent}{key}:", part, indent)
    else:
        for part in value:
            yield from _entry(f"{indent}-", part, indent)


def _entry(head: str, part: Any, indent: str) -> Iterator[str]:  # noqa: ANN401
    if isinstance(part, str) and "\n" in part:
        yield f"{head} |-"
        yield from (f"{indent}  {line}" for line in part.split("\n"))
    elif isinstance(part, Mapping | list):
        yield head
        yield from _lines(part, f"{indent}  ")
    else:
        yield f"{head} {json.dumps(part, ensure_ascii=False)}"
