"""Tiny models made from nothing but a seed: nothing to download, the same bytes everywhere.

Five families, each a complete GGUF file:

* ``decoder``: architecture ``llama`` with grouped-query attention and rotary embedding; all its
  matrices have one weight type.
* ``products``: a decoder whose layers add nothing and whose embeddings and gains make every
  activation a whole number up to 127: no rounding of activations is left, so that one wrong bit of
  one scale in the output matrix shows.
* ``rows``: the same with the weight type in the embeddings instead: looking rows up and decoding.
* ``encoder``: architecture ``bert`` with mean pooling.
* ``reranker``: the encoder with a classification head.

The shapes are small but reach the fast kernels of ggml: rows in multiples of 32 (AMX tiles,
repacked weights), columns in multiples of 256 (K-quants).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from llamabuild.prove import weights
from llamabuild.prove.weights import Doubles, Tensor

FIRST_TEXT = 3
"""Token ids below are unknown, begin and end of text: never in a prompt, never an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a model, in elements."""

    embedding: int
    feed_forward: int
    heads: int
    kv_heads: int
    layers: int
    vocabulary: int = 320
    context: int = 512
    rope_base: float = 10000.0
    epsilon: float = 1e-5

    @property
    def head(self) -> int:
        """Elements of one attention head."""
        return self.embedding // self.heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What to make: a family, a weight type, a shape, and the seed of the prompt with it."""

    type: str
    shape: Shape
    prompt_seed: int = 0
    family: str = "decoder"

    @property
    def name(self) -> str:
        """For people and as a file name: "Q4_K-decoder"."""
        return f"{self.type}-{self.family}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A generated model, not yet a file."""

    spec: Spec
    tensors: Mapping[str, Tensor]


TINY = Shape(embedding=256, feed_forward=512, heads=4, kv_heads=2, layers=2)
BERT = Shape(embedding=256, feed_forward=512, heads=4, kv_heads=4, layers=2, epsilon=1e-12)
PLAIN = Shape(embedding=512, feed_forward=256, heads=8, kv_heads=2, layers=1, epsilon=1e-12)
"""For exact answers: two blocks of K-quants in a row, and an epsilon too small to be seen."""
_WIDE = Shape(embedding=1024, feed_forward=2816, heads=16, kv_heads=4, layers=2)
PROMPT = 64
"""Tokens of a prompt, sent as one batch: kernels for matrices start at 32 rows."""
STEPS = 16
"""Tokens after the prompt, one by one."""

SERVED = Spec(type="Q4_K", shape=TINY, prompt_seed=845)
"""Generates text greedily. The seed is the lowest with a clear and varied answer:
``reference.expect`` says what that is."""
SPEED = Spec(type="Q4_0", shape=_WIDE)
"""Large enough (13 MB) that arithmetic, not starting threads, decides its speed."""
DECODERS = tuple(
    SERVED if name == SERVED.type else Spec(type=name, shape=TINY) for name in weights.TYPES
)
PRODUCTS = tuple(Spec(type=name, shape=PLAIN, family="products") for name in weights.TYPES)
ROWS = tuple(Spec(type=name, shape=PLAIN, family="rows") for name in weights.TYPES)
ENCODERS = tuple(Spec(type=name, shape=BERT, family="encoder") for name in ("F16", "Q8_0"))
RERANKER = Spec(type="F16", shape=BERT, family="reranker")


def prompt(spec: Spec, length: int = PROMPT) -> list[int]:
    """The token ids to start from; none of them is a control token."""
    noise = np.frombuffer(
        weights.random(f"prompt {spec.type} {spec.prompt_seed}", 4 * length), "<u4"
    )
    return [int(FIRST_TEXT + n % (spec.shape.vocabulary - FIRST_TEXT)) for n in noise]


def generate(spec: Spec) -> Model:
    """All tensors of a model."""
    return Model(spec=spec, tensors=_FAMILIES[spec.family](spec))


def decoded(model: Model) -> dict[str, Doubles]:
    """The numbers that the blocks stand for, decoded by the ``gguf`` package."""
    return {name: weights.decoded(tensor) for name, tensor in model.tensors.items()}


