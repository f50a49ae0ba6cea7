"""Labels of released wheels: local version labels (PEP 440) that say what is inside. Pure.

``pip freeze`` shows them, an index has a directory for each variant. They are for people; programs
read :mod:`llamabuild.wheels.about`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from llamabuild import data
from llamabuild.audit.planned import architecture, planned_codes
from llamabuild.backends import BACKENDS, cpu
from llamabuild.model import Plan

TABLE: Final[dict[str, Any]] = data.load(data.package("release/release.toml"))
_KEY: Final = 8
"""Characters of the key: enough to name a build among those of a team."""
_WORDS: Final = str.maketrans({"+": "on", ":": "", "-": "."})
_ODD: Final = re.compile(r"[^a-z0-9.]+")


def variant(plan: Plan, *, whole: bool = False) -> str:
    """What is inside, in words: "cpu", "cpu.v3", "cpu.native.avx2", "cu130.sm86.sm89", "vulkan".

    A build for an accelerator says what its code for the CPU asks for, unless that is chosen at run
    time: "vulkan.cpu.portable". A ``whole`` wheel has a toolkit's libraries inside that it would
    require as distributions otherwise, and says so, for the other may be on the same index.
    """
    codes = code_words(planned_codes(plan) or ())
    words = [_backend(plan, name) for name in plan.backends if name != _LAST]
    mine = cpu_words(plan.cpu, architecture(plan), plan.cpu_features, alone=not words)
    last = _WHOLE if whole and any(tool.requires for tool in plan.tools) else ""
    return _plain(".".join(filter(None, (*words, *codes, mine, last))))


def label(plan: Plan, key: str, *, whole: bool = False) -> str:
    """The whole label: the variant and the build."""
    return f"{variant(plan, whole=whole)}.{build(key)}"


def build(key: str) -> str:
    """The last word of a label: which build it is.

    >>> build("3f9a1c2d77")
    'lb3f9a1c2d'
    """
    return f"lb{key[:_KEY]}"


_WHOLE: Final = "whole"
_LAST: Final = "cpu"
"""The back-end that every build has."""


def _backend(plan: Plan, name: str) -> str:
    """The word of its toolkit with its version, else its name."""
    word, tool = BACKENDS[name].TRAITS.toolkit
    version = next((one.version for one in plan.tools if one.name == tool), "")
    return toolkit_word(word, version) if word and version else name


def toolkit_word(word: str, version: str) -> str:
    """A toolkit of a major and minor version.

    >>> toolkit_word("cu", "13.0.88"), toolkit_word("rocm", "7.2.0")
    ('cu130', 'rocm72')
    """
    return word + "".join(version.split(".")[:2])


def code_words(codes: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The words for code for devices. A device that has machine code of its own is not named a
    second time for code that its driver would compile.

    >>> code_words([("sass", "86"), ("ptx", "86"), ("ptx", "90"), ("gfx", "gfx90a:xnack+")])
    ('gfx90axnackon', 'ptx90', 'sm86')
    """
    known = set(codes)
    machine = {name for kind, name in known if kind == "sass"}
    return tuple(sorted(set(_codes(known, machine)), key=_natural))


def _codes(known: Iterable[tuple[str, str]], machine: set[str]) -> Iterator[str]:
    for kind, name in known:
        word = TABLE["label"]["code"].get(kind)
        if word is not None and not (kind == "ptx" and name in machine):
            yield f"{word}{name}".translate(_WORDS).replace(".", "")


def _natural(word: str) -> tuple[str, int, str]:
    """By number where there is one: sm90 before sm100."""
    found = re.match(r"([a-z]+)(\d*)(.*)", word)
    return (found[1], int(found[2] or 0), found[3]) if found else (word, 0, "")


def cpu_words(asked: str, arch: str, features: Iterable[str], *, alone: bool) -> str:
    """What the code for the CPU asks for, by the recipe's word and the features that it was
    compiled for; ``alone`` when the build is for nothing else.

    >>> cpu_words("x86-64-v3", "x86_64", [], alone=True)
    'cpu.v3'
    >>> cpu_words("fat", "x86_64", [], alone=False)
    ''
    """
    table = TABLE["label"]
    if not alone and asked in table["also"]:
        return str(table["also"][asked])
    known = table["cpu"].get(asked)
    if known is None:
        return _plain(f"cpu.{asked.removeprefix(table['level'])}")
    if asked != _NATIVE:
        return str(known)
    level = cpu.level_name(arch, features)
    return _plain(f"{known}.{level.removeprefix(table['level'])}")


_NATIVE: Final = "native"


def _plain(text: str) -> str:
    """As PEP 440 spells local versions: small letters, digits and points, no leading zeros."""
    words = _ODD.sub(".", text.lower().replace("_", ".").replace("-", ".")).split(".")
    return ".".join(str(int(word)) if word.isdigit() else word for word in words if word)
