"""``recipes/*.toml`` → :class:`~llamabuild.model.Recipe`: strict, with close matches."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from llamabuild import data
from llamabuild.backends import cpu_features, cpu_sets
from llamabuild.errors import ConfigError
from llamabuild.model import Flag, Recipe

CPU_CHOICES = ("native", "portable", "fat", *(row.name for row in cpu_sets.levels()))
_KEYS = ("summary", "backends", "cpu", "without", "flags")


def names(folder: Path | None = None) -> tuple[str, ...]:
    """The recipes that there are, in alphabetical order."""
    return tuple(sorted(path.stem for path in (folder or data.folder("recipes")).glob("*.toml")))


def load(name: str, backends: tuple[str, ...], folder: Path | None = None) -> Recipe:
    """The recipe ``name``, or the one in the file ``name`` when it ends in ``.toml``.

    ``backends`` are the back-ends that exist. Raises ConfigError for whatever is wrong with it.
    """
    path = Path(name) if name.endswith(".toml") else (folder or data.folder("recipes")) / name
    path = path if path.suffix == ".toml" else path.with_name(f"{name}.toml")
    if not path.is_file():
        known = names(folder)
        raise ConfigError(
            f"there is no recipe {name!r}{_close(name, known)}",
            f"Recipes: {', '.join(known)}. A path to a .toml file works too.",
        )
    return parse(path.stem, data.load(path), backends, where=str(path))


def parse(name: str, table: dict[str, Any], backends: tuple[str, ...], *, where: str) -> Recipe:
    """A recipe from its TOML table. Raises ConfigError naming ``where`` and the choices."""
    for key in table:
        _choice(key, _KEYS, f"{where}: unknown key")
    for backend in _list(table, "backends", ["auto"], where):
        _choice(backend, ("auto", *backends), f"{where}: unknown back-end")
    features = tuple(row.name for row in cpu_features.extensions())
    for feature in _list(table, "without", [], where):
        _choice(feature, features, f"{where}: unknown CPU feature")
    cpu = _choice(table.get("cpu", "native"), CPU_CHOICES, f"{where}: cpu cannot be")
    summary = table.get("summary", "")
    if not isinstance(summary, str):
        raise ConfigError(f"{where}: summary must be a text", "Put it in quotes.")
    flags = table.get("flags", {})
    if not isinstance(flags, dict):
        raise ConfigError(f"{where}: flags must be a table", "Like: [flags]")
    return Recipe(
        name=name,
        summary=summary,
        backends=_list(table, "backends", ["auto"], where),
        cpu=cpu,
        without=_list(table, "without", [], where),
        flags=tuple(_flag(key, value, where) for key, value in flags.items()),
    )


def _list(table: dict[str, Any], key: str, default: list[str], where: str) -> tuple[str, ...]:
    value = table.get(key, default)
    if isinstance(value, list) and (value or not default):
        return tuple(map(str, value))
    raise ConfigError(f"{where}: {key} must be a list of names", f'Like: {key} = ["cpu"]')


def _flag(name: str, entry: object, where: str) -> Flag:
    """``NAME = { value = true, why = "…" }``: a flag without a reason is refused."""
    match entry:
        case {"value": bool() | str() as value, "why": str() as why, **rest} if why and not rest:
            return Flag(name=name, value=value, why=why)
        case _:
            raise ConfigError(
                f"{where}: flag {name} needs a value (true, false or a text) and a why",
                f'Like: {name} = {{ value = true, why = "serve quantised KV caches" }}',
            )


def _choice(value: object, choices: tuple[str, ...], complaint: str) -> str:
    if isinstance(value, str) and value in choices:
        return value
    raise ConfigError(
        f"{complaint} {value!r}{_close(str(value), choices)}", f"Choices: {', '.join(choices)}."
    )


def _close(word: str, choices: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
