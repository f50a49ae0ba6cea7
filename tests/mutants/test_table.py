"""The table of mutants itself: complete, known words, edits that change one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamabuild.errors import PROOF_KINDS, ConfigError
from tests.mutants import table
from tests.mutants.files import FILES, FINISHED
from tests.mutants.surroundings import SURROUNDINGS
from tests.mutants.table import Edit

MUTANTS = table.load()


def test_there_are_enough_of_every_class() -> None:
    expected = {mutant.expects[0] for mutant in MUTANTS if not mutant.pending}
    assert len(MUTANTS) - sum(bool(mutant.pending) for mutant in MUTANTS) >= 30
    assert expected >= {
        *("wrong-numbers", "nan", "illegal-instruction", "segfault", "abort", "crash", "timeout"),
        *("memory", "library-missing", "wrong-library", "abi", "load", "silent-cpu"),
    }


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_words_are_known(mutant: table.Mutant) -> None:
    assert set(mutant.expects) <= set(PROOF_KINDS)
    assert mutant.files in {"", *FILES, *FINISHED}
    assert mutant.surroundings in {"", *SURROUNDINGS}
    assert not mutant.options or mutant.edits


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (Edit(file="a.c", old="x;", new="y;"), "2 times"),
        (Edit(file="a.c", old="z;", new="y;"), "0 times"),
        (Edit(file="a.c", old="u;", new="y;", after="f()"), "does not stand in"),
        (Edit(file="a.c", old="x;", new="x;", after="f()"), "by itself"),
    ],
)
def test_an_edit_that_does_not_mean_one_place_is_refused(edit: Edit, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        table.applied("f() {\n x;\n}\ng() {\n x; u;\n}\n", edit)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mutant"),
        ('[[mutant]]\nname = "a"\nabout = ""\nexpects = ["nan"]', "breaks nothing"),
        ('[[mutant]]\nname = "a"\nabout = ""\nexpects = []\nfiles = "removed"', "expects nothing"),
        ('[[mutant]]\nname = "a"\nabout = ""\nexpects = "nan"', "expects"),
    ],
)
def test_a_table_that_says_nothing_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mutants.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        table.load(tmp_path / "mutants.toml")
