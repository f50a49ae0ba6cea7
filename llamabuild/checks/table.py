"""The checks by name, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Final

from llamabuild.backends import BACKENDS
from llamabuild.checks import building, devices, pythons, room, sources, variables
from llamabuild.checks.findings import Check, Finding, Situation
from llamabuild.errors import ConfigError, DiskFull, StoreError


def _installed(situation: Situation) -> Iterable[Finding]:
    from llamabuild.checks import installed  # takes a while: only when it is asked for

    return installed.look(situation)


def _of_backends() -> Iterator[Check]:
    for name, one in BACKENDS.items():
        look = partial(devices.backend, name)
        yield Check(name=name, title=one.TITLE, fine="can be used", look=look)


_BEFORE: Final = (
    Check(
        name="compiler",
        title="C++ compiler",
        fine="there is one",
        look=building.compiler,
    ),
    Check(name="cmake", title="CMake", fine="there is one", look=building.cmake),
    Check(name="ninja", title="Ninja", fine="there is one", look=building.ninja),
    Check(name="git", title="git", fine="there is one", look=building.git),
    Check(
        name="xcode",
        title="Xcode's command line tools",
        fine="they are here",
        look=building.xcode,
        quick=False,
    ),
    Check(name="msvc", title="Visual C++", fine="it is here", look=building.msvc),
)
_AFTER: Final = (
    Check(
        name="driver",
        title="Drivers of GPUs",
        fine="every GPU is reached",
        look=devices.driver,
    ),
    Check(
        name="container",
        title="Container",
        fine="it was handed what it needs",
        look=devices.container,
    ),
    Check(
        name="cpu",
        title="Processor",
        fine="it can do what it says",
        look=devices.cpu,
    ),
    Check(
        name="environment",
        title="Environment variables",
        fine="none changes a build or a run unseen",
        look=variables.environment,
    ),
    Check(
        name="headers",
        title="Foreign headers",
        fine="no other llama.cpp is in the way",
        look=building.headers,
    ),
    Check(name="conda", title="Conda", fine="nothing is in the way", look=pythons.conda),
    Check(name="python", title="Python", fine="it is fit", look=pythons.python),
    Check(name="memory", title="Memory", fine="it is enough", look=room.memory),
    Check(
        name="disk",
        title="Disk",
        fine="there is room",
        look=room.disk,
        error=DiskFull,
    ),
    Check(
        name="paths",
        title="Paths",
        fine="tools can bear them",
        look=room.paths,
        error=ConfigError,
    ),
    Check(
        name="network",
        title="Network",
        fine="nothing stands between",
        look=sources.network,
    ),
    Check(name="source", title="Source", fine="it is here", look=sources.source),
    Check(
        name="store",
        title="Store",
        fine="it can be used",
        look=sources.store,
        error=StoreError,
    ),
    Check(
        name="installed",
        title="Other llama.cpp",
        fine="there is none but llamabuild's own",
        look=_installed,
        quick=False,
    ),
)
CHECKS: Final[Mapping[str, Check]] = {one.name: one for one in (*_BEFORE, *_of_backends(), *_AFTER)}
"""Back-ends have a check each, but for the processor, which has one of its own."""
