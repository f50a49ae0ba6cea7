"""The reference obeys the laws of the network it computes, and judges answers by its limits."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamabuild.errors import ConfigError
from llamabuild.prove import models, reference
from llamabuild.prove.models import Floats

SPEC = models.SPECS[0]
MODEL = models.generate(SPEC)
WEIGHTS = models.weights(MODEL)
every = pytest.mark.parametrize("spec", models.SPECS, ids=lambda spec: spec.type)
tokens = st.integers(models.FIRST_TEXT, SPEC.shape.vocabulary - 1)
prompts = st.lists(tokens, min_size=2, max_size=40)


@cache
def model_of(spec: models.Spec) -> models.Model:
    return models.generate(spec)


@cache
def right_of(spec: models.Spec) -> reference.Expected:
    return reference.expect(model_of(spec))


def logits_of(prompt: list[int]) -> Floats:
    return reference.forward(WEIGHTS, SPEC.shape, prompt, ())[0]


@every
def test_every_model_has_a_clear_and_varied_answer(spec: models.Spec) -> None:
    answer = right_of(spec)
    assert answer.margin >= reference.MARGIN
    assert len(answer.tokens) == models.STEPS + 1
    assert answer.logits.shape == (models.PROMPT + models.STEPS, spec.shape.vocabulary)
    assert answer.logits[models.PROMPT - 1 :].argmax(axis=1).tolist() == list(answer.tokens)


def test_a_model_without_a_clear_answer_is_refused() -> None:
    vague = models.generate(replace(SPEC, prompt_seed=0))
    assert reference.run(vague, models.prompt(vague.spec), steps=16).margin < reference.MARGIN
    with pytest.raises(ConfigError, match="no clear answer"):
        reference.expect(vague)


@given(prompt=prompts, data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_later_token_changes_nothing_before_it(prompt: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(1, len(prompt) - 1))
    other = data.draw(tokens.filter(lambda token: token != prompt[place]))
    before = logits_of(prompt)
    after = logits_of([*prompt[:place], other, *prompt[place + 1 :]])
    np.testing.assert_allclose(after[:place], before[:place], atol=1e-4)
    assert np.abs(after[place] - before[place]).max() > 0.1


@given(prompt=prompts, data=st.data())
@settings(max_examples=30, deadline=None)
def test_in_parts_is_the_same_as_in_one_batch(prompt: list[int], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(prompt) - 1))
    head, past = reference.forward(WEIGHTS, SPEC.shape, prompt[:cut], ())
    rows = [head]
    for token in prompt[cut:]:
        row, past = reference.forward(WEIGHTS, SPEC.shape, [token], past)
        rows.append(row)
    np.testing.assert_allclose(np.concatenate(rows), logits_of(prompt), atol=1e-4)


def test_the_order_of_the_prompt_matters() -> None:
    prompt = models.prompt(SPEC)
    swapped = [prompt[1], prompt[0], *prompt[2:]]
    assert np.abs(logits_of(prompt)[-1] - logits_of(swapped)[-1]).max() > 0.01


@given(shift=st.integers(0, 300), first=st.integers(0, 100), second=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_rotation_keeps_lengths_and_depends_on_distance_only(
    shift: int, first: int, second: int
) -> None:
    x, y = (WEIGHTS["token_embd.weight"][n, :64].reshape(1, 1, 64) for n in (5, 6))

    def product(a: int, b: int) -> float:
        turned = [reference._rotate(v, at, 10000.0) for v, at in ((x, a), (y, b))]
        np.testing.assert_allclose(np.linalg.norm(turned[0]), np.linalg.norm(x), rtol=1e-5)
        return float((turned[0] * turned[1]).sum())

    near, far = product(first, second), product(first + shift, second + shift)
    assert near == pytest.approx(far, abs=2e-3)


def test_position_zero_is_not_rotated() -> None:
    x = WEIGHTS["token_embd.weight"][:1, :64].reshape(1, 1, 64)
    np.testing.assert_array_equal(reference._rotate(x, 0, 10000.0), x)


@given(factor=st.floats(0.5, 2))
@settings(max_examples=20, deadline=None)
def test_distance_is_relative(factor: float) -> None:
    expected = logits_of([5, 6, 7])
    found = reference.distance(expected * np.float32(factor), expected)
    assert found.mean == pytest.approx((factor - 1) ** 2, abs=1e-6)
    size = float(np.sqrt(np.mean(np.square(expected))))
    assert found.worst == pytest.approx(
        abs(factor - 1) * float(np.abs(expected).max()) / size, abs=1e-5
    )


@every
def test_the_right_answer_agrees_and_every_kind_of_wrong_one_does_not(spec: models.Spec) -> None:
    right = right_of(spec)
    allowed = reference.tolerance(spec.type)

    def verdict(logits: Floats, answer: tuple[int, ...] = right.tokens) -> str:
        return reference.disagreement(logits, answer, right, allowed)

    def changed(row: int, column: int, value: float) -> Floats:
        logits: Floats = right.logits.copy()
        logits[row, column] = value
        return logits

    assert verdict(right.logits) == ""
    assert "not a finite number" in verdict(changed(70, 3, np.nan))
    assert "not a finite number" in verdict(changed(0, 0, np.inf))
    assert "logits of the prompt" in verdict(changed(12, 40, right.logits[12, 40] + 2))
    assert "logits of the steps" in verdict(changed(70, 40, right.logits[70, 40] - 2))
    assert "logits of the prompt" in verdict(np.zeros_like(right.logits))
    assert "logits of the prompt" in verdict(np.roll(right.logits, 1, axis=1))
    assert "token 17 of 17" in verdict(right.logits, (*right.tokens[:-1], right.tokens[-1] ^ 1))
    assert "16 tokens" in verdict(right.logits, right.tokens[:-1])


@every
def test_one_wrong_block_of_weights_is_seen(spec: models.Spec) -> None:
    """One block (of 32 or 256 weights) of one row of the last matrix with the wrong sign."""
    right = right_of(spec)
    weights = models.weights(model_of(spec))
    weights["output.weight"][100, :256] *= -1
    logits, _ = reference.forward(weights, spec.shape, right.prompt, ())
    wrong = np.concatenate([logits, right.logits[len(right.prompt) :]])
    allowed = reference.tolerance(spec.type)
    assert "worst" in reference.disagreement(wrong, right.tokens, right, allowed)


@pytest.mark.parametrize("forgotten", ["attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_down"])
@every
def test_a_wrong_matrix_anywhere_is_seen(spec: models.Spec, forgotten: str) -> None:
    """Rows in another order within each eight, as a wrong repacking would have them."""
    right = right_of(spec)
    weights = models.weights(model_of(spec))
    name = f"blk.1.{forgotten}.weight"
    weights[name] = (
        weights[name].reshape(-1, 8, weights[name].shape[1])[:, ::-1].reshape(weights[name].shape)
    )
    logits, _ = reference.forward(weights, spec.shape, right.prompt, ())
    wrong = np.concatenate([logits, right.logits[len(right.prompt) :]])
    allowed = reference.tolerance(spec.type)
    assert reference.disagreement(wrong, right.tokens, right, allowed)
