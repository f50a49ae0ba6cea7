"""The bill of materials of a released wheel: CycloneDX 1.6, in ``dist-info/sboms`` (PEP 770).

It names what is really in the libraries: each piece of :file:`release.toml` has bytes by which it
is known. Versions of pieces that llama.cpp carries in its own tree are those of its commit. Nothing
in it is random, and its time is that of the build.
Format: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import mmap
import uuid
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from llamabuild import data, digest
from llamabuild.model import Plan
from llamabuild.release import archive
from llamabuild.release.labels import TABLE
from llamabuild.wheels.about import About

NAME: Final = "llamabuild.cdx.json"
LICENCES: Final = "release/licences"
_OWN: Final = "llama.cpp"
_NAMESPACE: Final = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # URLs, RFC 9562
_HEX: Final = "hex:"


def vendored(folder: Path) -> tuple[dict[str, str], ...]:
    """The rows of the pieces that are in the libraries of an unpacked wheel."""
    wanted = [(row, _bytes(row["marker"])) for row in TABLE["component"]]
    found: set[str] = set()
    for file in archive.binaries(folder):
        if file.stat().st_size:
            with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=1) as content:
                found |= {row["name"] for row, marker in wanted if content.find(marker) >= 0}
    return tuple(row for row, _ in wanted if row["name"] in found)


def _bytes(marker: str) -> bytes:
    if marker.startswith(_HEX):
        return bytes.fromhex(marker.removeprefix(_HEX))
    return marker.encode()


def licences(rows: Iterable[dict[str, str]]) -> dict[str, Path]:
    """The licences' texts for llama.cpp and the pieces, by the names that they have in the wheel.

    They stand in this package, as in llama.cpp's tree: an artifact has no source beside it, and a
    wheel may not depend on what happens to be in a cache.
    """
    names = (f"{_OWN}.txt", *(row["file"] for row in rows))
    return {name: data.package(f"{LICENCES}/{name}") for name in dict.fromkeys(names)}


def bill(
    about: About, plan: Plan, rows: Sequence[dict[str, str]], bundled: Sequence[Path]
) -> bytes:
    """The file's contents; ``bundled`` are libraries of others that were put in."""
    name = quote(f"{about.release}+{about.label}", safe="")
    own = f"pkg:pypi/{about.name}@{name}"
    parts = [
        _llama_cpp(plan),
        *(_piece(row, about.commit) for row in rows),
        *(_declared(text) for tool in plan.tools for text in tool.requires if not bundled),
        *(_file(one) for one in bundled),
    ]
    said = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{about.artifact}/{about.label}')}",
        "version": 1,
        "metadata": _metadata(about, own),
        "components": parts,
        "dependencies": [
            {"ref": own, "dependsOn": [one["bom-ref"] for one in parts]},
            *({"ref": one["bom-ref"]} for one in parts),
        ],
    }
    return json.dumps(said, indent=1, ensure_ascii=True).encode() + b"\n"


def _metadata(about: About, own: str) -> dict[str, Any]:
    tool = {"type": "application", "name": "llamabuild", "version": about.llamabuild}
    known = {"key": about.key, "artifact": about.artifact, "compiler": about.compiler}
    return {
        "timestamp": about.created,
        "tools": {"components": [tool]},
        "component": {
            "type": "library",
            "bom-ref": own,
            "name": about.name,
            "version": f"{about.release}+{about.label}",
            "licenses": [{"expression": "MIT"}],
            "purl": own,
            "properties": [
                {"name": f"llamabuild:{name}", "value": value} for name, value in known.items()
            ],
        },
    }


def _llama_cpp(plan: Plan) -> dict[str, Any]:
    """llama.cpp by its commit, and the archive that it came in."""
    pin = plan.pin
    version = pin.commit or pin.replaced
    purl = f"pkg:github/ggml-org/llama.cpp@{version}"
    known = {"archive": f"{pin.name} {pin.version}, SHA-256 {pin.sha256}", "tree": pin.replaced}
    known["patches"] = ", ".join(f"{one.name} {one.sha256}" for one in pin.patches)
    return {
        "type": "library",
        "bom-ref": purl,
        "name": _OWN,
        "version": version,
        "licenses": [{"expression": "MIT"}],
        "purl": purl,
        "properties": [
            {"name": f"llamabuild:{name}", "value": value} for name, value in known.items() if value
        ],
    }


def _piece(row: dict[str, str], commit: str) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": f"{_OWN}/{row['name']}",
        "name": row["name"],
        "description": f"as it stands in llama.cpp {commit}",
        "licenses": [{"expression": row["licence"]}],
        "externalReferences": [{"type": "vcs", "url": row["url"]}],
    }


def _declared(text: str) -> dict[str, Any]:
    """A distribution that the wheel requires and does not hold."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    wanted = Requirement(text)
    name = canonicalize_name(wanted.name)
    exact = [one.version for one in wanted.specifier if one.operator == "=="]
    version = {"version": exact[0]} if exact and "*" not in exact[0] else {}
    purl = f"pkg:pypi/{name}" + (f"@{quote(exact[0], safe='')}" if version else "")
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        **version,
        "scope": "required",
        "description": f"not inside; installed with it: {text}",
        "purl": purl,
    }


def _file(path: Path) -> dict[str, Any]:
    known = digest.of_file(path)
    fits = (row["licence"] for row in TABLE["inside"] if fnmatchcase(path.name, row["library"]))
    licences = [{"expression": licence} for licence in fits]
    return {
        "type": "file",
        "bom-ref": f"{path.name}:{known[:16]}",
        "name": path.name,
        **({"licenses": licences[:1]} if licences else {}),
        "hashes": [{"alg": "SHA-256", "content": known}],
    }
