from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope

from llamabuild.errors import IntegrityError
from llamabuild.trust import ed25519, envelope
from tests.unit.trust import making

TYPE = "application/x-test"
WHAT = "the note"
ANNA = making.trusted("anna")
BEN = making.trusted("ben", "janitor")


def _sealed(*names: str, payload: bytes = b'{"a":1}') -> bytes:
    return envelope.seal(payload, TYPE, *(making.signer(name) for name in names))


def _open(sealed: bytes, *roster: Any) -> envelope.Opened:
    return envelope.opened(sealed, TYPE, roster or (ANNA, BEN), WHAT)


def _refused(sealed: bytes, said: str, *roster: Any) -> None:
    with pytest.raises(IntegrityError, match=said) as caught:
        _open(sealed, *roster)
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_what_was_sealed_is_opened() -> None:
    assert _open(_sealed("anna")) == envelope.Opened(payload=b'{"a":1}', signers=(ANNA,))
    assert _open(_sealed("anna", "ben")).signers == (ANNA, BEN)
    assert _open(_sealed("eve", "ben")).signers == (BEN,)
    assert _open(_sealed("anna", payload=b"")).payload == b""
    assert envelope.unverified(_sealed(), TYPE, WHAT) == b'{"a":1}'


def test_it_is_the_envelope_that_others_read_too() -> None:
    """securesystemslib's own reader, and one of ours for what it writes."""
    read = Envelope.from_dict(json.loads(_sealed("anna")))
    assert (read.payload, read.payload_type) == (b'{"a":1}', TYPE)
    [signature] = read.signatures.values()
    assert ed25519.fits(ANNA.public.raw, bytes.fromhex(signature.signature), b'{"a":1}', TYPE)
    assert _open(json.dumps(read.to_dict(), indent=3).encode()).signers == (ANNA,)


def test_every_flipped_bit_is_refused() -> None:
    sealed = _sealed("anna")
    for changed in making.flips(sealed):
        with pytest.raises(IntegrityError):
            _open(changed)


def test_a_flipped_bit_of_one_of_two_signatures_never_changes_the_payload() -> None:
    """One of them may become that of a key unknown; what is used is still what was signed."""
    sealed, opened = _sealed("anna", "ben"), 0
    for changed in making.flips(sealed):
        try:
            found = _open(changed)
        except IntegrityError:
            continue
        opened += 1
        assert found.payload == b'{"a":1}'
        assert len(found.signers) == 1
    assert opened == sum(map(_readable, ("keyid", "keyid", ANNA.public.keyid, BEN.public.keyid)))


def _readable(text: str) -> int:
    """How many flips of a bit in a JSON text leave it one: no quotes, backslashes, control
    characters or bytes that are not UTF-8."""
    others = [letter ^ 1 << bit for letter in text.encode() for bit in range(8)]
    return sum(31 < one < 128 and chr(one) not in '"\\' for one in others)


def test_every_truncation_is_refused() -> None:
    sealed = _sealed("anna")
    for length in range(len(sealed)):
        with pytest.raises(IntegrityError):
            _open(sealed[:length])


def test_whitespace_order_and_new_fields_do_not_matter() -> None:
    """DSSE asks readers to ignore fields that they do not know, and to take URL-safe base64."""
    read = json.loads(_sealed("anna", payload=bytes(range(256))))
    read["new"] = {"deep": [1, None]}
    read["signatures"][0]["extension"] = "x"
    loose = json.dumps(dict(reversed(read.items())), indent=2).encode()
    assert _open(b"\n\t" + loose).payload == bytes(range(256))
    safe = making.edited(loose, payload=base64.urlsafe_b64encode(bytes(range(256))).decode())
    assert _open(safe).payload == bytes(range(256))