def digest(model: Model) -> str:
    """SHA-256 over the names and bytes of all tensors, as lower-case hex."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.tensors.items()):
        total.update(name.encode())
        total.update(tensor.data.tobytes())
    return total.hexdigest()


def _decoder(spec: Spec) -> dict[str, Tensor]:
    """The gains make every part of the network matter to its result: attention is neither flat
    nor one-hot, and each layer adds about as much as it is given."""
    shape = spec.shape
    wide = shape.embedding
    found = {
        "token_embd.weight": _matrix(spec, "token_embd", shape.vocabulary, wide, math.sqrt(wide)),
        "output.weight": _matrix(spec, "output", shape.vocabulary, wide, 2.0),
        "output_norm.weight": _norm(spec, "output_norm", wide),
    }
    for n in range(shape.layers):
        for name, rows, columns, gain in _layer(shape, residual=1.5):
            found[f"blk.{n}.{name}.weight"] = _matrix(spec, f"blk.{n}.{name}", rows, columns, gain)
        for name in ("attn_norm", "ffn_norm"):
            found[f"blk.{n}.{name}.weight"] = _norm(spec, f"blk.{n}.{name}", wide)
    return found


def _layer(shape: Shape, residual: float) -> list[tuple[str, int, int, float]]:
    """Matrices of a layer of ``llama``: name, rows, columns, gain."""
    wide, narrow = shape.embedding, shape.kv_heads * shape.head
    return [
        ("attn_q", wide, wide, 1.0),
        ("attn_k", narrow, wide, 1.0),
        ("attn_v", narrow, wide, 1.0),
        ("attn_output", wide, wide, residual),
        ("ffn_gate", shape.feed_forward, wide, 1.0),
        ("ffn_up", shape.feed_forward, wide, 1.0),
        ("ffn_down", wide, shape.feed_forward, residual),
    ]


def _plain(spec: Spec) -> dict[str, Tensor]:
    """What ``products`` and ``rows`` share: layers whose results are zero."""
    shape = spec.shape
    found = {}
    for name, rows, columns, gain in _layer(shape, residual=0.0):
        noise = weights.matrix(name, "F32", rows, columns, gain / math.sqrt(columns))
        found[f"blk.0.{name}.weight"] = noise
    for name in ("attn_norm", "ffn_norm"):
        found[f"blk.0.{name}.weight"] = _norm(spec, name, shape.embedding)
    return found


def _products(spec: Spec) -> dict[str, Tensor]:
    """Embeddings of 1 and -1, whose root mean square is 1, and whole gains: what is multiplied
    with the output matrix are whole numbers, and 127 in every 32 of them makes the scale of every
    8-bit block 1."""
    shape = spec.shape
    signs = np.frombuffer(weights.random("signs", shape.vocabulary * shape.embedding), np.int8)
    gains = np.frombuffer(weights.random("gains", shape.embedding), np.uint8) % 127 + 1
    gains = np.where(np.arange(shape.embedding) % 32 == 7, 127, gains)
    ones = np.where(signs < 0, -1.0, 1.0).reshape(shape.vocabulary, shape.embedding)
    return {
        **_plain(spec),
        "token_embd.weight": weights.floats(ones),
        "output_norm.weight": weights.floats(gains.astype(np.float32)),
        "output.weight": _matrix(spec, "products", shape.vocabulary, shape.embedding, 1 / 64),
    }


def _rows(spec: Spec) -> dict[str, Tensor]:
    shape = spec.shape
    size = (shape.vocabulary, shape.embedding)
    return {
        **_plain(spec),
        "token_embd.weight": _matrix(spec, "rows", *size, math.sqrt(shape.embedding)),
        "output_norm.weight": _norm(spec, "rows", shape.embedding),
        "output.weight": weights.matrix("rows", "F32", *size, 2 / math.sqrt(shape.embedding)),
    }


def _encoder(spec: Spec) -> dict[str, Tensor]:
    shape = spec.shape
    wide = shape.embedding
    found = {
        "token_embd.weight": _matrix(spec, "token_embd", shape.vocabulary, wide, math.sqrt(wide)),
        "token_types.weight": weights.matrix("token_types", "F32", 2, wide, 0.5),
        "position_embd.weight": weights.matrix("position_embd", "F32", shape.context, wide, 0.5),
        **_normed("token_embd_norm", wide),
    }
    for n in range(shape.layers):
        for name, rows, columns, gain in _layer(shape, residual=1.0):
            if name != "ffn_gate":
                label = f"blk.{n}.{name}"
                found[f"{label}.weight"] = _matrix(spec, f"bert {label}", rows, columns, gain)
                found[f"{label}.bias"] = _bias(label, rows)
        for name in ("attn_output_norm", "layer_output_norm"):
            found |= _normed(f"blk.{n}.{name}", wide)
    return found


def _reranker(spec: Spec) -> dict[str, Tensor]:
    wide = spec.shape.embedding
    return {
        **_encoder(spec),
        "cls.weight": _matrix(spec, "cls", wide, wide, 1.0),
        "cls.bias": _bias("cls", wide),
        "cls.output.weight": weights.matrix("cls.output", "F32", 1, wide, 4 / math.sqrt(wide)),
        "cls.output.bias": weights.floats(np.full(1, 0.75)),
    }


_FAMILIES = {
    "decoder": _decoder,
    "products": _products,
    "rows": _rows,
    "encoder": _encoder,
    "reranker": _reranker,
}


def _matrix(spec: Spec, name: str, rows: int, columns: int, gain: float) -> Tensor:
    """Weights with standard deviation ``gain / sqrt(columns)``."""
    label = f"{name}.weight {spec.type}"
    return weights.matrix(label, spec.type, rows, columns, gain / math.sqrt(columns))


def _norm(spec: Spec, name: str, size: int) -> Tensor:
    noise = np.frombuffer(weights.random(f"{name}.weight {spec.type}", size), np.uint8)
    return weights.floats(0.75 + noise / 512.0)


def _normed(name: str, size: int) -> dict[str, Tensor]:
    noise = np.frombuffer(weights.random(name, size), np.uint8)
    return {
        f"{name}.weight": weights.floats(0.75 + noise / 512.0),
        f"{name}.bias": _bias(name, size),
    }


def _bias(name: str, size: int) -> Tensor:
    noise = np.frombuffer(weights.random(f"{name} bias", size), np.uint8)
    return weights.floats((noise - 127.5) / 512.0)
