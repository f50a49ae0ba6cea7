"""The CUDA toolkits of a machine, and which of them serves its GPUs best."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from llamabuild.backends.cuda_facts import TABLE, compatible, newest_below, numbers
from llamabuild.host import Host

_ROOT: Final = re.compile(r"/(?:cuda-|v)([0-9]{1,2}\.[0-9]{1,2})$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A toolkit by its nvcc; ``version`` is empty where neither a file nor its folder tells."""

    nvcc: str
    version: str
    explicit: bool = False


def places(host: Host) -> tuple[Place, ...]:
    """Every nvcc of this machine, each once; the user's own choice alone, when it is there."""
    if mine := next(_paths(host, _chosen(host)), None):
        return (Place(nvcc=mine, version=_version(host, mine), explicit=True),)
    found = dict.fromkeys(_paths(host, _usual(host)))
    return tuple(Place(nvcc=path, version=_version(host, path)) for path in found)


def best(some: Iterable[Place], capabilities: Iterable[str], known: str) -> Place | None:
    """The one that serves most GPUs with machine code, then most through PTX, then one that the
    driver (which knows CUDA ``known``) need not be newer for, then the newest."""
    wanted = tuple(capabilities)

    def merit(place: Place) -> tuple[object, ...]:
        version = place.version
        fits = numbers(known) >= numbers(version)[:2] if known else True
        runs = not known or numbers(known)[:1] >= numbers(version)[:1]
        served = [one for one in wanted if not compatible(version, one)]
        through = [one for one in wanted if fits and newest_below(version, one)]
        return (runs, len(served), len(through), fits, numbers(version))

    ranked = [place for place in some if place.version]
    return max(ranked, key=merit, default=next(iter(some), None))


def _chosen(host: Host) -> Iterator[str | None]:
    yield host.environ.get("CUDACXX")
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if home := host.environ.get(name):
            yield f"{home}/bin/nvcc".replace("\\", "/")


def _usual(host: Host) -> Iterator[str | None]:
    yield host.which("nvcc")
    yield from TABLE["places"]["nvcc"]
    for folder, pattern in TABLE["places"]["toolkits"].items():
        names = [name for name in host.entries(folder) if re.fullmatch(pattern, name)]
        for name in sorted(names, key=numbers, reverse=True):
            yield f"{folder}/{name}/bin/nvcc"


def _paths(host: Host, wanted: Iterable[str | None]) -> Iterator[str]:
    ending = ".exe" if host.system()[0] == "windows" else ""
    for path in wanted:
        if path and (there := next((p for p in (path, path + ending) if host.exists(p)), None)):
            yield there


def _version(host: Host, nvcc: str) -> str:
    """What ``version.json`` beside an nvcc says, else its folder's name."""
    root = nvcc.rpartition("/bin/")[0]
    try:
        told = json.loads(host.read_text(f"{root}/version.json") or "")["cuda"]["version"]
    except (ValueError, KeyError, TypeError):
        told = ""
    if isinstance(told, str) and re.fullmatch(r"[0-9]{1,2}\.[0-9]{1,2}(\.[0-9]{1,4})?", told):
        return told
    named = _ROOT.search(root)
    return named[1] if named else ""
