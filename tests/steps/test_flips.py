"""A few flipped bits in a store: `make flips` is the whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from llamabuild.store import blobs, sealed
from tests.torture import flips
from tests.torture.flips.kinds import KINDS

pytestmark = pytest.mark.steps
REPOSITORY = Path(__file__).resolve().parents[2]


def test_no_changed_byte_is_used() -> None:
    argv = [sys.executable, "-m", "tests.torture.flips", "--flips", "300", "--seed", "2"]
    ended = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.search(r"^300 flips, wrong: 0;", ended.stdout, re.MULTILINE)
    rows = re.findall(r"^(\S.*?) {2,}(\d+) +(\d+) +(\d+) +(\d+) +0$", ended.stdout, re.MULTILINE)
    assert {row[0] for row in rows} == {kind.name for kind in KINDS}
    for _, *numbers in rows:
        number, refused, mended, harmless = map(int, numbers)
        assert number == refused + mended + harmless >= 300 // len(KINDS)


@pytest.mark.parametrize(
    ("module", "name"), [(blobs, "sound"), (sealed, "_hash")], ids=["blobs", "sealed"]
)
def test_a_store_that_does_not_look_is_found_out(
    module: object, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the test above can fail: with each of its checks gone, flips are used."""
    monkeypatch.setattr(module, name, {"sound": lambda *_: True, "_hash": lambda _: b"x"}[name])
    outcome = flips.run(tmp_path, 3 * len(KINDS), 1)
    assert not outcome.sound
    assert "wrong" in str(outcome)
