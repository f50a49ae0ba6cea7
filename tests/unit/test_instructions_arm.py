from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llamabuild.backends import cpu_table
from llamabuild.instructions_arm import _TABLE, FEATURES, feature_of


def test_no_row_asks_for_bits_outside_its_mask() -> None:
    assert [row for row in _TABLE if row.value & ~row.mask] == []


def test_every_row_can_be_reached() -> None:
    """The bits that a row leaves open never make it the case of a row before it for all words."""
    for number, row in enumerate(_TABLE):
        for before in _TABLE[:number]:
            common = before.mask & ~row.mask == 0
            assert not (common and row.value & before.mask == before.value), row


def test_what_ggml_can_use_has_the_name_that_its_option_has() -> None:
    mine = {row.name for row in cpu_table.extensions("aarch64")}
    assert mine <= FEATURES


def test_the_code_that_a_probe_tries_is_an_instruction_of_its_feature() -> None:
    for row in cpu_table.extensions("aarch64"):
        assert feature_of(bytes.fromhex(row.code)) == row.name


@given(st.binary(max_size=3))
def test_a_word_that_is_cut_off_belongs_to_nothing(start: bytes) -> None:
    assert feature_of(start) == ""


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=12))
def test_only_the_first_word_counts(word: bytes, behind: bytes) -> None:
    assert feature_of(word + behind) == feature_of(word)
    assert feature_of(word) in FEATURES | {""}
