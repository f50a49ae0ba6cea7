"""Limits that a cgroup sets, from its files; psutil does not know them. Pure."""

from __future__ import annotations

from collections.abc import Callable


def memory(read: Callable[[str], str | None]) -> tuple[int, int]:
    """Limit and use in bytes of this cgroup (version 2, else 1); limit 0 means none."""
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        text = (read(limit) or "").strip()
        if text.isdigit():
            return int(text), int((read(used) or "0").strip() or 0)
    return 0, 0


def cores(read: Callable[[str], str | None]) -> float:
    """Cores that the cgroup's CPU quota allows, as a fraction; 0 means no quota."""
    words = (read("/sys/fs/cgroup/cpu.max") or "").split()
    if not words:
        quota = (read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") or "").strip()
        period = (read("/sys/fs/cgroup/cpu/cpu.cfs_period_us") or "").strip()
        words = [quota, period]
    if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]) > 0:
        return int(words[0]) / int(words[1])
    return 0.0
