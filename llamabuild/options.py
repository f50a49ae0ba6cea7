"""Which options a llama.cpp tree declares, and whether flags name only those.

CMake does not help here: it takes any ``GGML_*`` name without a word, because llama.cpp reads all
variables of that prefix. So the tree's CMake files are scanned as text (0.1 s, no configure run),
which also finds what stands in a branch for another system. Default values are text there and
often depend on other variables: they are not read.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llamabuild import data
from llamabuild.errors import ConfigError
from llamabuild.model import Flag

_PREFIXES: Final = ("GGML_", "LLAMA_", "MTMD_")
_NAME: Final = r"((?:GGML|LLAMA|MTMD)_\w+)"
_STRING: Final = r'"(?:[^"\\]|\\.)*"'
_COMMENT: Final = re.compile(
    rf"(\\.|{_STRING}|(?<!#)\[(?P<a>=*)\[.*?\](?P=a)\])|#\[(?P<b>=*)\[.*?\](?P=b)\]|#[^\n]*",
    re.DOTALL,
)
_OPTION: Final = re.compile(rf"(?im)^[ \t]*(?:cmake_dependent_)?option\s*\(\s*{_NAME}\s")
_CACHED: Final = re.compile(
    rf'(?i)\bset\s*\(\s*{_NAME}\s(?:{_STRING}|[^()"])*?\sCACHE\s+(BOOL|STRING|PATH|FILEPATH)\b'
)
_ALIAS: Final = re.compile(rf"\bllama_option_depr\s*\(\s*\w+\s+{_NAME}(?:\s+{_NAME})?\s*\)")
_WORD: Final = re.compile(rf"\b{_NAME}\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a tree knows. ``declared`` maps names to ``bool`` or ``string``; ``read`` are names
    that are used but not declared; ``aliases`` maps the tree's own old names to their successors
    (CMake follows them only when they are true, so they are not used here)."""

    declared: Mapping[str, str]
    aliases: Mapping[str, str]
    read: frozenset[str]


def declared(tree: Path) -> Options:
    """The options of the tree at ``tree``, a llama.cpp folder or one that contains it.

    Raises ConfigError when nothing is declared there: it is not such a tree.
    """
    options = scan(file.read_text(encoding="utf-8", errors="replace") for file in _files(tree))
    if not options.declared:
        raise ConfigError(
            f"{tree} declares no llama.cpp option",
            "Give the folder with llama.cpp's CMakeLists.txt.",
        )
    return options


def scan(texts: Iterable[str]) -> Options:
    """The options that CMake texts declare.

    >>> found = scan(['option(GGML_CUDA "use CUDA" OFF)  # option(GGML_OLD "x" ON)'])
    >>> dict(found.declared)
    {'GGML_CUDA': 'bool'}
    """
    kinds: dict[str, str] = {}
    aliases: dict[str, str] = {}
    words: set[str] = set()
    for text in map(without_comments, texts):
        for name, kind in _CACHED.findall(text):
            kinds[name] = "bool" if kind.upper() == "BOOL" else "string"
        kinds.update(dict.fromkeys(_OPTION.findall(text), "bool"))
        aliases.update(_ALIAS.findall(text))
        words.update(_WORD.findall(text))
    read = frozenset(name for name in _table()["read"] if name in words and name not in kinds)
    return Options(declared=kinds, aliases=aliases, read=read)


def check(flags: Iterable[Flag], options: Options) -> None:
    """Raise ConfigError listing every ``GGML_*``, ``LLAMA_*`` or ``MTMD_*`` name that the tree
    does not know, with its successor or similar names. Other names are CMake's business."""
    wrong = [
        f"{name} ({why_unknown(name, options)})"
        for name in dict.fromkeys(flag.name for flag in flags)
        if name.startswith(_PREFIXES) and name not in options.declared and name not in options.read
    ]
    if wrong:
        raise ConfigError(
            f"this llama.cpp does not have: {', '.join(wrong)}",
            "Correct the names: CMake would ignore them.",
        )


def why_unknown(name: str, options: Options) -> str:
    """What to use instead of ``name``, in a few words.

    >>> have = Options(declared={"GGML_AVX512": "bool"}, aliases={}, read=frozenset())
    >>> why_unknown("LLAMA_AVX512", have), why_unknown("GGML_AVX522", have)
    ('now GGML_AVX512', 'did you mean GGML_AVX512?')
    >>> why_unknown("GGML_CUDA_F16", have), why_unknown("LLAMA_BOGUS", have)
    ('removed, nothing took its place', 'unknown')
    """
    retired: dict[str, str] = _table()["retired"]
    renamed = "GGML_" + name.removeprefix("LLAMA_")
    successor = options.aliases.get(name) or retired.get(name)
    if not successor and renamed in options.declared:
        successor = renamed
    if successor:
        return f"now {successor}"
    if name in retired or name in options.aliases:
        return "removed, nothing took its place"
    near = difflib.get_close_matches(name, [*options.declared, *options.read], n=2, cutoff=0.8)
    return f"did you mean {' or '.join(near)}?" if near else "unknown"


def without_comments(text: str) -> str:
    """CMake text without comments; strings and bracket arguments stay.

    >>> without_comments('set(A "#1")  # one\\n#[[ two\\n]]set(B [[#3]])')
    'set(A "#1")   \\n set(B [[#3]])'
    """
    return _COMMENT.sub(lambda match: match[1] or " ", text)


def _files(tree: Path) -> Iterator[Path]:
    """The CMake files below ``tree``, in a fixed order."""
    for folder, folders, files in os.walk(tree):
        folders.sort()
        for name in sorted(files):
            if name == "CMakeLists.txt" or name.endswith(".cmake"):
                yield Path(folder, name)


@functools.cache
def _table() -> dict[str, Any]:
    return data.load(data.package("options.toml"))
