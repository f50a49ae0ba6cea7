"""Patches on the way from a pin to a source: all of them are in the tree, or there is no tree."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import pins
from llamabuild.model import Patch, Pin
from tests.steps.fetch.running import FILE, OPTION, Run

pytestmark = pytest.mark.steps
GUARD = """--- a/tree/CMakeLists.txt
+++ b/tree/CMakeLists.txt
@@ -1 +1,2 @@
 option(GGML_X "x" ON)
+option(GGML_Y "y" ON)
"""


def patch(text: str, name: str = "guard") -> Patch:
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return Patch(name=name, sha256=sha256, text=text, why="w", until="u")


@pytest.fixture
def local(pin: Pin, archive: bytes, tmp_path: Path) -> Pin:
    """The pin with its archive in a folder."""
    (tmp_path / FILE).write_bytes(archive)
    return replace(pin, urls=(str(tmp_path / FILE),))


def test_a_patched_tree_is_another_one(run: Run, local: Pin) -> None:
    plain = run(local)
    patched = replace(local, patches=(patch(GUARD),))
    run.cmake += b'option(GGML_Y "y" ON)\n'
    other = run(patched)
    assert plain.root != other.root
    assert (plain.tree / "CMakeLists.txt").read_bytes() == OPTION
    assert run(patched) == other
    assert len(list((run.cache / "downloads").glob("*.tar.gz"))) == 1


def test_patches_are_applied_in_their_order(run: Run, local: Pin) -> None:
    second = GUARD.replace(" option", "-option").replace("+option(GGML_Y", "+option(GGML_Z")
    second = second.replace("@@ -1 +1,2 @@", "@@ -1 +1 @@")
    both = (patch(GUARD), patch(second, "second"))
    message = run.refused(replace(local, patches=both[::-1]))
    assert "patch guard cannot be applied: tree/CMakeLists.txt: hunk 1 does not fit" in message
    run.cmake = b'option(GGML_Z "y" ON)\noption(GGML_Y "y" ON)\n'
    run(replace(local, patches=both))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (' option(GGML_X "x" ON)', ' option(GGML_X "x" OFF)', "hunk 1 does not fit: line 1"),
        ("tree/", "other/", "there is no file other/CMakeLists.txt"),
        ("tree/", "../tree/", "leaves the archive"),
    ],
)
def test_one_that_does_not_fit_leaves_no_tree(
    run: Run, local: Pin, old: str, new: str, words: str
) -> None:
    wrong = replace(local, patches=(patch(GUARD.replace(old, new)),))
    message = run.refused(wrong)
    assert message.startswith("IntegrityError: patch guard")
    assert words in message
    assert not list((run.cache / "sources").glob("*.part"))
    run(local)


def test_what_a_tree_is_called_by(pin: Pin) -> None:
    """Without patches by its archive alone, as it always was."""
    one, two = patch(GUARD), patch(GUARD + "x", "two")
    assert pins.identity(pin) == pin.sha256
    several = [(), (one,), (two,), (one, two), (two, one)]
    assert len({pins.identity(replace(pin, patches=some)) for some in several}) == 5
    reworded = replace(one, why="better said")
    assert pins.identity(replace(pin, patches=(reworded,))) == pins.identity(
        replace(pin, patches=(one,))
    )
