from __future__ import annotations

import base64
import builtins
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519 as library
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from llamabuild.errors import ConfigError, LlamabuildError, ToolMissing
from llamabuild.trust import ed25519, keys

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def _private(**choices: Any) -> bytes:
    settings = {
        "encoding": Encoding.PEM,
        "format": PrivateFormat.PKCS8,
        "encryption_algorithm": NoEncryption(),
    }
    return library.Ed25519PrivateKey.generate().private_bytes(**{**settings, **choices})


def _file(folder: Path, content: bytes, mode: int = 0o600) -> str:
    path = folder / "key.pem"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_a_made_key_signs_what_its_public_line_verifies(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "signing-key.pem"
    public = keys.create(path, "anna")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.with_name("signing-key.pem.pub").read_text() == f"{public.line}\n"
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name, f"{path.name}.pub"]
    again = keys.parse_public(public.line)
    assert again == public
    for place in (str(path), path.read_text(), path.read_text().replace("\n", "\\n")):
        signer = keys.load_signer(place)
        assert signer.keyid == public.keyid
        signature = signer.sign(b"payload", "type")
        assert ed25519.fits(again.raw, signature, b"payload", "type")
        # DSSE's own encoding, and the library's own verification: not only what we say of us.
        pae = b"DSSEv1 4 type 7 payload"
        library.Ed25519PublicKey.from_public_bytes(again.raw).verify(signature, pae)
        assert not ed25519.fits(again.raw, signature, b"payload", "other")
        assert not ed25519.fits(again.raw, signature, b"payloae", "type")
        assert not ed25519.fits(again.raw, signature[:-1], b"payload", "type")
        assert not ed25519.fits(again.raw, b"", b"payload", "type")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    keys.create(path, "anna")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="never overwritten"):
        keys.create(path, "anna")
    assert path.read_bytes() == before
    (tmp_path / "other.pub").write_text("somebody's")
    with pytest.raises(ConfigError, match=r"other\.pub is there already"):
        keys.create(tmp_path / "other", "anna")
    assert not (tmp_path / "other").exists()


def test_a_key_that_appears_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key.pem"
    monkeypatch.setattr(Path, "exists", lambda self: False)
    path.write_text("theirs")
    with pytest.raises(ConfigError, match="never overwritten"):
        keys.create(path, "anna")
    assert path.read_text() == "theirs"
    assert [one.name for one in tmp_path.iterdir()] == ["key.pem"]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="file"):
        keys.create(tmp_path / "file" / "key.pem", "anna")


def _rsa() -> bytes:
    return rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def _public() -> bytes:
    key = library.Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: b"", "not a private key"),
        (lambda: b"hello", "not a private key"),
        (lambda: os.urandom(200), "not a private key"),
        (lambda: _private()[:60], "not a private key"),
        (lambda: _private(encoding=Encoding.DER), "not a private key"),
        (_public, "not a private key"),
        (lambda: _private(encryption_algorithm=BestAvailableEncryption(b"pw")), "passphrase"),
        (_rsa, r"another kind than Ed25519 \(RSA\)"),
    ],
)
def test_what_is_no_key_of_ours_is_said(content: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        keys.load_signer(_file(tmp_path, content()))
    assert caught.value.hint


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has these modes")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o610, 0o602])
def test_a_key_that_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    place = _file(tmp_path, _private(), mode)
    with pytest.raises(ConfigError, match=f"by others .mode {mode:04o}") as caught:
        keys.load_signer(place)
    assert caught.value.hint == f"chmod 600 {place}"


def test_what_cannot_be_read_is_named_unless_it_may_be_a_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.pem cannot be read: No such file"):
        keys.load_signer(str(tmp_path / "absent.pem"))
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        keys.load_signer(str(tmp_path))
    with pytest.raises(ConfigError, match="cannot be read"):
        keys.load_signer("a\0.pem")


def _told(error: BaseException | None) -> str:
    """All that a traceback of an error would print of it and of its causes."""
    texts = []
    while error:
        texts.append(f"{error!r} {error} {vars(error)}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(texts)


def _secrets() -> list[tuple[str, str]]:
    """A place that holds a secret, wrongly given, and a telling part of the secret."""
    pem = _private().decode()
    body = pem.splitlines()[1]
    raw = base64.b64encode(b"/" + os.urandom(31)).decode()
    found = [(body, body), (raw, raw), (os.urandom(32).hex(),) * 2, (f"/{raw}", raw)]
    return [*found, (pem[:-40], body[:20]), (pem.replace("PRIVATE", "SECRET"), body)]


@pytest.mark.parametrize(("place", "secret"), _secrets())
def test_secrets_are_in_no_message(place: str, secret: str, tmp_path: Path) -> None:
    for read in (keys.load_signer, keys.parse_public, lambda x: keys.file_of(f"-----BEGIN {x}")):
        with pytest.raises(ConfigError) as caught:
            read(place)
        assert secret not in _told(caught.value)
    with pytest.raises(ConfigError) as caught:
        keys.load_signer(_file(tmp_path, place.encode()))
    assert secret not in _told(caught.value)


def test_a_loaded_key_does_not_print_its_secret() -> None:
    pem = _private().decode()
    signer = keys.load_signer(pem)
    assert pem.splitlines()[1][20:40] not in repr(signer)
    assert "key=" not in repr(signer)


def test_where_the_key_is() -> None:
    assert keys.where({keys.VARIABLE: "/k.pem"}) == "/k.pem"
    assert keys.where({}).endswith("signing-key.pem")
    assert keys.file_of("~/k.pem") == Path.home() / "k.pem"
    with pytest.raises(ConfigError, match="a key itself where"):
        keys.file_of(_private().decode())


GOOD = base64.b64encode(ed25519.generate()[1]).decode()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "not the public line"),
        (GOOD, "not the public line"),
        (f"{keys.KIND} {GOOD}", "not the public line"),
        (f"ssh-ed25519 {GOOD} anna", "not the public line"),
        (f"{keys.KIND.upper()} {GOOD} anna", "not the public line"),
        (f"{keys.KIND} {GOOD} anna\n{keys.KIND} {GOOD} ben", "not the public line"),
        (f"{keys.KIND} {GOOD[:-5]}!!!!= anna", "not base64"),
        (f"{keys.KIND} é{GOOD[1:]} anna", "not base64"),
        (f"{keys.KIND} {GOOD[:-4]} anna", "30 bytes instead of 32"),
        (f"{keys.KIND} {GOOD[:4]}{GOOD} anna", "35 bytes instead of 32"),
        (f"{keys.KIND} {GOOD} an\x1b[31mna", "printable"),
        (f"{keys.KIND} {GOOD} an\u202ena", "printable"),
        (f"{keys.KIND} {GOOD} {'a' * 65}", "1 to 64"),
        ("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----", "is a private key"),
    ],
)
def test_a_wrong_public_line_is_said(line: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        keys.parse_public(line)
    assert caught.value.hint


@given(st.text())
def test_any_text_is_a_key_or_an_error_of_ours(text: str) -> None:
    for line in (text, f"{keys.KIND} {text}", f"{keys.KIND} {GOOD} {text}"):
        try:
            public = keys.parse_public(line)
        except LlamabuildError:
            continue
        assert keys.parse_public(public.line) == public
        assert public.name.isprintable()


# --- the curve, written down a second time: affine points, textbook formulas ----------------------


def _point(raw: bytes) -> Point | None:
    """RFC 8032, section 5.1.3."""
    number = int.from_bytes(raw, "little")
    y, sign = number & (2**255 - 1), number >> 255
    xx = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - xx) % P or y >= P or (x == 0 and sign):
        return None
    return (P - x if x % 2 != sign else x), y


