"""Gates about what a wheel says of itself: one idea each, a sentence for each thing amiss."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from llamabuild.backends import BACKENDS, Evidence
from llamabuild.errors import IntegrityError
from llamabuild.release import archive, labels, sbom
from llamabuild.release.opened import Opened
from llamabuild.release.repack import BUNDLED, PACKAGE

_VERSION = re.compile(r'^__version__ = "([^"]*)"', re.MULTILINE)


def names(one: Opened) -> Iterator[str]:
    """Everywhere the same name, version and tags."""
    said = {
        "METADATA": str(one.metadata.get("Version", "")),
        one.info: one.info.removesuffix(".dist-info").partition("-")[2],
        f"{PACKAGE}/__init__.py": _stated(one),
        "llamabuild.json": f"{one.about.release}+{one.about.label}",
    }
    for where, version in said.items():
        if _normal(version) != one.version:
            yield f"{where} says version {version or 'nothing'}, the file name {one.version}"
    for where, name in (
        ("METADATA", one.metadata.get("Name", "")),
        ("the file name", _project(one)),
    ):
        if canonicalize_name(str(name)) != one.about.name:
            yield f"{where} says it is {name}, llamabuild.json {one.about.name}"
    tags = sorted(str(tag) for tag in one.tags.get_all("Tag", ()))
    wanted = sorted(f"py3-none-{platform}" for platform in one.platforms)
    if tags != wanted:
        yield f"WHEEL says {', '.join(tags) or 'no tag'}, the file name {', '.join(wanted)}"


def _project(one: Opened) -> str:
    return one.wheel.name.partition("-")[0]


def _stated(one: Opened) -> str:
    init = one.folder / PACKAGE / "__init__.py"
    text = init.read_text(encoding="utf-8", errors="replace") if init.is_file() else ""
    found = _VERSION.search(text)
    return found[1] if found else ""


def _normal(version: str) -> str:
    try:
        return str(Version(version))
    except InvalidVersion:
        return ""


def label(one: Opened) -> Iterator[str]:
    """The label is the variant and the key's beginning, and the variant says what the CPU needs."""
    about = one.about
    wanted = f"{about.variant}.{labels.build(about.key)}"
    if about.label != wanted:
        yield f"the label is {about.label}; variant and key make it {wanted}"
    alone = about.backends == ("cpu",)
    mine = labels.cpu_words(about.cpu, about.requires.arch, about.features, alone=alone)
    if mine and f".{mine}." not in f".{about.variant}.":
        yield f"the variant {about.variant} does not say {mine}, which its code for the CPU is"


def record(one: Opened) -> Iterator[str]:
    """RECORD lists every file with its right hash, and nothing is anywhere else."""
    try:
        known = archive.recorded(one.text("RECORD"))
    except IntegrityError as error:
        yield error.message
        return
    own = f"{one.info}/RECORD"
    for name in sorted(set(one.names) ^ known.keys()):
        yield f"{name} is {'not in RECORD' if name in one.names else 'in RECORD only'}"
    for name in sorted(set(one.names) & known.keys() - {own}):
        digest, size = archive.fingerprint(one.folder / name)
        if known[name] != (f"sha256={digest}", size):
            yield f"{name} is not what RECORD says"
    places = (PACKAGE, one.info, *BUNDLED)
    for name in one.names:
        if name.partition("/")[0] not in places:
            yield f"{name} stands outside of the package"


def bill(one: Opened) -> Iterator[str]:
    """The bill of materials is there, and names the commit and every piece that is inside."""
    try:
        said = json.loads(one.text(f"sboms/{sbom.NAME}") or "{}")
        parts = {str(part["name"]): str(part.get("version", "")) for part in said["components"]}
    except (ValueError, LookupError, TypeError, AttributeError):
        yield f"there is no bill of materials in sboms/{sbom.NAME}"
        return
    if (said.get("bomFormat"), said.get("specVersion")) != ("CycloneDX", "1.6"):
        yield f"sboms/{sbom.NAME} is not CycloneDX 1.6"
    if one.about.commit and parts.get("llama.cpp") != one.about.commit:
        yield f"the bill of materials does not name llama.cpp {one.about.commit[:12]}"
    for row in sbom.vendored(one.folder):
        if row["name"] not in parts:
            yield f"the bill of materials does not name {row['name']}, which is inside"


def licences(one: Opened) -> Iterator[str]:
    """The licence of everything that is inside."""
    own = [name for name in one.names if name.startswith(f"{one.info}/licenses/LICENSE")]
    if not own:
        yield "the licence of the Python bindings is not inside"
    for name in sbom.licences(sbom.vendored(one.folder)):
        if not one.text(f"licenses/{name}").strip():
            yield f"the licence {name} is not inside"


def proof(one: Opened) -> Iterator[str]:
    """It was proved on what it is for, or says what was not."""
    about = one.about
    if not about.checks or not about.proved_on:
        yield "nothing was proved"
    devices = tuple(about.proved_on.split(", "))
    seen = (*devices, *(name.removeprefix("GPU") for name in devices))
    shown = Evidence(devices=devices, offloaded=1, layers=1, log="", buffers=seen)
    for name in about.backends:
        known = name in BACKENDS
        if name not in about.unproved and (not known or BACKENDS[name].judge(shown)):
            yield f"{name} was not proved (on {about.proved_on}), and it does not say so"


def guard(one: Opened) -> Iterator[str]:
    """The guard is there, is this wheel's own, and is imported."""
    from llamabuild.release import guard as guards

    file = one.folder / PACKAGE / guards.NAME
    if not file.is_file() or file.read_text(encoding="utf-8") != guards.module(one.about):
        yield f"{PACKAGE}/{guards.NAME} is not the guard of this wheel"
    init = one.folder / PACKAGE / "__init__.py"
    if not init.is_file() or guards.IMPORT not in init.read_text(encoding="utf-8"):
        yield f"{PACKAGE}/__init__.py does not import the guard"
