from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from llamabuild import digest
from llamabuild.errors import IntegrityError
from llamabuild.trust import envelope, statements
from tests.unit.trust import making
from tests.unit.trust.making import ARTIFACT

ANNA = making.trusted("anna")
JANITOR = making.trusted("jo", "janitor")
ROSTER = (ANNA, making.trusted("ben", "builder", "janitor"), JANITOR)


def _statement() -> dict[str, Any]:
    return statements.provenance(making.manifest(), ARTIFACT)


def _sealed(statement: Any, *names: str) -> bytes:
    """Whatever somebody with these keys can sign, also what we never would."""
    data = statement if isinstance(statement, bytes) else digest.canonical(statement)
    return envelope.seal(data, statements.PAYLOAD_TYPE, *map(making.signer, names or ("anna",)))


def _refused(sealed: bytes, said: str) -> None:
    with pytest.raises(IntegrityError, match=said) as caught:
        statements.verify(sealed, ROSTER, ARTIFACT)
    assert caught.value.hint
    assert caught.value.message.startswith("the statement about artifact a1a1a1a1a1a1")


def test_what_was_signed_is_verified() -> None:
    statement = _statement()
    signed = statements.verify(statements.sign(statement, making.signer("anna")), ROSTER, ARTIFACT)
    assert signed == statements.Signed(statement=statement, signers=(ANNA,))


def test_signatures_that_do_not_count_are_not_counted() -> None:
    signed = statements.verify(_sealed(_statement(), "eve", "jo", "anna"), ROSTER, ARTIFACT)
    assert signed.signers == (ANNA,)


def test_every_flipped_bit_is_refused() -> None:
    """All bits of the envelope of the smallest statement that is accepted."""
    small = {
        "_type": statements.STATEMENT_TYPE,
        "subject": [{"name": "manifest.json", "digest": {"sha256": ARTIFACT}}],
        "predicateType": statements.PREDICATE_TYPE,
        "predicate": {"buildDefinition": {"buildType": statements.BUILD_TYPE}},
    }
    sealed = _sealed(small)
    assert statements.verify(sealed, ROSTER, ARTIFACT).statement == small
    for changed in making.flips(sealed):
        with pytest.raises(IntegrityError):
            statements.verify(changed, ROSTER, ARTIFACT)


def test_the_subjects_are_the_manifest_and_every_file() -> None:
    assert _statement()["subject"] == [
        {"name": "bin/llama-cli", "digest": {"sha256": "b" * 64}},
        {"name": "manifest.json", "digest": {"sha256": ARTIFACT}},
        {"name": "wheel/a.whl", "digest": {"sha256": "c" * 64}},
    ]


def test_the_predicate_is_slsa_provenance() -> None:
    predicate = _statement()["predicate"]
    definition, run = predicate["buildDefinition"], predicate["runDetails"]
    assert set(predicate) == {"buildDefinition", "runDetails"}
    assert definition["buildType"] == "urn:llamabuild:build:v1"
    assert definition["externalParameters"]["recipe"] == "cpu-native"
    assert definition["externalParameters"]["backends"] == "cuda, cpu"
    assert definition["externalParameters"]["flags"]["GGML_AVX2"] is True
    archive, patch = definition["resolvedDependencies"]
    assert archive["digest"] == {"sha256": "0" * 64}
    assert archive["downloadLocation"] == "https://example.org/a.tar.gz"
    assert archive["annotations"]["urls"] == ["https://example.org/a.tar.gz"]
    assert patch == {"name": "fix.patch", "digest": {"sha256": "e" * 64}}
    assert run["builder"]["id"] == "urn:llamabuild:builder:1.2"
    assert run["metadata"] == {
        "startedOn": "2026-01-01T00:00:30Z",
        "finishedOn": "2026-01-01T00:02:00Z",
    }
    [proof] = run["byproducts"]
    proved = {"reference": "r", "device": "CPU", "checks": ["c"], "unrun": ["vulkan"]}
    assert json.loads(base64.b64decode(proof["content"])) == proved


def test_a_time_that_is_not_known_is_left_out() -> None:
    manifest = replace(making.manifest(), created="")
    statement = statements.provenance(manifest, ARTIFACT)
    assert statement["predicate"]["runDetails"]["metadata"] == {}


def test_nothing_personal_is_in_it() -> None:
    text = json.dumps(_statement())
    for word in ("anna", "/home", "Users", "/usr", "file:", "CMAKE_HOME_DIRECTORY"):
        assert word not in text
    flags = _statement()["predicate"]["buildDefinition"]["externalParameters"]["flags"]
    assert [flags[name] for name in flags if name != "GGML_AVX2"] == ["<path>"] * 3


def test_a_janitor_may_not_sign_artifacts() -> None:
    _refused(_sealed(_statement(), "jo"), r"signed by jo \(.*\), whose role is not builder")
    _refused(_sealed(_statement(), "jo", "eve"), "whose role is not builder")


def test_a_stranger_may_not() -> None:
    _refused(_sealed(_statement(), "eve"), "which is not trusted")
    _refused(_sealed(_statement())[:0], "is empty")
    _refused(b"<html>", "web page")


def test_the_statement_of_another_artifact_is_refused() -> None:
    other = statements.provenance(making.manifest(), "b2" * 32)
    _refused(_sealed(other), "about another artifact: b2b2b2b2b2b2")


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ([], "another artifact: none"),
        ([{"name": "other.json", "digest": {"sha256": ARTIFACT}}], "another artifact: none"),
        ([{"name": "manifest.json", "digest": {"sha512": ARTIFACT}}], "another artifact: None"),
        ([{"name": "manifest.json", "digest": {"sha256": ARTIFACT.upper()}}], "another artifact"),
        (
            [{"name": "manifest.json", "digest": {"sha256": one}} for one in ("b2" * 32, ARTIFACT)],
            "another artifact: b2b2b2b2b2b2, a1a1",
        ),
        ("manifest.json", "not an in-toto statement"),
    ],
)
def test_subjects_that_leave_a_doubt_are_refused(subject: Any, said: str) -> None:
    _refused(_sealed({**_statement(), "subject": subject}), said)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("_type", "https://in-toto.io/Statement/v2", "unknown type"),
        ("predicateType", "https://slsa.dev/verification_summary/v1", "unknown type: 'https://sls"),
        ("predicateType", None, "not an in-toto statement"),
        ("predicate", {"buildDefinition": {"buildType": "urn:other"}}, "unknown type: 'urn:other'"),
        ("predicate", {}, "not an in-toto statement"),
        ("predicate", None, "not an in-toto statement"),
    ],
)
def test_statements_of_another_type_are_refused(field: str, value: Any, said: str) -> None:
    _refused(_sealed({**_statement(), field: value}), said)


@pytest.mark.parametrize("data", [b"", b"x", b"[]", b"\xff", b'{"_type":1}', b"[" * 99_999])
def test_a_signed_payload_that_is_no_statement(data: bytes) -> None:
    _refused(_sealed(data), "not an in-toto statement")
