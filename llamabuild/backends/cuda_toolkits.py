"""The CUDA toolkits of a machine, and which of them serves its GPUs best."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from llamabuild.backends.cuda_architectures import code
from llamabuild.backends.cuda_build import Toolkit, nvcc_version, root_of, toolkit
from llamabuild.backends.cuda_facts import TABLE, capability_of, known_by, numbers, reads
from llamabuild.host import Host, Limits
from llamabuild.model import Device

_FOLDER: Final = re.compile(r"/(?:cuda-|v)([0-9]{1,2}\.[0-9]{1,2})$")
_VERSION: Final = re.compile(r"[0-9]{1,2}\.[0-9]{1,2}(?:\.[0-9]{1,8})?")
_INSISTENCE: Final = {"CUDACXX": 3, "CUDA_HOME": 2, "CUDA_PATH": 1}
"""Variables by which users choose a toolkit. On Windows its installer sets ``CUDA_PATH``."""

_KIT: Final = "cuda-"
"""Kits of this name and a version are toolkits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A toolkit by its nvcc; ``asked`` is the variable that names it, or "PATH", or empty."""

    nvcc: str
    version: str
    asked: str = ""

    @property
    def root(self) -> str:
        """The toolkit's folder."""
        return root_of(self.nvcc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A toolkit that was passed over and why; ``broken`` when it could not be used at all."""

    place: Place
    why: str
    broken: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The toolkit to build with (None where there is none), and those that were passed over, as
    far as anybody would ask."""

    toolkit: Toolkit | None = None
    passed: tuple[Passed, ...] = ()


def choose(host: Host, capabilities: Iterable[str], driver: str) -> Choice:
    """The best toolkit of this machine that is whole; the best one at all where none is. Only
    those that are about to be chosen are run."""
    wanted = tuple(dict.fromkeys(capabilities))
    order = ranked(places(host), wanted, driver)
    looked: dict[Place, Toolkit] = {}
    for place in order:
        if looked and not _served(place, wanted, driver):
            break
        looked[place] = toolkit(host, place.nvcc)
        if not looked[place].missing:
            break
    if not looked:
        return Choice()
    whole = next((place for place, one in looked.items() if not one.missing), None)
    if not whole:
        return Choice(toolkit=next(iter(looked.values())))
    best = replace(whole, version=looked[whole].version)
    others = (place for place in order if place != whole)
    said = [(one, _why(one, best, looked, wanted, driver)) for one in others]
    passed = tuple(Passed(place=one, why=why, broken=one in looked) for one, why in said if why)
    return Choice(toolkit=looked[whole], passed=passed)


def kit(devices: tuple[Device, ...], names: tuple[str, ...]) -> str:
    """The kit ("cuda-12.9") whose toolkit serves GPUs and their driver best; empty when none
    serves any of them."""
    capabilities = tuple(dict.fromkeys(capability_of(one.architecture) for one in devices))
    driver = known_by(devices[0].driver)
    versions = [name.removeprefix(_KIT) for name in names if name.startswith(_KIT)]
    order = ranked([Place(nvcc="", version=version) for version in versions], capabilities, driver)
    served = (place for place in order if _served(place, capabilities, driver))
    return next((f"{_KIT}{place.version}" for place in served), "")


def present(host: Host) -> bool:
    """True when there is an nvcc, working or not. Nothing is run."""
    return any(_there(host, path) for _, path in _candidates(host))


def places(host: Host) -> tuple[Place, ...]:
    """Every nvcc of this machine, each once: those that a variable names first. One is run only
    where neither a file beside it nor its folder tells the version."""
    found: dict[str, Place] = {}
    for asked, path in _candidates(host):
        there = _there(host, path)
        stamp = (host.stamp(there) or there) if there else ""
        if stamp and stamp not in found:
            found[stamp] = Place(nvcc=there, version=_version(host, there), asked=asked)
    return tuple(found.values())


def ranked(some: Iterable[Place], capabilities: Sequence[str], driver: str) -> tuple[Place, ...]:
    """Best first: the user's choice when it serves any GPU; then what serves most GPUs, most of
    them with their own machine code, is not too new for the driver's PTX, and is the newest."""

    def merit(place: Place) -> tuple[object, ...]:
        codes = [code(one, place.version, driver) for one in capabilities]
        served = sum(bool(one.word) for one in codes)
        native = sum(bool(one.word) and not one.makeshift for one in codes)
        insists = _INSISTENCE.get(place.asked, 0) if served else 0
        fits = not driver or reads(driver, place.version)
        return (bool(place.version), insists, served, native, fits, numbers(place.version)[:2])

    return tuple(sorted(some, key=merit, reverse=True))


def _served(place: Place, capabilities: Iterable[str], driver: str) -> bool:
    return any(code(one, place.version, driver).word for one in capabilities)


def _why(
    place: Place,
    best: Place,
    looked: dict[Place, Toolkit],
    capabilities: Sequence[str],
    driver: str,
) -> str:
    """Why a toolkit was passed over; empty when nobody would ask: it is older and nobody named it,
    or a variable names the other."""
    if place in looked:
        return looked[place].why
    newer = numbers(place.version)[:2] > numbers(best.version)[:2]
    same = numbers(place.version)[:2] == numbers(best.version)[:2]
    if same or best.asked in _INSISTENCE or not (newer or place.asked):
        return ""
    for one in capabilities:
        mine, its = code(one, place.version, driver), code(one, best.version, driver)
        if its.word and not mine.word:
            return mine.why
        if mine.makeshift and not its.makeshift:
            return f"it has no machine code for compute capability {one}"
    if newer:
        return f"the driver knows CUDA {driver} and could not compile its PTX"
    return f"CUDA {best.version} is newer"


def _candidates(host: Host) -> Iterator[tuple[str, str]]:
    """Where an nvcc may be, with who says so."""
    windows = host.system()[0] == "windows"
    if chosen := host.environ.get("CUDACXX"):
        yield "CUDACXX", chosen
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if home := host.environ.get(name):
            yield "" if windows and name == "CUDA_PATH" else name, f"{home}/bin/nvcc"
    if found := host.which("nvcc"):
        yield "PATH", found
    for folder, pattern in TABLE["places"]["toolkits"].items():
        names = [name for name in host.entries(folder) if re.fullmatch(pattern, name)]
        for name in sorted(names, key=numbers, reverse=True):
            yield "", f"{folder}/{name}/bin/nvcc"
    yield from (("", path) for path in TABLE["places"]["nvcc"])


def _there(host: Host, path: str) -> str:
    """The path of an nvcc that exists, or an empty string."""
    tidy = path.replace("\\", "/") if host.system()[0] == "windows" else path
    endings = ("", ".exe") if host.system()[0] == "windows" else ("",)
    return next((tidy + end for end in endings if host.exists(tidy + end)), "")


def _version(host: Host, nvcc: str) -> str:
    """What ``version.json`` beside an nvcc says, else its folder's name, else nvcc itself."""
    try:
        told = json.loads(host.read_text(f"{root_of(nvcc)}/version.json") or "")
        said = [told[name]["version"] for name in ("cuda_nvcc", "cuda") if name in told]
    except (ValueError, KeyError, TypeError, RecursionError):
        said = []
    for one in said:
        if isinstance(one, str) and _VERSION.fullmatch(one):
            return one
    if named := _FOLDER.search(root_of(nvcc)):
        return named[1]
    return nvcc_version(host.run([nvcc, "--version"], limits=Limits(seconds=5)).out) or ""
