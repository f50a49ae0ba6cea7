"""How long a build takes, from those that were made on this machine before."""

from __future__ import annotations

from collections.abc import Iterable

from llamabuild.model import Manifest, Plan


def seconds(wanted: Plan, kept: Iterable[Manifest]) -> float | None:
    """What building and proving ``wanted`` takes at most, if an earlier build was like it; None
    where there was none.

    Of several the longest counts: the others may have come out of a compiler cache.
    """
    return max((one.seconds for one in kept if _shape(one.plan) == _shape(wanted)), default=None)


def minutes(seconds: float) -> str:
    """A time as roughly as it is known.

    >>> minutes(50), minutes(250), minutes(6000)
    ('about 1 min', 'about 5 min', 'about 100 min')
    """
    return f"about {-(-int(seconds) // 60)} min"


def _shape(plan: Plan) -> tuple[frozenset[str], frozenset[str], bool, int]:
    """What most of the time depends on: back-ends, tools, whether there is a variant for each CPU,
    and for how many GPUs device code is compiled (the only lists among the flags)."""
    flags = {flag.name: flag.value for flag in plan.flags}
    variants = flags.get("GGML_CPU_ALL_VARIANTS") is True
    lists = sum(str(value).count(";") for value in flags.values())
    return frozenset(plan.backends), frozenset(plan.targets), variants, lists
