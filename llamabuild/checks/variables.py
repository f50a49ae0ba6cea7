"""Variables of the environment that change builds and runs unseen: ``environment.toml``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from llamabuild import data
from llamabuild.checks.findings import Finding, Situation, note, warning

_TABLE: Final = data.package("checks/environment.toml")
_SHOWN: Final = 120
_LIBRARIES: Final = ("libllama.so", "libggml.so", "libggml-base.so", "libllama.dylib")
_SEARCHED: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_SECRET: Final = re.compile(r"(://)[^/@\s]*@")


@cache
def _rows() -> tuple[dict[str, Any], ...]:
    rows = data.load(_TABLE)["variable"]
    return tuple({"check": "environment", **row} for row in rows)


def environment(situation: Situation) -> Iterator[Finding]:
    """Variables that are set, and folders in which libraries are looked for."""
    yield from told("environment", situation)
    for name in _SEARCHED:
        yield from _libraries(name, situation)


def told(check: str, situation: Situation) -> Iterator[Finding]:
    """What the rows of the table for a check say of this environment, each variable once."""
    environ, said = situation.host.environ, set[str]()
    for row in _rows():
        for name in row["names"]:
            if name not in environ or name in said or not _counts(row, environ[name], situation):
                continue
            said.add(name)
            if row["check"] == check:
                yield _finding(row, name, environ[name])


def _counts(row: Mapping[str, Any], value: str, situation: Situation) -> bool:
    if row.get("system", situation.system) != situation.system:
        return False
    if not value and not row.get("empty"):
        return False
    if row.get("gone"):
        program = "/" not in value and "\\" not in value and situation.host.which(value)
        places = value.split(";" if situation.system == "windows" else ":")
        whole = situation.host.exists(value) or any(
            map(situation.host.exists, filter(None, places))
        )
        return not (program or whole)
    return "value" not in row or re.fullmatch(row["value"], value) is not None


def _finding(row: Mapping[str, Any], name: str, value: str) -> Finding:
    words = {"name": name, "value": shown(value)}
    return Finding(
        check=row["check"],
        state=row["state"],
        why=row["why"].format(**words),
        next=row.get("next", "").format(**words),
        entries=tuple(row.get("entries", ())),
    )


def shown(value: str) -> str:
    """A value as it may be told: one line, not too long, and without passwords.

    >>> shown("http://me:secret@proxy:3128")
    'http://…@proxy:3128'
    """
    plain = " ".join(_SECRET.sub(r"\1…@", value).split())
    return plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}…"


def _libraries(name: str, situation: Situation) -> Iterator[Finding]:
    host = situation.host
    value = host.environ.get(name, "")
    folders = value.split(":") if value else []
    for folder in filter(None, folders):
        if found := [one for one in _LIBRARIES if host.exists(f"{folder}/{one}")]:
            yield warning(
                "environment",
                f"{name} names {folder}, which has {', '.join(found)}: every llama.cpp takes those",
                f"Take {folder} out of {name}.",
                *("undefined-symbol-mismatch", "backend-api-mismatch"),
            )
    if "" in folders:
        why = f"an empty part of {name} means the current folder: libraries there are loaded"
        yield note("environment", why, f"Remove the extra colon from {name}.")
