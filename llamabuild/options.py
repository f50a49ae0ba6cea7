"""Which options a llama.cpp tree declares, and whether flags name only those.

CMake does not help here: it takes any ``GGML_*`` name without a word, because llama.cpp reads all
variables of that prefix. So the tree's CMake files are scanned as text (0.1 s, no configure run),
which also finds what stands in a branch for another system. Default values are text there and
often depend on other variables: they are not read. What a scan found is kept as a fact.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llamabuild import data, digest
from llamabuild.errors import ConfigError
from llamabuild.facts import keep
from llamabuild.model import Flag

PREFIXES: Final = ("GGML_", "LLAMA_", "MTMD_")
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
_SET: Final = re.compile(r"(?i)\bset\s*\(\s*\w+")
_MACHINE: Final = re.compile(r"(?<![\w-])-m[a-z][\w.=+-]*")
_VARIANT: Final = re.compile(r"\bggml_add_cpu_backend_variant\s*\(\s*([\w.]+)")
_FACTS_VERSION: Final = 1
"""Raise it when a scan of the same tree would find something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a tree knows. ``declared`` maps names to ``bool`` or ``string``; ``read`` are names
    that are used but not declared; ``aliases`` maps the tree's own old names to their successors
    (CMake follows them only when they are true, so they are not used here); ``machine`` are the
    ``-m…`` options that its CMake files give to compilers, ``variants`` its CPU variants."""

    declared: Mapping[str, str]
    aliases: Mapping[str, str]
    read: frozenset[str]
    machine: frozenset[str] = frozenset()
    variants: frozenset[str] = frozenset()

    def knows(self, name: str) -> bool:
        """True when setting ``name`` has an effect on this tree."""
        return name in self.declared or name in self.read


def declared(tree: Path, *, cache: Path | None = None, sha256: str = "") -> Options:
    """The options of the tree at ``tree``, a llama.cpp folder or one that contains it.

    With ``cache`` and the hash of the archive that the tree came from, a scan is made once and
    its result kept in ``<cache>/facts``. Raises ConfigError when nothing is declared there: it is
    not such a tree.
    """
    if cache is None or not sha256:
        return _scanned(tree)
    about = [_FACTS_VERSION, sha256, digest.of_file(data.package("options.toml")), *_stamps(tree)]
    kept = cache / "facts" / f"options-{digest.of_value(about)[:24]}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return decoded(kept.read_bytes())
    options = _scanned(tree)
    keep(kept, encoded(options))
    return options


def _scanned(tree: Path) -> Options:
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
    machine: set[str] = set()
    variants: set[str] = set()
    word = re.compile(rf"\b(?:{'|'.join(map(re.escape, _table()['read']))})\b")
    for text in map(without_comments, texts):
        for name, kind in _CACHED.findall(text):
            kinds[name] = "bool" if kind.upper() == "BOOL" else "string"
        kinds.update(dict.fromkeys(_OPTION.findall(text), "bool"))
        aliases.update(_ALIAS.findall(text))
        machine.update(_MACHINE.findall(text))
        variants.update(_VARIANT.findall(text))
        words.update(word.findall(_SET.sub("", text)))  # what is only set here is not read
    return Options(
        declared=kinds,
        aliases=aliases,
        read=frozenset(words - kinds.keys()),
        machine=frozenset(machine),
        variants=frozenset(variants),
    )


def encoded(options: Options) -> bytes:
    """JSON of a scan; :func:`decoded` is the way back."""
    plain = {
        "declared": dict(sorted(options.declared.items())),
        "aliases": dict(sorted(options.aliases.items())),
        "read": sorted(options.read),
        "machine": sorted(options.machine),
        "variants": sorted(options.variants),
    }
    return json.dumps(plain, indent=1).encode() + b"\n"


def decoded(text: bytes) -> Options:
    """Options from their JSON. Raises ValueError, TypeError or KeyError when it is not that."""
    plain = json.loads(text)
    return Options(
        declared=dict(plain["declared"]),
        aliases=dict(plain["aliases"]),
        read=frozenset(plain["read"]),
        machine=frozenset(plain["machine"]),
        variants=frozenset(plain["variants"]),
    )


def check(flags: Iterable[Flag], options: Options) -> None:
    """Raise ConfigError listing every ``GGML_*``, ``LLAMA_*`` or ``MTMD_*`` name that the tree
    does not know, with its successor or similar names. Other names are CMake's business."""
    wrong = [
        f"{name} ({why_unknown(name, options)})"
        for name in dict.fromkeys(flag.name for flag in flags)
        if name.startswith(PREFIXES) and not options.knows(name)
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
    renamed = "GGML_" + name.removeprefix("LLAMA_")
    successor = options.aliases.get(name) or retired().get(name)
    if not successor and renamed in options.declared:
        successor = renamed
    if successor:
        return f"now {successor}"
    if name in retired() or name in options.aliases:
        return "removed, nothing took its place"
    near = difflib.get_close_matches(name, [*options.declared, *options.read], n=2, cutoff=0.8)
    return f"did you mean {' or '.join(near)}?" if near else "unknown"


def retired() -> dict[str, str]:
    """Names that are gone, and what to use now: an option, or words; empty for nothing."""
    names: dict[str, str] = _table()["retired"]
    return names


def without_comments(text: str) -> str:
    """CMake text without comments; strings and bracket arguments stay.

    >>> without_comments('set(A "#1")  # one\\n#[[ two\\n]]set(B [[#3]])')
    'set(A "#1")   \\n set(B [[#3]])'
    """
    return _COMMENT.sub(lambda match: match[1] or " ", text)


def _stamps(tree: Path) -> list[int]:
    """When the files that declare most were written: somebody may work on an unpacked tree."""
    files = (tree / "CMakeLists.txt", tree / "ggml" / "CMakeLists.txt")
    return [path.stat().st_mtime_ns for path in files if path.is_file()]


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
