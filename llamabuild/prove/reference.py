"""Known answers: what a model must give, and how far a right result may be off.

The answer is a forward pass in NumPy in float64. The tolerance is computed as well: a second pass
rounds what ggml may round (activations to 8 bits for quantised weights, keys and values to half
precision or 8 bits), and its distance from the first, times a margin, is allowed. So the limits
follow from the formats, not from what some build happened to give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llamabuild.errors import ConfigError
from llamabuild.prove import models, networks
from llamabuild.prove.networks import EXACT, Numerics
from llamabuild.prove.weights import TYPES, Doubles, Floats

NAME = "NumPy float64 forward pass"
MARGIN = 0.15
"""The least distance between the best and the second-best logit of a greedy step, in units of
the logits' root mean square. Quantised activations move a logit by about 0.02 of it."""
VARIETY = 8
"""The least number of different tokens in a greedy path: a loop would say little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """How far numbers are from the reference, in units of its root mean square: ``mean`` is the
    normalised mean squared error, ``worst`` the largest difference of one number."""

    mean: float
    worst: float


MORE = Distance(mean=4.0, worst=2.5)
"""The margin: kernels round in another order and in other blocks than the pass that measures."""
FLOOR: Mapping[str, Distance] = {
    "exact": Distance(mean=1e-10, worst=2e-4),
    "q8_1": Distance(mean=1e-6, worst=2e-2),
    "flash": Distance(mean=1e-6, worst=5e-3),
    "half": Distance(mean=4e-5, worst=4e-2),
}
"""What is allowed beside the roundings. ``exact``: sums in single precision, 2^-24 of each of at
most 512 terms. ``flash``: flash attention adds values up in half precision. ``q8_1``: the sum of a
block's activations is kept in half precision, 2^-11 of it, and multiplied with the minimum.
``half``: a device may hold weights, activations and sums in half precision: 2^-11 of each of some
dozen chained products."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must come out: ``values`` is [positions, numbers], one row for each position of each
    sequence in turn (one for each sequence where states are pooled)."""

    values: Doubles
    allowed: Distance


Forward = Callable[[Numerics], Doubles]


def answer(
    spec: models.Spec,
    weights: Mapping[str, Doubles],
    sequences: Sequence[Sequence[int]],
    *,
    cache: str = "f16",
) -> tuple[Doubles, Distance]:
    """The answer of a model to ``sequences``, and how far off a pass is that rounds activations as
    the weight type's kernels do and keeps keys and values as ``cache``."""
    kind = "f32" if spec.family == "rows" else TYPES[spec.type].activations
    values = _forward(spec, weights, sequences, EXACT)
    rounded = _forward(spec, weights, sequences, Numerics(activations=kind, cache=cache))
    return values, distance(rounded, values)


def allowed(spec: models.Spec, rounding: Distance, sums: Sequence[str] = ()) -> Distance:
    """What a right result may be off: the margin over the roundings, and the floor; ``sums`` are
    names of :data:`FLOOR` for what may be added up in less than single precision."""
    kind = "f32" if spec.family == "rows" else TYPES[spec.type].activations
    return _allowed(rounding, (kind, *sums))


def _allowed(found: Distance, sums: Sequence[str]) -> Distance:
    floors = [FLOOR[name] for name in ("exact", *sums) if name in FLOOR]
    return Distance(
        mean=MORE.mean * found.mean + max(floor.mean for floor in floors),
        worst=MORE.worst * found.worst + max(floor.worst for floor in floors),
    )


def _forward(
    spec: models.Spec,
    weights: Mapping[str, Doubles],
    sequences: Sequence[Sequence[int]],
    numerics: Numerics,
) -> Doubles:
    rows = [_one(spec, weights, tokens, numerics) for tokens in sequences]
    return np.concatenate(rows)


def _one(
    spec: models.Spec,
    weights: Mapping[str, Doubles],
    tokens: Sequence[int],
    numerics: Numerics,
) -> Doubles:
    if spec.family not in ("encoder", "reranker"):
        return networks.decode(weights, spec.shape, tokens, numerics)
    states = networks.encode(weights, spec.shape, tokens, numerics)
    if spec.family == "reranker":
        return networks.score(weights, states[0], numerics)[None, :]
    return np.asarray(np.mean(states, axis=0, keepdims=True), np.float64)


