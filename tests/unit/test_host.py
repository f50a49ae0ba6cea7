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


NESTED = {
    "/proc/self/cgroup": "4:memory:/jobs/17\n3:cpu,cpuacct:/jobs/17\n0::/user.slice/run-1.scope\n",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
    "/sys/fs/cgroup/memory/jobs/memory.limit_in_bytes": "4000",
    "/sys/fs/cgroup/memory/jobs/memory.usage_in_bytes": "1000",
    "/sys/fs/cgroup/memory/jobs/memory.stat": "cache 600\ntotal_inactive_file 400\n",
    "/sys/fs/cgroup/memory/jobs/17/memory.limit_in_bytes": "8000",
}


def test_the_tightest_limit_above_a_process_counts_and_caches_do_not() -> None:
    assert cgroup.memory(NESTED.get) == (4000, 600)
    scope = "/sys/fs/cgroup/user.slice/run-1.scope"
    newer = {
        **NESTED,
        f"{scope}/memory.max": "2000",
        f"{scope}/memory.current": "500",
        f"{scope}/memory.stat": "anon 1\ninactive_file 100\n",
        f"{scope}/cpu.max": "50000 100000",
        "/sys/fs/cgroup/user.slice/cpu.max": "150000 100000",
    }
    assert cgroup.memory(newer.get) == (2000, 400)
    assert cgroup.cores(newer.get) == 0.5


@pytest.mark.parametrize("text", ["", "nonsense", "0::", "1:memory", "4:memory:/../..\n"])
def test_any_text_names_some_cgroup(text: str) -> None:
    files = {"/proc/self/cgroup": text, "/sys/fs/cgroup/memory.max": "7"}
    assert cgroup.memory(files.get) == (7, 0)


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
