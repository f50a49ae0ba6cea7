"""Pins: what is accepted, and that every mistake is told by name."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild import data
from llamabuild.errors import ConfigError, IntegrityError
from llamabuild.model import Patch
from llamabuild.pins import default_pin, identity, load_pins, parse_pin

GOOD: dict[str, Any] = {
    "version": "1.0",
    "urls": ["pypi:some-project/some_project-1.0.tar.gz"],
    "size": 10,
    "sha256": "a" * 64,
    "licence": "MIT",
    "commit": "0c1e57098",
    "build_number": 0,
}


def refusal(change: dict[str, Any], drop: str = "") -> ConfigError:
    table = {key: value for key, value in {**GOOD, **change}.items() if key != drop}
    with pytest.raises(ConfigError) as caught:
        parse_pin("mine", table, Path("/pins"))
    assert "'mine'" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


def test_shipped_pin_is_complete() -> None:
    pin = default_pin()
    assert pin == load_pins()[pin.name]
    assert pin.version == "0.3.36"
    assert pin.size == 76589250
    assert pin.urls == ("pypi:llama-cpp-python/llama_cpp_python-0.3.36.tar.gz",)
    assert pin.commit.startswith("0c1e57098")
    assert pin.licence == "MIT"


def test_every_shipped_pin_is_a_release_of_the_same_project() -> None:
    shipped = load_pins()
    assert len(shipped) == 8
    assert len({pin.sha256 for pin in shipped.values()}) == 8
    for name, pin in shipped.items():
        assert name in ("llama-cpp-python", f"llama-cpp-python-{pin.version}")
        assert pin.urls == (f"pypi:llama-cpp-python/llama_cpp_python-{pin.version}.tar.gz",)
        assert pin.tree == "vendor/llama.cpp"
        assert len(pin.commit) == 40
        assert pin.licence == "MIT"


@pytest.mark.parametrize("key", sorted(GOOD))
def test_every_key_is_required(key: str) -> None:
    assert key in refusal({}, drop=key).message


@pytest.mark.parametrize(
    ("key", "near"), [("sha265", "sha256"), ("url", "urls"), ("license", "licence")]
)
def test_unknown_key_has_a_close_match(key: str, near: str) -> None:
    error = refusal({key: "x"})
    assert key in error.message
    assert near in error.hint


def test_unknown_key_without_a_match_lists_the_known_ones() -> None:
    assert "sha256" in refusal({"zzzzzz": 1}).hint


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "a" * 63},
        {"sha256": "A" * 64},
        {"sha256": "g" * 64},
        {"sha256": "a" * 64 + "\n"},
        {"size": 0},
        {"size": "10"},
        {"size": True},
        {"size": 1.5},
        {"build_number": -1},
        {"commit": "HEAD"},
        {"urls": []},
        {"urls": "https://host.invalid/a.tar.gz"},
        {"urls": ["ftp://host.invalid/a.tar.gz"]},
        {"urls": ["pypi:only-a-project"]},
        {"urls": ["pypi:project/../file.tar.gz"]},
        {"urls": ["pypi:project/a/b.tar.gz"]},
        {"version": ""},
        {"tree": "../outside"},
        {"tree": "/outside"},
    ],
    ids=str,
)
def test_wrong_values_are_refused(change: dict[str, Any]) -> None:
    refusal(change)


def test_name_is_the_tables_name_only() -> None:
    assert "'name'" in refusal({"name": "other"}).message


def test_a_replaced_tree_is_no_key_of_a_file_and_another_identity() -> None:
    assert "unknown key 'replaced'" in refusal({"replaced": "b" * 64}).message
    plain = parse_pin("mine", GOOD, Path("/pins"))
    one, two = (replace(plain, replaced=letter * 64) for letter in "bc")
    patched = replace(one, patches=(Patch(name="p", sha256="d" * 64, text="", why="", until=""),))
    assert len({identity(pin) for pin in (plain, one, two, patched)}) == 4
    assert identity(plain) == plain.sha256


def test_relative_paths_start_at_the_file() -> None:
    urls = ["a.tar.gz", "/b/c.tar.gz", "https://host.invalid/d.tar.gz", "file:///e.tar.gz"]
    pin = parse_pin("mine", {**GOOD, "urls": urls}, Path("/pins"))
    assert pin.urls == ("/pins/a.tar.gz", *urls[1:])


# --- patches -------------------------------------------------------------------------------------

TEXT = b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
PATCH = {"name": "guard", "sha256": sha256(TEXT).hexdigest(), "why": "w", "until": "u"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the patch of the pin "mine"."""
    (tmp_path / "patches" / "mine").mkdir(parents=True)
    (tmp_path / "patches" / "mine" / "guard.patch").write_bytes(TEXT)
    return tmp_path


