"""What is run: which models, with which tokens, in which batches, with which cache and attention.

Tokens are given and never chosen, so a result is right or wrong by its numbers alone. Each case
names what it is there for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from threadpoolctl import threadpool_limits

from llamabuild.prove import files, models, reference
from llamabuild.prove.models import Spec
from llamabuild.prove.reference import Distance, Expected
from llamabuild.prove.weights import Doubles

_EXACT_ROWS = 40
"""Tokens of a case without roundings: a batch and a few single ones are enough."""
_SHORT = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model and what it is given. The first ``batch`` tokens of every sequence go in one batch,
    in turn, the rest one position at a time. ``cache`` is the type of keys and values, ``flash``
    whether flash attention is "on", "off" or the library's choice ("auto"); with ``unified`` all
    sequences share one cache, so that only the mask keeps them apart."""

    name: str
    spec: Spec
    sequences: tuple[tuple[int, ...], ...]
    batch: int
    cache: str = "f16"
    flash: str = "auto"
    unified: bool = False

    @property
    def pooled(self) -> bool:
        """True when one row comes out for each sequence, instead of one for each position."""
        return self.spec.family in ("encoder", "reranker")

    @property
    def rows(self) -> int:
        """Rows that come out."""
        return len(self.sequences) if self.pooled else sum(map(len, self.sequences))


def standard() -> tuple[Case, ...]:
    """Every weight type in a whole network, in exact products and in exact rows; caches, flash
    attention, several sequences; an encoder and a reranker."""
    decoders = (
        _case(spec, models.PROMPT + models.STEPS, models.PROMPT) for spec in models.DECODERS
    )
    plain = (*models.PRODUCTS, *models.ROWS)
    exact = (_case(spec, _EXACT_ROWS, _EXACT_ROWS - 6) for spec in plain)
    return (*exact, *decoders, *_attention(), *_encoders())


def _case(spec: Spec, length: int, batch: int) -> Case:
    return Case(
        name=f"{spec.type} {spec.family}",
        spec=spec,
        sequences=(tuple(models.prompt(spec, length)),),
        batch=batch,
    )


def _attention() -> list[Case]:
    """Half-precision weights leave little noise, so that the cache and the kernels show."""
    spec = next(one for one in models.DECODERS if one.type == "F16")
    tokens = tuple(models.prompt(spec, models.PROMPT + models.STEPS))
    variants = {
        "flash attention": ("on", "f16"),
        "no flash attention": ("off", "f16"),
        "flash attention, q8_0 cache": ("on", "q8_0"),
    }
    usual = Case(name="", spec=spec, sequences=(tokens,), batch=models.PROMPT)
    found = [
        replace(usual, name=f"F16 {name}", flash=flash, cache=cache)
        for name, (flash, cache) in variants.items()
    ]
    several = _several(spec, (_SHORT, 21, 34))
    for flash in ("on", "off"):
        name = f"F16 three sequences, flash attention {flash}"
        found.append(Case(name=name, spec=spec, sequences=several, batch=16, flash=flash))
    shared = replace(found[-1], name="F16 three sequences in one cache", flash="on", unified=True)
    return [*found, shared]


def _encoders() -> list[Case]:
    """Four sequences at once: with a number that does not divide the physical batch of 512 this
    llama.cpp ends in an assertion while it reserves the graph of a mean."""
    return [
        Case(
            name=f"{spec.type} {spec.family}",
            spec=spec,
            sequences=_several(spec, (_SHORT, 21, 34, 7)),
            batch=_SHORT,
        )
        for spec in (*models.ENCODERS, models.RERANKER)
    ]


def _several(spec: Spec, lengths: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Sequences of different tokens."""
    tokens = models.prompt(spec, sum(lengths))
    starts = [sum(lengths[:n]) for n in range(len(lengths))]
    return tuple(
        tuple(tokens[start : start + length]) for start, length in zip(starts, lengths, strict=True)
    )


def model_file(spec: Spec, folder: Path) -> Path:
    """The model as a file in ``folder``, made when it is not there."""
    path = folder / f"{spec.name}-{spec.shape.embedding}.gguf"
    if not path.exists():
        files.write(_model(spec), path)
    return path


def expected(case: Case, *, device: bool = False) -> Expected:
    """The answer and its tolerance; a device may compute in half precision."""
    plain = case.spec.family in ("products", "rows") or case.flash == "off"
    sums = ("half",) if device else () if plain else ("flash",)
    values, rounding = _answer(case)
    return Expected(values=values, allowed=reference.allowed(case.spec, rounding, sums))


@lru_cache(maxsize=256)
def _answer(case: Case) -> tuple[Doubles, Distance]:
    """Remembered: the CPU's numbers and a device's are held against the same answer. With one
    thread: those of NumPy's BLAS wait by spinning, ten times as long where others compute too."""
    with threadpool_limits(limits=1, user_api="blas"):
        return reference.answer(case.spec, decoded(case.spec), case.sequences, cache=case.cache)


@lru_cache(maxsize=2)
def _model(spec: Spec) -> models.Model:
    return models.generate(spec)


@lru_cache(maxsize=2)
def decoded(spec: Spec) -> dict[str, Doubles]:
    """The numbers of a model, remembered for the next case with the same one."""
    return models.decoded(_model(spec))