def distance(values: Floats | Doubles, wanted: Doubles) -> Distance:
    """The distance of two equally shaped arrays of numbers."""
    size = np.sqrt(np.mean(np.square(wanted)))
    apart = (values.astype(np.float64) - wanted) / size
    return Distance(mean=float(np.mean(np.square(apart))), worst=float(np.abs(apart).max()))


def disagreement(values: Floats, wanted: Expected) -> tuple[str, str] | None:
    """The kind of failure ("nan", "wrong-numbers") and what is wrong, or None."""
    if values.shape != wanted.values.shape:
        return "wrong-numbers", f"{values.shape} numbers instead of {wanted.values.shape}"
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        return "nan", f"{len(bad)} of {len(values)} rows hold NaN or infinity, row {bad[0]} first"
    found, allowed = distance(values, wanted.values), wanted.allowed
    if found.mean <= allowed.mean and found.worst <= allowed.worst:
        return None
    return "wrong-numbers", (
        f"mean squared error {found.mean:.2g} (at most {allowed.mean:.2g}), "
        f"worst {found.worst:.2g} (at most {allowed.worst:.2g}); {_where(values, wanted)}"
    )


def _where(values: Floats, wanted: Expected) -> str:
    """Which rows are off: all, or from where to where."""
    size = np.sqrt(np.mean(np.square(wanted.values)))
    apart = np.abs(values - wanted.values).max(axis=1) / size
    bad = np.flatnonzero(apart > wanted.allowed.worst)
    if not len(bad):
        return "many numbers a little"
    if len(bad) == len(apart):
        return "every row"
    return f"{len(bad)} of {len(apart)} rows, {bad[0]} to {bad[-1]}"


# --- greedy text ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A prompt and the tokens that a model chooses greedily after it."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    margin: float


def text(spec: models.Spec, weights: Mapping[str, Doubles]) -> Text:
    """Prompt and greedy tokens of a model. Raises ConfigError when a step is nearly a tie, the text
    ends or goes round in circles: such an answer cannot tell right from wrong."""
    found = greedy(spec, weights, models.prompt(spec), steps=models.STEPS)
    varied = len(set(found.tokens)) >= VARIETY
    if found.margin < MARGIN or min(found.tokens) < models.FIRST_TEXT or not varied:
        raise ConfigError(
            f"the proof model {spec.name} has no clear answer (margin {found.margin:.3f})",
            "Choose another prompt_seed in llamabuild/prove/models.py.",
        )
    return found


def greedy(
    spec: models.Spec, weights: Mapping[str, Doubles], prompt: Sequence[int], *, steps: int
) -> Text:
    """Greedy tokens, whatever their margin."""
    tokens: list[int] = []
    rows = []
    for _ in range(steps + 1):
        rows.append(networks.decode(weights, spec.shape, [*prompt, *tokens])[-1])
        tokens.append(int(rows[-1].argmax()))
    return Text(prompt=tuple(prompt), tokens=tuple(tokens), margin=margin(np.stack(rows)))


def margin(logits: Doubles) -> float:
    """The least distance of best and second-best in any row, over the rows' root mean square."""
    best = np.partition(logits, -2, axis=1)[:, -2:]
    return float((best[:, 1] - best[:, 0]).min() / np.sqrt(np.mean(np.square(logits))))


def differing(tokens: Sequence[int], wanted: Sequence[int]) -> str:
    """Where two lists of tokens part, in words; an empty string where they do not.

    >>> differing([5, 7], [5, 6])
    'token 2 of 2 is 7, not 6'
    >>> differing([5], [5, 6])
    '1 tokens instead of 2'
    """
    for n, (got, want) in enumerate(zip(tokens, wanted, strict=False), 1):
        if got != want:
            return f"token {n} of {len(wanted)} is {got}, not {want}"
    same = len(tokens) == len(wanted)
    return "" if same else f"{len(tokens)} tokens instead of {len(wanted)}"