def test_a_patch_lies_beside_the_file(folder: Path) -> None:
    pin = parse_pin("mine", {**GOOD, "patches": [PATCH]}, folder)
    assert pin.patches == (Patch(**PATCH, text=TEXT.decode()),)
    assert parse_pin("mine", {**GOOD, "patches": []}, folder).patches == ()


@pytest.mark.parametrize(
    ("patches", "words"),
    [
        (["guard"], "tables"),
        ("guard", "tables"),
        ({"name": "guard"}, "tables"),
        ([{**PATCH, "name": "gone"}], "cannot be read"),
        ([{**PATCH, "name": "../mine/guard"}], "name a file"),
        ([{**PATCH, "name": ""}], "no text as name"),
        ([{**PATCH, "why": 1}], "no text as why"),
        ([{key: value for key, value in PATCH.items() if key != "until"}], "no text as until"),
        ([{**PATCH, "text": "x"}], "unknown key 'text'"),
        ([PATCH, PATCH], "two patches"),
    ],
)
def test_wrong_patches_are_refused(folder: Path, patches: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        parse_pin("mine", {**GOOD, "patches": patches}, folder)
    assert "'mine'" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("content", [TEXT.replace(b"\n", b"\r\n"), TEXT[:-1], b""])
def test_a_changed_patch_is_not_used(folder: Path, content: bytes) -> None:
    """Git may change the line ends of a checkout."""
    (folder / "patches" / "mine" / "guard.patch").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"guard\.patch has sha256") as caught:
        parse_pin("mine", {**GOOD, "patches": [PATCH]}, folder)
    assert PATCH["sha256"] in caught.value.message
    assert "line ends" in caught.value.hint


def test_a_patch_is_text(folder: Path) -> None:
    (folder / "patches" / "mine" / "guard.patch").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        parse_pin("mine", {**GOOD, "patches": [PATCH]}, folder)


def test_every_patch_file_is_listed_and_says_why() -> None:
    here = data.folder("vendor") / "patches"
    listed = {
        here / pin.name / f"{patch.name}.patch"
        for pin in load_pins().values()
        for patch in pin.patches
    }
    assert listed == {path for path in here.rglob("*") if path.is_file()}
    assert default_pin().patches[0].name == "vulkan-layer-settings"


@given(st.text("0123456789abcdef", min_size=64, max_size=64), st.integers(1, 2**40))
def test_all_hashes_and_sizes_survive(digest: str, size: int) -> None:
    pin = parse_pin("mine", {**GOOD, "sha256": digest, "size": size}, Path("/pins"))
    assert (pin.sha256, pin.size) == (digest, size)


@given(st.text(max_size=70))
def test_sha256_is_64_hex_digits_or_refused(digest: str) -> None:
    expected = len(digest) == 64 and set(digest) <= set("0123456789abcdef")
    try:
        parse_pin("mine", {**GOOD, "sha256": digest}, Path("/pins"))
    except ConfigError:
        assert not expected
    else:
        assert expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("default = 'a'\n[pins.a]\nversion = 1\n", "pin 'a'"),
        ("default = 'gone'\n", "gone"),
        ("defualt = 'a'\n", "defualt"),
        ("default = 1\n", "default"),
        ("pins = 3\n", "pins"),
        ("[pins]\na = 3\n", "pins"),
        ("[pins\n", "line 1"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "pins.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        default_pin(tmp_path / "pins.toml")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_pins(tmp_path / "pins.toml")
