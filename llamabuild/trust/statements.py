"""What a builder signs about an artifact: an in-toto Statement with SLSA provenance.

It says which bytes came out (the manifest and every file), of which source and by which plan, and
what was proved. It holds nothing personal: no paths, names of machines or users.
Formats: https://in-toto.io/Statement/v1, https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from llamabuild import digest
from llamabuild.errors import IntegrityError
from llamabuild.model import Manifest, Pin, Plan, Proof
from llamabuild.trust import envelope
from llamabuild.trust.keys import Signer
from llamabuild.trust.roster import BUILDER, Roster, Trusted

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:llamabuild:build:v1"
MANIFEST: Final = "manifest.json"
"""The subject whose digest is the artifact's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A verified statement, and the trusted builders who signed it."""

    statement: Mapping[str, Any]
    signers: tuple[Trusted, ...]


class _Subject(msgspec.Struct, frozen=True):
    name: str
    digest: dict[str, str]


class _Definition(msgspec.Struct, frozen=True, rename="camel"):
    build_type: str


class _Predicate(msgspec.Struct, frozen=True, rename="camel"):
    build_definition: _Definition


class _Statement(msgspec.Struct, frozen=True, rename="camel"):
    """As much of a statement as decides what it is about."""

    subject: tuple[_Subject, ...]
    predicate_type: str
    predicate: msgspec.Raw
    type: str = msgspec.field(name="_type")


def provenance(manifest: Manifest, manifest_digest: str) -> dict[str, Any]:
    """The statement about an artifact; ``manifest_digest`` is the SHA-256 of its manifest's bytes,
    which is the artifact's id."""
    files = {MANIFEST: manifest_digest, **{name: f.sha256 for name, f in manifest.files.items()}}
    plan = manifest.plan
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": files[name]}} for name in sorted(files)],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": _impersonal(
                    {
                        "recipe": plan.recipe,
                        "backends": plan.requested,
                        "flags": {flag.name: flag.value for flag in plan.flags},
                    }
                ),
                "internalParameters": _impersonal({"key": manifest.key, **_decided(plan)}),
                "resolvedDependencies": _source(plan.pin),
            },
            "runDetails": {
                "builder": {
                    "id": f"urn:llamabuild:builder:{manifest.llamabuild}",
                    "version": {"llamabuild": manifest.llamabuild},
                },
                "metadata": _times(manifest),
                "byproducts": [_proved(manifest.proof)],
            },
        },
    }


def _decided(plan: Plan) -> dict[str, Any]:
    compiler = plan.compiler
    return {
        "backends": list(plan.backends),
        "compiler": {
            "family": compiler.family,
            "version": compiler.version,
            "target": compiler.target,
            "digest": compiler.digest,
        },
        "cpuFeatures": list(plan.cpu_features),
        "fingerprint": plan.fingerprint,
        "remedies": [remedy.name for remedy in plan.remedies],
        "sysroot": plan.sysroot,
        "targets": list(plan.targets),
        "tools": {tool.name: tool.version for tool in plan.tools},
    }


def _impersonal(value: Any) -> Any:  # noqa: ANN401 - built-in values
    """A text with a path in it says ``<path>``: a folder can have its owner's name."""
    if isinstance(value, dict):
        return {name: _impersonal(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_impersonal(item) for item in value]
    return "<path>" if isinstance(value, str) and set(value) & set("/\\~") else value


def _source(pin: Pin) -> list[dict[str, Any]]:
    """The archive, with its public addresses, what stands in place of the llama.cpp in it, and the
    patches on it."""
    urls = [url for url in pin.urls if url.startswith("https://") and "@" not in url]
    archive: dict[str, Any] = {
        "name": f"{pin.name} {pin.version}",
        "digest": {"sha256": pin.sha256},
        "annotations": {"commit": pin.commit, "urls": urls},
    }
    if urls:
        archive["downloadLocation"] = urls[0]
    patches = [{"name": one.name, "digest": {"sha256": one.sha256}} for one in pin.patches]
    instead = [{"name": "llama.cpp", "digest": {"sha256": pin.replaced}}] if pin.replaced else []
    return [archive, *instead, *patches]


def _times(manifest: Manifest) -> dict[str, str]:
    """When the build began and ended (RFC 3339, UTC), as far as the manifest says so."""
    try:
        finished = dt.datetime.fromisoformat(manifest.created).astimezone(dt.timezone.utc)
    except ValueError:
        return {}
    started = finished - dt.timedelta(seconds=manifest.seconds)
    return {"startedOn": _stamp(started), "finishedOn": _stamp(finished)}


def _stamp(time: dt.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _proved(proof: Proof) -> dict[str, Any]:
    summary = {
        "reference": proof.reference,
        "device": _impersonal(proof.device),
        "checks": [check.name for check in proof.checks],
        "unrun": list(proof.unrun),
    }
    content = digest.canonical(summary)
    return {
        "name": "proof",
        "mediaType": "application/json",
        "content": base64.b64encode(content).decode(),
    }


def sign(statement: Mapping[str, Any], signer: Signer) -> bytes:
    """The statement in a signed DSSE envelope, as JSON. Raises ToolMissing."""
    return envelope.seal(digest.canonical(statement), PAYLOAD_TYPE, signer)


def verify(sealed: bytes, roster: Roster, manifest_digest: str) -> Signed:
    """The statement in an envelope, when a trusted builder signed it about this very artifact.

    Raises IntegrityError with the reason, and ToolMissing.
    """
    what = f"the statement about artifact {manifest_digest[:12]}"
    opened = envelope.opened(sealed, PAYLOAD_TYPE, roster, what)
    builders = tuple(one for one in opened.signers if BUILDER in one.roles)
    if not builders:
        names = ", ".join(map(str, opened.signers))
        raise IntegrityError(
            f"{what} is signed by {names}, whose role is not builder",
            "If this key may sign artifacts: llamabuild trust add LINE --role builder",
        )
    _about(opened.payload, manifest_digest, what)
    return Signed(statement=msgspec.json.decode(opened.payload), signers=builders)


def _about(payload: bytes, manifest_digest: str, what: str) -> None:
    """Raise IntegrityError unless the payload is a statement of ours about this artifact."""
    try:
        read = msgspec.json.decode(payload, type=_Statement)
        types: tuple[str, ...] = (read.type, read.predicate_type)
        if types == (STATEMENT_TYPE, PREDICATE_TYPE):
            predicate = msgspec.json.decode(read.predicate, type=_Predicate)
            types = (*types, predicate.build_definition.build_type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(
            f"{what} is not an in-toto statement: {error}", "Publish the artifact again."
        ) from error
    if types != (STATEMENT_TYPE, PREDICATE_TYPE, BUILD_TYPE):
        raise IntegrityError(
            f"{what} is of an unknown type: {types[-1][:80]!r}",
            "A newer llamabuild may have written it: upgrade this one.",
        )
    subjects = [one.digest.get("sha256") for one in read.subject if one.name == MANIFEST]
    if subjects != [manifest_digest]:
        other = ", ".join(str(one)[:12] for one in subjects) or "none"
        raise IntegrityError(
            f"{what} is about another artifact: {other}",
            "Nothing was used of it. It is as it was stored: ask who keeps the store.",
        )
