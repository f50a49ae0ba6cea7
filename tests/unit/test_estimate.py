"""How long a build takes is told from those before it."""

from __future__ import annotations

from dataclasses import replace

from llamabuild import estimate
from llamabuild.model import Flag, Manifest, Plan
from tests.unit import values


def built(plan: Plan, seconds: float) -> Manifest:
    return replace(values.manifest("ab" * 32, {}), plan=plan, seconds=seconds)


def with_flag(name: str, value: bool | str) -> Plan:
    return replace(values.plan(), flags=(Flag(name=name, value=value, why="w"),))


def test_nothing_is_said_of_what_was_never_built() -> None:
    other = replace(values.plan(), backends=("vulkan", "cpu"))
    assert estimate.seconds(values.plan(), ()) is None
    assert estimate.seconds(values.plan(), (built(other, 60),)) is None


def test_the_longest_counts_since_others_may_come_from_a_compiler_cache() -> None:
    kept = [built(values.plan(), seconds) for seconds in (70, 300, 65)]
    assert estimate.seconds(values.plan(), kept) == 300


def test_each_gpu_and_each_variant_is_compiled_for() -> None:
    one, two = (with_flag("CMAKE_CUDA_ARCHITECTURES", value) for value in ("90", "80;90"))
    assert estimate.seconds(one, (built(two, 60),)) is None
    assert estimate.seconds(two, (built(two, 60), built(one, 90))) == 60
    fat = with_flag("GGML_CPU_ALL_VARIANTS", True)
    assert estimate.seconds(fat, (built(values.plan(), 60),)) is None
    assert estimate.seconds(fat, (built(fat, 60),)) == 60


def test_other_flags_make_no_other_build() -> None:
    assert estimate.seconds(values.plan(), (built(with_flag("GGML_NATIVE", False), 60),)) == 60
