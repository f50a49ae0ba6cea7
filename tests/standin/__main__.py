"""Provision the stand-in in a process of its own: `python -m tests.standin CACHE PIN-JSON`."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from llamabuild import pipeline, recipes, store
from llamabuild.events import StepStarted
from llamabuild.host import LocalHost
from llamabuild.model import Pin
from tests import standin


def main() -> None:
    artifact = pipeline.provision(
        recipes.load("cpu-native", ("cpu",)),
        msgspec.json.decode(sys.argv[2], type=Pin),
        host=LocalHost(),
        cache=store.open_root(Path(sys.argv[1])),
        emit=lambda event: (
            print(event.name, file=sys.stderr, flush=True)
            if isinstance(event, StepStarted)
            else None
        ),
        proof=standin.proved,
    )
    print(artifact.key, artifact.path)


if __name__ == "__main__":
    main()
