"""The forward passes of a decoder (``llama``) and an encoder (``bert``) in NumPy, in float64.

Written from the architectures' definitions and sharing no code with llama.cpp. ``Numerics`` says
what is rounded on the way: nothing in a reference, the formats that ggml may use in a pass that
measures how far a right result may be off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llamabuild.prove import rounding
from llamabuild.prove.models import Shape
from llamabuild.prove.weights import Doubles


@dataclass(frozen=True, slots=True, kw_only=True)
class Numerics:
    """Names of :data:`rounding.FORMATS`: what the activations that meet a matrix are rounded to,
    and the keys and values of attention."""

    activations: str = "exact"
    cache: str = "exact"

    def product(self, x: Doubles, matrix: Doubles) -> Doubles:
        """``x`` times the transposed matrix."""
        return np.asarray(rounding.FORMATS[self.activations](x) @ matrix.T)


EXACT = Numerics()


def decode(
    weights: Mapping[str, Doubles],
    shape: Shape,
    tokens: Sequence[int],
    numerics: Numerics = EXACT,
) -> Doubles:
    """Logits [tokens, vocabulary] of a ``llama`` model: RMS norm, rotary embedding over
    neighbouring pairs, grouped-query attention with a causal mask, SwiGLU."""
    x = weights["token_embd.weight"][list(tokens)]
    for n in range(shape.layers):
        layer = _layer(weights, n)
        normed = _rms_norm(x, layer["attn_norm.weight"], shape.epsilon)
        x = x + _self_attention(layer, shape, normed, numerics)
        normed = _rms_norm(x, layer["ffn_norm.weight"], shape.epsilon)
        gate = _silu(numerics.product(normed, layer["ffn_gate.weight"]))
        up = numerics.product(normed, layer["ffn_up.weight"])
        x = x + numerics.product(gate * up, layer["ffn_down.weight"])
    x = _rms_norm(x, weights["output_norm.weight"], shape.epsilon)
    return numerics.product(x, weights["output.weight"])


def encode(
    weights: Mapping[str, Doubles],
    shape: Shape,
    tokens: Sequence[int],
    numerics: Numerics = EXACT,
) -> Doubles:
    """Hidden states [tokens, embedding] of a ``bert`` model: learned positions, attention without
    a mask, layer norm after each part, GELU (its approximation by tanh)."""
    x = weights["token_embd.weight"][list(tokens)]
    x = x + weights["token_types.weight"][0] + weights["position_embd.weight"][: len(tokens)]
    x = _layer_norm(x, weights, "token_embd_norm", shape.epsilon)
    for n in range(shape.layers):
        layer = _layer(weights, n)
        q, k, v = (_affine(layer, f"attn_{part}", x, numerics) for part in "qkv")
        mixed = _attention(shape, q, k, v, numerics, causal=False)
        x = x + _affine(layer, "attn_output", mixed, numerics)
        x = _layer_norm(x, layer, "attn_output_norm", shape.epsilon)
        up = _gelu(_affine(layer, "ffn_up", x, numerics), numerics)
        x = x + _affine(layer, "ffn_down", up, numerics)
        x = _layer_norm(x, layer, "layer_output_norm", shape.epsilon)
    return x


def score(weights: Mapping[str, Doubles], first: Doubles, numerics: Numerics = EXACT) -> Doubles:
    """The score [1] of a reranker from the hidden state of the first token."""
    dense = np.tanh(_affine(weights, "cls", first[None, :], numerics))
    return np.asarray(
        dense[0] @ weights["cls.output.weight"].T + weights["cls.output.bias"], np.float64
    )


def _layer(weights: Mapping[str, Doubles], n: int) -> dict[str, Doubles]:
    start = f"blk.{n}."
    return {name[len(start) :]: value for name, value in weights.items() if name.startswith(start)}


def _affine(weights: Mapping[str, Doubles], name: str, x: Doubles, numerics: Numerics) -> Doubles:
    return numerics.product(x, weights[f"{name}.weight"]) + weights[f"{name}.bias"]


def _rms_norm(x: Doubles, weight: Doubles, epsilon: float) -> Doubles:
    scale = np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + epsilon)
    return np.asarray(x / scale * weight)


def _layer_norm(x: Doubles, weights: Mapping[str, Doubles], name: str, epsilon: float) -> Doubles:
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = np.sqrt(np.mean(np.square(centred), axis=-1, keepdims=True) + epsilon)
    return np.asarray(centred / scale * weights[f"{name}.weight"] + weights[f"{name}.bias"])


def _silu(x: Doubles) -> Doubles:
    return np.asarray(x / (1 + np.exp(-x)))


def _gelu(x: Doubles, numerics: Numerics) -> Doubles:
    """GELU by tanh. ggml looks it up in a table of halves, which the rounding pass follows."""
    rounded: Callable[[Doubles], Doubles] = rounding.exact
    if numerics != EXACT:
        rounded = rounding.f16
    x = rounded(x)
    inner = np.sqrt(2 / np.pi) * x * (1 + 0.044715 * np.square(x))
    return rounded(np.asarray(0.5 * x * (1 + np.tanh(inner))))


def _rotate(x: Doubles, base: float) -> Doubles:
    """Rotary embedding of [positions, heads, head]: element pairs (2i, 2i+1) turn by
    position / base^(2i/head)."""
    size = x.shape[-1]
    angles = np.outer(np.arange(len(x)), base ** -(np.arange(0, size, 2) / size))[:, None, :]
    cos, sin = np.cos(angles), np.sin(angles)
    even, odd = x[..., 0::2], x[..., 1::2]
    return np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)


def _self_attention(
    layer: Mapping[str, Doubles], shape: Shape, x: Doubles, numerics: Numerics
) -> Doubles:
    """Attention of a decoder, with its output matrix."""
    q, k, v = (numerics.product(x, layer[f"attn_{part}.weight"]) for part in "qkv")
    q = _rotate(q.reshape(len(x), shape.heads, -1), shape.rope_base)
    k = _rotate(k.reshape(len(x), shape.kv_heads, -1), shape.rope_base)
    mixed = _attention(shape, q, k, v, numerics, causal=True)
    return numerics.product(mixed, layer["attn_output.weight"])


def _attention(
    shape: Shape, q: Doubles, k: Doubles, v: Doubles, numerics: Numerics, *, causal: bool
) -> Doubles:
    """Every head's mix of values, side by side: [positions, embedding]."""
    count = len(q)
    rounded = rounding.FORMATS[numerics.cache]
    shared = shape.heads // shape.kv_heads
    queries = q.reshape(count, shape.heads, shape.head).transpose(1, 0, 2)
    keys, values = (
        rounded(part.reshape(count, shape.kv_heads, shape.head))
        .repeat(shared, axis=1)
        .transpose(1, 0, 2)
        for part in (k, v)
    )
    scores = rounded(queries) @ keys.transpose(0, 2, 1) / np.sqrt(shape.head)
    if causal:
        scores = np.where(np.tri(count, dtype=bool), scores, -np.inf)
    mixed = _softmax(scores) @ values
    return np.asarray(mixed.transpose(1, 0, 2).reshape(count, -1))


def _softmax(scores: Doubles) -> Doubles:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
