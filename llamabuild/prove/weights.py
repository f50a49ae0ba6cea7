"""Weights made from nothing but a label: the same bytes everywhere, in every type of ggml that the
``gguf`` package can decode, which shares no code with the kernels that are proved.

Quantised blocks are random bytes, which nearly every type accepts; only the scales are set, so that
weights have the size that is asked for. The random bytes are SHAKE-256 output, which no library
version changes. ``weights.toml`` says where each type keeps its scales.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from gguf import GGMLQuantizationType, quants
from numpy.typing import NDArray

from llamabuild import data

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A row of ``weights.toml``, which says what the fields mean; -1 stands for no minimum."""

    activations: str
    form: str = "scaled"
    scale: int = 0
    minimum: int = -1
    centre: float = 0.0
    unit: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Bytes as they stand in the file, and their type."""

    data: NDArray[np.generic]
    type: GGMLQuantizationType


TYPES: Mapping[str, Kind] = {
    name: Kind(**row) for name, row in data.load(data.package("prove/weights.toml")).items()
}
"""Every weight type that is proved, by ggml's name."""


def random(label: str, count: int) -> bytes:
    """``count`` bytes that depend on the label alone."""
    return hashlib.shake_256(f"llamabuild proof 1 {label}".encode()).digest(count)


def matrix(label: str, kind: str, rows: int, columns: int, deviation: float) -> Tensor:
    """A matrix of weights with this standard deviation and mean zero."""
    form = TYPES[kind].form
    if form == "float":
        return floats(_uniform(label, rows, columns) * deviation, kind)
    weight_type = GGMLQuantizationType[kind]
    if form == "quantise":
        normal = (_uniform(label, rows, columns) * deviation).astype(np.float32)
        return Tensor(data=quants.quantize(normal, weight_type), type=weight_type)
    row = quants.quant_shape_to_byte_shape((rows, columns), weight_type)[1]
    block = quants.GGML_QUANT_SIZES[weight_type][1]
    found = np.frombuffer(random(label, rows * row), np.uint8).reshape(-1, block).copy()
    if kind == "Q8_0":
        found[found == 0x80] = 0x81  # quantising never gives -128, and kernels may rely on it
    _scale(found, label, TYPES[kind], deviation)
    return Tensor(data=found.reshape(rows, row), type=weight_type)


def floats(values: NDArray[np.floating], kind: str = "F32") -> Tensor:
    """Numbers as they are, rounded to F32, F16 or BF16."""
    weight_type = GGMLQuantizationType[kind]
    if kind == "F32":
        return Tensor(data=values.astype(np.float32), type=weight_type)
    if kind == "F16":
        return Tensor(data=values.astype(np.float16), type=weight_type)
    return Tensor(data=quants.quantize(values.astype(np.float32), weight_type), type=weight_type)


def decoded(tensor: Tensor) -> Doubles:
    """The numbers that a tensor's blocks stand for."""
    return np.ascontiguousarray(quants.dequantize(tensor.data, tensor.type), dtype=np.float64)


def _uniform(label: str, rows: int, columns: int) -> Doubles:
    """Numbers of mean zero and variance one."""
    noise = np.frombuffer(random(label, 2 * rows * columns), "<i2").reshape(rows, columns)
    return noise / 32768.0 * math.sqrt(3)


def _scale(found: Bytes, label: str, kind: Kind, deviation: float) -> None:
    """Set the scales: they vary by a third around ``deviation``, so that mixing blocks up shows;
    where there is no minimum they vary in sign as well, so that the weights have no bias."""
    noise = np.frombuffer(random(f"{label} scale", len(found)), np.uint8)
    scale = deviation / kind.unit * (12 + (noise & 7)) / 16
    if kind.minimum < 0:
        scale = np.where(noise & 8, -scale, scale)
    if kind.form == "packed":
        _pack(found, scale)
        return
    found[:, kind.scale : kind.scale + 2] = _halves(scale)
    if kind.minimum >= 0:
        found[:, kind.minimum : kind.minimum + 2] = _halves(scale * kind.centre)


def _pack(found: Bytes, scale: Doubles) -> None:
    """IQ1_M: the half's four nibbles stand at the top of the block's last four 16-bit words."""
    half = _halves(scale).view("<u2")
    words = found[:, -8:].copy().view("<u2") & 0x0FFF
    for n in range(4):
        words[:, n] |= ((half[:, 0] >> (4 * n)) & 0xF) << 12
    found[:, -8:] = words.view(np.uint8)


def _halves(values: Doubles) -> Bytes:
    return values.astype("<f2").reshape(-1, 1).view(np.uint8)
