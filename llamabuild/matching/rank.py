"""Which of several results is expected to be the fastest on a machine. Pure.

Devices come first: code that is made for them, then that of a relative, then what the driver has
to compile. Then the CPU, weighed as ggml weighs its own variants; a build with variants is as fast
as the best of them that runs. Weights and source are in ``matching.toml``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llamabuild.backends import BACKENDS, cpu_sets
from llamabuild.backends.cpu_table import extensions
from llamabuild.matching.match import served
from llamabuild.matching.provides import TABLE, Provides
from llamabuild.matching.requires import expected
from llamabuild.model import Plan, Requires


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A result that could be used: what it requires, the CPU features that it was compiled for
    (code for one need not have an instruction of it that is required), when it was made (ISO 8601)
    and its artifact's ``id``."""

    requires: Requires
    features: tuple[str, ...]
    created: str = ""
    id: str = ""


def rank(candidates: Iterable[Candidate], provides: Provides) -> tuple[Candidate, ...]:
    """The candidates with the one that is expected to be the fastest first; among equals the
    newest. Whether they run at all is another question: see
    :func:`llamabuild.matching.match.missing`."""
    return tuple(
        sorted(
            candidates,
            key=lambda one: (expected_speed(one, provides), one.created, one.id),
            reverse=True,
        )
    )


def slower(candidate: Candidate, wanted: Plan, provides: Provides) -> bool:
    """True when a candidate is expected to be slower on a machine than what would be built there by
    the plan ``wanted``."""
    own = Candidate(requires=expected(wanted), features=wanted.cpu_features)
    return expected_speed(candidate, provides) < expected_speed(own, provides)


def expected_speed(candidate: Candidate, provides: Provides) -> tuple[tuple[int, ...], int]:
    """A value that is greater for what is faster: how each device runs it, the slowest first, and
    the score of the CPU's code, by what it was compiled for. It compares results of the same
    back-ends on the same machine."""
    requires = candidate.requires
    paces = (
        BACKENDS[name].fit(requires, device).pace
        for name in requires.backends
        for device in served(name, provides)
    )
    return tuple(sorted(paces)), _score(candidate, provides)


def _score(candidate: Candidate, provides: Provides) -> int:
    """Ggml's score of the code that would run."""
    arch = candidate.requires.arch
    if candidate.requires.variants:
        names = {
            one.name
            for one in candidate.requires.variants
            if provides.features.issuperset(one.features)
        }
        rows = cpu_sets.rows("variant", arch)
        return max((weight(arch, row.has) for row in rows if row.name in names), default=0)
    compiled = set(candidate.features)
    return weight(arch, {row.upstream for row in extensions(arch) if row.name in compiled})


def weight(arch: str, words: Iterable[str]) -> int:
    """Ggml's score of code that is compiled for what it calls by these words.

    >>> weight("x86_64", ["SSE42", "AVX"]), weight("x86_64", []), weight("aarch64", ["SVE"])
    (21, 1, 9)
    """
    table: dict[str, int] = TABLE["score"].get(arch, {})
    return 1 + sum(1 << table[word] for word in frozenset(words) if word in table)
