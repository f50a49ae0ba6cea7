"""The known answer: the forward pass of a Llama model in NumPy, in float32.

Written from the architecture's definition and sharing no code with llama.cpp: RMS norm, rotary
embedding over neighbouring pairs, grouped-query attention with a causal mask, SwiGLU. Weights
are decoded, activations are never quantised; llama.cpp does quantise them (to 8 bits, for most
weight types), which is why a small difference is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llamabuild.errors import ConfigError
from llamabuild.prove import models
from llamabuild.prove.models import Floats, Shape

NAME = "NumPy float32 forward pass"
MARGIN = 0.15
"""The least distance between the best and the second-best logit of a greedy step, in units of
the logits' root mean square. Quantised activations move a logit by about 0.02 of it."""
VARIETY = 8
"""The least number of different tokens in a greedy path: a loop would say little."""

Past = tuple[tuple[Floats, Floats], ...]
"""Keys and values of each layer so far: [positions, kv_heads, head]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """How far logits are from the reference, in units of its root mean square: ``mean`` is the
    normalised mean squared error, ``worst`` the largest difference of one logit."""

    mean: float
    worst: float


EXACT = Distance(mean=1e-4, worst=0.05)
"""For F16 weights: only the attention cache and, in some kernels, activations are rounded to
half precision, 2^-11 of each number. AVX-512 kernels gave 3e-7 and 0.003; kernels that also
add up in half precision (some GPUs) may give thirty times that."""
QUANTISED = Distance(mean=3e-3, worst=0.4)
"""For quantised weights ggml rounds activations to 8 bits, with one scale for 32 or 256 of them.
A block whose largest element is 2.1 (2.8) standard deviations has an error of 2.1/127/sqrt(12)
= 0.5 % (0.6 %) of one, so each product adds 2.3e-5 (4e-5) to the mean squared error; two layers
chain nine of them, and attention amplifies. AVX-512 kernels gave 1.6e-4 to 5.1e-4 and 0.06 to
0.15. One wrong scale of a row of ``output.weight`` gives about 1.8; a kernel that mixes up rows
or blocks, or forgets a minimum, gives errors of order one."""


def tolerance(kind: str) -> Distance:
    """What is allowed for a weight type."""
    return EXACT if kind == "F16" else QUANTISED


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The answer to a prompt: logits of every position of the prompt and of every step, and
    the tokens chosen greedily: the first after the prompt, one more after each step."""

    prompt: tuple[int, ...]
    logits: Floats
    tokens: tuple[int, ...]
    margin: float


def expect(model: models.Model, *, steps: int = models.STEPS) -> Expected:
    """Prompt and greedy steps of a model. Raises ConfigError when a step is nearly a tie,
    the text ends or goes round in circles: such an answer cannot tell right from wrong."""
    answer = run(model, models.prompt(model.spec), steps=steps)
    varied = len(set(answer.tokens)) >= min(VARIETY, steps)
    if answer.margin < MARGIN or min(answer.tokens) < models.FIRST_TEXT or not varied:
        raise ConfigError(
            f"the proof model {model.spec.type} has no clear answer (margin {answer.margin:.3f})",
            "Choose another prompt_seed in llamabuild/prove/models.py.",
        )
    return answer


def run(model: models.Model, prompt: Sequence[int], *, steps: int) -> Expected:
    """Prompt and greedy steps, whatever their margin."""
    weights, shape = models.weights(model), model.spec.shape
    rows, past = forward(weights, shape, prompt, ())
    logits = [rows]
    tokens = [int(rows[-1].argmax())]
    for _ in range(steps):
        rows, past = forward(weights, shape, tokens[-1:], past)
        logits.append(rows)
        tokens.append(int(rows[-1].argmax()))
    every = np.concatenate(logits)
    return Expected(
        prompt=tuple(prompt),
        logits=every,
        tokens=tuple(tokens),
        margin=margin(every[len(prompt) - 1 :]),
    )


def margin(logits: Floats) -> float:
    """The least distance of best and second-best in any row, over the rows' root mean square."""
    best = np.partition(logits, -2, axis=1)[:, -2:]
    return float((best[:, 1] - best[:, 0]).min() / np.sqrt(np.mean(np.square(logits))))


def distance(logits: Floats, expected: Floats) -> Distance:
    """The distance of two equally shaped arrays of logits."""
    size = np.sqrt(np.mean(np.square(expected, dtype=np.float64)))
    apart = (logits.astype(np.float64) - expected) / size
    return Distance(mean=float(np.mean(np.square(apart))), worst=float(np.abs(apart).max()))


