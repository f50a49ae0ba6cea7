"""An artifact's wheel unpacked, given its label, statements and guard, and packed again.

No compiler runs and no library changes, unless others are put in beside them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llamabuild import audit, digest, matching
from llamabuild.errors import IntegrityError
from llamabuild.host import Host
from llamabuild.model import Artifact, Manifest, Plan, Requires
from llamabuild.release import archive, bundle, guard, labels, sbom, tags
from llamabuild.trust import statements
from llamabuild.wheels import about as abouts
from llamabuild.wheels.about import About

PACKAGE: Final = "llama_cpp"
BUNDLED: Final = ("llama_cpp_python.libs", ".dylibs")
"""Folders into which libraries from outside are put."""
PROVENANCE: Final = "llamabuild.provenance.json"
_VERSION: Final = re.compile(r'^__version__ = "([^"+]+)[^"]*"', re.MULTILINE)
_FIELD: Final = r"^{}: .*$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repacked:
    """A wheel that was put together and not looked at yet; ``local`` is why it is for this machine
    only, empty when it is for others as well."""

    path: Path
    about: About
    local: str = ""


def repack(artifact: Artifact, work: Path, host: Host, *, bundled: bool = False) -> Repacked:
    """The released wheel of an artifact in the empty folder ``work``: the same bytes for the same
    artifact.

    Raises IntegrityError when the artifact's wheel is none, ToolMissing and Refused.
    """
    plan, folder = artifact.manifest.plan, work / "tree"
    source = artifact.wheel
    if bundled:
        source = bundle.bundled(source, plan, work / "bundled", host)
    old = folder / archive.dist_info(archive.unpack(source, folder), source.name)
    declared = () if bundled else tags.declared(plan)
    inventory = audit.look(folder, host, instructions=with_kernels)
    requires = matching.measured(plan, inventory)
    outside = tags.expected_outside(plan.backends, declared)
    tag = tags.measured(source, requires, outside, host)
    about = _about(artifact, _release(folder), requires, whole=bundled)
    info = old.rename(folder / f"{_name(about)}.dist-info")
    _metadata(info, about, plan, tag.platform, drop=bundled)
    _stamp(folder / PACKAGE / "__init__.py", about)
    guard.install(folder / PACKAGE, about)
    _statements(folder, info, about, artifact)
    made = work / f"{_name(about)}-py3-none-{tag.platform}.whl"
    archive.pack(folder, made)
    return Repacked(path=made, about=about, local=tag.why)


def with_kernels(name: str) -> bool:
    """True for libraries whose instructions are looked at: see :mod:`llamabuild.matching`."""
    return "ggml" in name


def _name(about: About) -> str:
    return f"llama_cpp_python-{about.release}+{about.label}"


def _about(artifact: Artifact, release: str, requires: Requires, *, whole: bool) -> About:
    manifest: Manifest = artifact.manifest
    plan, proof = manifest.plan, manifest.proof
    return About(
        release=release,
        variant=labels.variant(plan, whole=whole),
        label=labels.label(plan, artifact.key, whole=whole),
        key=artifact.key,
        artifact=artifact.id,
        llamabuild=manifest.llamabuild,
        commit=plan.pin.commit,
        build_number=plan.pin.build_number,
        backends=plan.backends,
        cpu=plan.cpu,
        features=plan.cpu_features,
        requires=requires,
        compiler=f"{plan.compiler.family} {plan.compiler.version}",
        created=manifest.created,
        proved_on=proof.device,
        checks=len(proof.checks),
        unproved=proof.unrun,
    )


def _release(folder: Path) -> str:
    """The version of the package, without a label."""
    init = folder / PACKAGE / "__init__.py"
    found = _VERSION.search(init.read_text(encoding="utf-8")) if init.is_file() else None
    if found is None:
        raise IntegrityError(f"{PACKAGE}/__init__.py does not state its version", "Build it again.")
    return found[1]


def _stamp(init: Path, about: About) -> None:
    text = init.read_text(encoding="utf-8")
    stamped = _VERSION.sub(rf'__version__ = "\1+{about.label}"', text, count=1)
    init.write_text(stamped, encoding="utf-8", newline="\n")


def _metadata(info: Path, about: About, plan: Plan, platform: str, *, drop: bool) -> None:
    """The version and the tags; what is inside is no longer required from outside."""
    metadata = info / "METADATA"
    head, gap, body = metadata.read_text(encoding="utf-8").partition("\n\n")
    version = f"Version: {about.release}+{about.label}"
    head = re.sub(_FIELD.format("Version"), version, head, count=1, flags=re.MULTILINE)
    inside = {_plain(text) for tool in plan.tools for text in tool.requires} if drop else set[str]()
    lines = [one for one in head.split("\n") if _plain(one) not in inside]
    metadata.write_text("\n".join(lines) + gap + body, encoding="utf-8", newline="\n")
    wheel = info / "WHEEL"
    kept = [one for one in wheel.read_text(encoding="utf-8").split("\n") if one.strip()]
    kept = [one for one in kept if not one.startswith("Tag:")]
    text = "\n".join((*kept, f"Tag: py3-none-{platform}", ""))
    wheel.write_text(text, encoding="utf-8", newline="\n")


def _plain(requirement: str) -> str:
    """A requirement, or a line of METADATA that states one, so that two spellings compare."""
    return requirement.removeprefix("Requires-Dist:").replace(" ", "").replace("_", "-").lower()


def _statements(folder: Path, info: Path, about: About, artifact: Artifact) -> None:
    """What the wheel says of itself: facts, materials, licences, and where it comes from."""
    rows = sbom.vendored(folder)
    put_in = [one for name in BUNDLED for one in folder.rglob(f"{name}/*") if one.is_file()]
    (info / abouts.NAME).write_bytes(abouts.encode(about))
    (info / "sboms").mkdir(exist_ok=True)
    bill = sbom.bill(about, artifact.manifest.plan, rows, sorted(put_in))
    (info / "sboms" / sbom.NAME).write_bytes(bill)
    (info / "licenses").mkdir(exist_ok=True)
    for name, text in sbom.licences(rows).items():
        (info / "licenses" / name).write_bytes(text.read_bytes())
    said = statements.provenance(artifact.manifest, artifact.id)
    (info / PROVENANCE).write_bytes(digest.canonical(said))
