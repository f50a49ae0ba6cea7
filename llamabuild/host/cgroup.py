"""Limits that cgroups set, from their files; psutil does not know them. Pure.

A process is in one cgroup of each hierarchy and bound by that one and all above it. In a container
the hierarchy usually begins with the container's own cgroup; under ``systemd-run`` and in batch
systems it does not, and ``/proc/self/cgroup`` says where the process is (cgroups(7)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

Read = Callable[[str], str | None]
_ROOT = "/sys/fs/cgroup"


def memory(read: Read) -> tuple[int, int]:
    """Limit and use in bytes of the tightest cgroup that this process is in; limit 0 means none.
    What is only cached of files is given back when it is needed, and does not count as used."""
    found = []
    for folder in _folders(read, "memory"):
        for limit, used, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            most = _number(read(f"{folder}/{limit}"))
            if most:
                spare = _entry(read(f"{folder}/memory.stat"), cached)
                found.append((most, max(0, _number(read(f"{folder}/{used}")) - spare)))
    return min(found, default=(0, 0))


def cores(read: Read) -> float:
    """Cores that the tightest CPU quota allows, as a fraction; 0 means no quota."""
    found = []
    for folder in _folders(read, "cpu"):
        words = (read(f"{folder}/cpu.max") or "").split() or [
            (read(f"{folder}/cpu.cfs_quota_us") or "").strip(),
            (read(f"{folder}/cpu.cfs_period_us") or "").strip(),
        ]
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]) > 0:
            found.append(int(words[0]) / int(words[1]))
    return min(found, default=0.0)


def _folders(read: Read, controller: str) -> Iterator[str]:
    """The folders of this process's cgroups, of version 2 and 1, each with all above it."""
    for line in ("0::/", f"0:{controller}:/", *(read("/proc/self/cgroup") or "").splitlines()):
        _, names, path = (*line.split(":", 2), "", "")[:3]
        if names and controller not in names.split(","):
            continue
        home = f"{_ROOT}/{controller}" if names else _ROOT
        parts = [part for part in path.split("/") if part not in ("", "..")]
        yield from ("/".join((home, *parts[:count])) for count in range(len(parts), -1, -1))


def _number(text: str | None) -> int:
    """A number, or 0 for what is none ("max")."""
    word = (text or "").strip()
    return int(word) if word.isdigit() else 0


def _entry(text: str | None, name: str) -> int:
    """A line of ``memory.stat``."""
    lines = (line.split() for line in (text or "").splitlines())
    return next((_number(words[1]) for words in lines if len(words) == 2 and words[0] == name), 0)
