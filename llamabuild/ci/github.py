"""A matrix for GitHub Actions: what ``fromJSON`` of ``strategy.matrix`` takes. Pure.

The cells themselves are files (``--output-dir``) that the jobs download: with a recorded machine
each they are too long for the outputs of a job.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llamabuild.ci.runners import Runner
from llamabuild.ci.shards import Shard
from llamabuild.errors import ConfigError


def matrix(jobs: Sequence[tuple[Shard, Runner]], most: int | None = None) -> str:
    """One line of JSON: an entry per job, with its ``name`` for people, the ``runner`` for
    ``runs-on``, the ``shard`` that names its folder of cells, and how many ``cells`` those are.

    A workflow must leave a job with an empty matrix out. Raises ConfigError when it is longer than
    ``most`` bytes, as GitHub counts them (UTF-16).
    """
    said = json.dumps({"include": [_entry(*job) for job in jobs]}, separators=(",", ":"))
    if most is not None and len(said.encode("utf-16-le")) > most:
        raise ConfigError(
            f"the matrix has {len(said)} characters, more than GitHub passes from job to job",
            "Allow fewer jobs: --max-shards",
        )
    return said


def _entry(shard: Shard, runner: Runner) -> dict[str, Any]:
    labels = runner.labels
    return {
        "name": shard.title,
        "runner": labels[0] if len(labels) == 1 else list(labels),
        "shard": shard.name,
        "cells": len(shard.cells),
    }
