"""Which back-ends a plan uses: what the recipe names, or what adds something here. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llamabuild import backends
from llamabuild.errors import ConfigError, UnsupportedHardware
from llamabuild.model import Absence, Device, Hardware, Recipe

_NOT_BY_ITSELF = {
    "library": "it helps with long prompts only",
    "network": "it is for machines that work together",
    "weak": "it is slower than the CPU beside it",
    "software": "it computes on the CPU, slower than the CPU back-end",
}
"""Kinds of devices that only an explicit recipe uses, and why."""


def chosen(recipe: Recipe, hardware: Hardware, without: frozenset[str]) -> tuple[str, ...]:
    """The back-ends to build, ``cpu`` always last. Explicit ones must be there; ``auto`` takes
    what adds something, without those that are not wanted.

    Raises UnsupportedHardware when an explicit one is absent, ConfigError when two cannot be in
    one library.
    """
    present = {device.backend for device in hardware.devices if not device.lacks}
    if recipe.backends == ("auto",):
        spare = {one.what for one in _spare(hardware)}
        wanted = (present - spare - without) | {"cpu"}
        return tuple(name for name in backends.BACKENDS if name in wanted)
    for name in recipe.backends:
        if name not in present and name != "cpu":
            raise _unsupported(recipe, name, hardware.absent)
    asked = {*recipe.backends, "cpu"}
    _check_families(recipe, asked)
    return tuple(name for name in backends.BACKENDS if name in asked)


def _check_families(recipe: Recipe, asked: set[str]) -> None:
    families: dict[str, str] = {}
    for name in (name for name in backends.BACKENDS if name in asked):
        other = families.setdefault(_family(name), name)
        if other != name:
            raise ConfigError(
                f"recipe {recipe.name} wants {other} and {name}, which define the same symbols",
                "Make a recipe for each; ggml cannot have both in one library.",
            )


def redundant(hardware: Hardware) -> tuple[Absence, ...]:
    """Like :func:`_spare`, without the network: that is always there and not worth a word."""
    network = {one.backend for one in hardware.devices if one.kind == "network"}
    return tuple(one for one in _spare(hardware) if one.what not in network)


def _spare(hardware: Hardware) -> tuple[Absence, ...]:
    """Back-ends that could be used and are not by ``auto``: their devices are served by one before
    them in the table, ggml would leave them idle, or cannot have both. The reasons are what people
    read."""
    served: dict[str, str] = {}
    families: dict[str, str] = {}
    discrete = ""
    found = []
    for name, module in backends.BACKENDS.items():
        mine = [one for one in hardware.devices if one.backend == name and not one.lacks]
        new = [one for one in mine if one.vendor not in served and one.kind not in _NOT_BY_ITSELF]
        idle = bool(new and discrete) and all(one.kind == "integrated" for one in new)
        if new and not idle and _family(name) not in families:
            families[_family(name)] = module.TITLE
            served |= {one.vendor: module.TITLE for one in new if one.vendor}
            discrete = next((one.name for one in new if one.kind == "discrete"), discrete)
        elif new and not idle:
            why = f"ggml cannot have it in one library with {families[_family(name)]}"
            found.append(Absence(what=name, why=why, seen=new[0].name))
        elif mine:
            why = _why_redundant(mine, served, discrete)
            found.append(Absence(what=name, why=why, seen=mine[0].name))
    return tuple(found)


def _why_redundant(mine: list[Device], served: Mapping[str, str], discrete: str) -> str:
    first = mine[0]
    if first.kind in _NOT_BY_ITSELF:
        return f"{first.name} is here; {_NOT_BY_ITSELF[first.kind]}. A recipe can ask for it"
    if first.vendor in served:
        return f"{first.name} is served by {served[first.vendor]}"
    return f"{first.name} is integrated: ggml leaves it idle beside {discrete}"


def _unsupported(recipe: Recipe, name: str, absent: Iterable[Absence]) -> UnsupportedHardware:
    reason = next((item for item in absent if item.what == name), None)
    why = reason.why if reason else "no such device was found"
    hint = reason.hint if reason and reason.hint else "Choose another recipe: llamabuild recipes"
    title = backends.BACKENDS[name].TITLE
    return UnsupportedHardware(f"recipe {recipe.name} needs {title}: {why}", hint)


def _family(name: str) -> str:
    return backends.BACKENDS[name].TRAITS.family or name