def disagreement(
    logits: Floats, tokens: Sequence[int], expected: Expected, allowed: Distance
) -> str:
    """What is wrong with an answer, or an empty string. Steps are judged only where the tokens
    agree: after another token, other logits are right."""
    if not np.isfinite(logits).all():
        return "a logit is not a finite number"
    prompt = len(expected.prompt)
    return (
        _apart("prompt", distance(logits[:prompt], expected.logits[:prompt]), allowed)
        or differing(tokens, expected.tokens)
        or _apart("steps", distance(logits[prompt:], expected.logits[prompt:]), allowed)
    )


def _apart(part: str, found: Distance, allowed: Distance) -> str:
    if found.mean <= allowed.mean and found.worst <= allowed.worst:
        return ""
    return (
        f"logits of the {part} differ from the reference: mean squared error {found.mean:.2g} "
        f"(at most {allowed.mean:.2g}), worst {found.worst:.2g} (at most {allowed.worst:.2g})"
    )


def differing(tokens: Sequence[int], expected: Sequence[int]) -> str:
    """Where two lists of tokens part, in words; an empty string where they do not.

    >>> differing([5, 7], [5, 6])
    'token 2 of 2 is 7, not 6'
    >>> differing([5], [5, 6])
    '1 tokens instead of 2'
    """
    for n, (got, want) in enumerate(zip(tokens, expected, strict=False), 1):
        if got != want:
            return f"token {n} of {len(expected)} is {got}, not {want}"
    same = len(tokens) == len(expected)
    return "" if same else f"{len(tokens)} tokens instead of {len(expected)}"


def forward(
    weights: Mapping[str, Floats], shape: Shape, tokens: Sequence[int], past: Past
) -> tuple[Floats, Past]:
    """Logits [tokens, vocabulary] of ``tokens`` that follow ``past``, and the longer past."""
    x = weights["token_embd.weight"][list(tokens)]
    grown = []
    for n in range(shape.layers):
        layer = {
            name.removeprefix(f"blk.{n}.").removesuffix(".weight"): weight
            for name, weight in weights.items()
            if name.startswith(f"blk.{n}.")
        }
        mixed, seen = _attention(layer, shape, x, past[n] if past else None)
        grown.append(seen)
        x = x + mixed
        x = x + _feed_forward(layer, _rms_norm(x, layer["ffn_norm"], shape.epsilon))
    x = _rms_norm(x, weights["output_norm.weight"], shape.epsilon)
    return x @ weights["output.weight"].T, tuple(grown)


def _rms_norm(x: Floats, weight: Floats, epsilon: float) -> Floats:
    scale = np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + np.float32(epsilon))
    return np.asarray(x / scale * weight)


def _rotate(x: Floats, first: int, base: float) -> Floats:
    """Rotary embedding of [positions, heads, head] whose first position is ``first``: element
    pairs (2i, 2i+1) turn by position / base^(2i/head)."""
    size = x.shape[-1]
    positions = np.arange(first, first + len(x), dtype=np.float64)
    angles = np.outer(positions, base ** -(np.arange(0, size, 2) / size))[:, None, :]
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    even, odd = x[..., 0::2], x[..., 1::2]
    return np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)


def _attention(
    layer: Mapping[str, Floats], shape: Shape, x: Floats, past: tuple[Floats, Floats] | None
) -> tuple[Floats, tuple[Floats, Floats]]:
    count = len(x)
    first = len(past[0]) if past else 0
    x = _rms_norm(x, layer["attn_norm"], shape.epsilon)
    query = (x @ layer["attn_q"].T).reshape(count, shape.heads, shape.head)
    key = (x @ layer["attn_k"].T).reshape(count, shape.kv_heads, shape.head)
    value = (x @ layer["attn_v"].T).reshape(count, shape.kv_heads, shape.head)
    query = _rotate(query, first, shape.rope_base)
    key = _rotate(key, first, shape.rope_base)
    if past:
        key, value = np.concatenate([past[0], key]), np.concatenate([past[1], value])
    shared = shape.heads // shape.kv_heads
    keys, values = (part.repeat(shared, axis=1).transpose(1, 0, 2) for part in (key, value))
    scores = query.transpose(1, 0, 2) @ keys.transpose(0, 2, 1) / np.float32(shape.head**0.5)
    future = np.arange(len(key))[None, :] > np.arange(first, first + count)[:, None]
    mixed = _softmax(np.where(future, np.float32(-np.inf), scores)) @ values
    return mixed.transpose(1, 0, 2).reshape(count, -1) @ layer["attn_output"].T, (key, value)


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _feed_forward(layer: Mapping[str, Floats], x: Floats) -> Floats:
    gate = x @ layer["ffn_gate"].T
    up = x @ layer["ffn_up"].T
    return np.asarray((gate / (1 + np.exp(-gate)) * up) @ layer["ffn_down"].T)
