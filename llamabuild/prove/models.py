"""Tiny models made from nothing but a seed: nothing to download, the same bytes everywhere.

Each is a complete GGUF file of architecture ``llama`` whose matrices have one weight type. The
shapes are small but reach the fast kernels of ggml: rows in multiples of 32 (AMX tiles, repacked
weights), columns in multiples of 256 (K-quants), grouped-query attention. Quantised blocks are
random bytes, which every type accepts; only the scales are set, so that activations stay of
order one. The random bytes are SHAKE-256 output, which no library version changes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType, quants
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
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
class Blocks:
    """Where a weight type keeps its scales in a block, and what random bytes come to.

    ``scale`` and ``minimum`` are offsets of a half-precision number (-1: none). ``unit`` is the
    standard deviation of the decoded weights at scale 1 with minimum ``centre``: measured once
    over random blocks, and no more exact than it needs to be.
    """

    scale: int
    minimum: int = -1
    centre: float = 0.0
    unit: float


BLOCKS: Mapping[str, Blocks] = {
    "Q8_0": Blocks(scale=0, unit=74.0),
    "Q4_0": Blocks(scale=0, unit=4.64),
    "Q4_1": Blocks(scale=0, minimum=2, centre=-7.5, unit=4.61),
    "Q4_K": Blocks(scale=0, minimum=2, centre=7.5, unit=257.0),
    "Q5_K": Blocks(scale=0, minimum=2, centre=15.5, unit=523.0),
    "Q6_K": Blocks(scale=208, unit=1366.0),
    "IQ4_XS": Blocks(scale=0, unit=1230.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What to make: a weight type, a shape, and the seed of the prompt that goes with it."""

    type: str
    shape: Shape
    prompt_seed: int = 0


TINY = Shape(embedding=256, feed_forward=512, heads=4, kv_heads=2, layers=2)
PROMPT = 64
"""Tokens of a prompt, sent as one batch: kernels for matrices start at 32 rows."""
STEPS = 16
"""Tokens generated one by one after the prompt."""

_TYPES = ("F16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS")
_PROMPT_SEEDS = (6199, 997, 1871, 2448, 845, 442, 328, 20)
"""The lowest ones with a clear and varied answer: ``reference.expect`` says what that is."""
SPECS = tuple(
    Spec(type=name, shape=TINY, prompt_seed=seed)
    for name, seed in zip(_TYPES, _PROMPT_SEEDS, strict=True)
)
_WIDE = Shape(embedding=1024, feed_forward=2816, heads=16, kv_heads=4, layers=2)
SPEED = Spec(type="Q4_0", shape=_WIDE)
"""Large enough (13 MB) that arithmetic, not starting threads, decides its speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Bytes as they stand in the file, and their type."""

    data: NDArray[np.generic]
    type: GGMLQuantizationType


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A generated model, not yet a file."""

    spec: Spec
    tensors: Mapping[str, Tensor]


def prompt(spec: Spec) -> list[int]:
    """The token ids to start from; none of them is a control token."""
    noise = np.frombuffer(_random(f"prompt {spec.type} {spec.prompt_seed}", 4 * PROMPT), "<u4")
    return [int(FIRST_TEXT + n % (spec.shape.vocabulary - FIRST_TEXT)) for n in noise]


def generate(spec: Spec) -> Model:
    """All tensors of a model. The gains make every part of the network matter to its result:
    attention is neither flat nor one-hot, and each layer adds about as much as it is given."""
    shape = spec.shape
    wide, narrow = shape.embedding, shape.kv_heads * shape.head
    matrices: dict[str, tuple[int, int, float]] = {
        "token_embd.weight": (shape.vocabulary, wide, math.sqrt(wide)),
        "output.weight": (shape.vocabulary, wide, 2.0),
    }
    norms = ["output_norm.weight"]
    for n in range(shape.layers):
        matrices |= {
            f"blk.{n}.attn_q.weight": (wide, wide, 1.0),
            f"blk.{n}.attn_k.weight": (narrow, wide, 1.0),
            f"blk.{n}.attn_v.weight": (narrow, wide, 1.0),
            f"blk.{n}.attn_output.weight": (wide, wide, 1.5),
            f"blk.{n}.ffn_gate.weight": (shape.feed_forward, wide, 1.0),
            f"blk.{n}.ffn_up.weight": (shape.feed_forward, wide, 1.0),
            f"blk.{n}.ffn_down.weight": (wide, shape.feed_forward, 1.5),
        }
        norms += [f"blk.{n}.attn_norm.weight", f"blk.{n}.ffn_norm.weight"]
    tensors = {name: _matrix(name, spec.type, *size) for name, size in matrices.items()}
    tensors |= {name: _norm(f"{name} {spec.type}", wide) for name in norms}
    return Model(spec=spec, tensors=tensors)


def weights(model: Model) -> dict[str, Floats]:
    """The numbers that the blocks stand for, decoded by the ``gguf`` package."""
    found = {name: quants.dequantize(t.data, t.type) for name, t in model.tensors.items()}
    return {name: np.ascontiguousarray(w, dtype=np.float32) for name, w in found.items()}


def digest(model: Model) -> str:
    """SHA-256 over the names and bytes of all tensors, as lower-case hex."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.tensors.items()):
        total.update(name.encode())
        total.update(tensor.data.tobytes())
    return total.hexdigest()


