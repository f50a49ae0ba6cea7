"""What a format rounds: the numbers that come back after a factor, or a key, was stored in it.

ggml stores activations in 8-bit blocks before it multiplies them with quantised weights, and keys
and values in half precision or 8-bit blocks. The size of these roundings is all that a right result
may differ from the reference by, so the tolerances are computed from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from llamabuild.prove.weights import Doubles

_LARGEST = 127.0


def exact(x: Doubles) -> Doubles:
    """The numbers as they are."""
    return x


def f16(x: Doubles) -> Doubles:
    """Half precision: 11 bits."""
    return x.astype(np.float16).astype(np.float64)


def bf16(x: Doubles) -> Doubles:
    """Brain floating point: the upper half of a float32, to the nearest, ties to even.

    >>> bf16(np.array([1.0, 1.00390625, 1.01171875]))
    array([1.      , 1.      , 1.015625])
    """
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return np.asarray(bits.view(np.float32), dtype=np.float64)


def q8_0(x: Doubles) -> Doubles:
    """Blocks of 32 along the last axis, 8 bits each, with a half-precision scale.

    >>> float(q8_0(np.array([127.0] + [0.4] * 31))[1])
    0.0
    """
    return _blocks(x, 32, f16)


def q8_k(x: Doubles) -> Doubles:
    """Blocks of 256 along the last axis, 8 bits each, with a single-precision scale."""
    return _blocks(x, 256, exact)


def _blocks(x: Doubles, size: int, scale: Callable[[Doubles], Doubles]) -> Doubles:
    blocks = x.reshape(-1, min(size, x.shape[-1]))
    unit = scale(np.abs(blocks).max(axis=1, keepdims=True) / _LARGEST)
    whole = np.rint(blocks / np.where(unit == 0, 1.0, unit))
    return np.asarray(whole * unit).reshape(x.shape)


FORMATS: Mapping[str, Callable[[Doubles], Doubles]] = {
    "exact": exact,
    "f32": exact,
    "f16": f16,
    "bf16": bf16,
    "q8_0": q8_0,
    "q8_1": q8_0,
    "q8_k": q8_k,
}
"""By the names of ``weights.toml`` and of llama.cpp's cache types. ``q8_1`` is ``q8_0`` with the
sum of the block, in half precision, beside it: see ``reference.FLOOR``."""
