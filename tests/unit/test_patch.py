"""Patches: they fit exactly or are refused, nothing outside the tree is touched, and the shipped
ones say what they claim."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild import pins, plan
from llamabuild.errors import IntegrityError
from llamabuild.fetch.patch import apply, changed, parse
from llamabuild.model import Patch, Pin
from tests.unit import values

OLD = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n"
NEW = OLD.replace("two\n", "2\n").replace("nine\n", "nine\nten\n")
HEAD = "--- a/vendor/x.c\n+++ b/vendor/x.c\n"
BODY = "@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n"


def patch(text: str) -> Patch:
    return Patch(name="mine", sha256="0" * 64, text=text, why="w", until="u")


def diff(old: str, new: str, *, path: str = "vendor/x.c", context: int = 3) -> str:
    before, after = (text.split("\n")[:-1] for text in (old, new))
    made = difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", lineterm="", n=context)
    return "".join(f"{line}\n" for line in made)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "top" / "vendor").mkdir(parents=True)
    (tmp_path / "top" / "vendor" / "x.c").write_bytes(OLD.encode())
    (tmp_path / "outside").write_bytes(OLD.encode())
    return tmp_path / "top"


def refusal(text: str, tree: Path) -> str:
    with pytest.raises(IntegrityError) as caught:
        apply(patch(text), tree)
    assert caught.value.message.startswith("patch mine cannot be applied: ")
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert (tree.parent / "outside").read_bytes() == OLD.encode()
    return caught.value.message


# --- what fits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [0, 1, 3])
def test_a_patch_that_fits(tree: Path, context: int) -> None:
    (tree / "vendor" / "x.c").chmod(0o755)
    apply(patch(diff(OLD, NEW, context=context)), tree)
    assert (tree / "vendor" / "x.c").read_bytes() == NEW.encode()
    assert (tree / "vendor" / "x.c").stat().st_mode & 0o777 == 0o755


def test_words_of_git_and_times_of_diff(tree: Path) -> None:
    git = "diff --git a/vendor/x.c b/vendor/x.c\nindex 83db48f..bf269f4 100644\n"
    apply(patch(git + HEAD + BODY.replace("@@\n", "@@ int main(void)\n")), tree)
    assert (tree / "vendor" / "x.c").read_text().startswith("one\n2\n")
    times = "--- a/vendor/x.c\t2026-01-01 00:00:00\n+++ b/vendor/x.c\t2026-01-02 00:00:00\n"
    apply(patch(times + BODY.replace("two", "2").replace("+2", "+zwei")), tree)
    assert (tree / "vendor" / "x.c").read_text().startswith("one\nzwei\n")


def test_several_files_and_hunks(tree: Path) -> None:
    (tree / "y.c").write_text(OLD)
    apply(patch(diff(OLD, NEW, path="y.c") + diff(OLD, NEW)), tree)
    assert (tree / "y.c").read_text() == (tree / "vendor" / "x.c").read_text() == NEW


def test_other_bytes_of_the_file_stay(tree: Path) -> None:
    odd = b"one\ntwo\nthree\n\xff\xfe \r \x0c \x85\r\nno end"
    (tree / "vendor" / "x.c").write_bytes(odd)
    apply(patch(HEAD + BODY), tree)
    assert (tree / "vendor" / "x.c").read_bytes() == odd.replace(b"two", b"2")


def test_carriage_returns_are_part_of_the_lines(tree: Path) -> None:
    crlf = OLD.replace("\n", "\r\n")
    (tree / "vendor" / "x.c").write_bytes(crlf.encode())
    assert "line 1 should be 'one\\n', there is 'one\\r\\n'" in refusal(HEAD + BODY, tree)
    apply(patch(diff(crlf, NEW.replace("\n", "\r\n"))), tree)
    assert (tree / "vendor" / "x.c").read_bytes() == NEW.replace("\n", "\r\n").encode()


@given(
    st.lists(st.sampled_from("abc\r\x0c"), max_size=12),
    st.lists(st.sampled_from("abc\r\x0c"), max_size=12),
    st.integers(0, 3),
)
def test_what_diff_writes_leads_from_one_text_to_the_other(
    old: list[str], new: list[str], context: int
) -> None:
    before, after = ("".join(f"{line}\n" for line in one) for one in (old, new))
    text = diff(before, after, context=context)
    if not text:
        assert old == new
        return
    (change,) = parse(text)
    lines = [f"{line}\n" for line in old]
    assert "".join(changed(lines, change.hunks)) == after


# --- what does not -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (" one", " eins", "hunk 1 does not fit: line 1 should be 'eins\\n', there is 'one\\n'"),
        ("-two", "- two", "line 2 should be ' two\\n', there is 'two\\n'"),
        (" three", " three ", "line 3 should be 'three \\n', there is 'three\\n'"),
        ("-1,3", "-2,3", "line 2 should be 'one\\n', there is 'two\\n'"),
        ("-1,3", "-9,3", "line 9 should be 'one\\n', there is 'nine\\n'"),
        ("-1,3", "-99,3", "line 99 should be 'one\\n', the file has ended"),
        ("-1,3", "-0,3", "hunk 1 begins before"),
    ],
)
def test_wrong_context_or_place(tree: Path, old: str, new: str, words: str) -> None:
    assert old in BODY
    message = refusal(HEAD + BODY.replace(old, new), tree)
    assert words in message
    assert "vendor/x.c: hunk 1" in message
    assert (tree / "vendor" / "x.c").read_text() == OLD


def test_the_hunk_is_counted(tree: Path) -> None:
    assert "hunk 2 does not fit" in refusal(diff(OLD, NEW).replace(" eight", " 8"), tree)
    assert "hunk 2 begins before" in refusal(HEAD + BODY + BODY, tree)


def test_applied_twice_is_refused(tree: Path) -> None:
    apply(patch(diff(OLD, NEW)), tree)
    assert "line 2 should be 'two\\n', there is '2\\n'" in refusal(diff(OLD, NEW), tree)


def test_lines_beyond_the_end(tree: Path) -> None:
    insertion = "@@ -99,0 +100 @@\n+x\n"
    assert "the file has no line 100" in refusal(HEAD + insertion, tree)
    (tree / "vendor" / "x.c").write_text("one\ntwo\nthree")  # its last line has no end
    assert "should be 'three\\n', there is 'three'" in refusal(HEAD + BODY, tree)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("../outside", "leaves the archive"),
        ("vendor/../../outside", "leaves the archive"),
        ("/etc/passwd", "absolute"),
        ("C:/x.c", "means something else"),
        ("..\\outside", "means something else"),
        ("vendor/gone.c", "there is no file"),
        ("vendor", "there is no file"),
        ("", "there is no file"),
    ],
)
def test_paths_stay_inside(tree: Path, path: str, words: str) -> None:
    assert words in refusal(HEAD.replace("vendor/x.c", path) + BODY, tree)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "diff --git a/x b/x\n",
        "Some words first.\n" + HEAD + BODY,
        HEAD,
        HEAD + "@@ nonsense @@\n",
        HEAD + BODY.replace("-1,3", "-1,2"),
        HEAD + BODY.replace("-1,3", "-1,4"),
        HEAD + BODY.replace("+1,3", "+1,9"),
        HEAD + BODY.replace("-two\n+2\n", " two\n"),
        HEAD + BODY + "more\n",
        HEAD + BODY + "\n",
        HEAD + BODY[:-1],
        HEAD + BODY + HEAD + BODY,
        HEAD + BODY + "\\ No newline at end of file\n",
        (HEAD + BODY).replace("\n", "\r\n"),
        HEAD.replace("b/vendor/x.c", "b/vendor/y.c") + BODY,
        HEAD.replace("a/vendor/x.c", "/dev/null") + BODY,
        HEAD.replace("b/vendor/x.c", "/dev/null") + BODY,
        HEAD.replace("a/", "").replace("b/", "") + BODY,
        "rename from vendor/x.c\nrename to vendor/y.c\n" + HEAD + BODY,
        "new file mode 100644\n" + HEAD + BODY,
        BODY,
    ],
    ids=repr,
)
def test_what_is_not_understood_is_refused(tree: Path, text: str) -> None:
    refusal(text, tree)
    assert (tree / "vendor" / "x.c").read_text() == OLD


@given(st.text(alphabet="-+ @\n\r,019ab/\\", max_size=60))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        changes = parse(HEAD + text)
    except ValueError:
        return
    assert sum(len(change.hunks) for change in changes) == len(re.findall(r"(?m)^@@ -", text))


# --- the shipped ones ----------------------------------------------------------------------------

SHIPPED = [(pin, one) for pin in pins.load_pins().values() for one in pin.patches]


def test_a_patch_is_part_of_what_a_plan_is_called_by() -> None:
    made = values.plan()
    one, two = (replace(patch(HEAD + BODY), sha256=digit * 64) for digit in "12")
    keys = {
        plan.key(replace(made, pin=replace(made.pin, patches=some)))
        for some in ((), (one,), (two,), (one, two), (replace(one, why="x", text="y"),))
    }
    assert len(keys) == 4


@pytest.mark.parametrize(("pin", "one"), SHIPPED, ids=lambda value: value.name)
def test_shipped_patches_only_add_guards(pin: Pin, one: Patch) -> None:
    """With the macro defined, what the compiler sees is what it saw before."""
    for change in parse(one.text):
        assert change.path.startswith(pin.tree)
        seen = [line for hunk in change.hunks for line in _compiled(hunk.new)]
        before = [line for hunk in change.hunks for line in hunk.old]
        assert seen == before


def _compiled(lines: tuple[str, ...]) -> list[str]:
    """Lines that are compiled where VK_EXT_layer_settings is defined. The guard may begin in one
    hunk and end in the next: only what lies after #else is left out."""
    kept, alive, own = [], True, False
    for line in lines:
        if line == "#ifdef VK_EXT_layer_settings\n":
            own = True
        elif line == "#else\n":
            alive, own = False, True
        elif line == "#endif\n" and own:
            alive = True
        elif alive:
            kept.append(line)
    return kept
