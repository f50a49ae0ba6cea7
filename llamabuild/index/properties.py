"""What a wheel needs in the words of wheel variants (PEP 825 and 850, drafts). Pure.

Providers know less than is measured: of an x86-64 CPU only its level, of a GPU of NVIDIA's the
driver's CUDA version and its architecture. What cannot be said so is no variant wheel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from llamabuild import data
from llamabuild.audit.planned import with_implied
from llamabuild.backends import BACKENDS, cpu_sets
from llamabuild.model import Device, Requires

SCHEMA: Final = "https://variants-schema.wheelnext.dev/peps/850/v0.2.0.json"
"""Of versions that begin with 0 the draft says that they are not for production."""
NULL: Final = "null"
_TABLE: Final = data.load(data.package("index/variants.toml"))
_PROVIDERS: Final[Mapping[str, Mapping[str, Any]]] = _TABLE["providers"]
Properties = Mapping[str, Mapping[str, list[str]]]


def properties(requires: Requires) -> Properties | str:
    """What a wheel that requires this needs, by namespace and feature; in words why it cannot be
    said. Empty for code that chooses for itself which CPU it runs on.

    >>> properties(Requires(os="linux", arch="x86_64", features=("avx2",), backends=("cpu",)))
    {'x86_64': {'level': ['v3']}}
    >>> properties(Requires(os="linux", arch="x86_64", features=("amx_int8",), backends=("cpu",)))
    'no x86-64 level has amx_int8'
    """
    others = [one for one in requires.backends if one not in ("cpu", "cuda")]
    if requires.arch != "x86_64" or others:
        return f"no provider knows {', '.join(others) or requires.arch}"
    level = "" if requires.variants else _level(requires.features)
    if " " in level:
        return level
    found = {"x86_64": {"level": [level]}} if level else {}
    return {**_nvidia(requires), **found} if "cuda" in requires.backends else found


def _level(features: Iterable[str]) -> str:
    """The least level that has these CPU features."""
    beyond: set[str] = set()
    for row in cpu_sets.rows("level", "x86_64"):
        if row.name.startswith("x86-64"):
            beyond = set(features) - with_implied(frozenset(row.features)) - set(row.features)
            if not beyond:
                return f"v{row.name.partition('-v')[2] or 1}"
    return f"no x86-64 level has {', '.join(sorted(beyond))}"


def _nvidia(requires: Requires) -> dict[str, dict[str, list[str]]]:
    covered = [
        name
        for name in _TABLE["architectures"]
        if not BACKENDS["cuda"].fit(requires, _device(name)).missing
    ]
    toolkit = dict(requires.toolkits).get("cuda", "")
    least = {"cuda_version_lower_bound": [".".join(toolkit.split(".")[:2])]} if toolkit else {}
    return {"nvidia": {**least, "sm_arch": [f"{name}_real" for name in covered]}}


def _device(architecture: str) -> Device:
    return Device(backend="cuda", name="", architecture=architecture)


def document(variants: Mapping[str, Properties], schema: str = SCHEMA) -> dict[str, Any]:
    """``variant.json`` of a wheel (with its one label), or ``…-variants.json`` of an index (with
    all)."""
    used = [name for name in _PROVIDERS if any(name in one for one in variants.values())]
    return {
        "$schema": schema,
        "default-priorities": {"namespace": used},
        "providers": {name: _PROVIDERS[name] for name in used},
        "variants": {label: variants[label] for label in sorted(variants)},
    }
