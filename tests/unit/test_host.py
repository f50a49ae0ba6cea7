from __future__ import annotations

import pytest

from llamabuild.host import cgroup, signal_name


def test_a_limit_of_version_2() -> None:
    files = {"/sys/fs/cgroup/memory.max": "4294967296\n", "/sys/fs/cgroup/memory.current": "7\n"}
    assert cgroup.memory(files.get) == (4294967296, 7)


def test_a_limit_of_version_1() -> None:
    files = {
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": "1024",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes": "512",
    }
    assert cgroup.memory(files.get) == (1024, 512)


@pytest.mark.parametrize("text", ["max\n", "", "garbage", "-1"])
def test_no_limit(text: str) -> None:
    assert cgroup.memory({"/sys/fs/cgroup/memory.max": text}.get) == (0, 0)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"/sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"/sys/fs/cgroup/cpu.max": "max 100000\n"}, 0.0),
        ({"/sys/fs/cgroup/cpu.max": "1 0"}, 0.0),
        (
            {
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            2.0,
        ),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1"}, 0.0),
        ({}, 0.0),
    ],
)
def test_quota(files: dict[str, str], cores: float) -> None:
    assert cgroup.cores(files.get) == cores


def test_signals_have_names_and_exits_have_none() -> None:
    assert signal_name(-11) == "SIGSEGV"
    assert signal_name(1) == ""
    assert signal_name(-250) == "signal 250"
