"""What a ``llama-server`` states about the next token, as numbers by token id.

Two shapes of ``completion_probabilities`` are known. Since December 2024: ``top_logprobs`` with
``id`` and ``logprob``. Before: ``probs`` with ``tok_str`` and ``prob``, where texts of control
tokens are all empty and those of bytes that are not text are written out
(``tokens_to_output_formatted_string``).

Neither is sent when the token that was chosen is the first byte of a longer character. So the
choice is turned away from tokens that are no text, by a bias of known size. Today the probabilities
are those before the bias; older servers state those after it, and the bias is taken off again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llamabuild.prove.weights import Floats

_NORMAL, _BYTE = 1, 6
"""``llama_token_type``: only these have a text of their own."""
_HEX = re.compile(r"<0x([0-9A-F]{2})>")
_BIAS = -30.0
"""Added to logits. With logits of order ten nothing underflows in single precision."""
_NOT_UNDERSTOOD = (LookupError, TypeError, ValueError, ArithmeticError)
"""What reading JSON of another shape raises."""
_AGREEING = 1e-3
"""A chosen token may be so much less probable (natural logarithm) than the best: ties."""


class NotStatedError(Exception):
    """An answer does not hold what was asked for; the text says what it lacks."""


class OlderError(Exception):
    """The probabilities are stated in the older shape, and after sampling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The tokens of a model: how many, the ids of texts that only one token has, and the tokens
    that are no text: control tokens and bytes of longer characters."""

    size: int
    ids: Mapping[str, int]
    textless: tuple[int, ...]

    @property
    def bias(self) -> list[tuple[int, float]]:
        """``logit_bias`` of a request."""
        return [(n, _BIAS) for n in self.textless]

    def biased(self, row: Floats) -> Floats:
        """Logits (or logarithms of probabilities, but for a constant) after that bias."""
        found: Floats = row.copy()
        found[list(self.textless)] += _BIAS
        return found

    @property
    def unstated(self) -> tuple[int, ...]:
        """Tokens that have no text of their own."""
        return tuple(sorted(set(range(self.size)) - set(self.ids.values())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """Natural logarithms of the probability of every token, NaN for ``unstated`` ones; the token
    that was chosen, and how many tokens were evaluated for that (0: not said)."""

    row: Floats
    token: int
    evaluated: int
    unstated: tuple[int, ...] = ()


def vocabulary(model: Path) -> Vocabulary:
    """The vocabulary in a GGUF file."""
    from gguf import GGUFReader

    fields = GGUFReader(model).fields
    words = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    texts = [text(word, kind) for word, kind in zip(words, kinds, strict=True)]
    ids = {one: n for n, one in enumerate(texts) if one and texts.count(one) == 1}
    textless = tuple(n for n, one in enumerate(texts) if one not in ids or one.startswith("byte: "))
    return Vocabulary(size=len(words), ids=ids, textless=textless)


def text(word: str, kind: int) -> str:
    """How an older server writes a token of a SentencePiece vocabulary; empty when the text
    does not tell which it is.

    >>> text("\\u2581w7", 1), text("<0x41>", 6), text("<0xC3>", 6), text("</s>", 3)
    (' w7', 'A', 'byte: \\\\xc3', '')
    """
    if kind == _BYTE and (found := _HEX.fullmatch(word)):
        number = int(found[1], 16)
        return chr(number) if number < 0x80 else f"byte: \\x{number:02x}"
    return word.replace("\u2581", " ") if kind == _NORMAL else ""


def by_id(answer: Any, words: Vocabulary) -> Stated:  # noqa: ANN401 - JSON
    """An answer in the shape of today. Raises NotStatedError, or OlderError for the older shape."""
    entry = _entry(answer)
    if "top_logprobs" not in entry:
        raise OlderError if "probs" in entry else NotStatedError("an answer without probabilities")
    try:
        found = {int(one["id"]): _number(one["logprob"]) for one in entry["top_logprobs"]}
        token = int(answer["tokens"][0] if answer.get("tokens") else entry["id"])
    except _NOT_UNDERSTOOD as error:
        raise NotStatedError(f"a probability is not understood: {error!r}") from error
    if sorted(found) != list(range(words.size)) or token not in found:
        raise NotStatedError(f"the probabilities of {len(found)} tokens, not of {words.size}")
    row = np.array([found[n] for n in range(words.size)], dtype=np.float32)
    biased = words.biased(row)
    best = int(biased.argmax())
    if biased[token] < biased[best] - _AGREEING:
        raise NotStatedError(f"token {token} was chosen, but {best} is more probable")
    return Stated(row=row, token=token, evaluated=_evaluated(answer))


def by_text(answer: Any, words: Vocabulary) -> Stated:  # noqa: ANN401 - JSON
    """An answer in the older shape, after sampling that changes nothing but the bias. Raises
    NotStatedError."""
    try:
        found = [(item["tok_str"], _logarithm(item["prob"])) for item in _entry(answer)["probs"]]
    except _NOT_UNDERSTOOD as error:
        raise NotStatedError(f"a probability is not understood: {error!r}") from error
    if len(found) != words.size or words.ids.keys() - dict(found).keys():
        raise NotStatedError(f"the probabilities of {len(found)} tokens, not of {words.size}")
    row, rest = np.full(words.size, np.nan), []
    for one, value in found:
        if one in words.ids:
            row[words.ids[one]] = value
        else:
            rest.append(value - _BIAS)
    row[list(words.textless)] -= _BIAS
    row -= np.log(np.nansum(np.exp(row)) + np.exp(rest).sum())
    return Stated(
        row=row.astype(np.float32),
        token=words.ids[max(words.ids, key=dict(found).__getitem__)],
        evaluated=_evaluated(answer),
        unstated=words.unstated,
    )


def states(answer: Any) -> Floats:  # noqa: ANN401 - JSON
    """The state (without pooling: states of all tokens) in an answer of ``/embedding``, of any
    release: ``[{"embedding": ...}]``, ``{"embedding": ...}`` or ``{"data": [...]}``.

    >>> states([{"index": 0, "embedding": [[1, 2]]}]).tolist()
    [[1.0, 2.0]]
    """
    try:
        data = answer.get("data", [answer]) if isinstance(answer, dict) else answer
        (one,) = data
        found = np.array(one["embedding"], dtype=np.float32)
        return found.reshape(-1, found.shape[-1])
    except _NOT_UNDERSTOOD as error:
        raise NotStatedError(f"an embedding is not understood: {error!r}") from error


def several(answer: Any, count: int) -> Sequence[Any]:  # noqa: ANN401 - JSON
    """The answers to ``count`` prompts of one request, in their order. Raises NotStatedError, or
    OlderError for servers that leave the order open."""
    if isinstance(answer, dict) and "results" in answer:
        raise OlderError
    found = answer if isinstance(answer, list) else [answer]
    if len(found) != count or not all(isinstance(one, dict) for one in found):
        raise NotStatedError(f"{len(found)} answers to {count} prompts")
    places = [one.get("index", n) for n, one in enumerate(found)]
    if any(n not in places for n in range(count)):
        raise NotStatedError(f"answers to the prompts {places}")
    return [found[places.index(n)] for n in range(count)]


def _entry(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    try:
        entry = answer["completion_probabilities"][0]
    except _NOT_UNDERSTOOD:
        raise NotStatedError("an answer without probabilities") from None
    if not isinstance(entry, dict):
        raise NotStatedError("an answer without probabilities")
    return entry


def _number(value: Any) -> float:  # noqa: ANN401 - JSON
    """JSON has no NaN: ``null`` stands for it."""
    return math.nan if value is None else float(value)


def _logarithm(probability: Any) -> float:  # noqa: ANN401 - JSON
    number = _number(probability)
    return math.log(number) if number > 0 else -math.inf


def _evaluated(answer: Mapping[str, Any]) -> int:
    timings = answer.get("timings")
    count = timings.get("prompt_n") if isinstance(timings, dict) else None
    return count if isinstance(count, int) else 0
