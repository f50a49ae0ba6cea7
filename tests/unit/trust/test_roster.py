from __future__ import annotations

import json
from pathlib import Path

import pytest

from llamabuild.errors import ConfigError, StoreError
from llamabuild.trust import roster
from llamabuild.trust.keys import PublicKey
from tests.unit.trust.making import NOW, pair

ANNA, BEN = pair("anna")[1], pair("ben")[1]


def _add(root: Path, public: PublicKey = ANNA, *roles: str) -> roster.Trusted:
    return roster.add(root, public, roles or ("builder",), now=NOW)


def _file(root: Path, public: PublicKey = ANNA) -> Path:
    return root / "trust" / f"{public.keyid}.json"


def test_what_is_added_is_listed_found_and_removed(tmp_path: Path) -> None:
    assert roster.listed(tmp_path) == ()
    ben, anna = _add(tmp_path, BEN, "janitor", "builder"), _add(tmp_path)
    assert ben.roles == ("builder", "janitor")
    assert anna.added == "2026-06-01T12:00:00+00:00"
    assert roster.listed(tmp_path) == (anna, ben)
    assert roster.find(tmp_path, "ben") == ben
    assert roster.remove(tmp_path, ANNA.keyid[:8]) == anna
    assert roster.listed(tmp_path) == (ben,)
    with pytest.raises(ConfigError, match="no trusted key is 'anna'"):
        roster.remove(tmp_path, "anna")


def test_adding_again_changes_roles_and_name(tmp_path: Path) -> None:
    _add(tmp_path)
    again = _add(tmp_path, PublicKey(name="anna at home", raw=ANNA.raw), "janitor")
    assert roster.listed(tmp_path) == (again,)
    assert (again.roles, again.public.name) == (("janitor",), "anna at home")


def test_a_name_is_that_of_one_key(tmp_path: Path) -> None:
    _add(tmp_path)
    with pytest.raises(ConfigError, match=f"has the name 'anna': {ANNA.keyid[:16]}"):
        _add(tmp_path, PublicKey(name="anna", raw=BEN.raw))
    assert len(roster.listed(tmp_path)) == 1


@pytest.mark.parametrize("roles", [(), ("reader",), ("builder", "Janitor")])
def test_wrong_roles(roles: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there are two") as caught:
        roster.add(tmp_path, ANNA, roles, now=NOW)
    assert caught.value.hint == "Roles: builder, janitor."
    assert roster.listed(tmp_path) == ()


def test_the_beginning_of_a_keyid_has_to_tell_it_from_others(tmp_path: Path) -> None:
    _add(tmp_path)
    for name in ("", ANNA.keyid[:3], ANNA.keyid[1:9], "an"):
        with pytest.raises(ConfigError, match="no trusted key is"):
            roster.find(tmp_path, name)
    # A key whose name is the beginning of another's keyid: the name counts.
    named = _add(tmp_path, PublicKey(name=ANNA.keyid[:8], raw=BEN.raw))
    assert roster.find(tmp_path, ANNA.keyid[:8]) == named


def test_several_keys_that_begin_so_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyids = {ANNA.raw: "abcd1" + "0" * 59, BEN.raw: "abcd2" + "0" * 59}
    monkeypatch.setattr(PublicKey, "keyid", property(lambda self: keyids[self.raw]))
    _add(tmp_path)
    ben = _add(tmp_path, BEN)
    with pytest.raises(ConfigError, match=r"several keys: anna \(abcd1.*ben \(abcd2"):
        roster.find(tmp_path, "abcd")
    assert roster.find(tmp_path, "abcd2") == ben


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"version": 2}, "its version is 2"),
        ({"version": "1"}, "Expected `int`"),
        ({"roles": []}, "its roles are unknown"),
        ({"roles": ["builder", "owner"]}, "its roles are unknown"),
        ({"roles": "builder"}, "Expected `array`"),
        ({"public": BEN.line}, "another key"),
        ({"public": ANNA.line[:30]}, "not the public line"),
        ({"name": "ben"}, "another key"),
        ({"expires": "never"}, "unknown field"),
    ],
)
def test_a_changed_file_is_named_and_not_skipped(
    fields: dict[str, object], said: str, tmp_path: Path
) -> None:
    _add(tmp_path, BEN)
    _add(tmp_path)
    path = _file(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    _is_said(tmp_path, path, said)


def _is_said(root: Path, path: Path, said: str) -> None:
    for use in (roster.listed, lambda root: roster.find(root, "ben"), _add):
        with pytest.raises(StoreError, match=said) as caught:
            use(root)
        assert str(path) in caught.value.message
        assert "Remove the file" in caught.value.hint


def test_every_truncated_file_is_named(tmp_path: Path) -> None:
    _add(tmp_path)
    path = _file(tmp_path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match="cannot be used"):
            roster.listed(tmp_path)


def test_a_file_under_another_name_is_damaged(tmp_path: Path) -> None:
    _add(tmp_path)
    moved = _file(tmp_path).rename(tmp_path / "trust" / "key.json")
    _is_said(tmp_path, moved, "another key")


def test_a_folder_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "trust").write_text("x")
    with pytest.raises(StoreError, match="trust"):
        _add(tmp_path)
    (tmp_path / "trust").unlink()
    _file(tmp_path).mkdir(parents=True)
    with pytest.raises(StoreError, match="directory"):
        roster.listed(tmp_path)
