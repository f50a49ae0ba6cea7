"""Where the tables are: TOML files inside the package, recipes and pins beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomli  # compiled, where there is a wheel: three times as fast as tomllib, and more tables

from llamabuild.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder ``recipes`` or ``vendor``: inside the installed package, else beside it."""
    packed = _PACKAGE / f"_{name}"
    return packed if packed.is_dir() else _PACKAGE.parent / name


def package(name: str) -> Path:
    """A data file that stands beside the code."""
    return _PACKAGE / name


def load(path: Path) -> dict[str, Any]:
    """A TOML file as a dict. Raises ConfigError naming file and line for broken TOML."""
    try:
        return dict(tomli.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}", "Correct the file and run again.") from error