def _sum(one: Point, other: Point) -> Point:
    (a, b), (c, d) = one, other
    t = D * a * b * c * d
    x = (a * d + b * c) * pow(1 + t, -1, P) % P
    return x, (b * d + a * c) * pow(1 - t, -1, P) % P


def _eight(point: Point) -> Point:
    for _ in range(3):
        point = _sum(point, point)
    return point


def _small() -> list[bytes]:
    """The encodings of all points whose order divides 8, found by multiplying with the group's
    order that is left over."""
    order, found, seed = 2**252 + 27742317777372353535851937790883648493, {(0, 1)}, 2
    while len(found) < 8:
        seed += 1
        point, bits = _point(seed.to_bytes(32, "little")), order
        if point is None:
            continue
        left: Point = (0, 1)
        while bits:
            left = _sum(left, point) if bits & 1 else left
            point, bits = _sum(point, point), bits >> 1
        found.add(left)
    return [(y | (x & 1) << 255).to_bytes(32, "little") for x, y in found]


def test_points_of_small_order_are_refused() -> None:
    small = _small()
    assert len(small) == 8
    for raw in small:
        point = _point(raw)
        assert point is not None
        assert _eight(point) == (0, 1)
        assert "anybody could sign" in ed25519.doubt(raw)


def test_anybody_can_sign_under_the_point_that_is_refused() -> None:
    """Why the refusal is needed: the library takes this key, and a signature without a secret."""
    identity = (1).to_bytes(32, "little")
    assert ed25519.fits(identity, identity + bytes(32), b"anything", "type")
    with pytest.raises(ConfigError, match="anybody could sign"):
        keys.parse_public(f"{keys.KIND} {base64.b64encode(identity).decode()} eve")


@given(st.binary(min_size=32, max_size=32))
def test_the_doubt_is_the_curves(raw: bytes) -> None:
    point = _point(raw)
    assert (ed25519.doubt(raw) == "") == (point is not None and _eight(point) != (0, 1))


@pytest.mark.parametrize("y", [P, P + 1, P + 3, P + 18])
def test_a_second_encoding_of_a_point_is_refused(y: int) -> None:
    assert ed25519.doubt(y.to_bytes(32, "little"))


@pytest.mark.parametrize("absent", ["cryptography", "securesystemslib"])
def test_missing_packages_are_named(
    absent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, pem = builtins.__import__, _private().decode()

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == absent:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    calls = [lambda: keys.load_signer(pem), lambda: ed25519.fits(bytes(32), bytes(64), b"", "")]
    if absent == "cryptography":
        calls.append(lambda: keys.create(tmp_path / "k", "anna"))
    for call in calls:
        with pytest.raises(ToolMissing, match="cryptography and securesystemslib") as caught:
            call()
        assert caught.value.hint == "pip install 'llamabuild[team]'"
    assert not list(tmp_path.iterdir())
    # What needs no secret works without them.
    assert keys.parse_public(f"{keys.KIND} {GOOD} anna").name == "anna"
