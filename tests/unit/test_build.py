from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llamabuild import build
from llamabuild.backends import BACKENDS


@given(st.integers(1, 512), st.integers(0, 1 << 44), st.sampled_from(["vulkan", "cuda", "cpu"]))
def test_jobs_stay_within_cores_and_memory(cores: int, memory: int, backend: str) -> None:
    count = build.jobs(cores, memory, [backend, "cpu"])
    assert 1 <= count <= cores
    usual, most = BACKENDS["cpu"].TRAITS.memory, BACKENDS[backend].TRAITS.memory
    assert count == 1 or most + (count - 1) * usual <= memory


def test_the_telling_lines_begin_at_the_first_error() -> None:
    lines = [f"note {n}" for n in range(50)] + ["a.cpp:1: error: no", *["in file"] * 30]
    told = build.telling(lines)
    assert told[1] == "a.cpp:1: error: no"
    assert len(told) == 20
    assert build.first_error(lines) == "a.cpp:1: error: no"


def test_without_an_error_the_end_tells() -> None:
    assert build.telling([str(n) for n in range(40)]) == [str(n) for n in range(20, 40)]
    assert build.first_error(["fine"]) == ""