def write(model: Model, path: Path) -> None:
    """The model as a GGUF file that llama.cpp loads as it would any other."""
    shape = model.spec.shape
    writer = GGUFWriter(path, "llama")
    writer.add_name(f"llamabuild proof {model.spec.type}")
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.embedding)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_block_count(shape.layers)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocabulary)
    _vocabulary(writer, shape.vocabulary)
    for name, tensor in model.tensors.items():
        writer.add_tensor(name, tensor.data, raw_dtype=tensor.type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _vocabulary(writer: GGUFWriter, size: int) -> None:
    """A SentencePiece vocabulary: three control tokens, all bytes, and invented words."""
    control = ["<unk>", "<s>", "</s>"]
    byte = [f"<0x{n:02X}>" for n in range(256)]
    words = [f"\u2581w{n}" for n in range(size - len(control) - len(byte))]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    kinds += [TokenType.BYTE] * len(byte) + [TokenType.NORMAL] * len(words)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*control, *byte, *words])
    writer.add_token_scores([float(-n) for n in range(size)])
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)


def _random(label: str, count: int) -> bytes:
    return hashlib.shake_256(f"llamabuild proof 1 {label}".encode()).digest(count)


def _matrix(name: str, kind: str, rows: int, columns: int, gain: float) -> Tensor:
    """Weights with standard deviation ``gain / sqrt(columns)``."""
    label = f"{name} {kind}"
    deviation = gain / math.sqrt(columns)
    if kind == "F16":
        noise = np.frombuffer(_random(label, 2 * rows * columns), "<i2").reshape(rows, columns)
        halves = (noise / 32768.0 * math.sqrt(3) * deviation).astype(np.float16)
        return Tensor(data=halves, type=GGMLQuantizationType.F16)
    weight_type = GGMLQuantizationType[kind]
    row = quants.quant_shape_to_byte_shape((rows, columns), weight_type)[1]
    block = quants.GGML_QUANT_SIZES[weight_type][1]
    data = np.frombuffer(_random(label, rows * row), np.uint8).reshape(-1, block).copy()
    if kind == "Q8_0":
        data[data == 0x80] = 0x81  # quantising never gives -128, and kernels may rely on it
    _scale(data, label, BLOCKS[kind], deviation)
    return Tensor(data=data.reshape(rows, row), type=weight_type)


def _scale(data: Bytes, label: str, blocks: Blocks, deviation: float) -> None:
    """Set the scales: they vary by a third around ``deviation``, so that mixing blocks up shows;
    where there is no minimum they vary in sign as well, so that the weights have no bias."""
    noise = np.frombuffer(_random(f"{label} scale", len(data)), np.uint8)
    scale = deviation / blocks.unit * (12 + (noise & 7)) / 16
    if blocks.minimum < 0:
        scale = np.where(noise & 8, -scale, scale)
    data[:, blocks.scale : blocks.scale + 2] = _halves(scale)
    if blocks.minimum >= 0:
        data[:, blocks.minimum : blocks.minimum + 2] = _halves(scale * blocks.centre)


def _halves(values: NDArray[np.float64]) -> Bytes:
    return values.astype("<f2").reshape(-1, 1).view(np.uint8)


def _norm(label: str, size: int) -> Tensor:
    noise = np.frombuffer(_random(label, size), np.uint8)
    return Tensor(data=(0.75 + noise / 512.0).astype(np.float32), type=GGMLQuantizationType.F32)
