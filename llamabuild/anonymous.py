"""What is not kept of a recorded machine: whatever tells it or its owner from others."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from llamabuild.host import Host

_PERSONAL: Final = re.compile(r"(?i)^(\s*[^:=]*(?:serial|uuid|unique_id|asset)[^:=]*[:=]).*")
_UUID: Final = re.compile(r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_HARDWARE_ADDRESS: Final = re.compile(r"(?i)\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b")
_EVERYBODY: Final = frozenset(
    {
        *("root", "user", "admin", "nobody", "host", "localhost", "runner", "vagrant", "jovyan"),
        *("ubuntu", "debian", "fedora", "centos", "arch", "alpine", "pi", "raspberrypi"),
        *("nvidia", "jetson", "intel", "amd", "apple", "linux", "ec2-user", "azureuser", "opc"),
    }
)
"""Names that tell nobody apart, and that are also words in answers (``ID=ubuntu``)."""
_BUILT_BY: Final = re.compile(r"\([^()\s]+@[^()\s]+\)")


def scrubber(host: Host) -> Callable[[str], str]:
    """A function that removes from a line what is personal to this machine or its user."""
    environ = host.environ
    home = environ.get("HOME", "") or environ.get("USERPROFILE", "")
    names = {os.path.basename(home): "user"}
    names |= {
        environ.get(name, ""): "user" for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")
    }
    names |= {environ.get(name, ""): "host" for name in ("HOSTNAME", "COMPUTERNAME")}
    names |= {(host.read_text("/etc/hostname") or "").strip(): "host"}
    words = {name: other for name, other in names.items() if name and name not in _EVERYBODY}
    named = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in words)) if words else None

    def scrub(line: str) -> str:
        line = _PERSONAL.sub(r"\1", line)
        line = _UUID.sub("00000000-0000-0000-0000-000000000000", line)
        line = _HARDWARE_ADDRESS.sub("00:00:00:00:00:00", line)
        line = _BUILT_BY.sub("(user@host)", line)
        return named.sub(lambda match: words[match[0]], line) if named else line

    return scrub


def scrubbed(value: Any, scrub: Callable[[str], str]) -> Any:  # noqa: ANN401 - built-in values
    """Every text in lists, tuples and mappings (keys too), scrubbed."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {scrub(str(key)): scrubbed(item, scrub) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(item, scrub) for item in value]
    return value


def shortened(files: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """``/proc/cpuinfo`` of many equal processors as that of one of each kind."""
    name = "/proc/cpuinfo"
    return {
        path: tuple(distinct(lines)) if path == name else tuple(lines)
        for path, lines in files.items()
    }


def distinct(lines: Iterable[str]) -> list[str]:
    """The first processor of each kind; what makes a kind are its features and its model.

    >>> distinct(["processor: 0", "flags: a", "", "processor: 1", "flags: a", ""])
    ['processor: 0', 'flags: a', '']
    """
    blocks: dict[tuple[str, ...], list[str]] = {}
    block: list[str] = []
    for line in (*lines, ""):
        block.append(line)
        if not line.strip():
            told = ("flags", "features", "isa", "cpu", "model", "vendor", "uarch")
            kind = tuple(
                one for one in block if one.lower().startswith(told) and "mhz" not in one.lower()
            )
            blocks.setdefault(kind, block)
            block = []
    return [line for kept in blocks.values() for line in kept if len(kept) > 1]
