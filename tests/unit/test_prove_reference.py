"""The networks obey the laws of what they compute, and answers are judged by computed limits."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamabuild.errors import ConfigError
from llamabuild.prove import cases, models, networks, reference, rounding
from llamabuild.prove.networks import Numerics
from llamabuild.prove.reference import Distance, Expected
from llamabuild.prove.weights import Doubles

SPEC = next(spec for spec in models.DECODERS if spec.type == "F16")
WEIGHTS = models.decoded(models.generate(SPEC))
BERT = models.ENCODERS[0]
BERT_WEIGHTS = models.decoded(models.generate(BERT))
CASES = {case.name: case for case in cases.standard()}
every = pytest.mark.parametrize("name", sorted(CASES))
tokens = st.integers(models.FIRST_TEXT, SPEC.shape.vocabulary - 1)
prompts = st.lists(tokens, min_size=2, max_size=40)


@cache
def expected_of(name: str) -> Expected:
    return cases.expected(CASES[name])


def logits_of(prompt: list[int]) -> Doubles:
    return networks.decode(WEIGHTS, SPEC.shape, prompt)


# --- networks ------------------------------------------------------------------------------------


@given(prompt=prompts, data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_later_token_changes_nothing_before_it(prompt: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(1, len(prompt) - 1))
    other = data.draw(tokens.filter(lambda token: token != prompt[place]))
    before = logits_of(prompt)
    after = logits_of([*prompt[:place], other, *prompt[place + 1 :]])
    np.testing.assert_allclose(after[:place], before[:place], atol=1e-9)
    assert np.abs(after[place] - before[place]).max() > 0.1


def test_the_order_of_the_prompt_matters() -> None:
    prompt = models.prompt(SPEC)
    swapped = [prompt[1], prompt[0], *prompt[2:]]
    assert np.abs(logits_of(prompt)[-1] - logits_of(swapped)[-1]).max() > 0.01


@given(prompt=prompts, data=st.data())
@settings(max_examples=20, deadline=None)
def test_an_encoder_sees_every_token_from_everywhere(
    prompt: list[int], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(prompt) - 1))
    other = data.draw(tokens.filter(lambda token: token != prompt[place]))
    before = networks.encode(BERT_WEIGHTS, BERT.shape, prompt)
    changed = [*prompt[:place], other, *prompt[place + 1 :]]
    after = networks.encode(BERT_WEIGHTS, BERT.shape, changed)
    assert (np.abs(after - before).max(axis=1) > 1e-6).all()


@given(shift=st.integers(0, 100), first=st.integers(0, 60), second=st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_rotation_keeps_lengths_and_depends_on_distance_only(
    shift: int, first: int, second: int
) -> None:
    x, y = (np.tile(WEIGHTS["token_embd.weight"][n, :64], (200, 1, 1)) for n in (5, 6))
    turned_x, turned_y = (networks._rotate(v, 10000.0)[:, 0] for v in (x, y))
    np.testing.assert_allclose(np.linalg.norm(turned_x, axis=1), np.linalg.norm(x[0]), rtol=1e-12)
    near = turned_x[first] @ turned_y[second]
    far = turned_x[first + shift] @ turned_y[second + shift]
    assert near == pytest.approx(far, abs=1e-9)


def test_position_zero_is_not_rotated() -> None:
    x = WEIGHTS["token_embd.weight"][:1, :64].reshape(1, 1, 64)
    np.testing.assert_array_equal(networks._rotate(x, 10000.0), x)


# --- rounding ------------------------------------------------------------------------------------


@given(
    values=st.lists(st.floats(-1e3, 1e3), min_size=256, max_size=256),
    name=st.sampled_from(sorted(rounding.FORMATS)),
)
@settings(max_examples=60, deadline=None)
def test_rounding_twice_is_rounding_once_and_stays_near(values: list[float], name: str) -> None:
    x = np.array(values).reshape(2, 128)
    once = rounding.FORMATS[name](x)
    np.testing.assert_allclose(rounding.FORMATS[name](once), once, rtol=2e-3, atol=1e-6)
    assert np.abs(once - x).max() <= np.abs(x).max() / 127 + 1e-6


def test_whole_numbers_up_to_127_are_not_rounded_by_any_format() -> None:
    x = np.arange(-128.0, 128.0)[1:]
    x = np.append(x, 127.0).reshape(8, 32)
    x[:, 0] = 127.0
    for name, rounded in rounding.FORMATS.items():
        np.testing.assert_array_equal(rounded(x.reshape(1, -1)).reshape(8, 32), x, err_msg=name)


# --- tolerances and verdicts ---------------------------------------------------------------------


@every
def test_limits_are_small_against_what_they_judge(name: str) -> None:
    allowed = expected_of(name).allowed
    assert 0 < allowed.mean < 4e-3
    assert 0 < allowed.worst < 0.5
    exact = CASES[name].spec.family in ("products", "rows")
    assert not exact or allowed.mean <= 1e-6


def test_more_rounding_allows_more() -> None:
    sequences = [models.prompt(SPEC)]
    half, eight = (
        reference.answer(SPEC, WEIGHTS, sequences, cache=cache) for cache in ("f16", "q8_0")
    )
    np.testing.assert_array_equal(half[0], eight[0])
    plain = reference.allowed(SPEC, half[1])
    assert reference.allowed(SPEC, eight[1]).mean > 10 * plain.mean
    assert reference.allowed(SPEC, half[1], ("half",)).mean > plain.mean


@every
def test_the_right_answer_agrees_and_every_kind_of_wrong_one_does_not(name: str) -> None:
    wanted = expected_of(name)

    def verdict(values: Doubles) -> str:
        found = reference.disagreement(values.astype(np.float32), wanted)
        return found[0] if found else ""

    def changed(value: float) -> Doubles:
        values = wanted.values.copy()
        values[-1, 0] += value
        return values

    size = float(np.sqrt(np.mean(np.square(wanted.values))))
    assert verdict(wanted.values) == ""
    assert verdict(changed(np.nan)) == "nan"
    assert verdict(changed(-np.inf)) == "nan"
    assert verdict(changed(2 * wanted.allowed.worst * size + 1e-6)) == "wrong-numbers"
    assert verdict(np.zeros_like(wanted.values)) == "wrong-numbers"
    assert verdict(np.roll(wanted.values, 1, axis=0)) == "wrong-numbers"


SUMMED_IN_HALVES = ("Q4_1 products", "Q5_1 products")


@pytest.mark.parametrize(
    "name",
    [name for name in CASES if name.endswith("products") and name not in SUMMED_IN_HALVES],
)
def test_one_bit_of_every_scale_is_seen(name: str) -> None:
    """The last bit of a half-precision scale is a relative 2^-11 to 2^-10."""
    wanted = expected_of(name)
    off = wanted.values * (1 + 2.0**-11)
    found = reference.disagreement(off.astype(np.float32), wanted)
    assert found is not None
    assert found[0] == "wrong-numbers"


@pytest.mark.parametrize("forgotten", ["attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_down"])
@pytest.mark.parametrize("name", [f"{kind} decoder" for kind in ("F16", "Q4_0", "Q6_K", "IQ2_S")])
def test_a_wrong_matrix_anywhere_is_seen(name: str, forgotten: str) -> None:
    """Rows in another order within each eight, as a wrong repacking would have them."""
    case = CASES[name]
    weights = dict(cases.decoded(case.spec))
    wrong = f"blk.1.{forgotten}.weight"
    rows = weights[wrong]
    weights[wrong] = rows.reshape(-1, 8, rows.shape[1])[:, ::-1].reshape(rows.shape)
    values = networks.decode(weights, case.spec.shape, case.sequences[0])
    assert reference.disagreement(values.astype(np.float32), expected_of(name))


def test_where_rows_are_off_is_said() -> None:
    values = np.ones((4, 3))
    wanted = Expected(values=values, allowed=Distance(mean=1e-6, worst=1e-3))
    off = values.copy()
    off[2:] += 0.5
    kind, why = reference.disagreement(off.astype(np.float32), wanted) or ("", "")
    assert kind == "wrong-numbers"
    assert "2 of 4 rows, 2 to 3" in why


@given(factor=st.floats(0.5, 2))
@settings(max_examples=20, deadline=None)
def test_distance_is_relative(factor: float) -> None:
    expected = logits_of([5, 6, 7])
    found = reference.distance(expected * factor, expected)
    assert found.mean == pytest.approx((factor - 1) ** 2, abs=1e-9)


def test_device_numbers_are_compared_with_rounded_halves() -> None:
    wanted = networks.decode(WEIGHTS, SPEC.shape, [5, 6, 7])
    rounded = networks.decode(
        WEIGHTS, SPEC.shape, [5, 6, 7], Numerics(activations="f16", cache="f16")
    )
    assert 0 < reference.distance(rounded, wanted).mean < reference.FLOOR["half"].mean


# --- text ----------------------------------------------------------------------------------------


def test_the_served_model_has_a_clear_and_varied_answer() -> None:
    text = reference.text(models.SERVED, cases.decoded(models.SERVED))
    assert text.margin >= reference.MARGIN
    assert len(text.tokens) == models.STEPS + 1
    assert len(set(text.tokens)) >= reference.VARIETY


def test_a_model_without_a_clear_answer_is_refused() -> None:
    vague = replace(models.SERVED, prompt_seed=0)
    with pytest.raises(ConfigError, match="no clear answer"):
        reference.text(vague, cases.decoded(models.SERVED))
