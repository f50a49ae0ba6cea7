"""What servers state is read in both shapes, and nonsense is told from numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter, TokenType
from hypothesis import given
from hypothesis import strategies as st

from llamabuild.backends import Evidence
from llamabuild.prove import serving, stated
from llamabuild.prove.reference import Distance
from llamabuild.prove.serving import Served
from llamabuild.prove.stated import NotStatedError, OlderError, Vocabulary

TEXTS = ["", "", "", "A", "byte: \\xc3", " w1", " w2"]
WORDS = Vocabulary(
    size=7, ids={text: n for n, text in enumerate(TEXTS) if text}, textless=(0, 1, 2, 4)
)
LOGITS = np.array([0.5, -1.0, 0.25, 1.0, 3.0, 2.0, -2.0])
ROW = serving.log_softmax(LOGITS[None, :])[0]
BEST_TEXT = 5

Answer = dict[str, Any]


def today(row: Any = ROW, token: int = BEST_TEXT) -> Answer:
    top = [
        {"id": n, "token": "?", "logprob": row[n]} for n in np.argsort(-np.asarray(ROW)).tolist()
    ]
    entry = {"id": token, "logprob": row[token], "top_logprobs": top}
    return {"tokens": [token], "completion_probabilities": [entry], "timings": {"prompt_n": 3}}


def older(logits: Any = LOGITS) -> Answer:
    """The probabilities after the bias, as a server of 2024 states them."""
    biased = np.exp(WORDS.biased(np.asarray(logits)))
    probs = [
        {"tok_str": text, "prob": float(p)}
        for text, p in zip(TEXTS, biased / biased.sum(), strict=True)
    ]
    return {"completion_probabilities": [{"content": " w1", "probs": probs}]}


def served(rows: Any, unstated: tuple[int, ...] = ()) -> Served:
    empty = Evidence(devices=(), offloaded=0, layers=0, log="")
    values = np.asarray(rows, dtype=np.float32)
    return Served(logprobs=values, tokens=(), evaluated=(), unstated=unstated, evidence=empty)


# --- the two shapes ------------------------------------------------------------------------------


def test_todays_shape_is_read_by_id() -> None:
    found = stated.by_id(today(), WORDS)
    np.testing.assert_allclose(found.row, ROW, rtol=1e-6)
    assert (found.token, found.evaluated, found.unstated) == (BEST_TEXT, 3, ())


def test_the_older_shape_is_read_by_text_and_freed_of_the_bias() -> None:
    found = stated.by_text(older(), WORDS)
    np.testing.assert_allclose(found.row[3:], ROW[3:], atol=1e-6)
    assert np.isnan(found.row[:3]).all()
    assert (found.token, found.unstated) == (BEST_TEXT, (0, 1, 2))


@given(st.lists(st.floats(-15, 15), min_size=7, max_size=7))
def test_any_logits_survive_the_older_shape(logits: list[float]) -> None:
    found = stated.by_text(older(logits), WORDS)
    wanted = serving.log_softmax(np.array([logits]))[0]
    np.testing.assert_allclose(found.row[3:], wanted[3:], atol=1e-4)


def test_the_older_shape_is_noticed() -> None:
    with pytest.raises(OlderError):
        stated.by_id(older(), WORDS)
    with pytest.raises(OlderError):
        stated.several({"results": [older(), older()]}, 2)


def test_null_is_not_a_number() -> None:
    row: list[float | None] = ROW.tolist()
    row[3] = None
    found = stated.by_id(today(row), WORDS)
    assert [math.isnan(value) for value in found.row] == [n == 3 for n in range(7)]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"content": "hello"}, "without probabilities"),
        ({"completion_probabilities": []}, "without probabilities"),
        ({"completion_probabilities": "yes"}, "without probabilities"),
        ({"completion_probabilities": [{"id": 3}]}, "without probabilities"),
        ({"completion_probabilities": [{"id": 3, "top_logprobs": 7}]}, "not understood"),
        ({"completion_probabilities": [{"id": 3, "top_logprobs": [[]]}]}, "not understood"),
        ({"completion_probabilities": [{"id": 3, "top_logprobs": []}]}, "of 0 tokens, not of 7"),
        (today(token=3), "token 3 was chosen, but 5 is more probable"),
        ({**today(), "tokens": [99]}, "not of 7"),
        ({**today(), "tokens": [math.inf]}, "not understood"),
        ({**today(), "tokens": "abc"}, "not understood"),
    ],
)
def test_nonsense_is_not_stated(answer: Answer, words: str) -> None:
    with pytest.raises(NotStatedError, match=words):
        stated.by_id(answer, WORDS)


@pytest.mark.parametrize(
    "probs", [[], [{"tok_str": "A", "prob": 1}] * 7, [{}], None, [{"prob": 1}]]
)
def test_nonsense_in_the_older_shape_is_not_stated(probs: Any) -> None:
    with pytest.raises(NotStatedError):
        stated.by_text({"completion_probabilities": [{"content": "A", "probs": probs}]}, WORDS)


def test_several_answers_come_in_the_order_of_their_prompts() -> None:
    assert stated.several([{"index": 1}, {"index": 0}], 2) == [{"index": 0}, {"index": 1}]
    assert stated.several({"content": ""}, 1) == [{"content": ""}]
    for wrong in ([], [{}], [{"index": 0}, {"index": 0}], [{"index": []}, {}], ["a", "b"], {}):
        with pytest.raises(NotStatedError):
            stated.several(wrong, 2)


@pytest.mark.parametrize(
    "answer",
    [
        [{"index": 0, "embedding": [[0.6, 0.8]]}],
        {"embedding": [0.6, 0.8]},
        {"data": [{"embedding": [0.6, 0.8], "index": 0}]},
    ],
)
def test_embeddings_of_every_shape(answer: Any) -> None:
    np.testing.assert_allclose(stated.states(answer), [[0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize(
    "answer",
    [
        *({}, [], [{}], {"embedding": 3}, {"embedding": []}, {"embedding": "x"}, {"data": None}, 7),
        {"embedding": [[1], [1, 2]]},
        {"data": [{"embedding": [1]}, {"embedding": [1]}]},
    ],
)
def test_what_is_no_embedding_is_not_stated(answer: Any) -> None:
    with pytest.raises(NotStatedError):
        stated.states(answer)


def test_a_vocabulary_is_read_from_a_model_file(tmp_path: Path) -> None:
    words = ["<unk>", "<s>", "</s>", "<0x41>", "<0xC3>", "\u2581w1", "\u2581w2"]
    kinds = [TokenType.UNKNOWN, *[TokenType.CONTROL] * 2, *[TokenType.BYTE] * 2]
    writer = GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_token_list(words)
    writer.add_token_types([*kinds, TokenType.NORMAL, TokenType.NORMAL])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert stated.vocabulary(tmp_path / "model.gguf") == WORDS


# --- numbers held against the reference ----------------------------------------------------------


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=9), st.floats(-1e3, 1e3))
def test_log_softmax_is_a_distribution_and_knows_no_constant(row: list[float], more: float) -> None:
    found = serving.log_softmax(np.array([row]))
    assert np.exp(found).sum() == pytest.approx(1)
    np.testing.assert_allclose(found, serving.log_softmax(np.array([row]) + more), atol=1e-9)


def test_the_unit_is_that_of_logits() -> None:
    logits = np.array([[3.0, 4.0, 0.0, 0.0]])  # root mean square 2.5
    off = served(serving.log_softmax(logits) + np.array([0, 0, 0, 0.25]))
    found = serving.distance(off, logits)
    assert found.worst == pytest.approx(0.1, abs=1e-6)
    assert found.mean == pytest.approx(0.01 / 4, abs=1e-6)


def test_right_numbers_agree_and_one_wrong_does_not() -> None:
    logits = np.stack([LOGITS, LOGITS[::-1]])
    right = serving.log_softmax(logits)
    allowed = Distance(mean=1e-3, worst=0.01)
    assert serving.disagreement(served(right), logits, allowed) is None
    wrong = right.copy()
    wrong[1, 6] += 0.05
    kind, why = serving.disagreement(served(wrong), logits, allowed) or ("", "")
    assert kind == "wrong-numbers"
    assert "worst 0.03 (at most 0.01)" in why
    wrong[1, 6] = math.nan
    assert (serving.disagreement(served(wrong), logits, allowed) or ("",))[0] == "nan"
    assert serving.disagreement(served(wrong, unstated=(6,)), logits, allowed) is None
    assert (serving.disagreement(served(right[:1]), logits, allowed) or ("",))[0] == "wrong-numbers"