@pytest.mark.parametrize(
    ("sealed", "said"),
    [
        (b"", "not JSON: it is empty"),
        (b"  \n", "not JSON: it is empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b'\n <?xml version="1.0"?><Error/>', "web page"),
        (b"hello", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        ("{}".encode("utf-16"), "not JSON"),
        (b"\x1f\x8b" + bytes(20), "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a":' * 100_000, "not JSON"),
        (b"9" * 5000, "not JSON"),
        (b"[]", "not a DSSE envelope"),
        (b"null", "not a DSSE envelope"),
        (b"{}", "not a DSSE envelope"),
        (b'{"payload":"","payloadType":"application/x-test"}', "not a DSSE envelope"),
        (_sealed(), "is not signed"),
        (bytes(envelope.LIMIT + 1), f"too large: {envelope.LIMIT + 1} bytes"),
    ],
)
def test_what_is_no_envelope_is_said(sealed: bytes, said: str) -> None:
    _refused(sealed, said)


def test_a_gibibyte_is_refused_unread() -> None:
    _refused(bytes(1 << 30), "too large: 1073741824 bytes")


def _signatures(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    [made] = json.loads(_sealed("anna"))["signatures"]
    return [{**made, **change} for change in changes]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"payloadType": "application/vnd.in-toto+json"}, "holds 'application/vnd.in-toto"),
        ({"payloadType": "x" * 9999}, "holds 'x{80}' and"),
        ({"payloadType": ["application/x-test"]}, "not a DSSE envelope"),
        ({"payload": making.packed(b'{"a":2}')}, r"signature by anna \([0-9a-f]{16}…\) does not"),
        ({"payload": making.packed(b"")}, "does not fit"),
        ({"payload": {"a": 1}}, "not a DSSE envelope"),
        ({"payload": "eyJhIjox fQ=="}, "payload is not base64"),
        ({"payload": "eyJhIjoxfQ="}, "payload is not base64"),
        ({"payload": "eyJhIjoxfR=="}, "payload is not canonical base64"),
        ({"payload": "\ud800"}, "payload is not base64"),
        ({"signatures": {}}, "not a DSSE envelope"),
        ({"signatures": [None]}, "not a DSSE envelope"),
        ({"signatures": _signatures({"sig": ""})}, "does not fit"),
        ({"signatures": _signatures({"sig": 7})}, "not a DSSE envelope"),
        ({"signatures": _signatures({"sig": "!"})}, "signatures is not base64"),
        ({"signatures": _signatures({"sig": making.packed(bytes(64))})}, "does not fit"),
        ({"signatures": _signatures({"sig": making.packed(bytes(65))})}, "does not fit"),
        ({"signatures": _signatures({"keyid": ""})}, "signed by a key without a valid keyid"),
        ({"signatures": _signatures({"keyid": "\x1b[31m"})}, "a key without a valid keyid"),
        ({"signatures": _signatures({"keyid": BEN.public.keyid})}, r"by ben \(.*does not fit"),
        ({"signatures": _signatures({}, {})}, "one key signed twice"),
        ({"signatures": _signatures({}, {"sig": making.packed(bytes(64))})}, "signed twice"),
        # The algorithm is the key's, whatever the envelope says of it.
        ({"signatures": _signatures({"alg": "none", "sig": ""})}, "does not fit"),
    ],
)
def test_what_was_changed_is_said(fields: dict[str, Any], said: str) -> None:
    _refused(making.edited(_sealed("anna"), **fields), said)


def test_two_payloads_are_refused() -> None:
    sealed, other = _sealed("anna"), making.packed(b'{"a":2}')
    for twice in (
        sealed.replace(b'{"payload"', f'{{"payload":"{other}","payload"'.encode(), 1),
        sealed.replace(b',"signatures"', f',"payload":"{other}","signatures"'.encode(), 1),
    ):
        assert twice != sealed
        _refused(twice, "a name occurs twice")


def test_swapped_signatures_are_refused() -> None:
    mine, other = json.loads(_sealed("anna")), json.loads(_sealed("anna", payload=b"{}"))
    mine["signatures"] = other["signatures"]
    _refused(json.dumps(mine).encode(), "does not fit")
    both = json.loads(_sealed("anna", "ben"))
    one, two = both["signatures"]
    one["sig"], two["sig"] = two["sig"], one["sig"]
    _refused(json.dumps(both).encode(), "does not fit")


def test_a_trusted_signature_has_to_fit_beside_one_that_does() -> None:
    both = json.loads(_sealed("anna", "ben"))
    both["signatures"][1]["sig"] = making.packed(bytes(64))
    _refused(json.dumps(both).encode(), "signature by ben .* does not fit")
    assert _open(json.dumps(both).encode(), ANNA).signers == (ANNA,)


def test_a_key_that_is_not_trusted_is_named_by_its_keyid() -> None:
    keyid = making.signer("eve").keyid
    _refused(_sealed("eve"), f"signed by {keyid[:16]}…, which is not trusted")
    _refused(_sealed("anna"), "not trusted", BEN)
    with pytest.raises(IntegrityError, match="not trusted"):
        envelope.opened(_sealed("anna"), TYPE, (), WHAT)


def test_a_signature_of_another_kind_of_payload_does_not_count() -> None:
    """The type is signed: what was signed as one thing cannot be shown as another."""
    sealed = envelope.seal(b"{}", "application/x-other", making.signer("anna"))
    _refused(making.edited(sealed, payloadType=TYPE), "does not fit")


@given(st.binary())
def test_any_bytes_end_in_an_error_of_ours(data: bytes) -> None:
    for sealed in (data, making.edited(_sealed("anna"), payload=data.decode("latin-1"))):
        with pytest.raises(IntegrityError):
            _open(sealed)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(json.loads(_sealed("anna")), _JSON)))
def test_any_fields_end_in_an_error_of_ours(fields: dict[str, Any]) -> None:
    sealed = making.edited(_sealed("anna"), **fields)
    if json.loads(sealed) != json.loads(_sealed("anna")):
        with pytest.raises(IntegrityError):
            _open(sealed)
